//! Endpoints `extbans`: external bans.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use drawhall_protocol::from_json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Empty, Json, Nothing};
use super::error::{ApiError, bad};
use super::value::{Flag, parsed};
use crate::actors::reload::MIN_BANS_INTERVAL;
use crate::config::{Settings, extbans};
use crate::rules::time::Timestamp;

pub(super) fn endpoints(api: &mut Api) {
    api.get("extbans", "External bans, and the state of their download.", AdminState::ext_bans);
    api.delete("extbans", "Removes them until the next download.", AdminState::forget_ext_bans)
        .locked_by("extbans");
    api.post("extbans/refresh", "Downloads them now.", AdminState::refresh_ext_bans);
    api.put("extbans/{ban}", "Enables or disables one.", AdminState::switch_ext_ban).locked_by("extbans");
}

/// A part of an external ban, as the list has it.
type BanEntry = Map<String, Value>;

/// An external ban.
#[derive(Debug, Serialize, JsonSchema)]
struct ExternalBan {
    /// Id.
    id: i64,
    /// The ban is in force.
    enabled: bool,
    /// Banned addresses.
    ips: Vec<BanEntry>,
    /// Addresses that are not banned.
    ipsexcluded: Vec<Value>,
    /// Banned system ids.
    system: Vec<BanEntry>,
    /// Banned users.
    users: Vec<BanEntry>,
    /// When it ends.
    expires: String,
    /// For administrators.
    comment: String,
    /// Shown to banned users.
    reason: String,
}

/// Settings of external bans.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ExtBansConfig {
    /// Where they are downloaded from.
    ext_bans_url: String,
    /// Seconds between downloads.
    ext_bans_check_interval: u64,
    /// Where those that are in force are from.
    ext_bans_cache_url: String,
    /// Which version of the list is in force.
    ext_bans_cache_key: String,
}

/// State of the download.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DownloadState {
    /// Where they are downloaded from.
    url: String,
    /// Milliseconds between downloads.
    interval_msecs: u64,
    /// Always true.
    started: bool,
    /// There is a URL.
    active: bool,
    /// Milliseconds until the next download, -1 if there is none.
    msecs_until_next_check: i64,
}

/// External bans, and the state of their download.
#[derive(Debug, Serialize, JsonSchema)]
struct ExternalBans {
    config: ExtBansConfig,
    /// The bans.
    bans: Vec<ExternalBan>,
    status: DownloadState,
    /// They are locked against changes.
    #[serde(rename = "_locked")]
    locked: bool,
}

/// The download was started.
#[derive(Debug, Serialize, JsonSchema)]
struct Refresh {
    /// What was done.
    msg: &'static str,
}

/// The path of an external ban.
#[derive(Debug, Deserialize, JsonSchema)]
struct ExtBanPath {
    /// Id of the ban.
    #[serde(deserialize_with = "parsed")]
    ban: i64,
}

/// Whether a ban is in force.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct SwitchBan {
    /// The ban is in force; it is if this is missing.
    enabled: Option<Flag>,
}

/// A ban with all members filled in; `None` if it is invalid.
fn external_ban(ban: &Value, disabled: &[i64]) -> Option<ExternalBan> {
    let id = extbans::parse_ban(ban).ok()?.id;
    let with_reaction = |key: &str| -> Vec<BanEntry> {
        let entries = ban[key].as_array().into_iter().flatten();
        let mut entries: Vec<BanEntry> = entries.filter_map(Value::as_object).cloned().collect();
        for entry in entries.iter_mut().filter(|e| e.get("reaction").is_none_or(Value::is_null)) {
            entry.insert("reaction".into(), "normal".into());
        }
        entries
    };
    let text = |key: &str| ban[key].as_str().unwrap_or_default().to_owned();
    Some(ExternalBan {
        id,
        enabled: !disabled.contains(&id),
        ips: with_reaction("ips"),
        ipsexcluded: ban["ipsexcluded"].as_array().cloned().unwrap_or_default(),
        system: with_reaction("system"),
        users: with_reaction("users"),
        expires: text("expires"),
        comment: text("comment"),
        reason: text("reason"),
    })
}

impl AdminState {
    async fn forget_ext_bans(self: Arc<Self>, _: Call) -> Result<Json<Done>, ApiError> {
        let keys = ["extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];
        self.change_settings(keys.map(|key| (key.to_owned(), Some(String::new()))).into()).await?;
        Ok(Done::ok())
    }

    async fn refresh_ext_bans(self: Arc<Self>, _: Call) -> Result<Json<Refresh>, ApiError> {
        if self.rules().settings().ext_bans_url.is_empty() {
            return Err(bad("external bans not active").with_msg());
        }
        self.fetching.refresh.notify_one();
        Ok(Json(Refresh { msg: "refresh triggered" }))
    }

    async fn switch_ext_ban(
        self: Arc<Self>,
        call: Call<ExtBanPath, Nothing, SwitchBan>,
    ) -> Result<Empty, ApiError> {
        let (id, enabled) = (call.path.ban, call.body.enabled.is_none_or(|enabled| enabled.0));
        self.query_db(move |db| db.switch_ext_ban(id, enabled)).await?;
        self.apply_db_changes().await?;
        Ok(Empty)
    }

    async fn ext_bans(self: Arc<Self>, _: Call) -> Result<Json<ExternalBans>, ApiError> {
        let rules = self.rules();
        let settings = rules.settings();
        let Settings { ext_bans_url, ext_bans_cache_url, ext_bans_cache_key, .. } = settings;
        let disabled = match &self.database {
            Some(_) => self.query_db(|db| Ok(db.snapshot(0)?.disabled_ext_bans)).await?,
            None => Vec::new(),
        };
        let active = !ext_bans_url.is_empty();
        let cached: Value = from_json(settings.ext_bans_cache_response.as_bytes()).unwrap_or(Value::Null);
        let same = active && ext_bans_url == ext_bans_cache_url;
        let bans = cached["bans"].as_array().into_iter().flatten().filter(|_| same);
        let every = settings.ext_bans_check_interval.0;
        let next = match self.fetching.due_ms.load(Ordering::Relaxed) {
            due if active && due > 0 => due.saturating_sub(Timestamp::now().monotonic_ms) as i64,
            _ => -1,
        };
        Ok(Json(ExternalBans {
            config: ExtBansConfig {
                ext_bans_url: ext_bans_url.0.clone(),
                ext_bans_check_interval: every,
                ext_bans_cache_url: ext_bans_cache_url.0.clone(),
                ext_bans_cache_key: ext_bans_cache_key.clone(),
            },
            bans: bans.filter_map(|ban| external_ban(ban, &disabled)).collect(),
            status: DownloadState {
                url: ext_bans_url.0.clone(),
                interval_msecs: every.max(MIN_BANS_INTERVAL).saturating_mul(1000),
                started: true,
                active,
                msecs_until_next_check: next,
            },
            locked: self.is_locked("extbans"),
        }))
    }
}
