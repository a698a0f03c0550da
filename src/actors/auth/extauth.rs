//! Requests to an external auth server. Source: docs/spec/services.md#ext-auth.

use reqwest::Method;
use serde_json::json;

use crate::config::extauth::ExtAuth;
use crate::http::{Http, HttpError};
use crate::rules::login::NameAnswer;

/// Maximum length of an unknown status in the log, in characters.
const MAX_STATUS: usize = 100;

impl ExtAuth {
    /// Asks whether a name is an account.
    pub async fn ask(&self, http: &Http, name: &str, group: &str) -> NameAnswer {
        let mut body = json!({"username": name});
        if !group.is_empty() {
            body["group"] = group.into();
        }
        let answer = match http.request(Method::POST, &self.url, &[], Some(&body)).await {
            Ok(answer) => answer,
            // Not `Unavailable`: an outage may let guests in, and anybody could cause one by many requests.
            Err(HttpError::Busy) => return NameAnswer::Other("busy".to_owned()),
            Err(error) => {
                tracing::warn!(%error, "the auth server does not answer");
                return NameAnswer::Unavailable;
            }
        };
        let json = answer.json.as_ref();
        match json.and_then(|v| v["status"].as_str()) {
            Some("auth") => NameAnswer::Account,
            Some("guest") => NameAnswer::Guest,
            Some("outgroup") => NameAnswer::OutGroup,
            Some("banned") => NameAnswer::Banned,
            Some(other) => NameAnswer::Other(other.chars().take(MAX_STATUS).collect()),
            // The server is up, so guests must not be let in as in an outage.
            None if (200..300).contains(&answer.status)
                && json.is_some_and(|v| v.is_object() || v.is_array()) =>
            {
                tracing::warn!("the auth server's answer has no status");
                NameAnswer::Other(String::new())
            }
            None => {
                tracing::warn!(status = answer.status, "the auth server's answer cannot be read");
                NameAnswer::Unavailable
            }
        }
    }
}
