//! Server settings that apply to all sessions, and their change at run time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Effects, SessionMachine};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::config::name_rules::NameRules;
use crate::log::{Level, Topic};

/// Server settings and services, as sessions see them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "ServerSettingsRecord", into = "ServerSettingsRecord")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ServerSettings {
    pub settings: Arc<Settings>,
    /// Rules for user names.
    pub names: Arc<NameRules>,
    /// Key for encrypted ban lists (`cryptkey`).
    pub crypt_key: Option<[u8; 32]>,
    /// Whether a WebSocket port is open.
    pub web_sockets: bool,
    /// URL that abuse reports are sent to.
    pub report_url: Option<String>,
}

/// [`ServerSettings`] as traces record it.
#[derive(Serialize, Deserialize)]
struct ServerSettingsRecord {
    settings: BTreeMap<String, String>,
    crypt_key: Option<[u8; 32]>,
    web_sockets: bool,
    report_url: Option<String>,
}

impl From<ServerSettings> for ServerSettingsRecord {
    fn from(shared: ServerSettings) -> Self {
        let ServerSettings { settings, crypt_key, web_sockets, report_url, .. } = shared;
        let settings = settings.values().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { settings, crypt_key, web_sockets, report_url }
    }
}

impl From<ServerSettingsRecord> for ServerSettings {
    fn from(record: ServerSettingsRecord) -> Self {
        let ServerSettingsRecord { settings: values, crypt_key, web_sockets, report_url } = record;
        let mut settings = Settings::default();
        for (key, value) in &values {
            // A setting of another version of this program is ignored.
            let _ = settings.set(key, value);
        }
        let (names, _) = NameRules::new(&settings);
        Self { settings: Arc::new(settings), names: Arc::new(names), crypt_key, web_sockets, report_url }
    }
}

impl SessionMachine {
    /// Applies new settings of the server.
    pub fn set_shared(&mut self, shared: ServerSettings, now: Timestamp, effects: &mut Effects) {
        let old = std::mem::replace(&mut self.shared, shared);
        let (before, after) = (&old.settings, &self.shared.settings);
        let mut changed = before.idle_time_limit != after.idle_time_limit
            || before.minimum_autoreset_threshold != after.minimum_autoreset_threshold
            || before.allow_idle_override != after.allow_idle_override
            || before.prefer_web_sockets != after.prefer_web_sockets
            || (before.session_size_limit != after.session_size_limit && self.override_size == 0)
            || before.force_nsfm != after.force_nsfm;
        if !after.allow_idle_override {
            changed |= std::mem::take(&mut self.flags.idle_override);
        }
        let force_nsfm = after.force_nsfm && !self.flags.nsfm;
        self.reset_threshold = self.raised_threshold(self.reset_threshold);
        self.apply_limits();
        if force_nsfm {
            self.flags.nsfm = true;
            self.note(Level::Info, Topic::Status, "Forced NSFM after config change", now, effects);
        }
        if changed {
            self.send_settings(now, effects);
        }
    }
}
