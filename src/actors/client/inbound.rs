//! The inbound half of a connection: from the socket to whole frames.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::connection::FromConnection;
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
        /// No whole frame has been received yet.
        is_first: bool,
    },
    /// WebSocket: one message per WebSocket message.
    WebSocket(Box<Decoder>),
}

/// Whether a header of the PROXY protocol may come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    Possible,
    Ignored,
}

/// Reading has ended because TLS starts.
pub(super) struct ReadyForTls;

/// Why reading has ended for good.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The peer has hung up.
    Closed,
    Failed(io::Error),
    /// The peer closed the WebSocket connection properly.
    Goodbye,
    Violation(Violation),
    /// The peer speaks HTTP.
    Http,
}

/// Result of one read.
#[derive(Debug, Default)]
struct Arrived {
    batch: Batch,
    end: Option<ReadEnd>,
}

impl Framing {
    /// TCP framing.
    pub(super) fn wire() -> Self {
        Self::Wire { partial: Vec::new(), is_first: true }
    }

    /// The same for a node link, on which nobody speaks HTTP.
    pub(super) fn link() -> Self {
        Self::Wire { partial: Vec::new(), is_first: false }
    }

    /// WebSocket framing.
    pub(super) fn websocket() -> Self {
        Self::WebSocket(Box::new(Decoder::new(Accepts { message: MAX_MESSAGE, text: false })))
    }

    /// Whether messages are WebSocket frames.
    pub(super) fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_))
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
            Self::Wire { partial, is_first } => {
                let batch = Batch::split_off(partial, bytes);
                *is_first &= batch.is_empty();
                let end = (*is_first && http::is_request(partial)).then_some(ReadEnd::Http);
                Arrived { batch, end }
            }
            Self::WebSocket(decoder) => from_websocket(decoder, bytes, shared),
        }
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
                arrived.end = Some(ReadEnd::Goodbye);
                return arrived;
            }
            Err(violation) => return ended(arrived, violation, shared),
        }
    }
}

fn ended(mut arrived: Arrived, violation: Violation, shared: &ConnShared) -> Arrived {
    shared.close_frame.replace(websocket::close(violation.code, violation.reason));
    arrived.end = Some(ReadEnd::Violation(violation));
    arrived
}

/// Tells the Client, and waits until it has handled that.
async fn tell(shared: &ConnShared, event: FromConnection) -> Result<(), ReadEnd> {
    // Without a Client nobody is left to read for.
    shared.actor.send(event).await.map_err(|_| ReadEnd::Closed)
}

/// The inbound half of a connection.
pub(super) struct Inbound {
    pub(super) half: ReadHalf,
    pub(super) framing: Framing,
    /// Bytes that were received before.
    pub(super) received: Vec<u8>,
}

impl Inbound {
    /// Reads until the connection ends, or TLS starts, and hands batches of whole frames to the Client.
    ///
    /// # Errors
    /// Why reading has ended, unless TLS starts.
    pub(super) async fn read_all(
        &mut self,
        proxy_header: ProxyHeader,
        shared: &ConnShared,
    ) -> Result<ReadyForTls, ReadEnd> {
        if proxy_header == ProxyHeader::Possible {
            self.read_proxy_header(shared).await?;
        }
        let received = std::mem::take(&mut self.received);
        let mut next = self.framing.take(&received, shared);
        drop(received);
        loop {
            let Arrived { batch, end } = next;
            if !batch.is_empty() || !self.framing.is_partial() {
                shared.has_received();
            }
            if !batch.is_empty() {
                tell(shared, FromConnection::Received(batch)).await?;
            }
            if let Some(end) = end {
                return Err(end);
            }
            self.rest(shared).await;
            if !self.may_read_on(shared).await {
                return Err(ReadEnd::Closed);
            }
            if shared.upgrading.get() {
                let error = || io::Error::other("something in clear came after startTls");
                return if self.framing.is_partial() {
                    Err(ReadEnd::Failed(error()))
                } else {
                    Ok(ReadyForTls)
                };
            }
            next = self.read_once(shared, |framing, bytes| framing.take(bytes, shared)).await?;
        }
    }

    /// Reads the header of the PROXY protocol, if one comes; what follows it stays in [`Self::received`].
    async fn read_proxy_header(&mut self, shared: &ConnShared) -> Result<(), ReadEnd> {
        loop {
            match proxy::read(&self.received) {
                Header::Partial => {}
                Header::None => return Ok(()),
                Header::Bad => {
                    let error = io::Error::other("the header of the PROXY protocol is broken");
                    return Err(ReadEnd::Failed(error));
                }
                Header::Found { len, source } => {
                    self.received.drain(..len);
                    return tell(shared, FromConnection::ProxyHeader(source)).await;
                }
            }
            let received = self.read_once(shared, |_, bytes| bytes.to_vec()).await?;
            self.received.extend(received);
        }
    }

    /// Reads once, into the buffer of the worker, and hands `take` what was received.
    async fn read_once<T>(
        &mut self,
        shared: &ConnShared,
        take: impl Fn(&mut Framing, &[u8]) -> T,
    ) -> Result<T, ReadEnd> {
        poll_fn(|cx| self.poll_read(cx, shared.read_size(), &take)).await
    }

    fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        take: &impl Fn(&mut Framing, &[u8]) -> T,
    ) -> Poll<Result<T, ReadEnd>> {
        with_buffer(|buffer| {
            let mut buffer = ReadBuf::new(&mut buffer[..size]);
            Poll::Ready(match ready!(Pin::new(&mut self.half).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => Ok(take(&mut self.framing, buffer.filled())),
                Ok(()) => Err(ReadEnd::Closed),
                // Many TLS peers close without a close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadEnd::Closed),
                Err(error) => Err(ReadEnd::Failed(error)),
            })
        })
    }

    /// Pauses for as long as the rate limit demands, unless that changes meanwhile. When the peer has hung up, the rest
    /// is read at once.
    async fn rest(&self, shared: &ConnShared) {
        if shared.pause_ms() == 0 {
            return;
        }
        while shared.pause_ms() > 0 && !self.half.is_closed() {
            let step = LOOK_INTERVAL.min(Duration::from_millis(shared.pause_ms()));
            tokio::time::sleep(step).await;
            shared.shorten_pause(step.as_millis() as u64);
        }
        shared.clear_pause();
    }

    /// Waits while reading is paused. Returns false if the peer hangs up meanwhile and the rest need not be read.
    async fn may_read_on(&self, shared: &ConnShared) -> bool {
        while shared.is_paused() {
            if !shared.is_over_budget() {
                shared.resume.notified().await;
                continue;
            }
            tokio::select! {
                () = shared.resume.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {
                    if self.half.is_closed() {
                        return false;
                    }
                }
            }
        }
        true
    }
}
