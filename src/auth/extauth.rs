//! The auth server elsewhere, whose accounts may log in here. Source: docs/spec/services.md#ext-auth.

use ed25519_dalek::VerifyingKey;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::token;
use crate::config::Settings;
use crate::http::{self, Http, HttpError};

/// Characters of a status that is not known which are shown.
const MAX_STATUS: usize = 100;

/// An auth server that may be used.
#[derive(Debug, Clone)]
pub struct ExtAuth {
    /// Where it is.
    pub url: String,
    /// Name of its host, the first part of account ids.
    pub host: String,
    /// Its key; without one, names are asked about and no token is believed.
    pub key: Option<VerifyingKey>,
}

/// What the auth server says of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameAnswer {
    /// It is an account there.
    Account,
    /// It is none.
    Guest,
    /// It is an account, not of the group.
    OutGroup,
    /// It is banned there.
    Banned,
    /// Something that is not known.
    Other(String),
    /// There is no answer, or none that can be read.
    Unavailable,
}

/// Checks the URL of an auth server.
///
/// # Errors
/// When it is no http or https URL, or one of drawpile.net that is not the right one.
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
    /// The auth server, if there is one and its accounts may log in.
    pub fn of(url: Option<&str>, settings: &Settings) -> Option<ExtAuth> {
        let url = url.filter(|_| settings.extauth)?;
        let host = url::Url::parse(url).ok()?.host_str()?.to_owned();
        Some(ExtAuth { url: url.to_owned(), host, key: token::public_key(&settings.extauth_key) })
    }

    /// Asks about a name.
    pub async fn ask(&self, http: &Http, name: &str, group: &str) -> NameAnswer {
        let mut body = json!({"username": name});
        if !group.is_empty() {
            body["group"] = group.into();
        }
        let answer = match http.request(Method::POST, &self.url, &[], Some(&body)).await {
            Ok(answer) => answer,
            // That is no outage: else who makes many requests could have names of accounts given to guests.
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
            // It has answered: guests may not be let in as if it was down.
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

/// Flags of a token that count here.
pub fn permitted(flags: Vec<String>, settings: &Settings) -> Vec<String> {
    let counts = |flag: &String| match flag.as_str() {
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
    flags.into_iter().filter(counts).collect()
}
