//! The inbound half of a connection: from the socket to whole frames.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::actor::{CloseReceived, Proxied, ReadClosed, Received, SpeaksHttp};
use super::worker::{ConnShared, with_buffer};
use crate::rules::batch::Batch;
use crate::transport::ReadHalf;
use crate::transport::http;
use crate::transport::proxy::{self, Header};
use crate::transport::websocket::{self, Accepts, Decoder, Event, Violation};

/// Polling interval for a closed socket while reading is paused.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum length of a WebSocket client's message: type, user id and payload.
const MAX_MESSAGE: usize = 2 + u16::MAX as usize;

/// Framing of the byte stream.
pub(super) enum Framing {
    /// TCP: length-prefixed frames.
    Wire {
        /// Beginning of an incomplete frame.
        partial: Vec<u8>,
        /// A PROXY header may come first.
        proxy: bool,
        /// No whole frame has been received yet.
        is_first: bool,
    },
    /// WebSocket: one message per WebSocket message.
    WebSocket(Box<Decoder>),
}

/// Result of one read.
#[derive(Debug, Default)]
struct Arrived {
    batch: Batch,
    /// A PROXY header was read; the client's address, if it has one.
    proxied: Option<Option<IpAddr>>,
    end: Option<End>,
}

/// Why reading ends.
#[derive(Debug)]
enum End {
    Closed,
    Failed(io::Error),
    /// The peer closed the WebSocket connection properly.
    Goodbye,
    Violation(Violation),
    /// The peer speaks HTTP.
    Http,
}

impl Framing {
    /// TCP framing.
    pub(super) fn wire(proxy: bool) -> Self {
        Self::Wire { partial: Vec::new(), proxy, is_first: true }
    }

    /// WebSocket framing.
    pub(super) fn websocket() -> Self {
        Self::WebSocket(Box::new(Decoder::new(Accepts { message: MAX_MESSAGE, text: false })))
    }

    /// Whether the beginning of a frame has been received.
    fn is_partial(&self) -> bool {
        match self {
            Self::Wire { partial, .. } => !partial.is_empty(),
            Self::WebSocket(decoder) => decoder.is_partial(),
        }
    }

    fn take(&mut self, bytes: &[u8], shared: &ConnShared) -> Arrived {
        match self {
            Self::Wire { partial, proxy: true, .. } => {
                partial.extend_from_slice(bytes);
                match proxy::read(partial) {
                    Header::Partial => Arrived::default(),
                    Header::Bad => {
                        let error = io::Error::other("the header of the PROXY protocol is broken");
                        Arrived { end: Some(End::Failed(error)), ..Arrived::default() }
                    }
                    Header::None => self.after_proxy(0, None, shared),
                    Header::Found { len, source } => self.after_proxy(len, Some(source), shared),
                }
            }
            Self::Wire { partial, proxy: false, is_first } => {
                let batch = Batch::split_off(partial, bytes);
                *is_first &= batch.is_empty();
                let end = (*is_first && http::is_request(partial)).then_some(End::Http);
                Arrived { batch, end, ..Arrived::default() }
            }
            Self::WebSocket(decoder) => from_websocket(decoder, bytes, shared),
        }
    }

    /// Continues behind a PROXY header.
    fn after_proxy(&mut self, len: usize, proxied: Option<Option<IpAddr>>, shared: &ConnShared) -> Arrived {
        let Self::Wire { partial, .. } = std::mem::replace(self, Self::wire(false)) else {
            return Arrived::default();
        };
        Arrived { proxied, ..self.take(&partial[len..], shared) }
    }
}

fn from_websocket(decoder: &mut Decoder, mut bytes: &[u8], shared: &ConnShared) -> Arrived {
    let mut arrived = Arrived::default();
    loop {
        match decoder.next(&mut bytes) {
            Ok(None) => return arrived,
            Ok(Some(Event::Binary)) => {
                // The decoder refuses longer messages.
                if arrived.batch.push_websocket(decoder.payload()).is_err() {
                    let (code, reason) = (websocket::code::INVALID, "a message without type and user");
                    return ended(arrived, Violation { code, reason }, shared);
                }
            }
            Ok(Some(Event::Ping)) => {
                shared.send_control(websocket::frame(websocket::PONG, decoder.payload()))
            }
            Ok(Some(Event::Pong | Event::Text)) => {}
            Ok(Some(Event::Close(_))) => {
                let code = &decoder.payload()[..decoder.payload().len().min(2)];
                shared.close_frame.replace(websocket::frame(websocket::CLOSE, code));
                arrived.end = Some(End::Goodbye);
                return arrived;
            }
            Err(violation) => return ended(arrived, violation, shared),
        }
    }
}

fn ended(mut arrived: Arrived, violation: Violation, shared: &ConnShared) -> Arrived {
    shared.close_frame.replace(websocket::close(violation.code, violation.reason));
    arrived.end = Some(End::Violation(violation));
    arrived
}

/// The inbound half of a connection.
pub(super) struct Inbound {
    pub(super) half: ReadHalf,
    pub(super) framing: Framing,
}

/// Reads until the connection ends and hands batches of whole frames to the Client actor. Returns the half for the
/// TLS handshake after `startTls`, unless data arrived too early.
pub(super) async fn read_all(
    mut inbound: Inbound,
    arrived: Vec<u8>,
    shared: Rc<ConnShared>,
) -> Option<ReadHalf> {
    let mut next = inbound.framing.take(&arrived, &shared);
    drop(arrived);
    let end = loop {
        let Arrived { batch, proxied, end } = next;
        if let Some(address) = proxied
            && shared.actor.send(Proxied { address }).await.is_err()
        {
            return None;
        }
        if !batch.is_empty() || !inbound.framing.is_partial() {
            shared.has_received();
        }
        if !batch.is_empty() && shared.actor.send(Received(batch)).await.is_err() {
            return None;
        }
        if let Some(end) = end {
            break end;
        }
        if shared.upgrading.get() {
            if !inbound.framing.is_partial() {
                return Some(inbound.half);
            }
            break End::Failed(io::Error::other("something in clear came after startTls"));
        }
        rest(&inbound, &shared).await;
        if !may_read_on(&inbound, &shared).await {
            break End::Closed;
        }
        next = poll_fn(|cx| inbound.poll(&shared, cx)).await;
    };
    match end {
        End::Closed => shared.actor.do_send(ReadClosed { error: None }),
        End::Failed(error) => shared.actor.do_send(ReadClosed { error: Some(error) }),
        End::Http => shared.actor.do_send(SpeaksHttp),
        End::Goodbye => shared.actor.do_send(CloseReceived { violation: None }),
        End::Violation(violation) => shared.actor.do_send(CloseReceived { violation: Some(violation) }),
    }
    None
}

/// Pauses for as long as the rate limit demands. When the peer has hung up, the rest is read at once.
async fn rest(inbound: &Inbound, shared: &ConnShared) {
    let mut left = Duration::from_millis(shared.pause_ms());
    if left.is_zero() {
        return;
    }
    while !left.is_zero() && !inbound.half.is_closed() {
        let step = left.min(LOOK_INTERVAL);
        tokio::time::sleep(step).await;
        left -= step;
    }
    shared.clear_pause();
}

/// Waits while reading is paused. Returns false if the peer hangs up meanwhile and the rest need not be read.
async fn may_read_on(inbound: &Inbound, shared: &ConnShared) -> bool {
    while shared.paused.get() {
        tokio::select! {
            () = shared.resume.notified() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {
                if shared.over_budget.get() && inbound.half.is_closed() {
                    return false;
                }
            }
        }
    }
    true
}

impl Inbound {
    fn poll(&mut self, shared: &ConnShared, context: &mut Context<'_>) -> Poll<Arrived> {
        with_buffer(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let end = match ready!(Pin::new(&mut self.half).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    return Poll::Ready(self.framing.take(buffer.filled(), shared));
                }
                Ok(()) => End::Closed,
                // Many TLS peers close without a close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => End::Closed,
                Err(error) => End::Failed(error),
            };
            Poll::Ready(Arrived { end: Some(end), ..Arrived::default() })
        })
    }
}
