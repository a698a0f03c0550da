//! The reset engine: what the session's state is, who uploads, and everything that replaces the history.
//!
//! An upload (the host's initial content, or a reset image) is in [`upload`], a streamed reset in [`streamed`], and the
//! choice of a client that is told to reset in [`autoreset`]. What the server does if there is none is in [`compaction`].
//! Source: docs/spec/session.md#states.

mod autoreset;
mod compaction;
mod image;
mod streamed;
mod upload;

pub(super) use upload::human_size;

use super::SessionState;
use crate::rules::history_indexes::StartIds;
use crate::rules::time::Timestamp;
use autoreset::AutoResetState;
use compaction::Compaction;
use image::ResetImage;
use streamed::StagedReset;

/// How far a streamed reset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamStage {
    /// A client streams the new history.
    Streaming,
    /// It is complete, and waits until all readers have passed the fork.
    Prepared,
}

/// The state of a session and of its resets.
///
/// **Invariants:** a session that has ended stays [`SessionState::Shutdown`]. Nobody uploads while it runs. There is a
/// reset image in [`SessionState::Reset`] only. A staged history that is incomplete is that of the client that was
/// told to stream; it ends with the attempt.
#[derive(Debug)]
pub(super) struct ResetEngine {
    state: SessionState,
    /// First parts of history indexes; renewed when the history is replaced as a whole.
    start_ids: StartIds,
    /// Size of the history after the last reset, in bytes.
    base: u64,
    /// User id of the host or resetter during an upload.
    uploader: Option<u8>,
    image: ResetImage,
    autoreset: AutoResetState,
    compaction: Compaction,
    staged: Option<StagedReset>,
    /// Reader offsets have been set for the present input.
    reader_offsets_known: bool,
}

impl ResetEngine {
    /// Of a session that waits for its host.
    pub(super) fn new(now: Timestamp) -> ResetEngine {
        ResetEngine {
            state: SessionState::Initialization,
            start_ids: StartIds::new(now.utc_ms / 1000),
            base: 0,
            uploader: None,
            image: ResetImage::default(),
            autoreset: AutoResetState::default(),
            compaction: Compaction::default(),
            staged: None,
            reader_offsets_known: false,
        }
    }

    pub(super) fn state(&self) -> SessionState {
        self.state
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == SessionState::Running
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == SessionState::Shutdown
    }

    /// First parts of history indexes.
    pub(super) fn start_ids(&self) -> &StartIds {
        &self.start_ids
    }

    /// Size of the history after the last reset, in bytes.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// User id of the host or resetter during an upload.
    pub(super) fn uploader(&self) -> Option<u8> {
        self.uploader
    }

    /// Whether this user is the host or resetter of an upload.
    pub(super) fn is_uploaded_by(&self, user: u8) -> bool {
        self.uploader == Some(user)
    }

    /// The host has come, and uploads the initial content.
    pub(super) fn begin_initial_upload(&mut self, host: u8) {
        debug_assert_eq!(self.state, SessionState::Initialization);
        self.uploader = Some(host);
    }

    /// The session begins without a host: its content is on the server.
    pub(super) fn begin_running(&mut self) {
        debug_assert_eq!(self.state, SessionState::Initialization);
        self.state = SessionState::Running;
    }

    /// The content is complete; `base` is its size in bytes.
    pub(super) fn set_base(&mut self, base: u64) {
        self.base = base;
    }

    /// The session goes on where it was unloaded; without a `base` it stays as it is.
    pub(super) fn go_on(&mut self, start_ids: StartIds, base: Option<u64>) {
        self.start_ids = start_ids;
        self.base = base.unwrap_or(self.base);
    }

    /// The session has ended.
    pub(super) fn end(&mut self) {
        self.state = SessionState::Shutdown;
    }

    /// Whether an input can depend on how far the members have read.
    pub(super) fn depends_on_readers(&self) -> bool {
        self.staged.is_some() || self.requested_correlator().is_some()
    }

    /// Whether the members' reader offsets are set for the present input.
    pub(super) fn reader_offsets_known(&self) -> bool {
        self.reader_offsets_known
    }

    pub(super) fn set_reader_offsets_known(&mut self, known: bool) {
        self.reader_offsets_known = known;
    }

    /// Time of the next deadline, monotonic milliseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        let stream = self.staged.as_ref().and_then(StagedReset::poll_at);
        let upload = (self.state == SessionState::Reset).then(|| self.image.due());
        [stream, upload, self.autoreset.deadline(), self.compaction.deadline()].into_iter().flatten().min()
    }

    /// The streamed reset, if there is one.
    pub(super) fn stream_stage(&self) -> Option<StreamStage> {
        let staged = self.staged.as_ref()?;
        Some(if staged.poll_at().is_some() { StreamStage::Prepared } else { StreamStage::Streaming })
    }

    /// The autoreset, in the words of the admin API.
    pub(super) fn autoreset_status(&self) -> &'static str {
        self.autoreset.status()
    }

    /// Milliseconds until the next autoreset may begin.
    pub(super) fn autoreset_delay(&self, now: Timestamp) -> u64 {
        self.autoreset.delay(now)
    }

    /// Correlator of the requested reset.
    pub(super) fn requested_correlator(&self) -> Option<&str> {
        self.autoreset.requested_correlator()
    }

    /// Number of messages in the reset image.
    #[cfg(test)]
    pub(super) fn image_messages(&self) -> u64 {
        self.image.messages()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { monotonic_ms: 5_000, utc_ms: 1_795_241_572_000 };

    #[test]
    fn a_new_session_waits_for_its_host() {
        let mut resets = ResetEngine::new(NOW);
        assert_eq!((resets.state(), resets.uploader()), (SessionState::Initialization, None));
        assert_eq!((resets.start_ids().current(), resets.base()), (1_795_241_572, 0));
        resets.begin_initial_upload(7);
        assert!(resets.is_uploaded_by(7) && !resets.is_uploaded_by(1) && !resets.is_running());
        assert_eq!(resets.deadline(), None, "the host may take its time");
    }

    #[test]
    fn a_loaded_session_runs_and_goes_on_where_it_was_unloaded() {
        let mut resets = ResetEngine::new(NOW);
        resets.begin_running();
        resets.set_base(5);
        assert!(resets.is_running());
        resets.go_on(StartIds::new(99), None);
        assert_eq!((resets.start_ids().current(), resets.base()), (99, 5));
        resets.go_on(StartIds::new(99), Some(3));
        assert_eq!(resets.base(), 3);
    }

    #[test]
    fn a_session_that_has_ended_has_no_deadline() {
        let mut resets = ResetEngine::new(NOW);
        resets.end();
        assert!(resets.has_ended());
        assert_eq!((resets.deadline(), resets.stream_stage()), (None, None));
    }
}
