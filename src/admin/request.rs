//! Requests of the API below HTTP: how they are read, and what of them is logged.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use drawhall_protocol::from_json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{ApiError, bad};
use super::roles::Role;
use crate::actors::auth::AccountFingerprint;
use crate::config::{SETTINGS, Settings};
use crate::log::{Level, LogEntry, Topic};
use crate::pictures::MAX_PICTURE;
use crate::rules::time::Timestamp;
use crate::transport::trust::ClientAddr;
use crate::web::RequestBody;

/// Time in which a picture must arrive.
const PICTURE_TIME: Duration = Duration::from_secs(120);
/// Members of a request that are logged.
const MAX_LOGGED: usize = 20;
/// Maximum length of a logged member's name, in characters.
const MAX_LOGGED_NAME: usize = 40;
/// Maximum length of a logged path or setting, in characters.
const MAX_LOGGED_TEXT: usize = 200;

/// The authorized client of a request.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// Name for the log.
    pub(super) name: String,
    pub(super) source: ClientAddr,
    /// Authorized by the cookie of a login on the page.
    pub(super) by_cookie: bool,
    /// Authorized by the password of this account, in Basic authentication.
    pub(super) account: Option<AccountFingerprint>,
    pub(super) role: Role,
}

impl Who {
    /// The name without the address: what colleagues know them by.
    pub(super) fn author(&self) -> &str {
        self.name.rsplit_once('@').map_or(&self.name, |(name, _)| name)
    }
}

/// A request whose parameters have no types yet.
pub(super) struct Request {
    pub(super) http: HttpRequest,
    pub(super) who: Who,
    pub(super) query: Map<String, Value>,
    pub(super) body: Map<String, Value>,
    /// A picture that is the body itself.
    pub(super) picture: Option<Bytes>,
}

/// The header with the members of a request whose body is a picture, as JSON.
const MEMBERS_HEADER: &str = "X-Session";

/// Content types of pictures. Browsers send them to other origins only after a preflight request.
const PICTURE_TYPES: [&str; 2] = ["image/png", "image/openraster"];

/// The content type of a request, without its parameters.
fn content_type(http: &HttpRequest) -> &str {
    let value = http.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether the body of a request is a picture.
pub(super) fn is_picture(http: &HttpRequest) -> bool {
    PICTURE_TYPES.iter().any(|picture| content_type(http).eq_ignore_ascii_case(picture))
}

impl Request {
    /// Reads a request; `limit` is the maximum body in bytes.
    ///
    /// # Errors
    /// When the body is too large or no JSON object.
    pub(super) async fn read(
        http: &HttpRequest,
        body: &mut RequestBody,
        limit: usize,
        who: Who,
    ) -> Result<Request, ApiError> {
        let has_body = [Method::POST, Method::PUT].contains(http.method());
        let body = if has_body {
            let bytes = body.read(limit).await;
            parse_body(http, &bytes.map_err(|(status, text)| ApiError::new(status, text))?)?
        } else {
            // Read so that the connection can be kept.
            let _ = body.read(limit).await;
            Map::new()
        };
        let query = parse_query(http);
        Ok(Request { http: http.clone(), who, query, body, picture: None })
    }

    /// Reads a request whose body is a picture. The members that a JSON body would have are in a header: in the query
    /// passwords would be in the logs of proxies.
    ///
    /// # Errors
    /// When the header is no JSON object, or the body is too large or takes too long.
    pub(super) async fn read_picture(
        http: &HttpRequest,
        body: &mut RequestBody,
        who: Who,
    ) -> Result<Request, ApiError> {
        let members = match http.headers().get(MEMBERS_HEADER).map(|header| from_json(header.as_bytes())) {
            None => Map::new(),
            Some(Ok(Value::Object(members))) => members,
            Some(_) => return Err(bad(format!("The header {MEMBERS_HEADER} must be a JSON object"))),
        };
        let bytes = body.read_within(MAX_PICTURE, PICTURE_TIME).await;
        let picture = Some(bytes.map_err(|(status, text)| ApiError::new(status, text))?);
        Ok(Request { http: http.clone(), who, query: parse_query(http), body: members, picture })
    }
}

/// The parameters of a query. An empty one counts as missing.
fn parse_query(http: &HttpRequest) -> Map<String, Value> {
    let query = url::form_urlencoded::parse(http.query_string().as_bytes());
    let given = query.filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| (key.into_owned(), Value::from(value.into_owned()))).collect()
}

/// Gives parameters their types. Parameters that the type does not have are ignored.
///
/// # Errors
/// 400 that names the first invalid parameter.
pub(super) fn typed<T: DeserializeOwned>(parameters: &Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Value::from(parameters.clone())).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        bad(if path == "." { reason.to_string() } else { format!("{path}: {reason}") })
    })
}

/// Parses the body. Requires a content type that browsers send cross-origin only after a preflight request.
fn parse_body(http: &HttpRequest, body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let content_type = content_type(http);
    if body.is_empty() && content_type.is_empty() && *http.method() == Method::POST {
        // An empty body without a content type; the origin check covers cross-site requests.
        return Ok(Map::new());
    }
    if !content_type.eq_ignore_ascii_case("application/json") {
        let message = "The content type must be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    match from_json(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("The body must be a JSON object")),
        Err(error) => Err(bad(format!("The body is not JSON: {error}"))),
    }
}

/// Describes a change for the log: method, path and the names of the members of the body. Not their values: there may
/// be passwords.
pub(super) fn described(http: &HttpRequest, body: &Map<String, Value>) -> String {
    let path = http.path().strip_prefix("/api").unwrap_or(http.path());
    let path: String = path.chars().take(MAX_LOGGED_TEXT).collect();
    let name = |key: &String| key.chars().take(MAX_LOGGED_NAME).collect::<String>();
    let members: Vec<String> = body.keys().map(name).take(MAX_LOGGED).collect();
    let members = if members.is_empty() { String::new() } else { format!(" ({})", members.join(", ")) };
    format!("{} {path}{members}", http.method())
}

/// Logs a change, who made it, and why it failed if it did.
pub(super) fn audit(change: &str, who: &str, error: Option<&ApiError>) {
    let text = match error {
        None => format!("Admin API: {change} by {who}"),
        Some(error) => format!("Admin API: {change} by {who}: {}", error.message),
    };
    LogEntry::new(Timestamp::now(), Level::Info, Topic::Status, text).emit("");
}

/// Logs what an administrator or moderator did to whom, in a sentence.
pub(super) fn audit_sentence(topic: Topic, text: &str) {
    LogEntry::new(Timestamp::now(), Level::Info, topic, text).emit("");
}

/// Logs old and new values of changed settings.
pub(super) fn audit_settings(who: &Who, before: &Settings, after: &Settings) {
    let now = Timestamp::now();
    for change in changes(before, after) {
        let text = format!("Admin API: {change} by {}", who.name);
        LogEntry::new(now, Level::Info, Topic::Status, text).emit("");
    }
}

/// Describes changed settings, without the values of secrets.
fn changes(before: &Settings, after: &Settings) -> Vec<String> {
    let both = before.values().into_iter().zip(after.values());
    let changed = both.filter(|((_, old), (_, new))| old != new);
    let truncated = |text: String| text.chars().take(MAX_LOGGED_TEXT).collect::<String>();
    let describe = |((key, old), (_, new))| {
        if SETTINGS.iter().any(|setting| setting.key == key && setting.is_secret) {
            return format!("{key} changed");
        }
        format!("{key} changed from {:?} to {:?}", truncated(old), truncated(new))
    };
    changed.map(describe).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_audit_log_has_old_and_new_values_but_no_secrets() {
        let before = Settings::default();
        let mut after = before.clone();
        for (key, value) in [("serverTitle", "New"), ("reporttoken", "secret"), ("clientTimeout", "2m")] {
            after.set(key, value).unwrap();
        }
        let mut changes = changes(&before, &after);
        changes.sort();
        assert_eq!(
            changes,
            [
                "clientTimeout changed from \"60\" to \"120\"",
                "reporttoken changed",
                "serverTitle changed from \"\" to \"New\"",
            ]
        );
        assert!(super::changes(&after, &after).is_empty());
    }

    #[test]
    fn settings_that_look_like_secrets_are_secrets() {
        let words = ["token", "webhook", "url", "password", "secret"];
        // Addresses without a secret, or that everybody is told.
        let open = ["logininfourl"];
        for setting in SETTINGS.iter().filter(|setting| setting.kind == "text") {
            let key = setting.key.to_lowercase();
            let looks_secret = words.iter().any(|word| key.contains(word)) && !open.contains(&key.as_str());
            assert!(setting.is_secret || !looks_secret, "{}", setting.key);
        }
    }

    #[test]
    fn an_error_names_the_member() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct Body {
            title: super::super::value::Text,
            nsfm: Option<super::super::value::Flag>,
        }
        let typed = |body: Value| typed::<Body>(body.as_object().unwrap()).map_err(|error| error.message);
        let body = typed(json!({"title": null, "nsfm": "1", "other": []})).unwrap();
        assert_eq!((&*body.title, body.nsfm.map(|f| f.0)), ("", Some(true)));
        assert_eq!(typed(json!({"title": 5})).unwrap_err(), "title: must be a text");
        assert_eq!(typed(json!({"nsfm": "perhaps"})).unwrap_err(), "nsfm: must be true or false");
    }
}
