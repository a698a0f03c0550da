//! Endpoint `locks`: parts of the API that are locked against changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, forbidden, not_found};
use super::request::Who;
use super::value::Text;

/// Sections of the API that can be locked.
const SECTIONS: [&str; 6] = ["accounts", "bans", "extbans", "listserverwhitelist", "server", "sessions"];
/// Setting that stores the hash of the lock password.
const LOCK_HASH: &str = "_lock_admin_hash";

pub(super) fn endpoints(api: &mut Api) {
    api.get("locks", "Parts of the API that are locked against changes.", AdminState::locks);
    api.put("locks", "Locks parts of the API, and unlocks the others.", AdminState::change_locks);
}

/// Parts of the API that are locked against changes.
#[derive(Debug, Serialize, JsonSchema)]
struct Locks {
    /// There is a database to keep them.
    supported: bool,
    /// Parts of the API: whether they are locked.
    sections: BTreeMap<&'static str, bool>,
    /// Changing them needs a password.
    password: bool,
}

/// Request to lock parts of the API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["sections"]))]
struct ChangeLocks {
    /// Sections to lock. Unknown ones are ignored.
    #[schemars(with = "Vec<Text>")]
    sections: Option<Vec<Text>>,
    /// Required once one is set. The first one given is set until nothing is locked.
    password: Text,
}

fn lock_key(section: &str) -> String {
    format!("_lock_admin_section_{section}")
}

impl AdminState {
    async fn locks(self: Arc<Self>, _: Call) -> Result<Json<Locks>, ApiError> {
        let sections = SECTIONS.iter().map(|section| (*section, self.is_locked(section))).collect();
        let supported = self.database.is_some();
        let password = supported && !self.lock_hash().await?.is_empty();
        Ok(Json(Locks { supported, sections, password }))
    }

    async fn change_locks(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, ChangeLocks>,
    ) -> Result<Json<Locks>, ApiError> {
        self.database.as_ref().ok_or_else(not_found)?;
        let Call { path, query, body, member_count, picture, who, http } = call;
        self.set_locks(body, &who).await?;
        self.locks(Call { path, query, body: Nothing::default(), member_count, picture, who, http }).await
    }

    async fn lock_hash(&self) -> Result<String, ApiError> {
        let settings = self.query_db(|db| Ok(db.snapshot(0)?.settings)).await?;
        Ok(settings.into_iter().find(|(key, _)| key == LOCK_HASH).map(|(_, v)| v).unwrap_or_default())
    }

    async fn set_locks(&self, body: ChangeLocks, who: &Who) -> Result<(), ApiError> {
        let given = body.sections.ok_or_else(|| bad("sections must be a list"))?;
        let sections: Vec<&str> =
            SECTIONS.into_iter().filter(|section| given.iter().any(|given| **given == **section)).collect();
        let (hash, password) = (self.lock_hash().await?, body.password.0);
        if !hash.is_empty() {
            let attempt = self.access.begin_attempt(who.source).await?;
            if !self.matches_hash(password.clone(), hash.clone()).await {
                return Err(forbidden("Incorrect password"));
            }
            attempt.refund();
        }
        let keys: Vec<String> = SECTIONS.iter().map(|s| lock_key(s)).collect();
        let mut locks: Vec<(String, String)> =
            sections.iter().map(|s| (lock_key(s), "1".to_owned())).collect();
        if hash.is_empty() && !password.is_empty() && !locks.is_empty() {
            let new_hash = self.hash_password(password).await?;
            locks.push((LOCK_HASH.to_owned(), new_hash));
        }
        let forget_password = sections.is_empty();
        let changed = self.query_db(move |db| {
            let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            if forget_password {
                keys.push(LOCK_HASH);
            }
            let locks: Vec<(&str, &str)> = locks.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            db.replace_settings((LOCK_HASH, &hash), &keys, &locks)
        });
        if !changed.await? {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "The password of the locks was changed meanwhile",
            ));
        }
        self.apply_db_changes().await
    }
}
