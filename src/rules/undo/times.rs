//! Time marks: how long a history was at which time, to cut it back to a time.
//!
//! A mark is made before the first message of each second, so between two marks lies one second of traffic. Source:
//! docs/spec/session.md#cutting-back.

use std::collections::VecDeque;

/// Marks that are kept of a history, of 24 bytes each. With more, every second one of the older half is dropped, so
/// times long ago are less exact.
pub const MAX_MARKS: usize = 16 << 10;

/// How long a history was at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeMark {
    /// Milliseconds since 1970.
    pub utc_ms: i64,
    /// Number of messages from the beginning of the history.
    pub messages: u64,
    /// Their size in bytes.
    pub size: u64,
}

impl MarksWrite {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Whether the marks replace all that were written.
    pub fn replaces(&self) -> bool {
        self.from == 0 && !self.marks.is_empty()
    }
}

impl TimeMark {
    fn second(self) -> i64 {
        self.utc_ms.div_euclid(1000)
    }
}

/// Why a place in the history is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTime {
    /// There is nothing to cut yet.
    #[error("the session has not begun yet")]
    NotBegun,
    /// The session begins later; the time is that of its beginning, in milliseconds since 1970.
    #[error("the session begins later")]
    BeforeSession(i64),
    /// The history begins later; the time is that of its beginning, in milliseconds since 1970.
    #[error("the history begins later, with a reset; going back to before a reset may help")]
    TooEarly(i64),
    /// What came when is only known since this time, in milliseconds since 1970.
    #[error("what was drawn when is only known of later times")]
    Lost(i64),
}

/// How a history began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OriginKind {
    /// Nobody knows any more.
    #[default]
    Unknown = 0,
    /// A host or a template.
    Hosted = 1,
    /// A streamed reset.
    Streamed = 2,
    /// A reset that an operator's client made of the present canvas.
    Current = 3,
    /// A reset to an earlier canvas.
    Past = 4,
    /// A reset to another canvas.
    External = 5,
    /// A reset of an unknown kind.
    Reset = 6,
    /// The server went back to an earlier history, cut this one, or removed somebody from it.
    Restored = 7,
}

impl OriginKind {
    /// The kind of a number in a file.
    pub fn of_number(number: u8) -> Option<OriginKind> {
        use OriginKind::{Current, External, Hosted, Past, Reset, Restored, Streamed, Unknown};
        [Unknown, Hosted, Streamed, Current, Past, External, Reset, Restored]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// The kind of a `reset-session` command by its `type`.
    pub fn of_reset(kind: &str) -> OriginKind {
        match kind {
            "current" => OriginKind::Current,
            "past" => OriginKind::Past,
            "external" => OriginKind::External,
            _ => OriginKind::Reset,
        }
    }
}

/// How a history began, and from what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// How it began.
    pub kind: OriginKind,
    /// Size in bytes of the part of the previous history that its image was made of; `None` if it was made of
    /// something else.
    pub image_of: Option<u64>,
}

/// What is to be written of the marks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MarksWrite {
    /// How the history began.
    pub origin: Origin,
    /// Number of marks before the first of these; 0 means that they replace what was written.
    pub from: usize,
    /// The marks.
    pub marks: Vec<TimeMark>,
}

/// The time marks of a history.
///
/// **Invariants**
///
/// * The marks grow in time, number of messages and size; the first is where what can be cut begins: behind the image
///   of a reset or of the host.
/// * There are at most [`MAX_MARKS`].
#[derive(Debug, Clone, Default)]
pub struct TimeMarks {
    marks: VecDeque<TimeMark>,
    origin: Origin,
    /// How many of the first marks are stored.
    stored: usize,
}

impl TimeMarks {
    /// The marks of a history that was loaded.
    pub fn restored(marks: impl IntoIterator<Item = TimeMark>, origin: Origin) -> TimeMarks {
        let marks: VecDeque<TimeMark> = marks.into_iter().collect();
        TimeMarks { stored: marks.len(), marks, origin }
    }

    /// How the history began.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// There are none: nothing can be cut.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Oldest to newest.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TimeMark> {
        self.marks.iter()
    }

    /// The history is another one; what can be cut begins at this mark.
    pub fn begin(&mut self, mark: TimeMark, origin: Origin) {
        *self = TimeMarks { marks: VecDeque::from([mark]), origin, stored: 0 };
    }

    /// Something was appended behind this place; ignored if the second has a mark.
    pub fn note(&mut self, mark: TimeMark) {
        self.forget_later_than(mark);
        let Some(last) = self.marks.back() else { return };
        if mark.second() <= last.second() || mark.size < last.size || mark.messages < last.messages {
            return;
        }
        self.marks.push_back(mark);
        if self.marks.len() > MAX_MARKS {
            self.thin_out();
        }
    }

    /// The clock was set back if there are later marks: their times mean nothing any more.
    fn forget_later_than(&mut self, mark: TimeMark) {
        if self.marks.back().is_none_or(|last| last.second() <= mark.second()) {
            return;
        }
        let Some(first) = self.marks.front().copied() else { return };
        self.marks.retain(|kept| kept.second() <= mark.second());
        if self.marks.is_empty() {
            self.marks.push_back(TimeMark { utc_ms: mark.utc_ms, ..first });
        }
        self.stored = 0;
    }

    fn thin_out(&mut self) {
        let (mut at, half) = (0, self.marks.len() / 2);
        self.marks.retain(|_| {
            at += 1;
            at > half || at % 2 == 1
        });
        self.stored = 0;
    }

    /// A streamed reset has replaced what was before `fork` by an image that has the messages and size of `image`.
    pub fn forked(&mut self, fork: TimeMark, image: TimeMark) {
        let kept = self.marks.iter().filter(|mark| mark.size >= fork.size && mark.second() > fork.second());
        let moved = kept.map(|mark| TimeMark {
            utc_ms: mark.utc_ms,
            messages: mark.messages - fork.messages.min(mark.messages) + image.messages,
            size: mark.size - fork.size + image.size,
        });
        let moved: Vec<TimeMark> = moved.collect();
        self.marks = VecDeque::from([TimeMark { utc_ms: fork.utc_ms, ..image }]);
        self.marks.extend(moved);
        self.origin = Origin { kind: OriginKind::Streamed, image_of: Some(fork.size) };
        self.stored = 0;
    }

    /// The place that the history had reached at the end of the second of a time; `None` if nothing came later.
    ///
    /// # Errors
    /// When that is not known.
    pub fn at(&self, utc_ms: i64) -> Result<Option<TimeMark>, UnknownTime> {
        let first = self.marks.front().ok_or(UnknownTime::NotBegun)?;
        let second = utc_ms.div_euclid(1000);
        if second < first.second() {
            return Err(match self.origin.kind {
                OriginKind::Hosted => UnknownTime::BeforeSession(first.utc_ms),
                OriginKind::Unknown => UnknownTime::Lost(first.utc_ms),
                _ => UnknownTime::TooEarly(first.utc_ms),
            });
        }
        let later = self.marks.partition_point(|mark| mark.second() <= second);
        Ok(self.marks.get(later).copied())
    }

    /// When the message of this number came, in milliseconds since 1970; `None` if that is not known, or it is part of what
    /// the history began with.
    pub fn time_of(&self, message: u64) -> Option<i64> {
        let later = self.marks.partition_point(|mark| mark.messages <= message);
        Some(self.marks.get(later.checked_sub(1)?)?.utc_ms)
    }

    /// At most `count` marks, evenly spread over all, the first and the last among them.
    pub fn spread(&self, count: usize) -> Vec<TimeMark> {
        let last = self.marks.len().saturating_sub(1);
        let steps = last.min(count.saturating_sub(1)).max(1);
        let mut spread: Vec<TimeMark> =
            (0..=steps).filter_map(|step| self.marks.get(step * last / steps)).copied().collect();
        spread.dedup();
        spread
    }

    /// Has all stored anew: what was handed out may not have been written.
    pub fn store_anew(&mut self) {
        self.stored = 0;
    }

    /// Takes what is not stored yet. `all` for a new file.
    pub fn drain_unstored(&mut self, all: bool) -> MarksWrite {
        let from = if all { 0 } else { self.stored };
        self.stored = self.marks.len();
        MarksWrite { origin: self.origin, from, marks: self.marks.iter().skip(from).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(second: i64, messages: u64) -> TimeMark {
        TimeMark { utc_ms: second * 1000 + 250, messages, size: messages * 10 }
    }

    fn marks(list: &[(i64, u64)]) -> TimeMarks {
        let mut marks = TimeMarks::default();
        let (first, rest) = list.split_first().unwrap();
        marks.begin(mark(first.0, first.1), Origin { kind: OriginKind::Current, image_of: None });
        rest.iter().for_each(|(second, messages)| marks.note(mark(*second, *messages)));
        marks
    }

    fn messages_at(marks: &TimeMarks, second: i64) -> Result<Option<u64>, UnknownTime> {
        marks.at(second * 1000).map(|mark| mark.map(|mark| mark.messages))
    }

    #[test]
    fn a_time_means_the_end_of_its_second() {
        let marks = marks(&[(10, 3), (12, 5), (20, 9)]);
        assert_eq!(messages_at(&marks, 9), Err(UnknownTime::TooEarly(10_250)));
        for (second, expected) in [(10, Some(5)), (11, Some(5)), (12, Some(9)), (19, Some(9)), (20, None)] {
            assert_eq!(messages_at(&marks, second), Ok(expected), "{second}");
        }
        assert_eq!(messages_at(&TimeMarks::default(), 1), Err(UnknownTime::NotBegun));
    }

    #[test]
    fn the_reason_says_how_the_history_began() {
        for (kind, expected) in [
            (OriginKind::Hosted, UnknownTime::BeforeSession(10_250)),
            (OriginKind::Unknown, UnknownTime::Lost(10_250)),
            (OriginKind::Streamed, UnknownTime::TooEarly(10_250)),
        ] {
            let mut marks = TimeMarks::default();
            marks.begin(mark(10, 3), Origin { kind, image_of: None });
            assert_eq!(marks.at(9000), Err(expected));
        }
    }

    #[test]
    fn messages_came_in_the_second_of_the_mark_before_them() {
        let marks = marks(&[(10, 3), (12, 5), (20, 9)]);
        let seconds = [2, 3, 4, 5, 8, 9, 100].map(|n| marks.time_of(n).map(|ms| ms / 1000));
        assert_eq!(seconds, [None, Some(10), Some(10), Some(12), Some(12), Some(20), Some(20)]);
        assert_eq!(TimeMarks::default().time_of(1), None);
    }

    #[test]
    fn each_second_has_one_mark_also_when_the_clock_is_set_back() {
        let mut marks = marks(&[(10, 3), (10, 4), (11, 5)]);
        let seen = |marks: &TimeMarks| -> Vec<(i64, u64)> {
            marks.iter().map(|m| (m.utc_ms / 1000, m.messages)).collect()
        };
        marks.drain_unstored(false);
        marks.note(mark(10, 8));
        marks.note(mark(12, 9));
        assert_eq!(seen(&marks), [(10, 3), (12, 9)], "11 was of a clock that was ahead");
        assert_eq!(marks.drain_unstored(false).from, 0, "all are stored anew");
        marks.note(mark(7, 10));
        marks.note(mark(8, 11));
        assert_eq!(seen(&marks), [(7, 3), (8, 11)], "the beginning stays");
    }

    #[test]
    fn nothing_is_marked_before_the_beginning_is_known() {
        let mut marks = TimeMarks::default();
        marks.note(mark(1, 1));
        assert_eq!(marks.iter().len(), 0);
    }

    #[test]
    fn a_streamed_reset_moves_what_follows_its_fork() {
        let mut marks = marks(&[(10, 3), (12, 5), (14, 8), (15, 11)]);
        let (fork, image) = (mark(13, 6), TimeMark { utc_ms: 0, messages: 100, size: 5000 });
        marks.forked(fork, image);
        let moved = |second: i64, messages, size| TimeMark { utc_ms: second * 1000 + 250, messages, size };
        let expected = [moved(13, 100, 5000), moved(14, 102, 5020), moved(15, 105, 5050)];
        assert!(marks.iter().eq(&expected), "{marks:?}");
    }

    #[test]
    fn their_number_is_bounded_and_old_ones_are_dropped_evenly() {
        let list: Vec<(i64, u64)> = (0..200_000).map(|n| (n, n as u64)).collect();
        let marks = marks(&list);
        assert!(marks.iter().len() <= MAX_MARKS);
        assert_eq!(marks.iter().next(), Some(&mark(0, 0)));
        assert_eq!(marks.iter().last(), Some(&mark(199_999, 199_999)));
        let grows = |a: &TimeMark, b: &TimeMark| a.messages < b.messages && a.utc_ms < b.utc_ms;
        assert!(marks.iter().zip(marks.iter().skip(1)).all(|(a, b)| grows(a, b)));
        assert_eq!(messages_at(&marks, 199_000), Ok(Some(199_001)), "the newest are exact");
    }

    fn drained(marks: &mut TimeMarks) -> (usize, Vec<TimeMark>) {
        let write = marks.drain_unstored(false);
        (write.from, write.marks)
    }

    #[test]
    fn what_is_not_stored_is_handed_out_once() {
        let mut marks = marks(&[(10, 3), (12, 5)]);
        assert_eq!(drained(&mut marks), (0, vec![mark(10, 3), mark(12, 5)]));
        assert_eq!(drained(&mut marks), (2, Vec::new()));
        marks.note(mark(13, 7));
        assert_eq!(drained(&mut marks), (2, vec![mark(13, 7)]));
        assert_eq!(marks.drain_unstored(true).marks.len(), 3, "a new file has all");
        marks.begin(mark(20, 1), Origin::default());
        assert_eq!(drained(&mut marks), (0, vec![mark(20, 1)]));
    }

    #[test]
    fn kinds_are_numbered_for_files() {
        for number in 0..=7 {
            assert_eq!(OriginKind::of_number(number).map(|kind| kind as u8), Some(number));
        }
        assert_eq!(OriginKind::of_number(8), None);
    }

    #[test]
    fn a_few_are_spread_over_all() {
        let list: Vec<(i64, u64)> = (0..1000).map(|n| (n, n as u64)).collect();
        let spread = marks(&list).spread(5);
        let seconds: Vec<i64> = spread.iter().map(|mark| mark.utc_ms / 1000).collect();
        assert_eq!(seconds, [0, 249, 499, 749, 999]);
        assert_eq!(marks(&[(7, 1)]).spread(5), [mark(7, 1)]);
        assert!(TimeMarks::default().spread(5).is_empty());
    }
}
