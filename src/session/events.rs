//! The log of a session as newcomers are sent it: ready-made, shared pieces, so that a join copies nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::log::Topic;

/// Number of newest entries that newcomers are sent at least, if there are so many and they are not too long.
const KEPT: usize = 1000;
/// Entries in a piece; up to so many more than [`KEPT`] are sent.
const PIECE: usize = 50;
/// Bytes after which a piece is complete although it has fewer entries.
const INDEX_ENTRY_BYTES: usize = 16 << 10;
/// Bytes that anybody is sent at most; the oldest entries are left out.
const MAX_BYTES: usize = 256 << 10;

/// Who is shown what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Neither sensitive entries nor those about kicks and bans.
    User,
    /// No sensitive entries.
    Operator,
    /// All.
    Moderator,
}

impl Audience {
    const ALL: [Audience; 3] = [Self::User, Self::Operator, Self::Moderator];

    fn sees(self, topic: Topic) -> bool {
        match self {
            Self::User => !topic.is_sensitive() && !topic.is_moderation(),
            Self::Operator => !topic.is_sensitive(),
            Self::Moderator => true,
        }
    }
}

/// What one audience is shown. Each has its own, so that what is not for all does not displace what is.
#[derive(Debug, Default)]
struct Shown {
    /// Entries in it, and their frames.
    pieces: VecDeque<(usize, Bytes)>,
    /// Entries and bytes in the pieces.
    entries: usize,
    bytes: usize,
    /// Entries that are not yet a piece.
    newest: Vec<Bytes>,
    newest_bytes: usize,
}

impl Shown {
    fn push(&mut self, frame: Bytes) {
        self.newest_bytes += frame.len();
        self.newest.push(frame);
        if self.newest.len() < PIECE && self.newest_bytes < INDEX_ENTRY_BYTES {
            return;
        }
        let piece = (self.newest.len(), Bytes::from(self.newest.concat()));
        self.newest.clear();
        self.newest_bytes = 0;
        self.entries += piece.0;
        self.bytes += piece.1.len();
        self.pieces.push_back(piece);
        while let Some((entries, bytes)) = self.pieces.front()
            && (self.entries - entries >= KEPT || self.bytes + INDEX_ENTRY_BYTES > MAX_BYTES)
        {
            self.entries -= entries;
            self.bytes -= bytes.len();
            self.pieces.pop_front();
        }
    }
}

/// What has happened in a session, as replies.
#[derive(Debug, Default)]
pub(super) struct EventLog([Shown; 3]);

impl EventLog {
    pub(super) fn push(&mut self, topic: Topic, frame: Bytes) {
        for audience in Audience::ALL.into_iter().filter(|audience| audience.sees(topic)) {
            self.0[audience as usize].push(frame.clone());
        }
    }

    /// The entries for an audience, oldest first.
    pub(super) fn shown_to(&self, audience: Audience) -> impl Iterator<Item = Bytes> {
        let shown = &self.0[audience as usize];
        let pieces = shown.pieces.iter().map(|(_, bytes)| bytes);
        pieces.chain(&shown.newest).filter(|bytes| !bytes.is_empty()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(log: &EventLog, audience: Audience) -> String {
        let bytes: Vec<Bytes> = log.shown_to(audience).collect();
        String::from_utf8(bytes.concat()).unwrap()
    }

    #[test]
    fn everybody_is_shown_what_is_for_them() {
        for before in [0, PIECE] {
            let mut log = EventLog::default();
            for (topic, text) in [(Topic::Join, "j"), (Topic::Ban, "b"), (Topic::ClientInfo, "c")] {
                log.push(topic, text.into());
            }
            for _ in 0..before {
                log.push(Topic::Status, Bytes::new());
            }
            assert_eq!(shown(&log, Audience::User), "j");
            assert_eq!(shown(&log, Audience::Operator), "jb");
            assert_eq!(shown(&log, Audience::Moderator), "jbc");
        }
    }

    #[test]
    fn the_newest_thousand_are_kept() {
        let mut log = EventLog::default();
        for _ in 0..KEPT * 3 {
            log.push(Topic::Status, "x".into());
            assert!(shown(&log, Audience::User).len() <= KEPT + PIECE);
        }
        assert!(shown(&log, Audience::User).len() >= KEPT);
    }

    #[test]
    fn nobody_is_sent_more_than_so_many_bytes() {
        let mut log = EventLog::default();
        for n in 0..3000 {
            log.push(Topic::Report, vec![b'x'; 1200 * (n % 2)].into());
            log.push(Topic::Status, vec![b'y'; 500].into());
            for audience in Audience::ALL {
                assert!(shown(&log, audience).len() <= MAX_BYTES);
            }
        }
        assert!(shown(&log, Audience::Moderator).len() > MAX_BYTES - 2 * INDEX_ENTRY_BYTES);
        assert!(shown(&log, Audience::User).ends_with('y'));
    }
}
