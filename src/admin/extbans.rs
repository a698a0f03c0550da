//! `extbans`: bans from elsewhere.

use std::sync::atomic::Ordering;

use drawhall_protocol::from_json;
use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Operation, Schema, bool, text};
use super::request::{Method, Request, not_found, unsupported};
use super::schemas::EXT_BANS;
use crate::clock::Timestamp;
use crate::config::{Settings, extbans};
use crate::server::reload::MIN_BANS_INTERVAL;
use crate::session::admin::{AdminAnswer, AdminError};

/// A ban with all its members, unless it makes no sense.
fn value(ban: &Value, disabled: &[i64]) -> Option<Value> {
    let id = extbans::parse_ban(ban).ok()?.id;
    let with_reaction = |key: &str| -> Vec<Value> {
        let mut entries = ban[key].as_array().cloned().unwrap_or_default();
        for entry in entries.iter_mut().filter(|e| e["reaction"].is_null()) {
            entry["reaction"] = "normal".into();
        }
        entries
    };
    let text = |key: &str| ban[key].as_str().unwrap_or_default();
    Some(json!({
        "id": id,
        "enabled": !disabled.contains(&id),
        "ips": with_reaction("ips"),
        "ipsexcluded": ban["ipsexcluded"].as_array().cloned().unwrap_or_default(),
        "system": with_reaction("system"),
        "users": with_reaction("users"),
        "expires": text("expires"),
        "comment": text("comment"),
        "reason": text("reason"),
    }))
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("extbans", "Bans from elsewhere, and how fetching them stands.", Answer::One(&EXT_BANS)),
    Operation::delete("extbans", "Forgets them until they are fetched again.", Answer::Done)
        .locked_by("extbans"),
    Operation::post("extbans/refresh", "Fetches them now.", Answer::One(&REFRESH)),
    Operation::put("extbans/{ban}", "Switches one on or off.", Answer::Empty)
        .locked_by("extbans")
        .body(Body::Fields(&[bool("enabled", "It counts.").required()])),
];

const REFRESH: Schema = Schema { name: "Refresh", fields: &[text("msg", "What was done.").required()] };

impl AdminState {
    pub(super) async fn ext_bans(&self, call: &Request, rest: &[&str]) -> AdminAnswer {
        match (call.method, rest) {
            (Method::Get, []) => self.ext_bans_value().await,
            (Method::Delete, []) => {
                let keys = ["extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];
                self.set(keys.map(|key| (key.to_owned(), String::new())).into()).await?;
                Ok(json!({"status": "ok"}))
            }
            (Method::Post, ["refresh"]) => {
                if self.rules().settings().ext_bans_url.is_empty() {
                    return Err(AdminError::new(400, "external bans not active"));
                }
                self.fetching.refresh.notify_one();
                Ok(json!({"msg": "refresh triggered"}))
            }
            (Method::Put, [id]) => {
                let id: i64 = id.parse().map_err(|_| not_found())?;
                let enabled = call.bool("enabled").unwrap_or(true);
                self.ask(move |db| db.switch_ext_ban(id, enabled)).await?;
                self.look_again().await?;
                Ok(Value::String(String::new()))
            }
            _ => Err(unsupported()),
        }
    }

    async fn ext_bans_value(&self) -> AdminAnswer {
        let rules = self.rules();
        let settings = rules.settings();
        let Settings { ext_bans_url, ext_bans_cache_url, ext_bans_cache_key, .. } = settings;
        let disabled = match &self.database {
            Some(_) => self.ask(|db| Ok(db.snapshot(0)?.disabled_ext_bans)).await?,
            None => Vec::new(),
        };
        let active = !ext_bans_url.is_empty();
        let cached: Value = from_json(settings.ext_bans_cache_response.as_bytes()).unwrap_or(Value::Null);
        let same = active && ext_bans_url == ext_bans_cache_url;
        let bans = cached["bans"].as_array().into_iter().flatten().filter(|_| same);
        let bans = bans.filter_map(|ban| value(ban, &disabled));
        let every = settings.ext_bans_check_interval.0;
        let next = match self.fetching.due_ms.load(Ordering::Relaxed) {
            due if active && due > 0 => due.saturating_sub(Timestamp::now().monotonic_ms) as i64,
            _ => -1,
        };
        Ok(json!({
            "config": {
                "extBansUrl": ext_bans_url,
                "extBansCheckInterval": every,
                "extBansCacheUrl": ext_bans_cache_url,
                "extBansCacheKey": ext_bans_cache_key,
            },
            "bans": bans.collect::<Vec<Value>>(),
            "status": {
                "url": ext_bans_url,
                "intervalMsecs": every.max(MIN_BANS_INTERVAL).saturating_mul(1000),
                "started": true,
                "active": active,
                "msecsUntilNextCheck": next,
            },
            "_locked": self.is_locked("extbans"),
        }))
    }
}
