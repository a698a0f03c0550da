//! `extbans`: bans from elsewhere.

use serde_json::{Value, json};

use super::Office;
use super::call::{Call, Method, not_found, unsupported};
use crate::config::Settings;
use crate::session::admin::{AdminAnswer, AdminError};

impl Office {
    pub(super) async fn ext_bans(&self, call: &Call, rest: &[&str]) -> AdminAnswer {
        match (call.method, rest) {
            (Method::Get, []) => self.ext_bans_value().await,
            (Method::Delete, []) => {
                self.unlocked("extbans")?;
                let keys = ["extBansCacheUrl", "extBansCacheKey", "extBansCacheResponse"];
                self.set(keys.map(|key| (key.to_owned(), String::new())).into()).await?;
                Ok(json!({"status": "ok"}))
            }
            (Method::Post, ["refresh"]) => {
                if self.rules().settings().ext_bans_url.is_empty() {
                    return Err(AdminError::new(400, "external bans not active"));
                }
                self.refresh.notify_one();
                Ok(json!({"status": "ok", "msg": "refresh requested"}))
            }
            (Method::Put, [id]) => {
                self.unlocked("extbans")?;
                let id: i64 = id.parse().map_err(|_| not_found())?;
                let enabled = call.truth("enabled").unwrap_or(true);
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
        let disabled = match &self.registry {
            Some(_) => self.ask(|db| Ok(db.snapshot(0)?.disabled_ext_bans)).await?,
            None => Vec::new(),
        };
        let active = !ext_bans_url.is_empty();
        let cached: Value = serde_json::from_str(&settings.ext_bans_cache_response).unwrap_or(Value::Null);
        let bans: Vec<Value> = cached["bans"].as_array().cloned().unwrap_or_default();
        let bans =
            bans.into_iter().filter(|_| active && ext_bans_url == ext_bans_cache_url).map(|mut ban| {
                let enabled = ban["id"].as_i64().is_none_or(|id| !disabled.contains(&id));
                if ban.is_object() {
                    ban["enabled"] = enabled.into();
                }
                ban
            });
        let every = settings.ext_bans_check_interval.0;
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
                "intervalMsecs": every.saturating_mul(1000),
                "started": true,
                "active": active,
                "msecsUntilNextCheck": -1,
            },
            "_locked": self.is_locked("extbans"),
        }))
    }
}
