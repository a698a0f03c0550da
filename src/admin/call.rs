//! A request and its answer, below HTTP.

use std::collections::HashMap;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method as HttpMethod, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use drawhall_protocol::from_json;
use serde_json::{Map, Value, json};

use crate::clock::Now;
use crate::log::{Level, LogEntry, Topic};
use crate::session::admin::{AdminAnswer, AdminError};

/// Members of a request that are named in the log.
const MAX_LOGGED: usize = 20;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Look.
    Get,
    /// Make.
    Post,
    /// Change.
    Put,
    /// Remove.
    Delete,
}

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Only the head of the answer is wanted.
    is_head: bool,
    path: String,
    query: HashMap<String, String>,
    /// The body.
    pub(super) body: Map<String, Value>,
    /// Who asks, for the log.
    pub(super) who: String,
    /// It is known by a cookie.
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
    /// As HTTP names it, small.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Put => "put",
            Method::Delete => "delete",
        }
    }
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is not for the API, or its body is no JSON object.
    pub(super) fn read(request: &HttpRequest, body: &[u8], who: String) -> Result<Call, AdminError> {
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
            Method::Post | Method::Put => read_body(request, body)?,
            Method::Get | Method::Delete => Map::new(),
        };
        Ok(Call { method, is_head, path, query, body, who, by_cookie: false })
    }

    /// The parts of the path behind `/api`; slashes at the end or doubled ones do not matter.
    pub(super) fn path(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// A parameter of the query, empty without.
    pub(super) fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    /// A number of the query, `default` without.
    ///
    /// # Errors
    /// When it is no number.
    pub(super) fn number(&self, key: &str, default: u64) -> Result<u64, AdminError> {
        match self.query(key) {
            "" => Ok(default),
            text => text.parse().map_err(|_| bad(format!("{key} must be a number"))),
        }
    }

    /// A text of the body, empty without.
    pub(super) fn text(&self, key: &str) -> String {
        self.body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A truth of the body.
    pub(super) fn truth(&self, key: &str) -> Option<bool> {
        self.body.get(key).and_then(Value::as_bool)
    }

    /// The answer of HTTP.
    pub(super) fn respond(&self, answer: AdminAnswer) -> HttpResponse {
        let value = match answer {
            Ok(value) => value,
            // Frontends look for this one under another name.
            Err(error) if self.path().as_slice() == ["extbans", "refresh"] => {
                return answer_error(
                    &error,
                    json!({"status": "error", "message": error.message, "msg": error.message}),
                );
            }
            Err(error) => return refuse(&error),
        };
        // What was asked of a client has only begun.
        let begun = self.method == Method::Post && self.path().last() == Some(&"thumbnail");
        let status = if begun { StatusCode::ACCEPTED } else { StatusCode::OK };
        let mut response = HttpResponse::build(status);
        response.content_type("application/json");
        match value {
            // Some answers of the reference have no content.
            Value::String(text) if text.is_empty() => response.finish(),
            _ if self.is_head => response.finish(),
            value => response.body(value.to_string()),
        }
    }

    /// Logs that something was changed, and by whom. Which members were given is told, but not what they say: there
    /// are passwords among them.
    pub(super) fn audit(&self, answer: &AdminAnswer) {
        let (method, path, who) = (self.method.name().to_uppercase(), &self.path, &self.who);
        let members: Vec<&str> = self.body.keys().map(String::as_str).take(MAX_LOGGED).collect();
        let members = if members.is_empty() { String::new() } else { format!(" ({})", members.join(", ")) };
        let text = match answer {
            Ok(_) => format!("Admin API: {method} {path}{members} by {who}"),
            Err(error) => format!("Admin API: {method} {path}{members} by {who}: {error}"),
        };
        LogEntry::new(Now::get(), Level::Info, Topic::Status, text).emit("");
    }
}

/// Only what a page of another origin cannot send without asking first is read.
fn read_body(request: &HttpRequest, body: &[u8]) -> Result<Map<String, Value>, AdminError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if body.is_empty() && kind.is_empty() && *request.method() == HttpMethod::POST {
        // Nothing was sent that could mean anything; who may send it is checked by its origin.
        return Ok(Map::new());
    }
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(AdminError::new(415, "The content type must be application/json"));
    }
    match from_json(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("The body must be a JSON object")),
        Err(error) => Err(bad(format!("The body is no JSON: {error}"))),
    }
}

/// The answer of HTTP to what is not done.
pub(super) fn refuse(error: &AdminError) -> HttpResponse {
    answer_error(error, json!({"status": "error", "message": error.message}))
}

fn answer_error(error: &AdminError, body: Value) -> HttpResponse {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).json(body)
}
