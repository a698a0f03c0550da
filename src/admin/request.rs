//! Requests and responses of the API, below HTTP.

use std::collections::HashMap;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method as HttpMethod, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use drawhall_protocol::from_json;
use drawhall_protocol::whole_number;
use serde_json::{Map, Value, json};

use super::operation::{Field, Kind};
use crate::config::Settings;
use crate::log::{Level, LogEntry, Topic};
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::time::Timestamp;
use crate::transport::trust::ClientAddr;
use crate::web::RequestBody;

/// Members of a request that are logged.
const MAX_LOGGED: usize = 20;
/// Maximum length of a logged member's name, in characters.
const MAX_LOGGED_NAME: usize = 40;
/// Maximum length of a logged path or setting, in characters.
const MAX_LOGGED_TEXT: usize = 200;
/// Settings that are or contain secrets; their values are not logged.
const SECRET_SETTINGS: [&str; 2] = ["reporttoken", "extBansUrl"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// A parsed request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The response has no body.
    is_head: bool,
    path: String,
    query: HashMap<String, String>,
    pub(super) body: Map<String, Value>,
    pub(super) who: Who,
}

/// The authorized client of a request.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// Name for the log.
    pub(super) name: String,
    pub(super) source: ClientAddr,
    /// Authorized by the cookie of a login on the page.
    pub(super) by_cookie: bool,
}

pub(super) fn not_found() -> AdminError {
    AdminError::not_found()
}

pub(super) fn unsupported() -> AdminError {
    AdminError::new(400, "Unsupported method")
}

pub(super) fn bad(message: impl Into<String>) -> AdminError {
    AdminError::new(400, message)
}

impl Method {
    /// The name in lower case.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Put => "put",
            Method::Delete => "delete",
        }
    }
}

impl Request {
    /// Reads and parses a request; `limit` is the maximum body in bytes.
    ///
    /// # Errors
    /// The error response, such as when the body is not a JSON object.
    pub(super) async fn read(
        request: &HttpRequest,
        body: &mut RequestBody,
        limit: usize,
        who: Who,
    ) -> Result<Request, Box<HttpResponse>> {
        let body = body.read(limit).await;
        let body = body.map_err(|(status, text)| refuse_body(status, text))?;
        Self::parse(request, &body, who).map_err(|error| Box::new(refuse(&error)))
    }

    fn parse(request: &HttpRequest, body: &[u8], who: Who) -> Result<Request, AdminError> {
        let path = request.path();
        let path = path.trim_start_matches('/').strip_prefix("api").filter(|rest| rest.starts_with('/'));
        let path = path.ok_or_else(not_found)?.to_owned();
        let is_head = request.method() == HttpMethod::HEAD;
        let method = match *request.method() {
            HttpMethod::GET | HttpMethod::HEAD => Method::Get,
            HttpMethod::POST => Method::Post,
            HttpMethod::PUT => Method::Put,
            HttpMethod::DELETE => Method::Delete,
            _ => return Err(AdminError::new(405, "Unsupported method")),
        };
        let query = url::form_urlencoded::parse(request.query_string().as_bytes());
        let query = query.map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        let body = match method {
            Method::Post | Method::Put => parse_body(request, body)?,
            Method::Get | Method::Delete => Map::new(),
        };
        Ok(Request { method, is_head, path, query, body, who })
    }

    /// The parts of the path below `/api`; empty ones are skipped.
    pub(super) fn path(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// A query parameter; empty if missing.
    pub(super) fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    /// A query parameter as a number; `default` if missing.
    ///
    /// # Errors
    /// 400 if it is not a number.
    pub(super) fn number(&self, key: &str, default: u64) -> Result<u64, AdminError> {
        match self.query(key) {
            "" => Ok(default),
            text => text.parse().map_err(|_| bad(format!("{key} must be a number"))),
        }
    }

    /// A query parameter as a boolean: `true` (any case) and positive numbers are true; `default` if missing.
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.query(key).trim() {
            "" => default,
            text => text.eq_ignore_ascii_case("true") || text.parse::<u64>().is_ok_and(|number| number > 0),
        }
    }

    /// Converts members to the types of `fields`, as Qt and HTML forms send strings for numbers and booleans. What
    /// cannot be converted is left for the handler to refuse.
    pub(super) fn convert_members(&mut self, fields: &[Field]) {
        for field in fields {
            if let Some(value) = self.body.get_mut(field.name)
                && let Some(value_of_kind) = converted(field.kind, value)
            {
                *value = value_of_kind;
            }
        }
    }

    /// A string in the body; empty if missing.
    pub(super) fn text(&self, key: &str) -> String {
        self.body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A boolean in the body.
    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        self.body.get(key).and_then(Value::as_bool)
    }

    /// Converts the result of a handler to an HTTP response.
    pub(super) fn respond(&self, answer: AdminAnswer) -> HttpResponse {
        let value = match answer {
            Ok(value) => value,
            // drawpile-srv's frontends read the message of this error from `msg`.
            Err(error) if self.path().as_slice() == ["extbans", "refresh"] => {
                return answer_error(
                    &error,
                    json!({"status": "error", "message": error.message, "msg": error.message}),
                );
            }
            Err(error) => return refuse(&error),
        };
        // Accepted: the client has yet to answer.
        let is_accepted = self.method == Method::Post && self.path().last() == Some(&"thumbnail");
        let status = if is_accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
        let mut response = HttpResponse::build(status);
        response.content_type("application/json");
        match value {
            // Some responses of drawpile-srv are empty.
            Value::String(text) if text.is_empty() => response.finish(),
            _ if self.is_head => response.finish(),
            value => response.body(value.to_string()),
        }
    }

    /// Logs a change, who made it, and the names of the given members. Not their values: there may be passwords.
    pub(super) fn audit(&self, answer: &AdminAnswer) {
        let (method, who) = (self.method.name().to_uppercase(), &self.who.name);
        let path: String = self.path.chars().take(MAX_LOGGED_TEXT).collect();
        let name = |key: &String| key.chars().take(MAX_LOGGED_NAME).collect::<String>();
        let members: Vec<String> = self.body.keys().map(name).take(MAX_LOGGED).collect();
        let members = if members.is_empty() { String::new() } else { format!(" ({})", members.join(", ")) };
        let text = match answer {
            Ok(_) => format!("Admin API: {method} {path}{members} by {who}"),
            Err(error) => format!("Admin API: {method} {path}{members} by {who}: {error}"),
        };
        LogEntry::new(Timestamp::now(), Level::Info, Topic::Status, text).emit("");
    }

    /// Logs old and new values of changed settings.
    pub(super) fn audit_settings(&self, before: &Settings, after: &Settings) {
        let now = Timestamp::now();
        for change in changes(before, after) {
            let text = format!("Admin API: {change} by {}", self.who.name);
            LogEntry::new(now, Level::Info, Topic::Status, text).emit("");
        }
    }
}

/// Describes changed settings, without the values of secrets.
fn changes(before: &Settings, after: &Settings) -> Vec<String> {
    let both = before.values().into_iter().zip(after.values());
    let changed = both.filter(|((_, old), (_, new))| old != new);
    let truncated = |text: String| text.chars().take(MAX_LOGGED_TEXT).collect::<String>();
    let describe = |((key, old), (_, new))| {
        if SECRET_SETTINGS.contains(&key) {
            return format!("{key} changed");
        }
        format!("{key} changed from {:?} to {:?}", truncated(old), truncated(new))
    };
    changed.map(describe).collect()
}

/// Converts a value to another type; `None` if it has that type already or cannot be converted.
fn converted(kind: Kind, value: &Value) -> Option<Value> {
    match (kind, value) {
        (Kind::Number, value) if !value.is_i64() && !value.is_u64() => whole_number(value).map(Value::from),
        (Kind::Bool, Value::Number(number)) => number.as_f64().map(|n| Value::from(n != 0.0)),
        (Kind::Bool, Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true.into()),
            "false" | "0" | "no" | "off" | "" => Some(false.into()),
            _ => None,
        },
        _ => None,
    }
}

/// Parses the body. Requires a content type that browsers send cross-origin only after a preflight request.
fn parse_body(request: &HttpRequest, body: &[u8]) -> Result<Map<String, Value>, AdminError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    if body.is_empty() && content_type.is_empty() && *request.method() == HttpMethod::POST {
        // An empty body without a content type; the origin check covers cross-site requests.
        return Ok(Map::new());
    }
    if !content_type.eq_ignore_ascii_case("application/json") {
        return Err(AdminError::new(415, "The content type must be application/json"));
    }
    match from_json(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("The body must be a JSON object")),
        Err(error) => Err(bad(format!("The body is not JSON: {error}"))),
    }
}

/// The response when the body was not read; closes the connection without reading the rest.
fn refuse_body(status: StatusCode, message: &str) -> Box<HttpResponse> {
    let mut response = HttpResponse::build(status);
    Box::new(response.force_close().json(json!({"status": "error", "message": message})))
}

/// The response for an error.
pub(super) fn refuse(error: &AdminError) -> HttpResponse {
    answer_error(error, json!({"status": "error", "message": error.message}))
}

fn answer_error(error: &AdminError, body: Value) -> HttpResponse {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).json(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_converted_to_numbers_and_booleans() {
        for (kind, given, expected) in [
            (Kind::Number, json!("3"), json!(3)),
            (Kind::Number, json!(" -3 "), json!(-3)),
            (Kind::Number, json!(3.0), json!(3)),
            (Kind::Number, json!(1e3), json!(1000)),
            (Kind::Number, json!("x"), json!("x")),
            (Kind::Number, json!("1.5"), json!("1.5")),
            (Kind::Number, json!(1.5), json!(1.5)),
            (Kind::Number, json!(1e300), json!(1e300)),
            (Kind::Number, json!(null), json!(null)),
            (Kind::Number, json!(""), json!("")),
            (Kind::Bool, json!("TRUE"), json!(true)),
            (Kind::Bool, json!("1"), json!(true)),
            (Kind::Bool, json!("false"), json!(false)),
            (Kind::Bool, json!(""), json!(false)),
            (Kind::Bool, json!(1), json!(true)),
            (Kind::Bool, json!(0), json!(false)),
            (Kind::Bool, json!("perhaps"), json!("perhaps")),
            (Kind::Bool, json!(null), json!(null)),
            (Kind::Text, json!(5), json!(5)),
        ] {
            assert_eq!(converted(kind, &given).unwrap_or(given.clone()), expected, "{kind:?} {given}");
        }
    }

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
}
