//! The HTTP client for requests to the certificate authority: reqwest, with limits.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;

use crate::http::{HttpError, cause, tls_trusting};

/// Time limit of a request, with name resolution and body.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Sends requests to the authority.
pub(super) struct Client(reqwest::Client);

impl Client {
    /// A client that trusts further roots, besides the usual ones.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Result<Client, HttpError> {
        let failed = |text: String| HttpError::Failed(text);
        let tls = tls_trusting(roots).ok_or_else(|| failed("TLS cannot be set up".into()))?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("Drawhall/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // Requests are rare. A connection pool would start a task, and starting one while the server stops is a
            // panic.
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT)
            .tls_backend_preconfigured(tls);
        client.build().map(Client).map_err(|e| failed(cause(&e)))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(send(self.0.clone(), request))
    }
}

async fn send(client: reqwest::Client, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
    let failed = |error: reqwest::Error| Error::Other(cause(&error).into());
    let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap)).map_err(failed)?;
    let mut answer = client.execute(request).await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::Other(HttpError::TooLarge(MAX_ANSWER).into()));
        }
        bytes.extend_from_slice(&chunk);
    }
    let (parts, _) = http::Response::from(answer).into_parts();
    Ok(BytesResponse { parts, body: Box::new(Bytes::from(bytes)) })
}
