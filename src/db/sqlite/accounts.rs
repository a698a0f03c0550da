//! Accounts in SQLite. Each change reads, checks and writes in one transaction, so concurrent changes by other
//! programs cannot make it hit another account.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::super::{Account, AccountKey, DbError};
use super::schema::users;
use super::{SqliteState, USERS, User, ids};
use crate::rules::username;

fn find(connection: &mut SqliteConnection, key: AccountKey<'_>) -> Result<Option<Account>, DbError> {
    let users: Vec<User> = match key {
        AccountKey::Id(id) => {
            diesel::sql_query(format!("{USERS} AND rowid = ?")).bind::<BigInt, _>(id).load(connection)?
        }
        AccountKey::Name(name) => {
            let sql = format!("{USERS} AND CAST(username AS TEXT) = ?");
            diesel::sql_query(sql).bind::<Text, _>(name).load(connection)?
        }
    };
    Ok(users.into_iter().next().map(Account::from))
}

fn require(connection: &mut SqliteConnection, key: AccountKey<'_>) -> Result<Account, DbError> {
    find(connection, key)?.ok_or_else(|| DbError::NoAccount(key.to_string()))
}

/// Fails if another account has this name or one that looks the same. `renamed` is the id of the account that is
/// renamed.
fn require_unused_name(
    connection: &mut SqliteConnection,
    name: &str,
    renamed: Option<i64>,
) -> Result<(), DbError> {
    let users: Vec<User> = diesel::sql_query(USERS).load(connection)?;
    let accounts = users.into_iter().map(Account::from);
    match accounts.into_iter().find(|a| Some(a.id) != renamed && username::same(&a.name, name)) {
        Some(other) => Err(DbError::AccountExists(other.name)),
        None => Ok(()),
    }
}

impl SqliteState {
    pub(super) fn find_account(&mut self, key: AccountKey<'_>) -> Result<Option<Account>, DbError> {
        find(&mut self.connection, key)
    }

    pub(super) fn insert_account(&mut self, account: &Account) -> Result<Account, DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            require_unused_name(connection, &account.name, None)?;
            let id = ids::next(connection, "users")?;
            diesel::insert_into(users::table)
                .values((
                    users::rowid.eq(id),
                    users::username.eq(&account.name),
                    users::password.eq(&account.hash),
                    users::locked.eq(i32::from(account.locked)),
                    users::flags.eq(account.flags.join(",")),
                ))
                .execute(connection)?;
            require(connection, AccountKey::Id(id))
        })
    }

    pub(super) fn update_account(
        &mut self,
        key: AccountKey<'_>,
        change: &mut dyn FnMut(&mut Account),
    ) -> Result<Account, DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            let before = require(connection, key)?;
            let mut account = before.clone();
            change(&mut account);
            if account.name != before.name {
                require_unused_name(connection, &account.name, Some(before.id))?;
            }
            diesel::update(users::table.find(before.id))
                .set((
                    users::username.eq(&account.name),
                    users::password.eq(&account.hash),
                    users::locked.eq(i32::from(account.locked)),
                    users::flags.eq(account.flags.join(",")),
                ))
                .execute(connection)?;
            require(connection, AccountKey::Id(before.id))
        })
    }

    pub(super) fn delete_account(&mut self, key: AccountKey<'_>) -> Result<(), DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            let account = require(connection, key)?;
            ids::record_highest(connection, "users")?;
            diesel::delete(users::table.find(account.id)).execute(connection)?;
            Ok(())
        })
    }
}
