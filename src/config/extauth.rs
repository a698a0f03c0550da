//! Client of an external auth server. Source: docs/spec/services.md#ext-auth.

use ed25519_dalek::VerifyingKey;

use crate::config::Settings;
use crate::http::{self};
use crate::rules::token;

/// An external auth server whose accounts may log in.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ExtAuth {
    pub url: String,
    /// Host name of the URL: the first part of account ids.
    pub host: String,
    /// Its public key. Without one names are checked, but no token is accepted.
    pub key: Option<VerifyingKey>,
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
}
