//! Client of an external auth server. Source: docs/spec/services.md#ext-auth.

use ed25519_dalek::VerifyingKey;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::token;
use crate::config::Settings;
use crate::http::{self, Http, HttpError};

/// Maximum length of an unknown status in the log, in characters.
const MAX_STATUS: usize = 100;

/// An external auth server whose accounts may log in.
#[derive(Debug, Clone)]
pub struct ExtAuth {
    pub url: String,
    /// Host name of the URL: the first part of account ids.
    pub host: String,
    /// Its public key. Without one names are checked, but no token is accepted.
    pub key: Option<VerifyingKey>,
}

/// The auth server's answer about a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameAnswer {
    /// An account that has to authenticate.
    Account,
    /// Not an account.
    Guest,
    /// An account, but not in the required group.
    OutGroup,
    Banned,
    /// An unknown status.
    Other(String),
    /// No readable answer; the setting `extauthfallback` decides what follows.
    Unavailable,
}

/// Checks the URL of an auth server.
///
/// # Errors
/// When it is not an http or https URL, or is on drawpile.net but not the official one.
pub fn check_url(text: &str) -> Result<String, String> {
    let url = http::check_url(text).map_err(|e| e.to_string())?;
    let official = "https://drawpile.net/api/ext-auth/";
    let host = url.host_str().unwrap_or_default();
    if (host == "drawpile.net" || host.ends_with(".drawpile.net")) && text != official {
        return Err(format!("the auth server of drawpile.net is {official}"));
    }
    Ok(text.to_owned())
}

impl ExtAuth {
    /// The configured auth server; `None` if there is none or `extauth` is off.
    pub fn of(url: Option<&str>, settings: &Settings) -> Option<ExtAuth> {
        let url = url.filter(|_| settings.extauth)?;
        let host = url::Url::parse(url).ok()?.host_str()?.to_owned();
        Some(ExtAuth { url: url.to_owned(), host, key: token::public_key(&settings.extauth_key) })
    }

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

/// The flags of a token that the settings allow.
pub fn permitted(flags: Vec<String>, settings: &Settings) -> Vec<String> {
    let is_permitted = |flag: &String| match flag.as_str() {
        "MOD" => settings.extauth_mod,
        "GHOST" => settings.extauth_ghosts && settings.enable_ghosts,
        "HOST" => settings.extauth_host,
        "BANEXEMPT" => settings.extauth_ban_exempt,
        "WEB" => settings.extauth_web,
        "WEBHOST" => settings.extauth_web_host,
        "WEBSESSION" => settings.extauth_web_session,
        "PERSIST" => settings.extauth_persist,
        _ => true,
    };
    flags.into_iter().filter(is_permitted).collect()
}
