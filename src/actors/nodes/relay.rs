//! Carries the messages of one client between its connection here and a session on another server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Disconnect, Layout, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Counted;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ClientHandle, PendingEntry, SessionHandle, ToClient};
use crate::cluster::Cluster;
use crate::cluster::link::{JoinAnswer, LinkRequest};
use crate::db::nodes::Node;
use crate::metrics::Metrics;
use crate::rules::batch::Batch;
use crate::rules::session::{ClientOp, DisconnectReason, Refusal};

/// Bytes that were read from the link and that the client has not taken yet, at most. Beyond, nothing is read, so that
/// the other server notices a slow client. It is far below what an outbox may hold.
const WINDOW: usize = 256 << 10;
/// Bytes that are given to the client at once, at most, unless one message has more.
const CHUNK: usize = 64 << 10;
/// Space to read into, at least.
const READ_BYTES: usize = 4 << 10;
/// How long the other server may take to let a client go that has left.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
/// What a client is told when the link breaks.
const LOST: &str = "The connection to the server of this session was lost. Please join again.";

/// The refusal of a session whose server cannot be reached.
pub(super) fn unreachable_session() -> Refusal {
    let text = "The server of this session can't be reached at the moment, please try again soon";
    Refusal::error("storageError", text)
}

/// A client on its way into a session on another server, and in it.
pub(super) struct Relay {
    pub(super) cluster: Cluster,
    pub(super) node: Arc<Node>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) entry: PendingEntry,
    /// The client's batches; closed when it has left.
    pub(super) incoming: UnboundedReceiver<Batch>,
    /// What the client takes for its session.
    pub(super) session: SessionHandle,
}

impl Relay {
    /// Asks the other server to let the client in, then carries messages until one side ends.
    pub(super) async fn run(mut self, request: LinkRequest) {
        let joining = self.cluster.join(&self.node, &request);
        let joined = tokio::select! {
            joined = joining => joined,
            // It sends nothing before it has joined: it has gone.
            None = self.incoming.recv() => return,
        };
        let (link, user) = match joined {
            Ok((link, JoinAnswer::Joined(user))) => (link, user),
            Ok((_, JoinAnswer::Refused(refusal))) => return self.entry.refuse(refusal),
            Err(error) => {
                tracing::warn!("server {} does not let a client join: {error}", self.node.name);
                return self.entry.refuse(unreachable_session());
            }
        };
        self.entry.answered();
        let _counted = Counted::new(&self.metrics, |metrics| &metrics.relayed_clients);
        let client = self.entry.client().clone();
        client.tell(ToClient::Deliver { ops: vec![ClientOp::Joined { user }], session: Some(self.session) });
        let (mut read, mut write) = tokio::io::split(link);
        tokio::select! {
            end = to_client(&mut read, &client) => {
                let (reason, message) = end.unwrap_or((DisconnectReason::Error, LOST.to_owned()));
                client.tell(ToClient::Deliver {
                    ops: vec![ClientOp::Disconnect { reason, message }],
                    session: None,
                });
            }
            () = to_session(&mut write, self.incoming, &self.entry) => {
                // Closed with unread input the link would be reset, and the client's last messages be lost.
                let rest = async { tokio::io::copy(&mut read, &mut tokio::io::sink()).await };
                let _ = tokio::time::timeout(LEAVE_LIMIT, rest).await;
            }
        }
    }
}

/// Carries what the session sends; returns what it says when it lets the client go.
async fn to_client(link: &mut (impl AsyncRead + Unpin), client: &ClientHandle) -> io::Result<Goodbye> {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut received = BytesMut::new();
    loop {
        let chunk = received.split_to(whole_frames(&received)).freeze();
        if chunk.is_empty() {
            if received.capacity() - received.len() < READ_BYTES {
                received.reserve(CHUNK);
            }
            if link.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        }
        let (len, goodbye) = until_goodbye(&chunk);
        if len > 0 {
            // It is never closed, and no chunk is larger.
            let permit = window.clone().acquire_many_owned(len as u32).await.map_err(io::Error::other)?;
            let bytes = Bytes::from_owner(InWindow { bytes: chunk.slice(..len), _permit: permit });
            client.tell(ToClient::Deliver { ops: vec![ClientOp::Direct(bytes)], session: None });
        }
        if let Some(goodbye) = goodbye {
            return Ok(goodbye);
        }
    }
}

/// Carries what the client sends, until it leaves or the link breaks.
async fn to_session(
    link: &mut (impl AsyncWrite + Unpin),
    mut incoming: UnboundedReceiver<Batch>,
    entry: &PendingEntry,
) {
    while let Some(batch) = incoming.recv().await {
        let cost = InFlightBudget::cost(&batch);
        let written = async {
            link.write_all(batch.bytes()).await?;
            if incoming.is_empty() { link.flush().await } else { Ok(()) }
        };
        if written.await.is_err() {
            // Reading fails as well, and the client is told.
            return std::future::pending().await;
        }
        if entry.in_flight_budget().release(cost) {
            entry.client().tell(ToClient::ReadOn);
        }
    }
    // The other server takes it for a client that has left, however the link ends.
    let _ = link.shutdown().await;
}

/// Bytes for the client that count until they are dropped: when they have been written, or the client has gone.
struct InWindow {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for InWindow {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Length of the whole frames at the beginning, about [`CHUNK`] at most.
fn whole_frames(received: &[u8]) -> usize {
    let mut len = 0;
    for frame in frames(received) {
        if len > 0 && len + frame.bytes.len() > CHUNK {
            break;
        }
        len += frame.bytes.len();
    }
    len
}

/// What a session says when it lets a client go.
type Goodbye = (DisconnectReason, String);

/// Length of the frames before the first `Disconnect`, and what that says.
fn until_goodbye(chunk: &[u8]) -> (usize, Option<Goodbye>) {
    let mut len = 0;
    for frame in frames(chunk) {
        if frame.header.kind == Disconnect::TYPE
            && let Ok(Message::Disconnect(Disconnect { reason, message })) =
                Message::from_frame(frame, Layout::V4_25)
        {
            let reason = [DisconnectReason::Kick, DisconnectReason::Shutdown]
                .into_iter()
                .find(|known| *known as u8 == reason)
                .unwrap_or(DisconnectReason::Error);
            return (len, Some((reason, message)));
        }
        len += frame.bytes.len();
    }
    (len, None)
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, 1, payload).unwrap().into_bytes().to_vec()
    }

    #[test]
    fn a_chunk_has_whole_messages_only() {
        let (small, large) = (frame(200, &[1; 10]), frame(200, &[2; 65_535]));
        assert_eq!(whole_frames(&small[..13]), 0);
        assert_eq!(whole_frames(&[&small[..], &small[..5]].concat()), 14);
        assert_eq!(whole_frames(&large), large.len(), "one message is never too long");
        assert_eq!(whole_frames(&[&small[..], &large].concat()), 14);
        assert!(large.len() <= WINDOW, "it fits into the window");
    }

    #[test]
    fn nothing_behind_a_goodbye_is_sent() {
        let goodbye = Message::from(Disconnect { reason: 1, message: "by an operator".into() });
        let goodbye = goodbye.to_frame(0, Layout::V4_25).unwrap().into_bytes();
        let drawing = frame(200, b"stroke");
        let chunk = [&drawing[..], &goodbye, &drawing].concat();
        let end = Some((DisconnectReason::Kick, "by an operator".to_owned()));
        assert_eq!(until_goodbye(&chunk), (drawing.len(), end));
        assert_eq!(until_goodbye(&drawing), (drawing.len(), None));
    }
}
