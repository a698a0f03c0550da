//! What sessions see of the server's settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Settings;
use super::name_rules::NameRules;

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
    /// Public URL of the admin page, for links that are sent to operators.
    pub page_url: Option<String>,
}

/// [`ServerSettings`] as traces record it.
#[derive(Serialize, Deserialize)]
struct ServerSettingsRecord {
    settings: BTreeMap<String, String>,
    crypt_key: Option<[u8; 32]>,
    web_sockets: bool,
    report_url: Option<String>,
    #[serde(default)]
    page_url: Option<String>,
}

impl From<ServerSettings> for ServerSettingsRecord {
    fn from(shared: ServerSettings) -> Self {
        let ServerSettings { settings, crypt_key, web_sockets, report_url, page_url, .. } = shared;
        let settings = settings.values().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { settings, crypt_key, web_sockets, report_url, page_url }
    }
}

impl From<ServerSettingsRecord> for ServerSettings {
    fn from(record: ServerSettingsRecord) -> Self {
        let ServerSettingsRecord { settings: values, crypt_key, web_sockets, report_url, page_url } = record;
        let mut settings = Settings::default();
        for (key, value) in &values {
            // A setting of another version of this program is ignored.
            let _ = settings.set(key, value);
        }
        let (names, _) = NameRules::new(&settings);
        let (settings, names) = (Arc::new(settings), Arc::new(names));
        Self { settings, names, crypt_key, web_sockets, report_url, page_url }
    }
}
