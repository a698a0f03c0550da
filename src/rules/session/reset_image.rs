//! The image that an operator uploads for a reset.

use crate::rules::time::Timestamp;
use crate::rules::undo::times::OriginKind;

/// A reset image that is being uploaded.
#[derive(Debug, Default)]
pub(super) struct ResetImage {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: u64,
    /// Name of the operator.
    pub(super) by: String,
    /// The operator's client had not been sent everything.
    pub(super) is_outdated: bool,
    /// What the reset is.
    pub(super) kind: OriginKind,
    /// Size of the history in bytes when the operator was told to begin.
    pub(super) size_before: u64,
    /// Time-out of the upload, monotonic milliseconds; extended by each message.
    pub(super) due: u64,
    /// Time-out that is not extended.
    last_due: u64,
}

/// Time-out between messages of a reset image, in milliseconds. Nobody can join meanwhile.
const RESET_PAUSE_MS: u64 = 120_000;
/// Time-out of a whole reset, in milliseconds: the largest image over a slow connection.
const RESET_MS: u64 = 1_800_000;

impl ResetImage {
    /// An upload begins.
    pub(super) fn begun(kind: OriginKind, size_before: u64, now: Timestamp) -> ResetImage {
        let last_due = now.monotonic_ms + RESET_MS;
        let mut image = ResetImage { kind, size_before, last_due, ..ResetImage::default() };
        image.goes_on(now);
        image
    }

    /// A message of it has come.
    pub(super) fn goes_on(&mut self, now: Timestamp) {
        self.due = (now.monotonic_ms + RESET_PAUSE_MS).min(self.last_due);
    }
}
