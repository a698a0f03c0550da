//! How clients name a place in a history (`<start id>:<index>:<session id>`), and which of these names stay valid when
//! the server is started again. Source: docs/spec/storage.md#history-indexes.
//!
//! A client that reconnects names the last message that it has, and skips everything up to there. That is right only
//! if the history up to there is the one it has seen. After a restart the messages that were stored are; those that
//! were sent but are lost (the machine crashed, the disk was full) are not, and their indexes are given to others.
//! So each start of the server has a start id of its own, and earlier ones count up to the last message that was
//! found then.

use serde::{Deserialize, Serialize};

/// Maximum number of earlier start ids; the oldest are forgotten, and their clients are sent everything.
const MAX_EARLIER: usize = 8;

/// An earlier start id of the same history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Earlier {
    id: i64,
    /// Index of the last message that clients with this start id have in common with the present history.
    last: i64,
}

/// The start ids of a history. A reset begins new ones.
///
/// **Invariants:** all ids differ. There are at most eight earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartIds {
    current: i64,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Earlier>,
}

impl StartIds {
    /// Of a new history.
    pub fn new(current: i64) -> StartIds {
        StartIds { current, earlier: Vec::new() }
    }

    /// The id of a start of the server at this time, in milliseconds since 1970. Two starts may have the same time if
    /// the clock was set back, and the journal does not have each id; so part of it is random.
    pub fn at_start(utc_ms: i64, random: [u8; 2]) -> i64 {
        // Below 2^53, as programs may read it as a floating-point number.
        ((utc_ms / 1000) << 16) | i64::from(u16::from_le_bytes(random))
    }

    /// Whether this is one of them.
    fn has(&self, id: i64) -> bool {
        id == self.current || self.earlier.iter().any(|e| e.id == id)
    }

    /// The one in the indexes that are sent.
    pub fn current(&self) -> i64 {
        self.current
    }

    /// Whether a client that has this index has the same messages up to there. It may be behind the end of the
    /// history.
    pub fn accept(&self, id: i64, index: i64) -> bool {
        id == self.current || self.earlier.iter().any(|e| e.id == id && index <= e.last)
    }

    /// After the history was loaded, with a message of index `last` at its end: what was sent behind it is lost. The
    /// new id is `wanted`, or the next free one.
    fn reloaded(&self, wanted: i64, last: i64) -> StartIds {
        let mut earlier = self.earlier.clone();
        earlier.push(Earlier { id: self.current, last });
        for start in &mut earlier {
            start.last = start.last.min(last);
        }
        earlier.drain(..earlier.len().saturating_sub(MAX_EARLIER));
        let mut current = wanted;
        while earlier.iter().any(|e| e.id == current) {
            current = current.wrapping_add(1);
        }
        StartIds { current, earlier }
    }
}

/// The indexes of a stored history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryIndexes {
    /// Index of the first message.
    pub first: i64,
    /// The start ids that count.
    pub starts: StartIds,
}

impl HistoryIndexes {
    /// Whether the history is not that of these indexes any more: its last index of a client has another start id, as
    /// another server has appended to it since.
    pub fn is_outdated(&self, last_start_id: Option<i64>) -> bool {
        last_start_id.is_some_and(|id| !self.starts.has(id))
    }

    /// After the history was loaded with this number of messages; see [`StartIds`].
    pub fn reloaded(&self, wanted: i64, messages: u64) -> HistoryIndexes {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        let last = self.first.saturating_add(messages).saturating_sub(1);
        HistoryIndexes { first: self.first, starts: self.starts.reloaded(wanted, last) }
    }

    /// Parses the text of [`Self::to_text`].
    pub fn parse(text: &str) -> Option<HistoryIndexes> {
        let mut words = text.split_ascii_whitespace();
        let first: i64 = words.next()?.parse().ok().filter(|first| *first >= 0)?;
        let current: i64 = words.next()?.parse().ok()?;
        let mut earlier: Vec<Earlier> = Vec::new();
        for word in words {
            let (id, last) = word.split_once(':')?;
            let (id, last) = (id.parse().ok()?, last.parse().ok()?);
            if id == current || earlier.len() == MAX_EARLIER || earlier.iter().any(|e| e.id == id) {
                return None;
            }
            earlier.push(Earlier { id, last });
        }
        Some(HistoryIndexes { first, starts: StartIds { current, earlier } })
    }

    /// `<first index> <start id> <earlier start id>:<its last index> ...`, the earlier ones oldest first.
    pub fn to_text(&self) -> String {
        let StartIds { current, earlier } = &self.starts;
        let mut text = format!("{} {current}", self.first);
        for Earlier { id, last } in earlier {
            text.push_str(&format!(" {id}:{last}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes() -> HistoryIndexes {
        HistoryIndexes { first: 10, starts: StartIds::new(7) }
    }

    #[test]
    fn an_earlier_start_counts_up_to_what_was_found() {
        let loaded = indexes().reloaded(8, 5);
        let accepts = |id, index| loaded.starts.accept(id, index);
        assert!(accepts(8, 99) && accepts(7, 14) && !accepts(7, 15) && !accepts(6, 12));
        let again = loaded.reloaded(9, 3);
        assert!(again.starts.accept(7, 12) && !again.starts.accept(7, 13), "more was lost the second time");
        assert!(again.starts.accept(8, 12) && !again.starts.accept(8, 13));
        let grown = loaded.reloaded(9, 30);
        assert!(!grown.starts.accept(7, 15), "what was lost once stays lost");
        assert!(grown.starts.accept(8, 39) && !grown.starts.accept(8, 40));
    }

    #[test]
    fn two_starts_at_the_same_time_differ() {
        let id = |random| StartIds::at_start(1_800_000_000_999, random);
        assert_ne!(id([1, 0]), id([0, 1]));
        assert!(id([255, 255]) < StartIds::at_start(1_800_000_001_000, [0, 0]));
        assert!(StartIds::at_start(9_999_999_999_999, [255, 255]) < 1 << 53);
    }

    #[test]
    fn indexes_are_outdated_if_another_server_has_appended() {
        let twice = indexes().reloaded(8, 5);
        assert!([None, Some(7), Some(8)].iter().all(|id| !twice.is_outdated(*id)));
        assert!(twice.is_outdated(Some(9)));
    }

    #[test]
    fn a_start_id_is_never_used_twice() {
        let mut loaded = indexes();
        for _ in 0..20 {
            let before = loaded.starts.current();
            loaded = loaded.reloaded(7, 5);
            assert_ne!(loaded.starts.current(), before);
        }
        assert_eq!(loaded.starts.earlier.len(), MAX_EARLIER);
    }

    #[test]
    fn text_is_parsed_back_and_nothing_else_is_understood() {
        let twice = indexes().reloaded(8, 5).reloaded(-9, 6);
        assert_eq!(twice.to_text(), "10 -9 7:14 8:15");
        assert_eq!(HistoryIndexes::parse(&twice.to_text()), Some(twice));
        for bad in [
            "",
            "1",
            "x 1",
            "-1 1",
            "1 x",
            "1 2 3",
            "1 2 3:",
            "1 2 2:5",
            "1 2 3:4 3:5",
            "1 2 3:99999999999999999999",
        ] {
            assert_eq!(HistoryIndexes::parse(bad), None, "{bad}");
        }
        let many = "0 1 2:0 3:0 4:0 5:0 6:0 7:0 8:0 9:0";
        assert!(HistoryIndexes::parse(many).is_some());
        assert_eq!(HistoryIndexes::parse(&format!("{many} 10:0")), None);
    }
}
