//! The log of a session as new members are sent it, in pre-built shared chunks: a join copies nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::log::Topic;

/// Minimum number of newest entries that are kept, as far as [`MAX_BYTES`] allows.
const KEPT: usize = 1000;
/// Entries in a chunk.
const CHUNK_ENTRIES: usize = 50;
/// Bytes after which a chunk is complete with fewer entries.
const CHUNK_BYTES: usize = 16 << 10;
/// Maximum size of the log for one audience in bytes; the oldest entries are dropped.
const MAX_BYTES: usize = 256 << 10;

/// Who may see which entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Neither sensitive entries nor kicks and bans.
    User,
    /// No sensitive entries.
    Operator,
    /// All entries.
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

/// The log of one audience. Each has its own, so that hidden entries do not displace visible ones.
#[derive(Debug, Default)]
struct Shown {
    /// Number of entries and their frames.
    chunks: VecDeque<(usize, Bytes)>,
    /// Entries and bytes in the chunks.
    entries: usize,
    bytes: usize,
    /// Entries that are not in a chunk yet.
    newest: Vec<Bytes>,
    newest_bytes: usize,
}

impl Shown {
    fn push(&mut self, frame: Bytes) {
        self.newest_bytes += frame.len();
        self.newest.push(frame);
        if self.newest.len() < CHUNK_ENTRIES && self.newest_bytes < CHUNK_BYTES {
            return;
        }
        let piece = (self.newest.len(), Bytes::from(self.newest.concat()));
        self.newest.clear();
        self.newest_bytes = 0;
        self.entries += piece.0;
        self.bytes += piece.1.len();
        self.chunks.push_back(piece);
        while let Some((entries, bytes)) = self.chunks.front()
            && (self.entries - entries >= KEPT || self.bytes + CHUNK_BYTES > MAX_BYTES)
        {
            self.entries -= entries;
            self.bytes -= bytes.len();
            self.chunks.pop_front();
        }
    }
}

/// The log of a session, as replies.
#[derive(Debug, Default)]
pub(super) struct EventLog([Shown; 3]);

impl EventLog {
    pub(super) fn push(&mut self, topic: Topic, frame: Bytes) {
        for audience in Audience::ALL.into_iter().filter(|audience| audience.sees(topic)) {
            self.0[audience as usize].push(frame.clone());
        }
    }

    /// The log of an audience, oldest first.
    pub(super) fn shown_to(&self, audience: Audience) -> impl Iterator<Item = Bytes> {
        let shown = &self.0[audience as usize];
        let chunks = shown.chunks.iter().map(|(_, bytes)| bytes);
        chunks.chain(&shown.newest).filter(|bytes| !bytes.is_empty()).cloned()
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
        for before in [0, CHUNK_ENTRIES] {
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
            assert!(shown(&log, Audience::User).len() <= KEPT + CHUNK_ENTRIES);
        }
        assert!(shown(&log, Audience::User).len() >= KEPT);
    }

    #[test]
    fn the_log_of_new_members_is_bounded_in_bytes() {
        let mut log = EventLog::default();
        for n in 0..3000 {
            log.push(Topic::Report, vec![b'x'; 1200 * (n % 2)].into());
            log.push(Topic::Status, vec![b'y'; 500].into());
            for audience in Audience::ALL {
                assert!(shown(&log, audience).len() <= MAX_BYTES);
            }
        }
        assert!(shown(&log, Audience::Moderator).len() > MAX_BYTES - 2 * CHUNK_BYTES);
        assert!(shown(&log, Audience::User).ends_with('y'));
    }
}
