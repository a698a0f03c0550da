//! `accounts`.

use serde_json::{Value, json};

use super::AdminState;
use super::access::too_many;
use super::operation::{Answer, Body, Field, Operation, bool, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{ACCOUNT, ACCOUNT_CHECK};
use crate::auth::password;
use crate::blocking::Job;
use crate::clock::Timestamp;
use crate::db::{Account, AccountKey, DbError};
use crate::session::admin::{AdminAnswer, AdminError};

fn value(account: &Account) -> Value {
    let Account { id, name, locked, flags, .. } = account;
    json!({"id": id, "username": name, "locked": locked, "flags": flags.join(",")})
}

const NAME: Field = text("username", "User name.");
const PASSWORD: Field = text("password", "Password.");
const LOCKED: Field = bool("locked", "Nobody can log in.");
const FLAGS: Field = text("flags", "Such as MOD,HOST,ADMIN.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("accounts", "Accounts.", Answer::Many(&ACCOUNT, "accounts")),
    Operation::post("accounts", "Adds an account.", Answer::One(&ACCOUNT))
        .locked_by("accounts")
        .body(Body::Fields(&[NAME.required(), PASSWORD.required(), LOCKED, FLAGS])),
    Operation::post("accounts/auth", "Whether name and password fit.", Answer::One(&ACCOUNT_CHECK))
        .body(Body::Fields(&[NAME.required(), PASSWORD.required()])),
    Operation::put("accounts/{account}", "Changes an account.", Answer::One(&ACCOUNT))
        .locked_by("accounts")
        .body(Body::Fields(&[NAME, PASSWORD, LOCKED, FLAGS])),
    Operation::delete("accounts/{account}", "Removes an account.", Answer::Done).locked_by("accounts"),
];

/// Refuses flags that the server does not know, as a misspelt one would do nothing. An account that has such a flag already,
/// as a group of an auth server, may keep it.
fn check_flags(flags: &[String], kept: &[String]) -> Result<(), AdminError> {
    let is_known = |flag: &&String| Account::FLAGS.contains(&flag.as_str()) || kept.contains(flag);
    let unknown = flags.iter().find(|flag| !is_known(flag));
    let refusal = |flag| bad(format!("There is no flag '{flag}'; flags are {}", Account::FLAGS.join(", ")));
    unknown.map_or(Ok(()), |flag| Err(refusal(flag)))
}

impl AdminState {
    pub(super) async fn accounts(&self, call: &Request, rest: &[&str]) -> AdminAnswer {
        match (call.method, rest) {
            (Method::Get, []) => {
                let accounts = self.ask(|db| db.accounts()).await?;
                Ok(self.listed(call, "accounts", "accounts", accounts.iter().map(value).collect()))
            }
            (Method::Post, []) => self.add_account(call).await,
            (Method::Post, ["auth"]) => self.try_account(call).await,
            (Method::Put, [id]) => self.change_account(call, id.parse().map_err(|_| not_found())?).await,
            (Method::Delete, [id]) => self.remove_account(id.parse().map_err(|_| not_found())?).await,
            _ => Err(unsupported()),
        }
    }

    async fn remove_account(&self, id: i64) -> AdminAnswer {
        let removed = self.ask(move |db| match db.remove_account(AccountKey::Id(id)) {
            Err(DbError::NoAccount(_)) => Ok(false),
            done => done.map(|()| true),
        });
        if !removed.await? {
            return Err(not_found());
        }
        self.look_again().await?;
        Ok(json!({"status": "ok", "deleted": id}))
    }

    /// The hash of a new password. There has to be one: nobody's password is the absence of one.
    pub(super) async fn hash_of(&self, password: String) -> Result<String, AdminError> {
        if password.is_empty() {
            return Err(bad("Password required"));
        }
        let made =
            self.blocking_pool.run(Job::HashPassword, move || password::hash(&password)).await.flatten();
        made.ok_or_else(|| AdminError::new(500, "The password cannot be hashed"))
    }

    async fn add_account(&self, call: &Request) -> AdminAnswer {
        let name = call.text("username");
        if !crate::client::login::is_valid_name(&name) {
            return Err(bad(if name.is_empty() { "Username required" } else { "Invalid username" }));
        }
        let flags = Account::parse_flags(&call.text("flags"));
        check_flags(&flags, &[])?;
        let account = Account {
            id: 0,
            hash: self.hash_of(call.text("password")).await?,
            name: name.clone(),
            locked: call.bool("locked").unwrap_or(false),
            flags,
        };
        let added = self.ask(move |db| match db.add_account(&account) {
            Err(DbError::AccountExists(_)) => Ok(None),
            done => done.map(Some),
        });
        let added = added.await?.ok_or_else(|| bad(format!("There is an account '{name}' already")))?;
        self.look_again().await?;
        Ok(value(&added))
    }

    async fn change_account(&self, call: &Request, id: i64) -> AdminAnswer {
        let name = call.text("username");
        if !name.is_empty() && !crate::client::login::is_valid_name(&name) {
            return Err(bad("Invalid username"));
        }
        let password = call.text("password");
        // It takes a while, in which others may change the account.
        let hash = if password.is_empty() { None } else { Some(self.hash_of(password).await?) };
        let (locked, flags) = (call.bool("locked"), call.body.get("flags").and_then(Value::as_str));
        let flags = flags.map(Account::parse_flags);
        let changed = self.ask(move |db| {
            let mut refused = Ok(());
            let changed = db.change_account(AccountKey::Id(id), |account| {
                refused = flags.as_ref().map_or(Ok(()), |flags| check_flags(flags, &account.flags));
                if refused.is_err() {
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
                done => done.map(|account| refused.map(|()| account)),
            }
        });
        let changed = changed.await??;
        self.look_again().await?;
        Ok(value(&changed))
    }

    /// Whether name and password fit: 0 no account, 1 wrong password, 2 locked, 3 fits.
    async fn try_account(&self, call: &Request) -> AdminAnswer {
        let (name, given) = (call.text("username"), call.text("password"));
        let guess = self
            .access
            .guesses
            .slow(call.who.source, Timestamp::now().monotonic_ms)
            .await
            .map_err(too_many)?;
        let Some(account) = self.ask(move |db| db.account(&name)).await? else {
            return Ok(json!({"status": 0}));
        };
        if account.locked {
            return Ok(json!({"status": 2}));
        }
        if !self.fits(given, account.hash).await {
            return Ok(json!({"status": 1}));
        }
        guess.give_back();
        Ok(json!({"status": 3}))
    }

    /// Whether a password fits a hash; nothing fits where there is none.
    pub(super) async fn fits(&self, given: String, hash: String) -> bool {
        !given.is_empty()
            && !hash.is_empty()
            && self.blocking_pool.run(Job::VerifyPassword, move || password::verify(&given, &hash)).await
                == Some(true)
    }
}
