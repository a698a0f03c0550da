//! The history as the blocking pool reads it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::Layout;
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::header_bytes;

use super::Session;
use crate::blocking::CancelOnDrop;
use crate::history::Chunk;
use crate::rules::session::ReadSoFar;
use crate::rules::session::admin::AdminError;
use crate::rules::undo::rebuild::{Messages, RebuildError};
use crate::rules::undo::times::{Origin, TimeMark};
use crate::storage::generations::EarlierHistory;
use crate::storage::session_dir::{LoadError, SessionDir};

/// The history at one time, in chunks of whole messages.
pub(super) struct HistorySnapshot {
    chunks: Vec<Chunk>,
    pub(super) layout: Layout,
    pub(super) first_index: i64,
    epoch: u64,
    end: i64,
    /// Whoever wants the result is gone.
    is_cancelled: Arc<AtomicBool>,
}

impl HistorySnapshot {
    /// Ends the reading when it is dropped.
    pub(super) fn cancel(&self) -> CancelOnDrop {
        CancelOnDrop::new(self.is_cancelled.clone())
    }

    /// An earlier history, whose reading ends with that of this one.
    pub(super) fn with(&self, chunks: Vec<Chunk>) -> HistorySnapshot {
        let (layout, is_cancelled) = (self.layout, self.is_cancelled.clone());
        HistorySnapshot { chunks, layout, first_index: 0, epoch: 0, end: 0, is_cancelled }
    }

    /// A recording of it, of which `size` bytes are messages. Each message is also given to `also`; blocks.
    pub(super) fn recording(
        &self,
        protocol: &ProtocolVersion,
        size: u64,
        also: &mut dyn FnMut(FrameRef<'_>),
    ) -> Result<Vec<u8>, AdminError> {
        let unreadable = |error: &dyn fmt::Display| AdminError::HistoryUnreadable(error.to_string());
        let mut recording =
            header_bytes(&Header::of_version(protocol)).map_err(|error| unreadable(&error))?;
        recording.reserve_exact(usize::try_from(size).unwrap_or_default());
        let visited = self.visit(&mut |frame| {
            recording.extend_from_slice(frame.bytes);
            also(frame);
        });
        visited.map_err(|error| unreadable(&error))?;
        Ok(recording)
    }

    pub(super) fn read(&self, without: Option<u8>, cuts: bool) -> ReadSoFar {
        let (epoch, first_index, end) = (self.epoch, self.first_index, self.end);
        ReadSoFar { epoch, first_index, end, without, cuts, compacts: None }
    }
}

impl Messages for HistorySnapshot {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        for chunk in &self.chunks {
            if self.is_cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("the session has ended"));
            }
            match chunk {
                Chunk::Memory(bytes) => frames(bytes).for_each(&mut *visit),
                Chunk::File { file, from, len } => {
                    frames(&file.read_at(*from, *len)?).for_each(&mut *visit);
                }
            }
        }
        Ok(())
    }
}

/// The history before the last reset, not opened yet.
pub(super) struct BeforeReset {
    pub(super) dir: Arc<SessionDir>,
    pub(super) id: String,
    /// How the present history began.
    pub(super) origin: Origin,
    /// Where its image ends.
    pub(super) image: TimeMark,
}

/// Why the history before the last reset cannot be used.
pub(super) enum NotOpened {
    NotKept,
    NotStoredYet,
    Unreadable(LoadError),
}

impl BeforeReset {
    /// Opens it; blocks.
    ///
    /// # Errors
    /// When it is not kept, is another one than the present history was made of, or cannot be read.
    pub(super) fn open(&self, present: &HistorySnapshot) -> Result<EarlierHistory, NotOpened> {
        let opened = self.dir.open_previous(&self.id).map_err(|error| match error {
            LoadError::NoFile => NotOpened::NotKept,
            error => NotOpened::Unreadable(error),
        })?;
        if opened.later_origin != self.origin || opened.protocol.layout() != present.layout {
            return Err(NotOpened::NotStoredYet);
        }
        Ok(opened)
    }
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKept => f.write_str("the history before the last reset is not kept"),
            Self::NotStoredYet => f.write_str("the last reset is not stored yet: try again"),
            Self::Unreadable(error) => write!(f, "the history before the last reset cannot be read: {error}"),
        }
    }
}

pub(super) fn refused(error: &RebuildError) -> AdminError {
    match error {
        RebuildError::Io(_) => AdminError::HistoryUnreadable(error.to_string()),
        reason => AdminError::NotPossible(reason.to_string()),
    }
}

impl Session {
    pub(super) fn snapshot(&mut self) -> HistorySnapshot {
        let layout = self.machine.protocol().layout();
        let history = self.machine.history();
        let (first_index, epoch, end) = (history.first_index(), history.epoch(), history.end());
        let is_cancelled = Arc::default();
        HistorySnapshot { chunks: history.chunks(), layout, first_index, epoch, end, is_cancelled }
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    #[test]
    fn nothing_is_read_for_a_session_that_has_ended() {
        let chunk = Chunk::Memory(Frame::new(128, 1, &[]).unwrap().into_bytes());
        let is_cancelled = Arc::default();
        let (chunks, layout) = (vec![chunk; 3], Layout::V4_25);
        let snapshot = HistorySnapshot { chunks, layout, first_index: 0, epoch: 0, end: 0, is_cancelled };
        let mut cancel = Some(snapshot.cancel());
        let mut seen = 0;
        let read = snapshot.visit(&mut |_| {
            seen += 1;
            cancel = None;
        });
        assert!(read.is_err() && seen == 1, "{seen}");
    }
}
