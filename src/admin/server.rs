//! Endpoints `status`, `server`, `locks`.

use serde_json::{Map, Value, json};

use super::operation::{Answer, Body, Operation, text, texts};
use super::request::{Method, Request, bad, unsupported};
use super::schemas::{LOCKS, SETTINGS as SETTINGS_SCHEMA, STATUS};
use super::{AdminState, not_found};
use crate::actors::server::GetLoad;
use crate::config::{SETTINGS, Settings, fault_of};
use crate::rules::session::admin::{AdminAnswer, AdminError};

/// Sections of the API that can be locked.
const SECTIONS: [&str; 6] = ["accounts", "bans", "extbans", "listserverwhitelist", "server", "sessions"];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("status", "Numbers of users and sessions, and start time.", Answer::One(&STATUS)),
    Operation::get("server", "All settings.", Answer::One(&SETTINGS_SCHEMA)),
    Operation::put(
        "server",
        "Changes settings. Invalid values are reported in `_errors`, by key, and are not changed.",
        Answer::One(&SETTINGS_SCHEMA),
    )
    .locked_by("server")
    .body(Body::Is(&SETTINGS_SCHEMA)),
    Operation::get("locks", "Parts of the API that are locked against changes.", Answer::One(&LOCKS)),
    Operation::put("locks", "Locks parts of the API, and unlocks the others.", Answer::One(&LOCKS)).body(
        Body::Fields(&[
            texts("sections", "Sections to lock.").required(),
            text("password", "Required once one is set. The first one given is set until nothing is locked."),
        ]),
    ),
];

/// Setting that stores the hash of the lock password.
const LOCK_HASH: &str = "_lock_admin_hash";
/// Settings that cannot be changed here: they have their own endpoints, or are internal.
const HIDDEN: [&str; 5] =
    ["announceWhitelist", "privateUserList", "extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];

/// Maximum length of an unknown key in an error, in characters.
const MAX_KEY: usize = 40;

fn lock_key(section: &str) -> String {
    format!("_lock_admin_section_{section}")
}

/// A JSON value as the text of a setting.
pub(super) fn setting_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

impl AdminState {
    pub(super) async fn status(&self) -> AdminAnswer {
        let load = self.server.send(GetLoad).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        let rules = self.rules();
        Ok(json!({
            "started": self.started,
            "sessions": load.sessions,
            "maxSessions": rules.settings().session_count_limit.0,
            "users": load.users,
            "ext_host": rules.local_host,
            "ext_port": self.port,
        }))
    }

    pub(super) async fn server_settings(&self, request: &Request) -> AdminAnswer {
        match request.method {
            Method::Get => Ok(self.settings_value()),
            Method::Put => {
                let (settings, errors) = self.parse_settings(&request.body);
                if !settings.is_empty() {
                    let before = self.rules();
                    self.change_settings(settings).await?;
                    request.audit_settings(before.settings(), self.rules().settings());
                }
                let mut value = self.settings_value();
                if !errors.is_empty() {
                    value["_errors"] = errors.into();
                }
                Ok(value)
            }
            _ => Err(unsupported()),
        }
    }

    /// Whether a setting has an effect with the command-line options of the server.
    pub(super) fn is_effective(&self, key: &str) -> bool {
        let rules = self.rules();
        match key {
            "requireMatchingHost" => !rules.local_host.is_empty(),
            "abusereport" => rules.shared.report_url.is_some(),
            "extauth" => rules.extauth_url.is_some(),
            "allowGuestWeb"
            | "allowGuestWebSession"
            | "extauthweb"
            | "extauthwebsession"
            | "preferWebSockets"
            | "passwordDependentWebSession" => rules.shared.web_sockets,
            _ => !HIDDEN.contains(&key),
        }
    }

    fn settings_value(&self) -> Value {
        let values = self.rules().settings().json_values();
        let effective = values.into_iter().filter(|(key, _)| self.is_effective(key));
        let mut object: Map<String, Value> = effective.map(|(k, v)| (k.to_owned(), v)).collect();
        object.insert("_locked".into(), self.is_locked("server").into());
        object.into()
    }

    /// Splits a request into valid settings and errors by key. Keys that begin with `_`, such as `_locked`, are
    /// ignored.
    pub(super) fn parse_settings(
        &self,
        body: &Map<String, Value>,
    ) -> (Vec<(String, String)>, Map<String, Value>) {
        let (mut settings, mut errors) = (Vec::new(), Map::new());
        let mut trial = Settings::clone(self.rules().settings());
        for (key, value) in body.iter().filter(|(key, _)| !key.starts_with('_')) {
            if let Some(error) = self.key_error(key) {
                errors.insert(key.chars().take(MAX_KEY).collect(), error.into());
                continue;
            }
            let text =
                setting_text(value).ok_or_else(|| "must be a string, a number or a boolean".to_owned());
            let before = trial.clone();
            let set = text.and_then(|text| trial.set(key, &text).map(|()| text).map_err(|e| e.to_string()));
            let set = set.and_then(|text| match fault_of(&trial, key) {
                None => Ok(text),
                Some(fault) => {
                    trial = before;
                    Err(fault)
                }
            });
            match set {
                Ok(text) => settings.push((key.clone(), text)),
                Err(error) => drop(errors.insert(key.clone(), error.into())),
            }
        }
        (settings, errors)
    }

    /// Why a key cannot be set; `None` if it can.
    fn key_error(&self, key: &str) -> Option<String> {
        if !SETTINGS.iter().any(|setting| setting.key == key) {
            return Some(match SETTINGS.iter().find(|setting| setting.key.eq_ignore_ascii_case(key)) {
                Some(meant) => format!("there is no such setting; did you mean {}?", meant.key),
                None => "there is no such setting".to_owned(),
            });
        }
        if HIDDEN.contains(&key) {
            return Some("it cannot be set here".to_owned());
        }
        let is_effective = self.is_effective(key);
        (!is_effective)
            .then(|| "it means nothing with the options that the server was started with".to_owned())
    }

    pub(super) async fn locks(&self, request: &Request) -> AdminAnswer {
        match request.method {
            Method::Get => self.locks_value().await,
            Method::Put => {
                self.database.as_ref().ok_or_else(not_found)?;
                self.change_locks(request).await?;
                self.locks_value().await
            }
            _ => Err(unsupported()),
        }
    }

    async fn lock_hash(&self) -> Result<String, AdminError> {
        let settings = self.query_db(|db| Ok(db.snapshot(0)?.settings)).await?;
        Ok(settings.into_iter().find(|(key, _)| key == LOCK_HASH).map(|(_, v)| v).unwrap_or_default())
    }

    async fn locks_value(&self) -> AdminAnswer {
        let sections: Map<String, Value> =
            SECTIONS.iter().map(|s| ((*s).to_owned(), self.is_locked(s).into())).collect();
        let supported = self.database.is_some();
        let password = supported && !self.lock_hash().await?.is_empty();
        Ok(json!({"supported": supported, "sections": sections, "password": password}))
    }

    async fn change_locks(&self, request: &Request) -> Result<(), AdminError> {
        let given = request.body.get("sections").and_then(Value::as_array);
        let given = given.ok_or_else(|| bad("sections must be a list"))?;
        let sections: Vec<&str> =
            SECTIONS.into_iter().filter(|s| given.iter().any(|g| g.as_str() == Some(s))).collect();
        let (hash, password) = (self.lock_hash().await?, request.text("password"));
        if !hash.is_empty() {
            let attempt = self.access.begin_attempt(request.who.source).await?;
            if !self.matches_hash(password.clone(), hash.clone()).await {
                return Err(AdminError::new(403, "Incorrect password"));
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
            return Err(AdminError::new(409, "The password of the locks was changed meanwhile"));
        }
        self.apply_db_changes().await
    }
}
