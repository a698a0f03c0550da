//! Carries the messages of one client between its connection here and a session on another server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Disconnect, Layout, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Counted;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ClientHandle, PendingEntry, SessionHandle, ToClient};
use crate::cluster::link::{JoinAnswer, LinkRequest, LinkSignal, Moved};
use crate::cluster::{Cluster, Link};
use crate::db::nodes::Node;
use crate::log::LogUser;
use crate::metrics::Metrics;
use crate::rules::batch::Batch;
use crate::rules::session::hand_over::RESUME_LIMIT;
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
/// How long a client may take to go on at the server to which a session has moved: that one waits a little longer.
const FOLLOW_LIMIT: Duration = RESUME_LIMIT.saturating_sub(Duration::from_secs(1));
/// Delay before the next attempt.
const FOLLOW_RETRY: Duration = Duration::from_millis(300);

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
    /// Id of the session.
    pub(super) id: String,
    /// The client, for the log of another server.
    pub(super) user: LogUser,
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
        let (mut link, user) = match joined {
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
        let session = Some(self.session.clone());
        client.tell(ToClient::Deliver { ops: vec![ClientOp::Joined { user }], session });
        let (reason, message) = loop {
            match self.carry(link).await {
                End::Left => return,
                End::Goodbye(goodbye) => break goodbye,
                End::Moved(moved) => match self.follow(moved).await {
                    Some(next) => link = next,
                    None => break lost(),
                },
            }
        };
        client.tell(ToClient::Deliver { ops: vec![ClientOp::Disconnect { reason, message }], session: None });
    }

    /// Carries messages over a link in both directions until it ends.
    async fn carry(&mut self, link: Link) -> End {
        let (mut read, mut write) = tokio::io::split(link);
        let client = self.entry.client().clone();
        let pause = Notify::new();
        let ended = {
            let to_client = to_client(&mut read, &client, &pause);
            let to_session = to_session(&mut write, &mut self.incoming, &self.entry, &pause);
            tokio::pin!(to_client, to_session);
            tokio::select! {
                end = &mut to_client => Some(end),
                has_left = &mut to_session => if has_left { None } else { Some(to_client.await) },
            }
        };
        match ended {
            Some(end) => end.unwrap_or_else(|_| End::Goodbye(lost())),
            None => {
                // Closed with unread input the link would be reset, and the client's last messages be lost.
                let rest = async { tokio::io::copy(&mut read, &mut tokio::io::sink()).await };
                let _ = tokio::time::timeout(LEAVE_LIMIT, rest).await;
                End::Left
            }
        }
    }

    /// Goes on at the server that has the session now; `None` if that is not possible.
    async fn follow(&mut self, moved: Moved) -> Option<Link> {
        let user = self.user.clone();
        let request = LinkRequest::Resume { session: self.id.clone(), conn: moved.conn, user };
        self.node = Arc::new(moved.node);
        let (mut last, name) = (None, &self.node.name);
        let following = async {
            loop {
                match self.cluster.follow(&self.node, &request).await {
                    Ok((link, JoinAnswer::Joined(_))) => return Ok(link),
                    Ok((_, JoinAnswer::Refused(refusal))) => return Err(refusal),
                    // It may have no place for one more link.
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(FOLLOW_RETRY).await;
            }
        };
        match tokio::time::timeout(FOLLOW_LIMIT, following).await {
            Ok(Ok(link)) => return Some(link),
            Ok(Err(refusal)) => tracing::warn!("server {name} does not go on with a client: {refusal:?}"),
            Err(_) => {
                let error = last.map_or_else(|| "it does not answer".to_owned(), |error| error.to_string());
                tracing::warn!("server {name} does not go on with a client: {error}");
            }
        }
        None
    }
}

/// How a link has ended.
enum End {
    /// The client has left.
    Left,
    /// The session lets the client go.
    Goodbye(Goodbye),
    /// The session goes on at another server.
    Moved(Moved),
}

/// Carries what the session sends, until it lets the client go or goes on elsewhere. Notifies `pause` when nothing more
/// is to be sent to it.
async fn to_client(
    link: &mut (impl AsyncRead + Unpin),
    client: &ClientHandle,
    pause: &Notify,
) -> io::Result<End> {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut received = BytesMut::new();
    loop {
        let mut chunk = received.split_to(whole_frames(&received)).freeze();
        if chunk.is_empty() {
            if received.capacity() - received.len() < READ_BYTES {
                received.reserve(CHUNK);
            }
            if link.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        }
        while !chunk.is_empty() {
            let (len, found) = until_disconnect(&chunk);
            let bytes = chunk.split_to(len);
            if len > 0 {
                // It is never closed, and no chunk is larger.
                let permit = window.clone().acquire_many_owned(len as u32).await.map_err(io::Error::other)?;
                let bytes = Bytes::from_owner(InWindow { bytes, _permit: permit });
                client.tell(ToClient::Deliver { ops: vec![ClientOp::Direct(bytes)], session: None });
            }
            let Some((frame_len, disconnect)) = found else { continue };
            match LinkSignal::of(&disconnect) {
                Some(LinkSignal::Moved(moved)) => return Ok(End::Moved(moved)),
                Some(LinkSignal::Pause) => {
                    chunk.advance(frame_len);
                    pause.notify_one();
                }
                None => return Ok(End::Goodbye(goodbye(disconnect))),
            }
        }
    }
}

/// Carries what the client sends, until it leaves (`true`), nothing more is to be sent, or the link breaks.
async fn to_session(
    link: &mut (impl AsyncWrite + Unpin),
    incoming: &mut UnboundedReceiver<Batch>,
    entry: &PendingEntry,
    pause: &Notify,
) -> bool {
    let has_left = loop {
        let batch = tokio::select! {
            biased;
            () = pause.notified() => break false,
            batch = incoming.recv() => batch,
        };
        let Some(batch) = batch else { break true };
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
    };
    // The other server takes it for a client that has left, unless it waits for that.
    let _ = link.shutdown().await;
    has_left
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

/// The link has broken.
fn lost() -> Goodbye {
    let message = "The connection to the server of this session was lost. Please join again.";
    (DisconnectReason::Error, message.to_owned())
}

fn goodbye(Disconnect { reason, message }: Disconnect) -> Goodbye {
    let reason = [DisconnectReason::Kick, DisconnectReason::Shutdown]
        .into_iter()
        .find(|known| *known as u8 == reason)
        .unwrap_or(DisconnectReason::Error);
    (reason, message)
}

/// Length of the frames before the first `Disconnect`, and that one with its length.
fn until_disconnect(chunk: &[u8]) -> (usize, Option<(usize, Disconnect)>) {
    let mut len = 0;
    for frame in frames(chunk) {
        if frame.header.kind == Disconnect::TYPE
            && let Ok(Message::Disconnect(disconnect)) = Message::from_frame(frame, Layout::V4_25)
        {
            return (len, Some((frame.bytes.len(), disconnect)));
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
        let (len, found) = until_disconnect(&chunk);
        let (frame_len, disconnect) = found.unwrap();
        assert_eq!((len, frame_len), (drawing.len(), goodbye.len()));
        assert_eq!(LinkSignal::of(&disconnect), None);
        assert_eq!(super::goodbye(disconnect), (DisconnectReason::Kick, "by an operator".to_owned()));
        assert_eq!(until_disconnect(&drawing), (drawing.len(), None));
    }

    #[test]
    fn signals_are_told_from_goodbyes() {
        let node = Node {
            incarnation: "1".into(),
            name: "b".into(),
            address: "127.0.0.1:1".into(),
            ..Node::default()
        };
        let moved = Moved { node, conn: 7 };
        let json = serde_json::to_string(&moved).unwrap();
        for (frame, signal) in [
            (LinkSignal::pause().unwrap(), LinkSignal::Pause),
            (LinkSignal::moved(&json).unwrap(), LinkSignal::Moved(moved)),
        ] {
            let (_, found) = until_disconnect(&frame);
            assert_eq!(LinkSignal::of(&found.unwrap().1), Some(signal));
        }
        let (_, found) = until_disconnect(&LinkSignal::moved("{}").unwrap());
        assert_eq!(LinkSignal::of(&found.unwrap().1), None, "it is taken for a goodbye");
    }
}
