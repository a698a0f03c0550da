//! What the HTTP servers of this program (the admin API, the auth server) have in common: who asks, and how many
//! connections, how much of a body and how much time that may take.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::future::poll_fn;
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use socket2::SockRef;

use crate::metrics::METRICS;
use crate::transport::forwarded::ForwardedHeaders;
use crate::transport::network::narrowest;
use crate::transport::trust::{AmbiguousSource, Source, Trusted};

/// Connections of a server at once; further ones wait in the system's queue.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// Connections of addresses that are no trusted proxies, so that those and the machine itself always get in.
const MAX_STRANGERS: usize = 128;
/// Connections of one such address.
const MAX_OF_ADDRESS: usize = 32;
/// Connections of one trusted proxy.
const MAX_OF_PROXY: usize = 192;
/// How long the head of a request may take, and again its body.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Why a body was not read.
pub(crate) type NotRead = (StatusCode, &'static str);

/// The body of a request, which is read only if somebody wants it.
pub(crate) struct Incoming {
    body: Pin<Box<BodyStream<Payload>>>,
    /// Its length if it is named.
    length: Option<u64>,
    is_read: bool,
}

impl Incoming {
    /// That of a request.
    pub(crate) fn new(request: &HttpRequest, payload: Payload) -> Incoming {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse().ok());
        Incoming { body: Box::pin(BodyStream::new(payload)), length, is_read: false }
    }

    /// Reads it, in the time and of the size that it may have.
    ///
    /// # Errors
    /// When it is too long, takes too long, or ends too early.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Bytes, NotRead> {
        let reading = tokio::time::timeout(REQUEST_TIME, self.read_all(limit)).await;
        reading.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "The body takes too long")))
    }

    async fn read_all(&mut self, limit: usize) -> Result<Bytes, NotRead> {
        const TOO_LARGE: NotRead = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
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
        self.is_read = true;
        Ok(bytes.freeze())
    }

    /// Ends the connection behind an answer if this was not read. For as long as it is kept nothing more of it is taken;
    /// were it dropped, a body in chunks would be taken and thrown away for ever.
    pub(crate) fn end_behind(self, response: HttpResponse) -> HttpResponse {
        if self.is_read {
            return response;
        }
        response.map_body(|_, body| BoxBody::new(Kept { body, _unread: self }))
    }
}

/// The body of an answer, with that of the request.
struct Kept {
    body: BoxBody,
    _unread: Incoming,
}

impl MessageBody for Kept {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// What a request says about proxies on its way.
pub(crate) fn forwarded_headers(request: &HttpRequest) -> ForwardedHeaders {
    ForwardedHeaders::of(request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

/// The address that a request was sent from.
pub(crate) fn peer_of(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|address| address.ip().to_canonical())
}

/// Whose request it is; without a socket's address nobody's.
///
/// # Errors
/// When a trusted proxy says what makes no sense.
pub(crate) fn source_of(request: &HttpRequest, trusted: &Trusted) -> Result<Option<Source>, AmbiguousSource> {
    peer_of(request).map(|peer| trusted.resolve(peer, &forwarded_headers(request))).transpose()
}

/// Counts the connections of a server by their addresses, and ends those that are too many.
#[derive(Clone, Default)]
pub(crate) struct HttpConnectionLimiter {
    open: Arc<Mutex<OpenConnections>>,
    trusted: Trusted,
}

#[derive(Default)]
struct OpenConnections {
    strangers: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection that counts until this is dropped.
struct HttpConnectionPermit {
    limiter: HttpConnectionLimiter,
    address: IpAddr,
    is_proxy: bool,
}

impl HttpConnectionLimiter {
    pub(crate) fn new(trusted: Trusted) -> HttpConnectionLimiter {
        HttpConnectionLimiter { open: Arc::default(), trusted }
    }

    /// What is done with each new connection.
    pub(crate) fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
        let limiter = self.clone();
        move |connection, data| {
            let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
            match stream.peer_addr().ok().and_then(|peer| limiter.enter(peer.ip())) {
                Some(permit) => drop(data.insert(permit)),
                None => {
                    METRICS.limits_hit.count("httpConnections");
                    // It may be gone already.
                    let _ = SockRef::from(stream).shutdown(Shutdown::Both);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, peer: IpAddr) -> Option<HttpConnectionPermit> {
        let peer = peer.to_canonical();
        let (address, is_proxy) = (narrowest(peer), self.trusted.contains(peer));
        let mut open = self.lock();
        let limit = if is_proxy { MAX_OF_PROXY } else { MAX_OF_ADDRESS };
        if open.by_address.get(&address).is_some_and(|count| *count >= limit)
            || !is_proxy && open.strangers >= MAX_STRANGERS
        {
            return None;
        }
        *open.by_address.entry(address).or_default() += 1;
        open.strangers += usize::from(!is_proxy);
        drop(open);
        Some(HttpConnectionPermit { limiter: self.clone(), address, is_proxy })
    }
}

impl Drop for HttpConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.lock();
        open.strangers -= usize::from(!self.is_proxy);
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
    fn no_address_takes_all_connections() {
        let limiter = HttpConnectionLimiter::default();
        let enter = |address: &str| limiter.enter(address.parse().unwrap());
        let mut permits: Vec<_> = std::iter::from_fn(|| enter("192.0.2.1")).take(1000).collect();
        assert_eq!(permits.len(), MAX_OF_ADDRESS);
        permits.extend((0..1000).filter_map(|n: u32| enter(&format!("198.51.100.{}", n % 250))));
        assert_eq!(permits.len(), MAX_STRANGERS);
        let proxied: Vec<_> = std::iter::from_fn(|| enter("127.0.0.1")).take(1000).collect();
        assert_eq!(proxied.len(), MAX_OF_PROXY);
        assert!(enter("::1").is_some(), "another way to the machine itself");
        permits.clear();
        drop(proxied);
        assert!(enter("192.0.2.1").is_some());
        assert!(
            limiter.lock().by_address.is_empty() && limiter.lock().strangers == 0,
            "what is gone does not count"
        );
    }
}
