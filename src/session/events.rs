//! The log of a session as newcomers are sent it: ready-made, shared pieces, so that a join copies nothing.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::log::Topic;

/// Number of newest entries that newcomers are sent at least, if there are so many.
const KEPT: usize = 1000;
/// Entries in a piece; up to so many more than [`KEPT`] are sent.
const PIECE: usize = 50;

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

/// What has happened in a session, as replies.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    pieces: VecDeque<[Bytes; 3]>,
    /// Entries that are not yet a piece.
    newest: Vec<(Topic, Bytes)>,
}

impl EventLog {
    pub(super) fn push(&mut self, topic: Topic, frame: Bytes) {
        self.newest.push((topic, frame));
        if self.newest.len() < PIECE {
            return;
        }
        let piece = Audience::ALL.map(|audience| {
            let mut bytes = BytesMut::new();
            for (_, frame) in self.newest.iter().filter(|(topic, _)| audience.sees(*topic)) {
                bytes.extend_from_slice(frame);
            }
            bytes.freeze()
        });
        self.newest.clear();
        self.pieces.push_back(piece);
        if self.pieces.len() * PIECE > KEPT {
            self.pieces.pop_front();
        }
    }

    /// The entries for an audience, oldest first.
    pub(super) fn shown_to(&self, audience: Audience) -> impl Iterator<Item = Bytes> {
        let pieces = self.pieces.iter().map(move |piece| piece[audience as usize].clone());
        let newest = self.newest.iter().filter(move |(topic, _)| audience.sees(*topic));
        pieces.chain(newest.map(|(_, frame)| frame.clone())).filter(|bytes| !bytes.is_empty())
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
}
