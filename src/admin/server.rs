//! Endpoints `status`, `server`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Json, Nothing};
use super::error::ApiError;
use super::request::audit_settings;
use crate::actors::server::GetLoad;
use crate::config::{GivenSetting, SETTINGS, Settings, fault_of, portable_text};

pub(super) fn endpoints(api: &mut Api) {
    api.get("status", "Numbers of users and sessions, and start time.", AdminState::status);
    api.get("server", "All settings.", AdminState::server_settings);
    api.put(
        "server",
        "Changes settings; null sets one back to its default. Invalid values are reported in `_errors`, by key, and are \
         not changed.",
        AdminState::change_server_settings,
    )
    .locked_by("server");
    api.post("stop", "Stops the server, as SIGTERM does.", AdminState::stop).locked_by("server");
}

/// State of the server.
#[derive(Debug, Serialize, JsonSchema)]
struct Status {
    /// Since when the server runs, ISO 8601.
    started: String,
    /// Sessions.
    sessions: usize,
    /// Maximum number of sessions.
    #[serde(rename = "maxSessions")]
    max_sessions: u32,
    /// Connections.
    users: usize,
    /// Public host name, empty if it is not known.
    ext_host: String,
    /// Port that clients connect to.
    ext_port: u16,
}

/// All settings that have an effect, by key.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct AllSettings(Map<String, Value>);

impl JsonSchema for AllSettings {
    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    /// From the table of settings.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let property = |kind: &str, help: &str| match kind {
            "bool" => json!({"type": "boolean", "description": help}),
            "text" | "profile" => json!({"type": "string", "description": help}),
            _ => json!({"type": "number", "description": help}),
        };
        let mut properties: Map<String, Value> =
            SETTINGS.iter().map(|info| (info.key.to_owned(), property(info.kind, info.help))).collect();
        properties.insert("_locked".into(), json!({"type": "boolean"}));
        let errors = json!({"type": "object", "description": "What was wrong, by key.",
            "additionalProperties": {"type": "string"}});
        properties.insert("_errors".into(), errors);
        json_schema!({"type": "object", "properties": properties, "required": ["_locked"]})
    }
}

/// Settings by key. Each may have any value: what is wrong is in the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct GivenSettings(pub(super) Map<String, Value>);

impl JsonSchema for GivenSettings {
    fn schema_name() -> Cow<'static, str> {
        "GivenSettings".into()
    }

    /// From the table of settings.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let properties: Map<String, Value> =
            SETTINGS.iter().map(|info| (info.key.to_owned(), json!({"description": info.help}))).collect();
        json_schema!({"type": "object", "properties": properties})
    }
}

/// Settings that cannot be changed here: they have their own endpoints, or are internal.
const HIDDEN: [&str; 5] =
    ["announceWhitelist", "privateUserList", "extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];

/// Maximum length of an unknown key in an error, in characters.
const MAX_KEY: usize = 40;

/// A JSON value as the text of a setting.
pub(super) fn setting_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// How the text of a setting is stored.
fn stored_text(key: &str, text: &str) -> String {
    let info = SETTINGS.iter().find(|setting| setting.key == key);
    info.map_or_else(|| text.to_owned(), |setting| portable_text(setting.kind, text))
}

impl AdminState {
    async fn status(self: Arc<Self>, _: Call) -> Result<Json<Status>, ApiError> {
        let load = self.server.send(GetLoad).await.map_err(ApiError::internal)?;
        let rules = self.rules();
        Ok(Json(Status {
            started: self.started.clone(),
            sessions: load.sessions,
            max_sessions: rules.settings().session_count_limit.0,
            users: load.users,
            ext_host: rules.local_host.clone(),
            ext_port: self.port,
        }))
    }

    async fn server_settings(self: Arc<Self>, _: Call) -> Result<Json<AllSettings>, ApiError> {
        Ok(Json(AllSettings(self.settings_object())))
    }

    async fn change_server_settings(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, GivenSettings>,
    ) -> Result<Json<AllSettings>, ApiError> {
        let (settings, errors) = self.parse_settings(&call.body.0);
        if !settings.is_empty() {
            let before = self.rules();
            self.change_settings(settings).await?;
            audit_settings(&call.who, before.settings(), self.rules().settings());
        }
        let mut object = self.settings_object();
        if !errors.is_empty() {
            object.insert("_errors".into(), json!(errors));
        }
        Ok(Json(AllSettings(object)))
    }

    async fn stop(self: Arc<Self>, _: Call) -> Result<Json<Done>, ApiError> {
        self.stop.notify_one();
        Ok(Done::ok())
    }

    /// Whether a setting has an effect with the command-line options of the server.
    pub(super) fn is_effective(&self, key: &str) -> bool {
        let rules = self.rules();
        match key {
            "endedSessionDays" | "endedSessionSize" => self.setup.keep_ended,
            "eventKeepTime" => self.events.is_some(),
            "compactAtThreshold" | "thumbnailInterval" => self.renderer.is_available(),
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

    fn settings_object(&self) -> Map<String, Value> {
        let values = self.rules().settings().json_values();
        let effective = values.into_iter().filter(|(key, _)| self.is_effective(key));
        let mut object: Map<String, Value> = effective.map(|(k, v)| (k.to_owned(), v)).collect();
        object.insert("_locked".into(), self.is_locked("server").into());
        object
    }

    /// Splits a request into valid settings and errors by key. Keys that begin with `_`, such as `_locked`, are
    /// ignored.
    pub(super) fn parse_settings(
        &self,
        body: &Map<String, Value>,
    ) -> (Vec<GivenSetting>, BTreeMap<String, String>) {
        let (mut settings, mut errors) = (Vec::new(), BTreeMap::new());
        let mut trial = Settings::clone(self.rules().settings());
        for (key, value) in body.iter().filter(|(key, _)| !key.starts_with('_')) {
            if let Some(error) = self.key_error(key) {
                errors.insert(key.chars().take(MAX_KEY).collect(), error);
                continue;
            }
            if value.is_null() {
                settings.push((key.clone(), None));
                continue;
            }
            let text =
                setting_text(value).ok_or_else(|| "must be a string, a number or a boolean".to_owned());
            let before = trial.clone();
            let set = text.and_then(|text| trial.set(key, &text).map(|()| text).map_err(|e| e.to_string()));
            let set = set.and_then(|text| match fault_of(&trial, key) {
                None => Ok(Some(stored_text(key, &text))),
                Some(fault) => {
                    trial = before;
                    Err(fault)
                }
            });
            match set {
                Ok(text) => settings.push((key.clone(), text)),
                Err(error) => drop(errors.insert(key.clone(), error)),
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
}
