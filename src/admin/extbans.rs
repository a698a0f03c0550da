//! Endpoints `extbans`: external bans.

use std::sync::atomic::Ordering;

use drawhall_protocol::from_json;
use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Operation, Schema, bool, text};
use super::request::{Method, Request, not_found, unsupported};
use super::schemas::EXT_BANS;
use crate::actors::reload::MIN_BANS_INTERVAL;
use crate::config::{Settings, extbans};
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::time::Timestamp;

/// A ban with all members filled in; `None` if it is invalid.
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
    Operation::get("extbans", "External bans, and the state of their download.", Answer::One(&EXT_BANS)),
    Operation::delete("extbans", "Removes them until the next download.", Answer::Done).locked_by("extbans"),
    Operation::post("extbans/refresh", "Downloads them now.", Answer::One(&REFRESH)),
    Operation::put("extbans/{ban}", "Enables or disables one.", Answer::Empty)
        .locked_by("extbans")
        .body(Body::Fields(&[bool("enabled", "The ban is in force.").required()])),
];

const REFRESH: Schema = Schema { name: "Refresh", fields: &[text("msg", "What was done.").required()] };

impl AdminState {
    pub(super) async fn ext_bans(&self, request: &Request, rest: &[&str]) -> AdminAnswer {
        match (request.method, rest) {
            (Method::Get, []) => self.ext_bans_value().await,
            (Method::Delete, []) => {
                let keys = ["extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];
                self.change_settings(keys.map(|key| (key.to_owned(), String::new())).into()).await?;
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
                let enabled = request.bool("enabled").unwrap_or(true);
                self.query_db(move |db| db.switch_ext_ban(id, enabled)).await?;
                self.apply_db_changes().await?;
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
            Some(_) => self.query_db(|db| Ok(db.snapshot(0)?.disabled_ext_bans)).await?,
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
