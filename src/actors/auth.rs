//! Accounts and passwords.
//!
//! [`Auth`] answers whether a name is an account and whether a password is correct. Passwords are verified on the
//! [`BlockingPool`], never on an actor's thread.

mod extauth;

use std::net::IpAddr;
use std::sync::Arc;

use actix::prelude::*;

use super::messages::NewRules;
use crate::blocking::{BlockingPool, Job};
use crate::config::Rules;
use crate::http::Http;
use crate::rules::login::{AccountCheck, NameAnswer};
use sha2::{Digest as _, Sha256};

/// The actor that verifies accounts.
pub struct Auth {
    rules: Arc<Rules>,
    blocking_pool: BlockingPool,
    http: Http,
}

impl Auth {
    /// An actor for the accounts of `rules`; [`NewRules`] replaces them.
    pub fn new(rules: Arc<Rules>, blocking_pool: BlockingPool, http: Http) -> Self {
        Self { rules, blocking_pool, http }
    }
}

impl Actor for Auth {
    type Context = Context<Self>;
}

/// Checks name and password of an account.
#[derive(Debug, Message)]
#[rtype(result = "AccountCheck")]
#[allow(missing_docs, reason = "the names say it")]
pub struct CheckAccount {
    /// Case-sensitive.
    pub name: String,
    pub password: String,
    /// Address of the client, for fair queueing.
    pub address: IpAddr,
}

/// An account, from the database or the configuration file.
struct FoundAccount {
    auth_id: String,
    hash: String,
    flags: Vec<String>,
    locked: bool,
}

/// Whether there is such an account is not known, so nobody is let in by that name.
struct Unreadable;

/// Looks an account up: in the database if there is one, else in the configuration file.
async fn find(
    rules: &Rules,
    name: &str,
    blocking_pool: &BlockingPool,
) -> Result<Option<FoundAccount>, Unreadable> {
    let Some(database) = rules.database.clone() else {
        let account = rules.file().users.iter().find(|a| a.name == name).cloned();
        return Ok(account.map(|account| FoundAccount {
            auth_id: format!("internal:{}", account.name),
            locked: account.hash.starts_with('*'),
            hash: account.hash,
            flags: account.flags,
        }));
    };
    let (asked, is_shared) = (name.to_owned(), database.is_shared());
    let result = blocking_pool.run(Job::FileIo, move || database.account(&asked)).await;
    match result {
        Some(Ok(account)) => Ok(account.map(|a| FoundAccount {
            auth_id: format!("internal:{}", a.id),
            hash: a.hash,
            flags: a.flags,
            locked: a.locked,
        })),
        // While a database on another machine is away, guests are let in as the last rules say.
        Some(Err(_)) if is_shared && !rules.resembles_account(name) => Ok(None),
        Some(Err(error)) => {
            tracing::error!(%error, "cannot read an account");
            Err(Unreadable)
        }
        None => {
            tracing::error!("cannot read an account: the query has panicked");
            Err(Unreadable)
        }
    }
}

impl Handler<CheckAccount> for Auth {
    type Result = ResponseFuture<AccountCheck>;

    fn handle(&mut self, check: CheckAccount, _: &mut Context<Self>) -> Self::Result {
        let rules = self.rules.clone();
        let blocking_pool = self.blocking_pool.clone();
        Box::pin(async move {
            let found = match find(&rules, &check.name, &blocking_pool).await {
                Ok(found) => found,
                // Not "wrong password", which would also count as an attempt to guess it.
                Err(Unreadable) => return AccountCheck::Busy,
            };
            let Some(FoundAccount { auth_id, hash, flags, locked }) = found else {
                let similar = rules.resembles_account(&check.name);
                return if similar { AccountCheck::Similar } else { AccountCheck::NotFound };
            };
            if locked {
                return AccountCheck::Locked;
            }
            match blocking_pool.verify(Some(check.address), check.password, hash).await {
                Some(true) => AccountCheck::Ok { auth_id, flags },
                Some(false) => AccountCheck::BadPassword,
                None => AccountCheck::Busy,
            }
        })
    }
}

/// Returns a fingerprint of an unlocked account, and its flags. The fingerprint changes when the password changes, or
/// when the name becomes that of another account.
#[derive(Debug, Message)]
#[rtype(result = "Option<(AccountFingerprint, Vec<String>)>")]
#[allow(missing_docs, reason = "the names say it")]
pub struct GetAccountFingerprint {
    /// Case-sensitive.
    pub name: String,
}

/// See [`GetAccountFingerprint`].
pub type AccountFingerprint = [u8; 32];

impl Handler<GetAccountFingerprint> for Auth {
    type Result = ResponseFuture<Option<(AccountFingerprint, Vec<String>)>>;

    fn handle(
        &mut self,
        GetAccountFingerprint { name }: GetAccountFingerprint,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let (rules, blocking_pool) = (self.rules.clone(), self.blocking_pool.clone());
        Box::pin(async move {
            let account = find(&rules, &name, &blocking_pool).await.ok().flatten();
            let account = account.filter(|account| !account.locked)?;
            let fingerprint =
                Sha256::new().chain_update(&account.auth_id).chain_update([0]).chain_update(account.hash);
            Some((fingerprint.finalize().into(), account.flags))
        })
    }
}

/// Asks the external auth server about a name.
#[derive(Debug, Message)]
#[rtype(result = "NameAnswer")]
#[allow(missing_docs, reason = "the names say it")]
pub struct QueryExtAuth {
    pub name: String,
}

impl Handler<QueryExtAuth> for Auth {
    type Result = ResponseFuture<NameAnswer>;

    fn handle(&mut self, QueryExtAuth { name }: QueryExtAuth, _: &mut Context<Self>) -> Self::Result {
        let (server, http) = (self.rules.extauth(), self.http.clone());
        let group = self.rules.settings().extauth_group.clone();
        Box::pin(async move {
            match server {
                Some(server) => server.ask(&http, &name, &group).await,
                None => NameAnswer::Unavailable,
            }
        })
    }
}

impl Handler<NewRules> for Auth {
    type Result = ();

    fn handle(&mut self, NewRules(rules): NewRules, _: &mut Context<Self>) {
        self.rules = rules;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ini;

    #[test]
    fn accounts_of_the_configuration_file_are_verified() {
        let text = b"[users]\nmod:plain;secret:MOD,HOST\nlocked:*plain;x:\n";
        let rules = Arc::new(Rules::new(ini::parse(text), None, String::new()).0);
        actix_rt::System::new().block_on(async {
            let auth = Auth::new(rules, BlockingPool::default(), Http::default()).start();
            let check = |name: &str, password: &str| {
                auth.send(CheckAccount {
                    name: name.into(),
                    password: password.into(),
                    address: "192.0.2.7".parse().unwrap(),
                })
            };
            let ok =
                AccountCheck::Ok { auth_id: "internal:mod".into(), flags: vec!["MOD".into(), "HOST".into()] };
            assert_eq!(check("mod", "secret").await.unwrap(), ok);
            assert_eq!(check("mod", "").await.unwrap(), AccountCheck::BadPassword);
            assert_eq!(check("Mo", "secret").await.unwrap(), AccountCheck::NotFound);
            for similar in ["MOD", "m\u{200b}od", "ｍｏｄ"] {
                assert_eq!(check(similar, "secret").await.unwrap(), AccountCheck::Similar, "{similar}");
            }
            assert_eq!(check("locked", "x").await.unwrap(), AccountCheck::Locked);
            let fingerprint = |name: &str| auth.send(GetAccountFingerprint { name: name.into() });
            let (before, flags) = fingerprint("mod").await.unwrap().unwrap();
            assert_eq!(flags, ["MOD", "HOST"]);
            assert_eq!(fingerprint("locked").await.unwrap(), None);
            let text = b"[users]\nmod:plain;other:MOD\n";
            let rules = Arc::new(Rules::new(ini::parse(text), None, String::new()).0);
            auth.send(NewRules(rules)).await.unwrap();
            let (after, _) = fingerprint("mod").await.unwrap().unwrap();
            assert_ne!(after, before, "the password has changed");
        });
    }
}
