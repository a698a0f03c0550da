//! The image that an operator uploads for a reset.

use crate::rules::time::Timestamp;
use crate::rules::undo::times::OriginKind;

/// Who makes a reset image, and of what.
#[derive(Debug, Default)]
pub(super) struct ImageSource {
    /// Name of the operator.
    pub(super) by: String,
    /// What the reset is.
    pub(super) kind: OriginKind,
    /// Size of the history in bytes when the operator was told to begin.
    pub(super) size_before: u64,
    /// The operator's client had not been sent everything then.
    pub(super) is_outdated: bool,
}

/// A reset image that is being uploaded.
#[derive(Debug, Default)]
pub(super) struct ResetImage {
    bytes: Vec<u8>,
    messages: u64,
    source: ImageSource,
    /// Time-out of the upload, monotonic milliseconds; extended by each message.
    due: u64,
    /// Time-out that is not extended.
    last_due: u64,
}

/// Time-out between messages of a reset image, in milliseconds. Nobody can join meanwhile.
const RESET_PAUSE_MS: u64 = 120_000;
/// Time-out of a whole reset, in milliseconds: the largest image over a slow connection.
const RESET_MS: u64 = 1_800_000;

impl ResetImage {
    /// An upload begins.
    pub(super) fn begun(source: ImageSource, now: Timestamp) -> ResetImage {
        let last_due = now.monotonic_ms + RESET_MS;
        let mut image = ResetImage { source, last_due, ..ResetImage::default() };
        image.goes_on(now);
        image
    }

    /// Messages of it have come. Returns its size in bytes.
    pub(super) fn add(&mut self, bytes: &[u8], messages: u64, now: Timestamp) -> u64 {
        self.bytes.extend_from_slice(bytes);
        self.messages += messages;
        self.goes_on(now);
        self.bytes.len() as u64
    }

    fn goes_on(&mut self, now: Timestamp) {
        self.due = (now.monotonic_ms + RESET_PAUSE_MS).min(self.last_due);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who makes it, and of what.
    pub(super) fn source(&self) -> &ImageSource {
        &self.source
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// When the upload times out, monotonic milliseconds.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Drops what has come; returns the number of messages.
    pub(super) fn clear(&mut self) -> u64 {
        self.bytes.clear();
        std::mem::take(&mut self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Timestamp {
        Timestamp { monotonic_ms, utc_ms: 0 }
    }

    #[test]
    fn each_message_extends_the_time_out_but_not_without_end() {
        let mut image = ResetImage::begun(ImageSource::default(), at(0));
        assert_eq!(image.due(), RESET_PAUSE_MS);
        image.add(b"ab", 1, at(1_000));
        assert_eq!(image.due(), 1_000 + RESET_PAUSE_MS);
        image.add(b"c", 1, at(RESET_MS - 1));
        assert_eq!(image.due(), RESET_MS);
    }

    #[test]
    fn what_was_cleared_is_not_in_the_image() {
        let mut image = ResetImage::begun(ImageSource::default(), at(0));
        assert_eq!(image.add(b"abc", 2, at(0)), 3);
        assert_eq!(image.clear(), 2);
        assert_eq!(image.add(b"d", 1, at(0)), 1);
        assert_eq!((image.bytes(), image.messages()), (&b"d"[..], 1));
    }
}
