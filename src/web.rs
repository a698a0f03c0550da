//! Shared by the HTTP servers (admin API, auth server): client address, connection limits, and limits of size and
//! time of request bodies.

mod connection;
pub(crate) mod listener;
pub(crate) mod password_limiter;
pub(crate) mod shared_port;

use std::collections::HashMap;
use std::error::Error;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::connection::{Encrypted, disconnected};
use self::shared_port::SharedPort;
use crate::metrics::Metrics;
use crate::rules::network::narrowest;
use crate::transport::forwarded::ForwardedHeaders;
use crate::transport::trust::{AmbiguousClientAddr, ClientAddr, Trusted};

/// Connections of a server at once; further ones wait in the listen backlog.
const MAX_CONNECTIONS: usize = 256;
/// Connections of all addresses that are not trusted proxies. Lower than the total, so that proxies and loopback
/// always get in.
const MAX_UNTRUSTED: usize = 128;
/// Connections of one address that is not a trusted proxy.
const MAX_OF_ADDRESS: usize = 32;
/// Connections of one trusted proxy.
const MAX_OF_PROXY: usize = 192;
/// Timeout of the header of a request, and again of its body.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Status and text for a body that was not read.
pub(crate) type BodyError = (StatusCode, &'static str);

/// The body of a request, not yet read.
pub(crate) struct RequestBody {
    body: Pin<Box<BodyStream<Payload>>>,
    /// From `Content-Length`, if there is one.
    length: Option<u64>,
    is_complete: bool,
}

impl RequestBody {
    pub(crate) fn new(request: &HttpRequest, payload: Payload) -> RequestBody {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse().ok());
        RequestBody { body: Box::pin(BodyStream::new(payload)), length, is_complete: false }
    }

    /// Reads it, within [`REQUEST_TIME`].
    ///
    /// # Errors
    /// When it is longer than `limit` bytes, times out or is incomplete.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.read_within(limit, REQUEST_TIME).await
    }

    /// Reads it, within this time.
    ///
    /// # Errors
    /// When it is longer than `limit` bytes, times out or is incomplete.
    pub(crate) async fn read_within(&mut self, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
        let reading = tokio::time::timeout(time, self.read_all(limit)).await;
        reading.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "The body takes too long")))
    }

    async fn read_all(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        const TOO_LARGE: BodyError = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
        if self.length.is_some_and(|length| length > limit as u64) {
            return Err(TOO_LARGE);
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(|_| (StatusCode::BAD_REQUEST, "The body is not whole"))?;
            if bytes.len() + chunk.len() > limit {
                return Err(TOO_LARGE);
            }
            bytes.extend_from_slice(&chunk);
        }
        self.is_complete = true;
        Ok(bytes.freeze())
    }

    /// Closes the connection after the response if the body was not read. Until then the response keeps the body: if
    /// it were dropped, actix-web would go on to read and discard a chunked body without limit.
    pub(crate) fn close_if_unread(self, response: HttpResponse) -> HttpResponse {
        if self.is_complete {
            return response;
        }
        response.map_body(|_, body| BoxBody::new(ResponseWithRequest { body, _unread: self }))
    }
}

/// The body of a response, which keeps the unread body of its request.
struct ResponseWithRequest {
    body: BoxBody,
    _unread: RequestBody,
}

impl MessageBody for ResponseWithRequest {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// The proxy headers of a request.
pub(crate) fn forwarded_headers(request: &HttpRequest) -> ForwardedHeaders {
    ForwardedHeaders::of(request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

/// The peer of the request's connection, which may be a proxy.
pub(crate) fn peer_of(request: &HttpRequest, trusted: &Trusted) -> Option<ClientAddr> {
    let shared = request.conn_data::<SharedPort>().map(|shared| shared.peer);
    shared.or_else(|| request.peer_addr().map(|address| trusted.peer(address.ip())))
}

/// The client of a request; `None` without a socket address.
///
/// # Errors
/// When the headers of a trusted proxy are unreadable or contradict each other.
pub(crate) fn client_addr_of(
    request: &HttpRequest,
    trusted: &Trusted,
) -> Result<Option<ClientAddr>, AmbiguousClientAddr> {
    peer_of(request, trusted).map(|peer| trusted.resolve(peer, &forwarded_headers(request))).transpose()
}

/// Limits the connections of an HTTP server per address, and closes those over a limit.
#[derive(Clone, Default)]
pub(crate) struct HttpConnectionLimiter {
    open: Arc<Mutex<OpenConnections>>,
    trusted: Trusted,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct OpenConnections {
    untrusted: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// An admitted connection; it counts until this is dropped.
pub(crate) struct HttpConnectionPermit {
    limiter: HttpConnectionLimiter,
    address: IpAddr,
    is_proxy: bool,
}

impl HttpConnectionLimiter {
    pub(crate) fn new(trusted: Trusted, metrics: Arc<Metrics>) -> HttpConnectionLimiter {
        HttpConnectionLimiter { open: Arc::default(), trusted, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock()
    }

    fn enter(&self, peer: ClientAddr) -> Option<HttpConnectionPermit> {
        let (address, is_proxy) = (narrowest(peer.ip()), peer.is_trusted_proxy());
        let mut open = self.lock();
        let limit = if is_proxy { MAX_OF_PROXY } else { MAX_OF_ADDRESS };
        if open.by_address.get(&address).is_some_and(|count| *count >= limit)
            || !is_proxy && open.untrusted >= MAX_UNTRUSTED
        {
            return None;
        }
        *open.by_address.entry(address).or_default() += 1;
        open.untrusted += usize::from(!is_proxy);
        drop(open);
        Some(HttpConnectionPermit { limiter: self.clone(), address, is_proxy })
    }
}

impl Drop for HttpConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.lock();
        open.untrusted -= usize::from(!self.is_proxy);
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_address_and_in_total() {
        let limiter = HttpConnectionLimiter::default();
        let enter = |address: &str| limiter.enter(limiter.trusted.peer(address.parse().unwrap()));
        let mut permits: Vec<_> = std::iter::from_fn(|| enter("192.0.2.1")).take(1000).collect();
        assert_eq!(permits.len(), MAX_OF_ADDRESS);
        permits.extend((0..1000).filter_map(|n: u32| enter(&format!("198.51.100.{}", n % 250))));
        assert_eq!(permits.len(), MAX_UNTRUSTED);
        let proxied: Vec<_> = std::iter::from_fn(|| enter("127.0.0.1")).take(1000).collect();
        assert_eq!(proxied.len(), MAX_OF_PROXY);
        assert!(enter("::1").is_some(), "another loopback address");
        permits.clear();
        drop(proxied);
        assert!(enter("192.0.2.1").is_some());
        assert!(
            limiter.lock().by_address.is_empty() && limiter.lock().untrusted == 0,
            "closed connections do not count"
        );
    }
}
