//! `drawhall account`: manages the accounts of a configuration database.

use std::io::{self, BufRead as _, IsTerminal as _};

use serde_json::json;

use crate::db::{Account, AccountKey, Database, DbError};
use crate::rules::login::is_valid_name;
use crate::rules::password;
use crate::text::{shown, shown_json};

/// An operation on accounts failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AccountError {
    #[error(transparent)]
    Db(#[from] DbError),
    /// The name is invalid.
    #[error(
        "{0:?} is no user name: 1 to 22 characters that can be seen, no quotation mark, no blank at an end"
    )]
    Name(String),
    #[error("the password is empty")]
    NoPassword,
    /// The repeated password differs.
    #[error("the passwords differ")]
    Mismatch,
    #[error("cannot read the password: {0}")]
    Input(#[from] io::Error),
    /// The system has no random numbers for the salt.
    #[error("cannot hash the password")]
    Hash,
    /// The flag has no meaning to the server.
    #[error("there is no flag '{0}'; flags are {list}; --force takes others, for groups of an auth server", list = Account::FLAGS.join(", "))]
    Flag(String),
    /// No change was specified.
    #[error("nothing to change: give --password, --flags, --lock or --unlock")]
    Nothing,
}

/// Reads a password: at a terminal by prompts (a new one twice), otherwise from the first line of standard input.
///
/// # Errors
/// When it is empty or cannot be read, or the two differ.
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
/// When the name is invalid or taken, the password is empty, or the database cannot be written.
pub fn add(database: &Database, name: &str, flags: &[String], password: &str) -> Result<(), AccountError> {
    if !is_valid_name(name) {
        return Err(AccountError::Name(name.to_owned()));
    }
    let hash = hash_of(password)?;
    let account = Account { id: 0, name: name.to_owned(), hash, locked: false, flags: upper(flags) };
    database.add_account(&account)?;
    Ok(())
}

/// Hashes a new password.
fn hash_of(password: &str) -> Result<String, AccountError> {
    if password.is_empty() {
        return Err(AccountError::NoPassword);
    }
    password::hash(password).ok_or(AccountError::Hash)
}

/// Changes of an account; `None` is left as it is.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Change {
    pub password: Option<String>,
    pub flags: Option<Vec<String>>,
    /// Locked: nobody can log in.
    pub locked: Option<bool>,
}

/// Changes an account.
///
/// # Errors
/// When the account does not exist, no change is specified, or the database cannot be written.
pub fn set(database: &Database, name: &str, change: Change) -> Result<(), AccountError> {
    let Change { password, flags, locked } = change;
    if password.is_none() && flags.is_none() && locked.is_none() {
        return Err(AccountError::Nothing);
    }
    let hash = password.map(|p| hash_of(&p)).transpose()?;
    database.change_account(AccountKey::Name(name), |account| {
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

/// Checks that all flags have a meaning to the server, to catch misspelt ones.
///
/// # Errors
/// The first unknown flag.
pub fn check_flags(flags: &[String]) -> Result<(), AccountError> {
    let unknown = upper(flags).into_iter().find(|flag| !Account::FLAGS.contains(&flag.as_str()));
    unknown.map_or(Ok(()), |flag| Err(AccountError::Flag(flag)))
}

/// Trims flags and converts them to upper case, as the server compares them.
fn upper(flags: &[String]) -> Vec<String> {
    flags.iter().map(|f| f.trim().to_ascii_uppercase()).filter(|f| !f.is_empty()).collect()
}

/// Lists the accounts as text, or as JSON (`as_values`).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_need_a_visible_name_and_a_password() {
        let database = Database::in_memory().unwrap();
        let add = |name: &str, password: &str| super::add(&database, name, &[], password);
        for name in ["", "a ", " ", "a\"b", "a\u{200b}", "\u{202e}a", &"x".repeat(23)] {
            assert!(matches!(add(name, "pw"), Err(AccountError::Name(_))), "{name:?}");
        }
        assert!(matches!(add("alice", ""), Err(AccountError::NoPassword)));
        add("alice", "pw").unwrap();
        for name in ["alice", "Alice", "ａlice"] {
            let error = add(name, "pw").unwrap_err();
            assert!(matches!(error, AccountError::Db(DbError::AccountExists(_))), "{name}");
            assert_eq!(error.to_string(), "there is an account 'alice' already");
        }
        let empty = Change { password: Some(String::new()), ..Change::default() };
        assert!(matches!(set(&database, "alice", empty), Err(AccountError::NoPassword)));
        let rename =
            |id: i64, name: &str| database.change_account(AccountKey::Id(id), |a| a.name = name.into());
        assert!(rename(1, "ALICE").is_ok(), "its own name in other letters");
        assert!(matches!(rename(1, "alice").map(|a| a.name), Ok(name) if name == "alice"));
    }
}
