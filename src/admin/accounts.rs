//! Endpoints `accounts`.

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Operation, bool, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{ACCOUNT, ACCOUNT_CHECK};
use crate::blocking::Job;
use crate::db::{Account, AccountKey, DbError};
use crate::rules::password;
use crate::rules::session::admin::{AdminAnswer, AdminError};

fn value(account: &Account) -> Value {
    let Account { id, name, locked, flags, .. } = account;
    json!({"id": id, "username": name, "locked": locked, "flags": flags.join(",")})
}

const NAME: Field = text("username", "User name.");
const PASSWORD: Field = text("password", "Password.");
const LOCKED: Field = bool("locked", "Logging in is not possible.");
const FLAGS: Field = text("flags", "Such as MOD,HOST,ADMIN.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("accounts", "Accounts.", Answer::Many(&ACCOUNT, "accounts")),
    Operation::post("accounts", "Adds an account.", Answer::One(&ACCOUNT))
        .locked_by("accounts")
        .body(Body::Fields(&[NAME.required(), PASSWORD.required(), LOCKED, FLAGS])),
    Operation::post("accounts/auth", "Verifies name and password.", Answer::One(&ACCOUNT_CHECK))
        .body(Body::Fields(&[NAME.required(), PASSWORD.required()])),
    Operation::put("accounts/{account}", "Changes an account.", Answer::One(&ACCOUNT))
        .locked_by("accounts")
        .body(Body::Fields(&[NAME, PASSWORD, LOCKED, FLAGS])),
    Operation::delete("accounts/{account}", "Removes an account.", Answer::Done).locked_by("accounts"),
];

/// Refuses unknown flags: a misspelt one would have no effect. An account may keep an unknown flag that it has
/// already, such as a group of the auth server.
fn check_flags(flags: &[String], kept: &[String]) -> Result<(), AdminError> {
    let is_known = |flag: &&String| Account::FLAGS.contains(&flag.as_str()) || kept.contains(flag);
    let unknown = flags.iter().find(|flag| !is_known(flag));
    let refusal = |flag| bad(format!("There is no flag '{flag}'; flags are {}", Account::FLAGS.join(", ")));
    unknown.map_or(Ok(()), |flag| Err(refusal(flag)))
}

impl AdminState {
    pub(super) async fn accounts(&self, request: &Request, rest: &[&str]) -> AdminAnswer {
        match (request.method, rest) {
            (Method::Get, []) => {
                let accounts = self.query_db(|db| db.accounts()).await?;
                Ok(self.list_value(request, "accounts", "accounts", accounts.iter().map(value).collect()))
            }
            (Method::Post, []) => self.add_account(request).await,
            (Method::Post, ["auth"]) => self.verify_account(request).await,
            (Method::Put, [id]) => self.change_account(request, id.parse().map_err(|_| not_found())?).await,
            (Method::Delete, [id]) => self.remove_account(id.parse().map_err(|_| not_found())?).await,
            _ => Err(unsupported()),
        }
    }

    async fn remove_account(&self, id: i64) -> AdminAnswer {
        let removed = self.query_db(move |db| match db.remove_account(AccountKey::Id(id)) {
            Err(DbError::NoAccount(_)) => Ok(false),
            done => done.map(|()| true),
        });
        if !removed.await? {
            return Err(not_found());
        }
        self.apply_db_changes().await?;
        Ok(json!({"status": "ok", "deleted": id}))
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// 400 if it is empty.
    pub(super) async fn hash_password(&self, password: String) -> Result<String, AdminError> {
        if password.is_empty() {
            return Err(bad("Password required"));
        }
        let hash =
            self.blocking_pool.run(Job::HashPassword, move || password::hash(&password)).await.flatten();
        hash.ok_or_else(|| AdminError::new(500, "The password cannot be hashed"))
    }

    async fn add_account(&self, request: &Request) -> AdminAnswer {
        let name = request.text("username");
        if !crate::rules::login::is_valid_name(&name) {
            return Err(bad(if name.is_empty() { "Username required" } else { "Invalid username" }));
        }
        let flags = Account::parse_flags(&request.text("flags"));
        check_flags(&flags, &[])?;
        let account = Account {
            id: 0,
            hash: self.hash_password(request.text("password")).await?,
            name: name.clone(),
            locked: request.bool("locked").unwrap_or(false),
            flags,
        };
        let added = self.query_db(move |db| match db.add_account(&account) {
            Err(DbError::AccountExists(_)) => Ok(None),
            done => done.map(Some),
        });
        let added = added.await?.ok_or_else(|| bad(format!("There is an account '{name}' already")))?;
        self.apply_db_changes().await?;
        Ok(value(&added))
    }

    async fn change_account(&self, request: &Request, id: i64) -> AdminAnswer {
        let name = request.text("username");
        if !name.is_empty() && !crate::rules::login::is_valid_name(&name) {
            return Err(bad("Invalid username"));
        }
        let password = request.text("password");
        // Hashing takes a while, in which other requests may change the account.
        let hash = if password.is_empty() { None } else { Some(self.hash_password(password).await?) };
        let (locked, flags) = (request.bool("locked"), request.body.get("flags").and_then(Value::as_str));
        let flags = flags.map(Account::parse_flags);
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
                account.locked = locked.unwrap_or(account.locked);
                account.flags = flags.unwrap_or_else(|| account.flags.clone());
            });
            match changed {
                Err(DbError::NoAccount(_)) => Ok(Err(not_found())),
                Err(DbError::AccountExists(_)) => Ok(Err(bad("There is an account of that name already"))),
                done => done.map(|account| flags_check.map(|()| account)),
            }
        });
        let changed = changed.await??;
        self.apply_db_changes().await?;
        Ok(value(&changed))
    }

    /// Verifies name and password: 0 no account, 1 wrong password, 2 locked, 3 correct.
    async fn verify_account(&self, request: &Request) -> AdminAnswer {
        let (name, password) = (request.text("username"), request.text("password"));
        let attempt = self.access.begin_attempt(request.who.source).await?;
        let Some(account) = self.query_db(move |db| db.account(&name)).await? else {
            return Ok(json!({"status": 0}));
        };
        if account.locked {
            return Ok(json!({"status": 2}));
        }
        if !self.matches_hash(password, account.hash).await {
            return Ok(json!({"status": 1}));
        }
        attempt.refund();
        Ok(json!({"status": 3}))
    }

    /// Whether a password matches a hash. Empty ones match nothing.
    pub(super) async fn matches_hash(&self, password: String, hash: String) -> bool {
        !password.is_empty()
            && !hash.is_empty()
            && self.blocking_pool.run(Job::VerifyPassword, move || password::verify(&password, &hash)).await
                == Some(true)
    }
}
