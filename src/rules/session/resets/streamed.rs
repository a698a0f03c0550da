//! Streamed resets: an operator's client uploads a smaller history while everybody goes on drawing. Source:
//! docs/spec/session.md#streamed-reset.
//!
//! The chunks are one zlib stream of messages. It is inflated into a bounded staged history, so a decompression bomb
//! ends the reset and nothing else.

use drawhall_protocol::Frame;
use drawhall_protocol::frame::{FIRST_OPAQUE, FrameHeader, HEADER_LEN};
use drawhall_protocol::message::{Chat, SoftReset};
use drawhall_protocol::reply::{CaughtUp, ServerReply, StreamProgress, StreamStart};
use flate2::{Decompress, FlushDecompress, Status};

use super::ResetEngine;
use crate::log::{Level, Topic};
use crate::rules::session::member::ResetRole;
use crate::rules::session::user_locks::{LocksAtFork, locked_in};
use crate::rules::session::{ConnId, Cx, MemberKey, SessionMachine};
use crate::rules::undo::times::{OriginKind, TimeMark};

/// Polling interval for readers to pass the fork, in milliseconds.
const POLL_MS: u64 = 100;
/// Bytes to inflate at a time.
const INFLATE_BYTES: usize = 64 << 10;
/// Size limit of a staged history in bytes, if the session has none.
const UNLIMITED_BYTES: u64 = i32::MAX as u64;

/// Why a streamed reset fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the session is out of space")]
    OutOfSpace,
    #[error("of an illegal message of type {0} in the reset image")]
    IllegalMessage(u8),
    #[error("the stream is corrupt")]
    Corrupt,
}

/// The staged history of a streamed reset.
#[derive(Debug)]
pub(super) struct StagedReset {
    user: u8,
    /// Offset in the history where the staged one will be inserted.
    fork: i64,
    /// Index of the last message before the fork.
    fork_index: i64,
    /// Time and place of the fork.
    fork_mark: TimeMark,
    /// Locks of users at the fork.
    locks: LocksAtFork,
    inflate: Decompress,
    ended: bool,
    /// Inflated bytes of an incomplete message.
    partial: Vec<u8>,
    bytes: Vec<u8>,
    /// Number of messages of the server's state at its beginning.
    server_messages: u64,
    streamed_messages: u64,
    /// Bytes streamed by the client.
    streamed_bytes: u64,
    limit: u64,
    /// Complete; next poll of the readers, monotonic milliseconds.
    prepared: Option<u64>,
}

impl StagedReset {
    pub(super) fn poll_at(&self) -> Option<u64> {
        self.prepared
    }

    /// Inflates a chunk and stages its messages.
    fn add(&mut self, mut chunk: &[u8]) -> Result<(), StreamError> {
        let mut buffer = vec![0; INFLATE_BYTES];
        loop {
            if self.ended {
                return if chunk.is_empty() { Ok(()) } else { Err(StreamError::Corrupt) };
            }
            let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(chunk, &mut buffer, FlushDecompress::None);
            let status = status.map_err(|_| StreamError::Corrupt)?;
            chunk = &chunk[(self.inflate.total_in() - in_before) as usize..];
            let written = (self.inflate.total_out() - out_before) as usize;
            self.partial.extend_from_slice(&buffer[..written]);
            self.take_messages()?;
            self.ended = status == Status::StreamEnd;
            if !self.ended && written == 0 && (chunk.is_empty() || status == Status::BufError) {
                return Ok(());
            }
        }
    }

    fn take_messages(&mut self) -> Result<(), StreamError> {
        let mut at = 0;
        while let Some(header) = FrameHeader::parse(&self.partial[at..]) {
            let end = at + header.frame_len();
            if end > self.partial.len() {
                break;
            }
            if header.kind < FIRST_OPAQUE && header.kind != Chat::TYPE {
                return Err(StreamError::IllegalMessage(header.kind));
            }
            self.streamed_bytes += header.frame_len() as u64;
            if self.streamed_bytes > self.limit {
                return Err(StreamError::OutOfSpace);
            }
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&self.partial[at..end]);
            self.bytes[start + 3] = self.user;
            self.streamed_messages += 1;
            at = end;
        }
        self.partial.drain(..at);
        debug_assert!(self.partial.len() < HEADER_LEN + usize::from(u16::MAX));
        Ok(())
    }
}

impl ResetEngine {
    /// Drops the unfinished staged history of this user; returns whether there was one.
    pub(in crate::rules::session) fn abort_stream_of(&mut self, id: u8) -> bool {
        let theirs = self.staged.as_ref().is_some_and(|s| s.user == id && s.prepared.is_none());
        if theirs {
            self.staged = None;
        }
        theirs
    }

    /// Drops an unfinished staged history.
    pub(super) fn abort_unfinished_stream(&mut self) {
        self.staged.take_if(|s| s.prepared.is_none());
    }
}

impl SessionMachine {
    /// Command `stream-reset-start`.
    pub(in crate::rules::session) fn start_stream(
        &mut self,
        key: MemberKey,
        correlator: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), &'static str> {
        let Some(member) = self.members.get(key) else { return Err("invalid user") };
        let id = member.id;
        let (role, ghost) = (member.reset_role, member.is_ghost());
        let Some(expected) = self.resets.requested_correlator().map(str::to_owned) else {
            self.rule_break(key, format!("User {id} tried to start stream reset unasked"), cx);
            return Err("invalid session state");
        };
        if role != ResetRole::AwaitingStream {
            self.rule_break(key, format!("User {id} was not asked for a stream reset"), cx);
            return Err(if role == ResetRole::Streaming { "already started" } else { "invalid user" });
        }
        if ghost || correlator != expected {
            self.rule_break(key, format!("User {id} gave a wrong correlator"), cx);
            self.autoreset_failed(cx);
            return Err(if ghost { "invalid user" } else { "invalid correlator" });
        }
        let start = ServerReply::SStart(StreamStart { correlator: expected }).to_frame_of(id);
        let (Ok(soft), Ok(start)) = (Frame::new(SoftReset::TYPE, 0, &[]), start) else {
            return Err("invalid correlator");
        };
        if self.history.append(&[soft.as_bytes(), start.as_bytes()].concat(), 2).is_err() {
            self.autoreset_failed(cx);
            return Err("out of space");
        }
        self.timers.used(cx.now);
        let (bytes, server_messages) = self.server_side_state();
        let limit = self.history.limit();
        self.resets.staged = Some(StagedReset {
            user: id,
            fork: self.history.seal_at_fork(),
            fork_index: self.history.last_index(),
            fork_mark: self.fork_mark(cx.now),
            locks: self.locks.at_fork(),
            inflate: Decompress::new(true),
            ended: false,
            partial: Vec::new(),
            bytes,
            server_messages,
            streamed_messages: 0,
            streamed_bytes: 0,
            limit: if limit == 0 { UNLIMITED_BYTES } else { limit },
            prepared: None,
        });
        self.set_reset_role(key, ResetRole::Streaming);
        self.resets.autoreset.request_goes_on(cx.now);
        let text = format!("User {id} started stream reset");
        self.note(Level::Info, Topic::Status, text, cx);
        Ok(())
    }

    /// A chunk of the stream.
    pub(in crate::rules::session) fn stream_chunk(&mut self, key: MemberKey, data: &[u8], cx: &mut Cx<'_>) {
        let Some((id, conn)) = self.members.get(key).map(|m| (m.id, m.conn())) else { return };
        let added = match &mut self.resets.staged {
            Some(staged) if staged.prepared.is_none() && staged.user == id => staged.add(data).map_err(Some),
            _ => Err(None),
        };
        let Err(error) = added else {
            self.resets.autoreset.request_goes_on(cx.now);
            return self.send_progress(conn, false, cx);
        };
        let reason = error.as_ref().map_or("no stream of theirs is active".into(), StreamError::to_string);
        let text = format!("User {id} tried to add a stream reset message, but {reason}");
        self.fault(key, Topic::Status, text, cx);
        if self.members.contains(key) {
            self.send_progress(conn, true, cx);
        }
        if error.is_some() {
            self.autoreset_failed(cx);
        }
    }

    fn set_reset_role(&mut self, key: MemberKey, role: ResetRole) {
        if let Some(member) = self.members.get_mut(key) {
            member.reset_role = role;
        }
    }

    pub(in crate::rules::session) fn send_progress(&self, conn: ConnId, cancel: bool, cx: &mut Cx<'_>) {
        self.reply_to(conn, &ServerReply::SProgress(StreamProgress { cancel }), cx);
    }

    /// Command `stream-reset-finish`.
    pub(in crate::rules::session) fn finish_stream(
        &mut self,
        key: MemberKey,
        count: i64,
        cx: &mut Cx<'_>,
    ) -> Result<(), &'static str> {
        let id = self.members.get(key).map_or(0, |m| m.id);
        let staged =
            self.resets.staged.as_mut().filter(|s| s.prepared.is_none()).ok_or("no stream reset active")?;
        if staged.user != id {
            return Err("invalid user");
        }
        let whole = staged.ended && staged.partial.is_empty();
        let counted = count > 0 && staged.streamed_messages == count as u64;
        if !whole || !counted {
            let (got, what) = (staged.streamed_messages, if whole { "message count" } else { "stream" });
            let text =
                format!("User {id} tried to finish stream reset with {count} messages of {got}: bad {what}");
            self.note(Level::Warn, Topic::Status, text, cx);
            self.autoreset_failed(cx);
            return Err(if whole { "invalid message count" } else { "stream consumer error" });
        }
        if let Ok(frame) = ServerReply::CaughtUp(CaughtUp { key: 0, hidx: None }).to_frame() {
            staged.bytes.extend_from_slice(frame.as_bytes());
            staged.server_messages += 1;
        }
        staged.prepared = Some(cx.now.monotonic_ms);
        self.resets.autoreset.request_done();
        self.set_reset_role(key, ResetRole::None);
        let text = format!("User {id} prepared streamed reset");
        self.note(Level::Info, Topic::Status, text, cx);
        self.resolve_stream("prepare", cx);
        Ok(())
    }

    /// Command `stream-reset-abort`.
    pub(in crate::rules::session) fn abort_stream(
        &mut self,
        key: MemberKey,
        cx: &mut Cx<'_>,
    ) -> Result<(), &'static str> {
        let id = self.members.get(key).map_or(0, |m| m.id);
        let staged =
            self.resets.staged.as_ref().filter(|s| s.prepared.is_none()).ok_or("no stream reset active")?;
        if staged.user != id {
            return Err("invalid user");
        }
        let text = format!("User {id} aborted stream reset");
        self.note(Level::Info, Topic::Status, text, cx);
        self.autoreset_failed(cx);
        Ok(())
    }

    /// Applies a complete staged history as soon as all readers have passed the fork.
    pub(in crate::rules::session) fn resolve_stream(&mut self, cause: &str, cx: &mut Cx<'_>) {
        let Some(fork) = self.resets.staged.as_ref().filter(|s| s.prepared.is_some()).map(|s| s.fork) else {
            return;
        };
        // During an uploaded reset, new members have no offset yet.
        if !self.resets.is_running() || !self.all_passed(fork) {
            if let Some(staged) = &mut self.resets.staged {
                staged.prepared = Some(cx.now.monotonic_ms + POLL_MS);
            }
            return;
        }
        let Some(staged) = self.resets.staged.take() else { return };
        let since_fork = (self.history.last_index() - staged.fork_index) as u64;
        let messages = staged.server_messages + staged.streamed_messages;
        let before = self.history.size();
        let by = self.member_by_id(staged.user).map_or_else(String::new, |m| m.name().to_owned());
        let oddities = self.oddities_of(&staged.bytes);
        match self.history.replace_prefix(staged.fork, since_fork, &staged.bytes, messages) {
            Ok(offset) => {
                let image = TimeMark { utc_ms: 0, messages, size: staged.bytes.len() as u64 };
                self.times.forked(staged.fork_mark, image);
                let layout = self.properties.protocol().layout();
                self.locks.stream_applied(&staged.locks, &locked_in(&staged.bytes, layout));
                self.resets.base = staged.streamed_bytes;
                let text = format!(
                    "Resolved streamed reset after {cause} with offset {offset} (size {before} => {})",
                    self.history.size()
                );
                self.note(Level::Info, Topic::Status, text, cx);
                self.clear_autoreset(0, cx.now);
                self.send_status(false, cx);
                self.send_settings(cx);
                self.thumbnail.outdated();
                self.note_reset(&by, OriginKind::Streamed, oddities, cx);
            }
            Err(error) => {
                let text = format!("Error resolving streamed reset: {error}");
                self.note(Level::Warn, Topic::Status, text, cx);
                self.autoreset_failed(cx);
            }
        }
    }
}
