//! Accounts. Each change reads, checks and writes in one transaction, so concurrent changes by other programs cannot
//! make it hit another account.

use super::{Engine, Sql, User, Value, Writes, ids, int, text};
use crate::db::{Account, AccountKey, DbError};
use crate::rules::username;

/// SQL for accounts.
fn users_sql(connection: &impl Sql) -> String {
    format!(
        "SELECT {} AS id, CAST(username AS TEXT) AS name, COALESCE(CAST(password AS TEXT), '') AS hash, \
         COALESCE(CAST(locked AS INTEGER), 0) <> 0 AS locked, COALESCE(CAST(flags AS TEXT), '') AS flags \
         FROM users WHERE username IS NOT NULL",
        connection.dialect().row_id
    )
}

pub(super) fn all(connection: &mut impl Sql) -> Result<Vec<Account>, DbError> {
    let sql = format!("{} ORDER BY {}", users_sql(connection), connection.dialect().row_id);
    let users: Vec<User> = connection.rows(&sql, &[])?;
    Ok(users.into_iter().map(Account::from).collect())
}

pub(super) fn find(connection: &mut impl Sql, key: AccountKey<'_>) -> Result<Option<Account>, DbError> {
    let (sql, id) = (users_sql(connection), connection.dialect().row_id);
    let users: Vec<User> = match key {
        AccountKey::Id(account) => connection.rows(&format!("{sql} AND {id} = ?1"), &[int(account)])?,
        AccountKey::Name(name) => {
            connection.rows(&format!("{sql} AND CAST(username AS TEXT) = ?1"), &[text(name)])?
        }
    };
    Ok(users.into_iter().next().map(Account::from))
}

fn require(connection: &mut impl Sql, key: AccountKey<'_>) -> Result<Account, DbError> {
    find(connection, key)?.ok_or_else(|| DbError::NoAccount(key.to_string()))
}

/// Fails if another account has this name or one that looks the same. `renamed` is the id of the account that is
/// renamed.
fn require_unused_name(connection: &mut impl Sql, name: &str, renamed: Option<i64>) -> Result<(), DbError> {
    let accounts = all(connection)?;
    match accounts.into_iter().find(|a| Some(a.id) != renamed && username::same(&a.name, name)) {
        Some(other) => Err(DbError::AccountExists(other.name)),
        None => Ok(()),
    }
}

/// Inserts an account within a transaction.
pub(super) fn insert_new(connection: &mut impl Sql, account: &Account) -> Result<Account, DbError> {
    require_unused_name(connection, &account.name, None)?;
    let row_id = connection.dialect().row_id;
    let id = ids::next(connection, "users", row_id)?;
    let sql = format!(
        "INSERT INTO users ({row_id}, username, password, locked, flags) VALUES (?1, ?2, ?3, ?4, ?5)"
    );
    connection.execute(
        &sql,
        &[
            int(id),
            text(&account.name),
            text(&account.hash),
            Value::Bool(account.locked),
            text(account.flags.join(",")),
        ],
    )?;
    require(connection, AccountKey::Id(id))
}

pub(super) fn add<E: Engine>(engine: &E, account: &Account) -> Result<Account, DbError> {
    engine.write(Writes::Rules, |connection| insert_new(connection, account))
}

pub(super) fn change<E: Engine>(
    engine: &E,
    key: AccountKey<'_>,
    change: &mut dyn FnMut(&mut Account),
) -> Result<Account, DbError> {
    engine.write(Writes::Rules, |connection| {
        let before = require(connection, key)?;
        let mut account = before.clone();
        change(&mut account);
        if account.name != before.name {
            require_unused_name(connection, &account.name, Some(before.id))?;
        }
        let sql = format!(
            "UPDATE users SET username = ?1, password = ?2, locked = ?3, flags = ?4 WHERE {} = ?5",
            connection.dialect().row_id
        );
        connection.execute(
            &sql,
            &[
                text(&account.name),
                text(&account.hash),
                Value::Bool(account.locked),
                text(account.flags.join(",")),
                int(before.id),
            ],
        )?;
        require(connection, AccountKey::Id(before.id))
    })
}

pub(super) fn remove<E: Engine>(engine: &E, key: AccountKey<'_>) -> Result<(), DbError> {
    engine.write(Writes::Rules, |connection| {
        let account = require(connection, key)?;
        let row_id = connection.dialect().row_id;
        ids::record_highest(connection, "users", row_id)?;
        let sql = format!("DELETE FROM users WHERE {row_id} = ?1");
        connection.execute(&sql, &[int(account.id)])?;
        Ok(())
    })
}
