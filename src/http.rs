//! Requests to other servers, with limits for time, size, number and redirects. Source:
//! docs/spec/services.md#how-requests-are-made.
//!
//! URLs come from two kinds of people. The operator's may lead anywhere, also into the own network (auth server, abuse
//! reports, external bans). Those of clients (list servers) must lead to globally routable addresses, or anybody could have
//! the server ask services that only it can reach (SSRF). That is checked of the URL, of what its name resolves to when the
//! connection is made, and again at each redirect.

mod address;
mod names;
mod request_queue;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use drawhall_protocol::from_json;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use serde_json::Value;

use names::Resolver;
pub use request_queue::RequestLimits;
use request_queue::RequestQueue;

/// How long a request may take when it has its turn, from the look-up of the name to the end of the answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 2;
/// Requests to what the operator has named. One that waits belongs to a connection or to a report, so those are bounded.
const OPERATOR_LIMITS: RequestLimits =
    RequestLimits { at_once: 32, per_host: 32, waiting: 10_000, answer: 1 << 20 };

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none, or not of http or https.
    #[error("'{0}' is no http or https URL")]
    Url(String),
    /// No request goes there.
    #[error("no request is made to {0}")]
    Address(String),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Failed(String),
    /// There is no answer in time.
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    NoAnswer,
    /// The answer leads to where the request may not follow.
    #[error("the answer redirects to {0}")]
    Redirect(String),
    /// The answer is too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Too many other requests wait.
    #[error("too many requests are under way")]
    Busy,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, if it is JSON.
    pub json: Option<Value>,
    /// The body as it came.
    pub text: String,
    /// The header `ETag`.
    pub etag: String,
}

/// Makes requests. What that takes is set up with the first of them.
#[derive(Debug, Clone)]
pub struct Http {
    public_only: bool,
    turns: Arc<RequestQueue>,
    client: Arc<OnceLock<Client>>,
}

/// For URLs of the operator.
impl Default for Http {
    fn default() -> Self {
        Self::new(false, OPERATOR_LIMITS)
    }
}

/// Whether a request may go to a URL, as far as it tells; what its name resolves to is checked by [`Resolver`].
fn check(url: &Url, public_only: bool) -> Result<(), HttpError> {
    let address = match url.host() {
        Some(url::Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
        Some(url::Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
        Some(url::Host::Domain(_)) => None,
        None => return Err(HttpError::Url(url.to_string())),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Url(url.to_string()));
    }
    let allowed = |a| if public_only { address::is_global(a) } else { address::is_usable(a) };
    if url.port() == Some(0) || !address.is_none_or(allowed) {
        return Err(HttpError::Address(url.host_str().unwrap_or_default().to_owned()));
    }
    Ok(())
}

/// Reads a URL of the operator that requests may go to.
///
/// # Errors
/// When it is none.
pub fn check_url(text: &str) -> Result<Url, HttpError> {
    read_url(text, false)
}

fn read_url(text: &str, public_only: bool) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(text.to_owned()))?;
    check(&url, public_only).map(|()| url)
}

/// Where an answer redirects to, if it does.
fn redirected(answer: &Response) -> Option<Url> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?;
    answer.url().join(&String::from_utf8_lossy(location.as_bytes())).ok()
}

fn same_origin(a: &Url, b: &Url) -> bool {
    let origin =
        |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    origin(a) == origin(b)
}

/// Whether a redirect leads to the same server, encrypted.
fn is_upgrade(from: &Url, to: &Url) -> bool {
    let has = |url: &Url, scheme, port| url.scheme() == scheme && url.port_or_known_default() == Some(port);
    from.host_str() == to.host_str() && has(from, "http", 80) && has(to, "https", 443)
}

/// Whether a request goes on to where it is redirected, with method and body. One that changes something stays with the
/// server that it was meant for; no other changes the protocol back to one that is not encrypted.
fn may_follow(method: &Method, status: u16, from: &Url, to: &Url) -> bool {
    if *method == Method::GET {
        return !(from.scheme() == "https" && to.scheme() == "http");
    }
    status != 303 && (same_origin(from, to) || is_upgrade(from, to))
}

fn tls() -> Option<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // A certificate of the system that cannot be read is not needed for those that can.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(config.with_root_certificates(roots).with_no_client_auth())
}

fn client(public_only: bool) -> Result<Client, HttpError> {
    let failed = |what: &str| HttpError::Failed(what.to_owned());
    let builder = Client::builder()
        .user_agent(concat!("Drawhall/", env!("CARGO_PKG_VERSION")))
        // They are followed here, after a look at where they lead.
        .redirect(Policy::none())
        // Requests are rare and go anywhere. A pool would be looked after by a task, and beginning that while the server
        // stops is a panic.
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(Resolver::new(public_only)))
        .tls_backend_preconfigured(tls().ok_or_else(|| failed("TLS cannot be set up"))?);
    // A proxy would look names up by itself, and nobody could say what they resolve to.
    let builder = if public_only { builder.no_proxy() } else { builder };
    builder.build().map_err(|e| HttpError::Failed(e.to_string()))
}

impl Http {
    /// Makes so many requests; `public_only` for URLs of clients, which must lead to globally routable addresses.
    pub fn new(public_only: bool, limits: RequestLimits) -> Http {
        Http { public_only, turns: Arc::new(RequestQueue::new(limits)), client: Arc::default() }
    }

    fn client(&self) -> Result<&Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = client(self.public_only)?;
        Ok(self.client.get_or_init(|| made))
    }

    /// Makes a request with or without a JSON body, when it has its turn.
    ///
    /// # Errors
    /// When the URL is no good, nothing answers in time, the answer is too large or leads elsewhere, or too many other
    /// requests wait.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, HttpError> {
        let url = read_url(url, self.public_only)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let _turn = self.turns.take(&host).await.ok_or(HttpError::Busy)?;
        let body = body.map(Value::to_string);
        let answered = async {
            let answer = self.follow(&method, url, headers, body.as_deref()).await?;
            read_answer(answer, self.turns.limits().answer).await
        };
        tokio::time::timeout(TIME_LIMIT, answered).await.unwrap_or(Err(HttpError::NoAnswer))
    }

    /// Makes a request, and again where it is redirected to.
    async fn follow(
        &self,
        method: &Method,
        mut url: Url,
        headers: &[(&'static str, String)],
        body: Option<&str>,
    ) -> Result<Response, HttpError> {
        let (first, mut redirects) = (url.clone(), 0);
        loop {
            let mut request = self.client()?.request(method.clone(), url.clone());
            // Most hold secrets, which are for the server that was named.
            let known = same_origin(&first, &url) || is_upgrade(&first, &url);
            for (name, value) in headers.iter().filter(|(name, _)| known || *name == "if-none-match") {
                request = request.header(*name, value);
            }
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_owned());
            }
            let answer = request.send().await.map_err(|e| HttpError::Failed(cause(&e)))?;
            let Some(next) = redirected(&answer) else { return Ok(answer) };
            redirects += 1;
            if redirects > MAX_REDIRECTS || !may_follow(method, answer.status().as_u16(), &url, &next) {
                return Err(HttpError::Redirect(next.to_string()));
            }
            check(&next, self.public_only)?;
            url = next;
        }
    }
}

async fn read_answer(mut answer: Response, limit: usize) -> Result<Answer, HttpError> {
    let etag = answer.headers().get("etag").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|e| HttpError::Failed(cause(&e)))? {
        if bytes.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&bytes);
    // Editors of some systems put a byte order mark before files, which some servers hand out as they are.
    let text = text.trim_start_matches('\u{feff}').to_owned();
    Ok(Answer { status, json: from_json(&bytes).ok(), text, etag })
}

/// The innermost reason, which says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn no_request_goes_to_where_no_service_can_be() {
        for bad in [
            "http://0.0.0.0/",
            "http://[::]/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://127.0.0.1:0/",
            "ftp://example.org/",
            "file:///etc/passwd",
        ] {
            assert!(check(&url(bad), false).is_err() && check(&url(bad), true).is_err(), "{bad}");
        }
        for good in
            ["http://127.0.0.1:8080/", "https://example.org/x", "http://[::1]/", "http://192.168.1.5/"]
        {
            assert!(check(&url(good), false).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_url_of_a_client_leads_to_a_globally_routable_address_however_it_is_written() {
        for bad in [
            "http://127.0.0.1:27780/api",
            "http://127.1/",
            "http://0x7f.0.0.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://10.0.0.1/",
            "http://192.168.1.5/",
            "http://100.64.0.1/",
            "http://[fd00::1]/",
        ] {
            assert!(check(&url(bad), true).is_err(), "{bad}");
        }
        for good in ["https://pub.drawpile.net/listing/", "http://8.8.8.8/", "http://[2606:4700::1111]/"] {
            assert!(check(&url(good), true).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_changes_something_is_not_led_away_from_its_server() {
        let follows = |method: Method, status, from, to| may_follow(&method, status, &url(from), &url(to));
        let (here, other) = ("http://list.example/x", "http://127.0.0.1:27780/api/accounts/1");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            for status in [301, 302, 307, 308] {
                assert!(!follows(method.clone(), status, here, other));
                assert!(!follows(method.clone(), status, here, "http://list.example:8080/x"));
                assert!(!follows(method.clone(), status, here, "https://list.example:8443/x"));
                assert!(!follows(method.clone(), status, "https://list.example/x", here));
                assert!(!follows(
                    method.clone(),
                    status,
                    "http://list.example:8080/",
                    "https://list.example/"
                ));
                assert!(follows(method.clone(), status, here, "http://list.example/y"));
                assert!(follows(method.clone(), status, here, "https://list.example/x"));
            }
            assert!(!follows(method.clone(), 303, here, here), "what comes then is no answer to it");
        }
        assert!(follows(Method::GET, 302, here, other), "where that is, is checked besides");
        assert!(!follows(Method::GET, 302, "https://list.example/", "http://list.example/"));
    }

    #[actix_rt::test]
    async fn what_cannot_be_reached_is_said() {
        let http = Http::default();
        let failed = |url: &'static str| {
            let http = http.clone();
            async move { http.request(Method::GET, url, &[], None).await.unwrap_err().to_string() }
        };
        assert_eq!(failed("nonsense").await, "'nonsense' is no http or https URL");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{closed}/");
        let error = http.request(Method::POST, &url, &[], Some(&Value::Null)).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }

    #[actix_rt::test]
    async fn a_name_of_a_client_that_resolves_to_this_machine_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let http = Http::new(true, OPERATOR_LIMITS);
        let error = http.request(Method::POST, &url, &[], None).await.unwrap_err().to_string();
        assert!(error.contains("no address"), "{error}");
        let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(connected.is_err(), "nobody has connected");
    }
}
