//! `drawhall account`: accounts of the configuration database.

use std::io::{self, BufRead as _, IsTerminal as _};

use serde_json::json;

use crate::auth::password;
use crate::client::login::is_valid_name;
use crate::db::{Account, Database, DbError};
use crate::text::{shown, shown_json};

/// What cannot be done with an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database says why.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Nobody could log in under that name.
    #[error("'{0}' is no user name: 1 to 22 characters, no quotation mark")]
    Name(String),
    /// There is no password.
    #[error("the password is empty")]
    NoPassword,
    /// Twice typed, twice different.
    #[error("the passwords differ")]
    Mismatch,
    /// The password cannot be read.
    #[error("cannot read the password: {0}")]
    Input(#[from] io::Error),
    /// There is no randomness.
    #[error("cannot hash the password")]
    Hash,
    /// The server does nothing for such a flag.
    #[error("there is no flag '{0}'; flags are {list}; --force takes others, for groups of an auth server", list = Account::FLAGS.join(", "))]
    Flag(String),
    /// Nothing was asked for.
    #[error("nothing to change: give --password, --flags, --lock or --unlock")]
    Nothing,
}

/// Asks for a password, a new one twice at a terminal; else the first line of standard input is it.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn ask_password(new: bool) -> Result<String, AccountError> {
    let password = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        if new && rpassword::prompt_password("The same again: ")? != first {
            return Err(AccountError::Mismatch);
        }
        first
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() { Err(AccountError::NoPassword) } else { Ok(password) }
}

/// Adds an account.
///
/// # Errors
/// When the name is taken or none, or the database cannot be written.
pub fn add(database: &Database, name: &str, flags: &[String], password: &str) -> Result<(), AccountError> {
    if !is_valid_name(name) {
        return Err(AccountError::Name(name.to_owned()));
    }
    let hash = password::hash(password).ok_or(AccountError::Hash)?;
    let account = Account { id: 0, name: name.to_owned(), hash, locked: false, flags: upper(flags) };
    Ok(database.add_account(&account)?)
}

/// What is to change about an account.
#[derive(Debug, Default)]
pub struct Change {
    /// New password.
    pub password: Option<String>,
    /// New flags.
    pub flags: Option<Vec<String>>,
    /// Whether nobody can log in.
    pub locked: Option<bool>,
}

/// Changes an account.
///
/// # Errors
/// When there is none of that name, nothing is to change, or the database cannot be written.
pub fn set(database: &Database, name: &str, change: Change) -> Result<(), AccountError> {
    let Change { password, flags, locked } = change;
    if password.is_none() && flags.is_none() && locked.is_none() {
        return Err(AccountError::Nothing);
    }
    let hash = password.map(|p| password::hash(&p).ok_or(AccountError::Hash)).transpose()?;
    database.change_account(name, |account| {
        if let Some(hash) = hash {
            account.hash = hash;
        }
        if let Some(flags) = flags {
            account.flags = upper(&flags);
        }
        account.locked = locked.unwrap_or(account.locked);
    })?;
    Ok(())
}

/// Whether the server knows these flags: one that is misspelt would do nothing.
///
/// # Errors
/// When it does not know one.
pub fn check_flags(flags: &[String]) -> Result<(), AccountError> {
    let unknown = upper(flags).into_iter().find(|flag| !Account::FLAGS.contains(&flag.as_str()));
    unknown.map_or(Ok(()), |flag| Err(AccountError::Flag(flag)))
}

/// Flags that the server knows are in upper case.
fn upper(flags: &[String]) -> Vec<String> {
    flags.iter().map(|f| f.trim().to_ascii_uppercase()).filter(|f| !f.is_empty()).collect()
}

/// Lists the accounts, for people or as JSON.
///
/// # Errors
/// When the database cannot be read.
pub fn list(database: &Database, as_values: bool) -> Result<String, AccountError> {
    let accounts = database.accounts()?;
    if as_values {
        let of = |a: &Account| json!({"id": a.id, "username": a.name, "locked": a.locked, "flags": a.flags});
        return Ok(shown_json(&accounts.iter().map(of).collect::<Vec<_>>(), true) + "\n");
    }
    let line = |a: &Account| {
        let locked = if a.locked { "  locked" } else { "" };
        format!("{:>4}  {:<22}  {}{locked}", a.id, shown(&a.name), shown(&a.flags.join(",")))
    };
    let lines: Vec<String> = accounts.iter().map(|a| line(a).trim_end().to_owned() + "\n").collect();
    Ok(lines.concat())
}
