//! Protocol of list servers. Source: docs/spec/services.md#announcement.
//!
//! Their URLs come from clients. A session is told a class of error only, and text of the other server only when that
//! is certain to be a list server. Otherwise a client could read what internal services answer, or scan ports
//! (server-side request forgery).

use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::whole_number;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::http::{Http, HttpAnswer, HttpError, RequestLimits};

/// Default lifetime of a listing in minutes.
const DEFAULT_EXPIRES: i64 = 6;
/// Maximum length of a list server's text, in characters.
const MAX_WORDS: usize = 500;
/// Maximum length of a listing's key, which is stored and sent as a header.
const MAX_KEY: usize = 500;
/// Limits of requests to list servers; those that wait are announcements after a start, and refreshes.
const LIMITS: RequestLimits =
    RequestLimits { parallel: 8, per_host: 2, queued: 512, response_bytes: 1 << 16 };

/// The HTTP client for list servers.
#[derive(Debug, Clone)]
pub struct ListServers {
    http: Http,
    /// Servers in private networks are allowed (`--announce-private`).
    allow_private: bool,
}

impl Default for ListServers {
    fn default() -> Self {
        Self::new(false)
    }
}

/// A failed request.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Text for the session.
    pub(super) session_text: String,
    /// Text for the log.
    pub(super) detail: String,
    /// A retry may help: no answer, or a server error.
    pub(super) is_transient: bool,
}

/// A successful announcement.
#[derive(Debug)]
pub(super) struct AnnounceAnswer {
    /// Id at the list server.
    pub(super) id: i64,
    /// Key for updates.
    pub(super) key: String,
    /// Lifetime in minutes.
    pub(super) expires: i64,
    /// Text for the session, empty without.
    pub(super) message: String,
}

impl Failure {
    fn same(text: impl Into<String>) -> Failure {
        let session_text: String = text.into();
        Failure { detail: session_text.clone(), session_text, is_transient: false }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        let is_transient = matches!(error, HttpError::Failed(_) | HttpError::Timeout(_) | HttpError::Busy);
        let session_text = match error {
            HttpError::Url(_) | HttpError::Address(_) => "no request is made to this address",
            HttpError::Failed(_) => "Network error: connection failed",
            HttpError::Timeout(_) => "Network error: no answer",
            HttpError::Redirect(_) => "the list server has another address",
            HttpError::TooLarge(_) => "Unparseable response",
            HttpError::Busy => "too many requests are under way, try again later",
        };
        Failure { session_text: session_text.to_owned(), detail: error.to_string(), is_transient }
    }
}

/// Text of another server, sanitized and truncated.
fn words(text: &str) -> String {
    let is_hidden = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let shown = text.chars().filter(|c| !is_hidden(c)).map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MAX_WORDS).collect::<String>().trim().to_owned()
}

fn message_of(answer: &Value) -> String {
    words(answer["message"].as_str().unwrap_or_default())
}

impl ListServers {
    /// For public addresses only, or also for private networks.
    pub fn new(allow_private: bool) -> ListServers {
        ListServers { http: Http::new(!allow_private, LIMITS), allow_private }
    }

    /// Announces a session or refreshes listings. `is_named`: the white list names this server.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &str,
        body: &Value,
        is_named: bool,
    ) -> Result<Value, Failure> {
        let answer = self.http.request(method, url, &[], Some(body)).await?;
        answer_of(&answer, is_named || !self.allow_private)
    }

    /// Withdraws a listing.
    pub(super) async fn delete(&self, url: &str, key: String) {
        if let Err(error) = self.http.request(Method::DELETE, url, &[("x-update-key", key)], None).await {
            tracing::debug!(%error, "cannot withdraw a listing");
        }
    }
}

/// Interprets an answer. Internal services answer 400 to requests they do not understand; only a list server answers
/// 409 or 422.
fn answer_of(answer: &HttpAnswer, is_list_server: bool) -> Result<Value, Failure> {
    let message = answer.json.as_ref().map(message_of).filter(|m| !m.is_empty());
    let detail = |text: &str| format!("{text}: {}", words(&answer.text));
    let refused = match answer.status {
        200..=299 => return answer.json.clone().ok_or_else(|| Failure::same("Unparseable response")),
        status @ (400 | 409 | 422) => message
            .filter(|_| is_list_server || status != 400)
            .unwrap_or_else(|| format!("HTTP error {status} (no explanation given)")),
        410 => "the list server is gone for good".to_owned(),
        status => format!("Network error: HTTP status {status}"),
    };
    let is_transient = matches!(answer.status, 429 | 500..=599);
    Err(Failure { detail: detail(&refused), session_text: refused, is_transient })
}

/// Parses the answer to an announcement. Without id and key there is no listing, as it could not be refreshed or
/// withdrawn.
pub(super) fn announced(answer: &Value) -> Result<AnnounceAnswer, Failure> {
    let is_key =
        |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b));
    let key = answer["key"].as_str().filter(is_key);
    let (Some(id), Some(key)) = (whole_number(&answer["id"]), key) else {
        return Err(Failure::same("the answer is none of a list server"));
    };
    let expires = whole_number(&answer["expires"]).unwrap_or(DEFAULT_EXPIRES);
    Ok(AnnounceAnswer { id, key: key.to_owned(), expires, message: message_of(answer) })
}

/// Why a listing was not refreshed; `None` if it was.
pub(super) fn refusal(answer: &Result<Value, Failure>, id: i64) -> Option<Failure> {
    let id = id.to_string();
    match answer {
        // The request itself failed.
        Err(failure) => Some(failure.clone()),
        Ok(answer) if answer["responses"][&id] == "ok" => None,
        Ok(answer) => {
            let reason = words(answer["errors"][&id].as_str().unwrap_or_default());
            Some(Failure::same(if reason.is_empty() { "no reason given".to_owned() } else { reason }))
        }
    }
}

/// URL of the list server's sessions.
pub(super) fn sessions_url(base: &str) -> String {
    format!("{base}/sessions/")
}

/// Fields that announcements and refreshes have in common.
fn common_fields(session: &SessionDescription) -> Map<String, Value> {
    let members = json!({
        "title": session.title,
        "users": session.user_count,
        "activedrawingusers": session.active_drawing_user_count,
        "password": session.has_password,
        "owner": session.founder,
        "nsfm": session.nsfm,
        "maxusers": session.max_user_count,
    });
    members.as_object().cloned().unwrap_or_default()
}

/// Body of an announcement.
pub(super) fn announcement(session: &SessionDescription, host: &str, port: u16) -> Value {
    let mut body = common_fields(session);
    if !host.is_empty() {
        body.insert("host".into(), host.into());
    }
    if port > 0 {
        body.insert("port".into(), port.into());
    }
    let id = if session.alias.is_empty() { &session.id } else { &session.alias };
    body.insert("id".into(), id.as_str().into());
    body.insert("protocol".into(), session.protocol.as_str().into());
    for (key, on) in
        [("allowweb", session.allow_web.unwrap_or(false)), ("preferwebsockets", session.prefer_web_sockets)]
    {
        if on {
            body.insert(key.into(), true.into());
        }
    }
    Value::from(body)
}

/// Body of a refresh for one listing.
pub(super) fn update(session: &SessionDescription, key: &str) -> Value {
    let mut body = common_fields(session);
    body.insert("updatekey".into(), key.into());
    body.insert("closed".into(), false.into());
    body.insert("allowweb".into(), session.allow_web.unwrap_or(false).into());
    body.insert("preferwebsockets".into(), session.prefer_web_sockets.into());
    Value::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> HttpAnswer {
        HttpAnswer {
            status,
            json: serde_json::from_str(text).ok(),
            text: text.to_owned(),
            etag: String::new(),
        }
    }

    #[test]
    fn without_number_and_key_there_is_no_listing() {
        for text in [
            "{}",
            "[]",
            "[{\"id\":1,\"key\":\"k\"}]",
            "null",
            "{\"id\":1}",
            "{\"key\":\"k\"}",
            "{\"id\":1,\"key\":\"\"}",
            "{\"id\":1,\"key\":5}",
            "{\"id\":1,\"key\":\"a\\nb\"}",
            &format!("{{\"id\":1,\"key\":\"{}\"}}", "k".repeat(MAX_KEY + 1)),
            "{\"id\":\"01abc\",\"key\":\"k\"}",
            "{\"id\":7.5,\"key\":\"k\"}",
            "{\"id\":1e300,\"key\":\"k\"}",
        ] {
            assert!(announced(&serde_json::from_str(text).unwrap()).is_err(), "{text}");
        }
        let made = announced(&json!({"id": 7, "key": "k", "expires": 10, "message": "hello"})).unwrap();
        assert_eq!((made.id, made.key.as_str(), made.expires, made.message.as_str()), (7, "k", 10, "hello"));
        let made = announced(&json!({"status": "ok", "id": "7", "key": "k", "expires": null})).unwrap();
        assert_eq!((made.id, made.expires, made.message.as_str()), (7, DEFAULT_EXPIRES, ""));
        let made = announced(&json!({"id": 7.0, "key": "k", "expires": 10.0})).unwrap();
        assert_eq!((made.id, made.expires), (7, 10));
    }

    #[test]
    fn texts_of_list_servers_are_shown_those_of_other_services_are_not() {
        let session_text =
            |status, text: &str, known| answer_of(&answer(status, text), known).unwrap_err().session_text;
        let secret = r#"{"status":"error","message":"password: must be a text"}"#;
        assert_eq!(session_text(400, secret, true), "password: must be a text");
        assert_eq!(session_text(400, secret, false), "HTTP error 400 (no explanation given)");
        assert_eq!(session_text(422, secret, false), "password: must be a text");
        for status in [401, 403, 404, 500, 503] {
            assert_eq!(session_text(status, secret, true), format!("Network error: HTTP status {status}"));
        }
        assert_eq!(session_text(200, "SSH-2.0-OpenSSH_9.2", true), "Unparseable response");
        let long = format!(r#"{{"message":"\u001b[31m\u202ered\n{}"}}"#, "x".repeat(2000));
        let shown = session_text(422, &long, true);
        assert!(shown.starts_with("[31mred x") && shown.chars().count() <= MAX_WORDS, "{shown}");
    }

    #[test]
    fn error_classes_reveal_nothing_of_the_other_server() {
        let details = ["Connection refused (os error 111)", "dns error", "invalid HTTP version parsed"];
        for detail in details {
            let failure = Failure::from(HttpError::Failed(detail.to_owned()));
            assert_eq!(
                (failure.session_text.as_str(), failure.detail.as_str()),
                ("Network error: connection failed", detail)
            );
        }
        let redirect = Failure::from(HttpError::Redirect("http://127.0.0.1/".to_owned()));
        assert!(!redirect.session_text.contains("127.0.0.1") && redirect.detail.contains("127.0.0.1"));
    }

    #[test]
    fn each_listing_is_refreshed_or_not() {
        let answer = Ok(json!({"responses": {"1": "ok", "2": "error"}, "errors": {"2": "too old"}}));
        assert!(refusal(&answer, 1).is_none());
        assert_eq!(refusal(&answer, 2).unwrap().session_text, "too old");
        assert_eq!(refusal(&answer, 3).unwrap().session_text, "no reason given");
        for odd in [json!({}), json!([]), json!(null)] {
            assert!(refusal(&Ok(odd), 1).is_some());
        }
    }
}
