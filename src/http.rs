//! HTTP client with limits of time, size, number and redirects. Source: docs/spec/services.md#how-requests-are-made.
//!
//! URLs come from two sources. Those of the operator (auth server, abuse reports, external bans) may lead into
//! private networks. Those of clients (list servers) must lead to globally routable addresses: else anybody could
//! make the server send requests to internal services (SSRF). That is checked for the URL, for the addresses that its
//! name resolves to when connecting, and again at each redirect.

mod address;
mod download;
mod request_queue;
mod resolver;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

pub use address::is_global;
pub use download::Download;
use download::{Received, read};
pub use request_queue::RequestLimits;
use request_queue::RequestQueue;
use resolver::Resolver;

/// Timeout of a request after its time in the queue: name resolution, redirects and body included.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 2;
/// Limits for URLs of the operator. Requests wait on behalf of connections or reports, which are bounded themselves.
const OPERATOR_LIMITS: RequestLimits =
    RequestLimits { parallel: 32, per_host: 32, queued: 10_000, response_bytes: 1 << 20 };

/// Why a request to another server has no usable answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HttpError {
    /// Not a valid http or https URL.
    #[error("'{0}' is no http or https URL")]
    Url(String),
    /// Requests to this address are not allowed.
    #[error("no request is made to {0}")]
    Address(String),
    /// Connecting, TLS or the transfer failed.
    #[error("{0}")]
    Failed(String),
    /// No answer within this number of seconds.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// Too many redirects, or one that must not be followed.
    #[error("the answer redirects to {0}")]
    Redirect(String),
    /// Longer than this limit in bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The queue of requests is full, or the request waited too long in it.
    #[error("too many requests are under way")]
    Busy,
}

/// A response of any status.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HttpAnswer {
    pub status: u16,
    /// The body, if it is JSON.
    pub json: Option<Value>,
    /// The body, without a byte order mark.
    pub text: String,
    /// The header `ETag`; empty if there is none.
    pub etag: String,
}

/// The body of a request.
struct Body {
    content_type: &'static str,
    bytes: Bytes,
}

impl Body {
    fn json(value: &Value) -> Body {
        Body { content_type: "application/json", bytes: value.to_string().into() }
    }
}

/// The HTTP client. TLS is set up at the first request. Clones share it and its limits.
#[derive(Debug, Clone)]
pub struct Http {
    public_only: bool,
    queue: Arc<RequestQueue>,
    client: Arc<OnceLock<Client>>,
}

/// The client for URLs of the operator.
impl Default for Http {
    fn default() -> Self {
        Self::new(false, OPERATOR_LIMITS)
    }
}

/// Whether requests to a URL are allowed, as far as the URL shows; resolved addresses are checked by [`Resolver`].
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

/// Parses and checks a URL of the operator.
///
/// # Errors
/// When it is invalid, or requests to it are not allowed.
pub fn check_url(text: &str) -> Result<Url, HttpError> {
    read_url(text, false)
}

fn read_url(text: &str, public_only: bool) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(text.to_owned()))?;
    check(&url, public_only).map(|()| url)
}

/// The target of a redirect response.
fn redirect_target(answer: &Response) -> Option<Url> {
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

/// Whether a redirect leads from http to https on the same host and default ports.
fn is_upgrade(from: &Url, to: &Url) -> bool {
    let is_at = |url: &Url, scheme, port| url.scheme() == scheme && url.port_or_known_default() == Some(port);
    from.host_str() == to.host_str() && is_at(from, "http", 80) && is_at(to, "https", 443)
}

/// Whether a redirect is followed, with the same method and body. GET must not go from https to http. Other methods
/// must stay on the same origin, or go from http to https on the same host.
fn may_follow(method: &Method, status: u16, from: &Url, to: &Url) -> bool {
    if *method == Method::GET {
        return !(from.scheme() == "https" && to.scheme() == "http");
    }
    status != 303 && (same_origin(from, to) || is_upgrade(from, to))
}

/// TLS for requests, with the certificate authorities of the system, those of the Mozilla list, and further ones. `None`
/// if it cannot be set up.
pub fn tls_trusting(further: &[CertificateDer<'static>]) -> Option<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(further.iter().cloned());
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // Certificates of the system that cannot be parsed are skipped.
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
        // Redirects are followed in [`Http::follow`], which checks where they lead.
        .redirect(Policy::none())
        // Requests are rare and go to many hosts. A connection pool would start a task, and starting one while the
        // server stops is a panic.
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(Resolver::new(public_only)))
        .tls_backend_preconfigured(tls_trusting(&[]).ok_or_else(|| failed("TLS cannot be set up"))?);
    // A proxy would resolve names itself, so the addresses could not be checked.
    let builder = if public_only { builder.no_proxy() } else { builder };
    builder.build().map_err(|e| HttpError::Failed(e.to_string()))
}

impl Http {
    /// Creates a client; `public_only` for URLs of clients, which must lead to globally routable addresses.
    pub fn new(public_only: bool, limits: RequestLimits) -> Http {
        Http { public_only, queue: Arc::new(RequestQueue::new(limits)), client: Arc::default() }
    }

    fn client(&self) -> Result<&Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let new = client(self.public_only)?;
        Ok(self.client.get_or_init(|| new))
    }

    /// Sends a request, with a JSON body if there is one, as soon as the limits permit.
    ///
    /// # Errors
    /// See [`HttpError`]. A response with an error status is not an error.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<HttpAnswer, HttpError> {
        self.send(method, url, headers, body.map(Body::json), TIMEOUT).await
    }

    /// Posts a body for which a server may need as long as `timeout`.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn upload(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        content_type: &'static str,
        bytes: Vec<u8>,
        timeout: Duration,
    ) -> Result<HttpAnswer, HttpError> {
        let body = Some(Body { content_type, bytes: bytes.into() });
        self.send(Method::POST, url, headers, body, timeout).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<Body>,
        timeout: Duration,
    ) -> Result<HttpAnswer, HttpError> {
        let limit = self.queue.limits().response_bytes;
        self.receive(method, url, headers, body, timeout, limit).await.map(Received::into_answer)
    }

    /// Sends a request, and reads at most `limit` bytes of the answer.
    async fn receive(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<Body>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Received, HttpError> {
        let url = read_url(url, self.public_only)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let _permit = self.queue.acquire(&host).await.ok_or(HttpError::Busy)?;
        let response = async { read(self.follow(&method, url, headers, body.as_ref()).await?, limit).await };
        let expired = HttpError::Timeout(timeout.as_secs());
        tokio::time::timeout(timeout, response).await.unwrap_or(Err(expired))
    }

    /// Sends a request and follows redirects.
    async fn follow(
        &self,
        method: &Method,
        mut url: Url,
        headers: &[(&'static str, String)],
        body: Option<&Body>,
    ) -> Result<Response, HttpError> {
        let (original, mut redirects) = (url.clone(), 0);
        loop {
            let mut request = self.client()?.request(method.clone(), url.clone());
            // Headers may hold secrets, which are for the original server only.
            let is_original_server = same_origin(&original, &url) || is_upgrade(&original, &url);
            for (name, value) in
                headers.iter().filter(|(name, _)| is_original_server || *name == "if-none-match")
            {
                request = request.header(*name, value);
            }
            if let Some(body) = body {
                request = request.header("content-type", body.content_type).body(body.bytes.clone());
            }
            let answer = request.send().await.map_err(|e| HttpError::Failed(cause(&e)))?;
            let Some(next) = redirect_target(&answer) else { return Ok(answer) };
            redirects += 1;
            if redirects > MAX_REDIRECTS || !may_follow(method, answer.status().as_u16(), &url, &next) {
                return Err(HttpError::Redirect(next.to_string()));
            }
            check(&next, self.public_only)?;
            url = next;
        }
    }
}

/// The innermost error, which is the most specific.
pub fn cause(error: &dyn std::error::Error) -> String {
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
    fn requests_to_unusable_addresses_are_refused() {
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
    fn urls_of_clients_must_lead_to_globally_routable_addresses() {
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
    fn only_get_is_redirected_to_another_origin() {
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
            assert!(!follows(method.clone(), 303, here, here), "303 continues with GET");
        }
        assert!(follows(Method::GET, 302, here, other), "the address is checked elsewhere");
        assert!(!follows(Method::GET, 302, "https://list.example/", "http://list.example/"));
    }

    #[actix_rt::test]
    async fn errors_say_what_failed() {
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
    async fn a_name_that_resolves_to_loopback_is_not_connected_to_for_clients() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let http = Http::new(true, OPERATOR_LIMITS);
        let error = http.request(Method::POST, &url, &[], None).await.unwrap_err().to_string();
        assert!(error.contains("no address"), "{error}");
        let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(connected.is_err(), "nobody has connected");
    }
}
