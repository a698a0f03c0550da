//! Endpoints `accounts`.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Json, List, Listed, Nothing, Version};
use super::error::{ApiError, bad, not_found};
use super::value::{Flag, Text, parsed};
use crate::blocking::Job;
use crate::db::{self, AccountKey, DbError};
use crate::rules::login::is_valid_name;
use crate::rules::password;

pub(super) fn endpoints(api: &mut Api) {
    api.get("accounts", "Accounts.", AdminState::accounts);
    api.post("accounts", "Adds an account.", AdminState::add_account).locked_by("accounts");
    api.post("accounts/auth", "Verifies name and password.", AdminState::verify_account);
    api.put("accounts/{account}", "Changes an account.", AdminState::change_account).locked_by("accounts");
    api.delete("accounts/{account}", "Removes an account.", AdminState::remove_account).locked_by("accounts");
}

/// An account.
#[derive(Debug, Serialize, JsonSchema)]
struct Account {
    /// Id.
    id: i64,
    /// User name.
    username: String,
    /// Logging in is not possible.
    locked: bool,
    /// Such as MOD,HOST,ADMIN.
    flags: String,
}

impl Listed for Account {
    const NAME: &'static str = "accounts";
}

impl From<db::Account> for Account {
    fn from(account: db::Account) -> Account {
        let db::Account { id, name, locked, flags, .. } = account;
        Account { id, username: name, locked, flags: flags.join(",") }
    }
}

/// The path of an account.
#[derive(Debug, Deserialize, JsonSchema)]
struct AccountPath {
    /// Id of the account.
    #[serde(deserialize_with = "parsed")]
    account: i64,
}

/// A new account.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["username", "password"]))]
struct NewAccount {
    /// User name.
    #[schemars(with = "String", length(min = 1, max = 22))]
    username: Text,
    /// Password.
    #[schemars(with = "String", length(min = 1))]
    password: Text,
    /// Logging in is not possible.
    locked: Option<Flag>,
    /// Such as MOD,HOST,ADMIN.
    #[schemars(schema_with = "flags_schema")]
    flags: Text,
}

/// Changes of an account. What is missing or empty stays as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ChangeAccount {
    /// User name.
    #[schemars(length(max = 22))]
    username: Text,
    /// Password.
    password: Text,
    /// Logging in is not possible.
    locked: Option<Flag>,
    /// Such as MOD,HOST,ADMIN.
    #[schemars(schema_with = "flags_schema")]
    flags: Option<Text>,
}

/// A name and a password to verify.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct NameAndPassword {
    /// User name.
    username: Text,
    /// Password.
    password: Text,
}

/// Whether name and password are correct.
#[derive(Debug, Serialize, JsonSchema)]
struct AccountCheck {
    /// 0 no account, 1 wrong password, 2 locked, 3 correct.
    status: u8,
}

/// Flags, separated by commas.
fn flags_schema(_: &mut SchemaGenerator) -> Schema {
    let flag = db::Account::FLAGS.join("|");
    json_schema!({"type": ["string", "null"], "pattern": format!(r"^\s*(({flag})(\s*,\s*({flag}))*\s*)?$")})
}

/// Refuses unknown flags: a misspelt one would have no effect. An account may keep an unknown flag that it has
/// already, such as a group of the auth server.
fn check_flags(flags: &[String], kept: &[String]) -> Result<(), ApiError> {
    let is_known = |flag: &&String| db::Account::FLAGS.contains(&flag.as_str()) || kept.contains(flag);
    let unknown = flags.iter().find(|flag| !is_known(flag));
    let refusal =
        |flag| bad(format!("There is no flag '{flag}'; flags are {}", db::Account::FLAGS.join(", ")));
    unknown.map_or(Ok(()), |flag| Err(refusal(flag)))
}

impl AdminState {
    async fn accounts(self: Arc<Self>, call: Call<Nothing, Version>) -> Result<List<Account>, ApiError> {
        let accounts = self.query_db(|db| db.accounts()).await?;
        let accounts = accounts.into_iter().map(Account::from).collect();
        List::new(accounts, &call.query.v, self.is_locked("accounts"))
    }

    async fn remove_account(self: Arc<Self>, call: Call<AccountPath>) -> Result<Json<Done>, ApiError> {
        let id = call.path.account;
        let removed = self.query_db(move |db| match db.remove_account(AccountKey::Id(id)) {
            Err(DbError::NoAccount(_)) => Ok(false),
            done => done.map(|()| true),
        });
        if !removed.await? {
            return Err(not_found());
        }
        self.account_changed(id).await?;
        Ok(Done::deleted(id))
    }

    /// Puts a change of an account into force, and tells subscribers of it.
    pub(super) async fn account_changed(&self, id: i64) -> Result<(), ApiError> {
        self.apply_db_changes().await?;
        self.publish("bans", "account", &serde_json::json!({"id": id}));
        Ok(())
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// 400 if it is empty.
    pub(super) async fn hash_password(&self, password: String) -> Result<String, ApiError> {
        if password.is_empty() {
            return Err(bad("Password required"));
        }
        let hash =
            self.blocking_pool.run(Job::HashPassword, move || password::hash(&password)).await.flatten();
        hash.ok_or_else(|| ApiError::internal("The password cannot be hashed"))
    }

    async fn add_account(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewAccount>,
    ) -> Result<Json<Account>, ApiError> {
        let NewAccount { username, password, locked, flags } = call.body;
        let name = username.0;
        if !is_valid_name(&name) {
            return Err(bad(if name.is_empty() { "Username required" } else { "Invalid username" }));
        }
        let flags = db::Account::parse_flags(&flags);
        check_flags(&flags, &[])?;
        let account = db::Account {
            id: 0,
            hash: self.hash_password(password.0).await?,
            name: name.clone(),
            locked: locked.is_some_and(|locked| locked.0),
            flags,
        };
        let added = self.query_db(move |db| match db.add_account(&account) {
            Err(DbError::AccountExists(_)) => Ok(None),
            done => done.map(Some),
        });
        let added = added.await?.ok_or_else(|| bad(format!("There is an account '{name}' already")))?;
        self.account_changed(added.id).await?;
        Ok(Json(added.into()))
    }

    async fn change_account(
        self: Arc<Self>,
        call: Call<AccountPath, Nothing, ChangeAccount>,
    ) -> Result<Json<Account>, ApiError> {
        let (id, ChangeAccount { username, password, locked, flags }) = (call.path.account, call.body);
        let name = username.0;
        if !name.is_empty() && !is_valid_name(&name) {
            return Err(bad("Invalid username"));
        }
        // Hashing takes a while, in which other requests may change the account.
        let hash = if password.is_empty() { None } else { Some(self.hash_password(password.0).await?) };
        let flags = flags.map(|flags| db::Account::parse_flags(&flags));
        let changed = self.query_db(move |db| {
            let mut flags_check = Ok(());
            let changed = db.change_account(AccountKey::Id(id), |account| {
                flags_check = flags.as_ref().map_or(Ok(()), |flags| check_flags(flags, &account.flags));
                if flags_check.is_err() {
                    return;
                }
                if !name.is_empty() {
                    account.name = name;
                }
                account.hash = hash.unwrap_or_else(|| account.hash.clone());
                account.locked = locked.map_or(account.locked, |locked| locked.0);
                account.flags = flags.unwrap_or_else(|| account.flags.clone());
            });
            match changed {
                Err(DbError::NoAccount(_)) => Ok(Err(not_found())),
                Err(DbError::AccountExists(_)) => Ok(Err(bad("There is an account of that name already"))),
                done => done.map(|account| flags_check.map(|()| account)),
            }
        });
        let changed = changed.await??;
        self.account_changed(changed.id).await?;
        Ok(Json(changed.into()))
    }

    async fn verify_account(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NameAndPassword>,
    ) -> Result<Json<AccountCheck>, ApiError> {
        let NameAndPassword { username, password } = call.body;
        let attempt = self.access.begin_attempt(call.who.source).await?;
        let Some(account) = self.query_db(move |db| db.account(&username)).await? else {
            return Ok(Json(AccountCheck { status: 0 }));
        };
        if account.locked {
            return Ok(Json(AccountCheck { status: 2 }));
        }
        if !self.matches_hash(password.0, account.hash).await {
            return Ok(Json(AccountCheck { status: 1 }));
        }
        attempt.refund();
        Ok(Json(AccountCheck { status: 3 }))
    }

    /// Whether a password matches a hash. Empty ones match nothing.
    pub(super) async fn matches_hash(&self, password: String, hash: String) -> bool {
        !password.is_empty()
            && !hash.is_empty()
            && self.blocking_pool.run(Job::VerifyPassword, move || password::verify(&password, &hash)).await
                == Some(true)
    }
}
