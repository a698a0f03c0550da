//! Requests to other servers: one client, with limits for time, size and redirects. Source: `services.md`.
//!
//! Some addresses come from people who are not trusted (list servers), so a request never goes to where no service of
//! this kind can be: nowhere, everybody, or the machine's own link, where clouds keep their secrets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use drawhall_protocol::from_json;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use serde_json::Value;

/// How long a request may take, from the look-up of the name to the end of the answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 2;

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none, or not of http or https.
    #[error("'{0}' is no http or https URL")]
    Url(String),
    /// No request goes there.
    #[error("no request is made to {0}")]
    Address(String),
    /// There is no answer, or none in time.
    #[error("{0}")]
    Failed(String),
    /// The answer is too large.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
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
#[derive(Debug, Clone, Default)]
pub struct Http {
    client: Arc<OnceLock<Client>>,
}

/// Whether a request may go to an address.
fn makes_sense(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

/// Whether a request may go to a URL, as far as it tells.
fn check(url: &Url) -> Result<(), HttpError> {
    let address = match url.host() {
        Some(url::Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
        Some(url::Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
        Some(url::Host::Domain(_)) => None,
        None => return Err(HttpError::Url(url.to_string())),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Url(url.to_string()));
    }
    if url.port() == Some(0) || address.is_some_and(|a| !makes_sense(a)) {
        return Err(HttpError::Address(url.host_str().unwrap_or_default().to_owned()));
    }
    Ok(())
}

/// Reads a URL that requests may go to.
///
/// # Errors
/// When it is none.
pub fn check_url(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(text.to_owned()))?;
    check(&url).map(|()| url)
}

/// Looks names up and leaves out addresses that no request goes to.
#[derive(Debug)]
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.filter(|a| makes_sense(a.ip())).collect();
            if found.is_empty() {
                return Err(format!("{} has no address that a request could go to", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
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

fn client() -> Result<Client, HttpError> {
    let failed = |what: &str| HttpError::Failed(what.to_owned());
    let redirects = Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if let Err(error) = check(attempt.url()) {
            attempt.error(error)
        } else {
            attempt.follow()
        }
    });
    let client = Client::builder()
        .user_agent(concat!("Drawhall/", env!("CARGO_PKG_VERSION")))
        .timeout(TIME_LIMIT)
        .redirect(redirects)
        // Requests are rare and go anywhere. A pool would be looked after by a task, and beginning that while the server
        // stops is a panic.
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(Resolver))
        .tls_backend_preconfigured(tls().ok_or_else(|| failed("TLS cannot be set up"))?)
        .build();
    client.map_err(|e| HttpError::Failed(e.to_string()))
}

impl Http {
    fn client(&self) -> Result<&Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = client()?;
        Ok(self.client.get_or_init(|| made))
    }

    /// Makes a request with or without a JSON body.
    ///
    /// # Errors
    /// When the URL is no good, nothing answers in time, or the answer is too large.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, HttpError> {
        let mut request = self.client()?.request(method, check_url(url)?);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let mut answer = request.send().await.map_err(|e| HttpError::Failed(cause(&e)))?;
        let etag = answer.headers().get("etag").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|e| HttpError::Failed(cause(&e)))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status, json: from_json(&bytes).ok(), text, etag })
    }
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
            assert!(check(&Url::parse(bad).unwrap()).is_err(), "{bad}");
        }
        for good in
            ["http://127.0.0.1:8080/", "https://example.org/x", "http://[::1]/", "http://192.168.1.5/"]
        {
            assert!(check(&Url::parse(good).unwrap()).is_ok(), "{good}");
        }
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
}
