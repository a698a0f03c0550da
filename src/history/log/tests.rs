use drawhall_protocol::Frame;
use proptest::prelude::*;

use super::*;
use crate::history::Read;

fn message(n: u8, len: usize) -> Bytes {
    Frame::new(148, n, &vec![n; len]).unwrap().into_bytes()
}

fn open() -> History {
    let mut history = History::default();
    history.set_publishing(true);
    history
}

fn read_all(cursor: &mut Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    while matches!(cursor.read(1000, &mut out), Read::Some) {}
    out.concat()
}

#[test]
fn readers_see_only_what_is_published() {
    let mut history = open();
    let mut cursor = history.cursor(i64::MIN);
    history.append(&message(1, 3), 1).unwrap();
    assert!(history.has_unpublished());
    assert!(read_all(&mut cursor).is_empty());
    history.publish();
    assert_eq!(read_all(&mut cursor), message(1, 3));
    assert_eq!((history.size(), history.first_index(), history.last_index()), (7, 0, 0));
}

#[test]
fn reads_end_at_message_boundaries() {
    let mut history = open();
    let image: Vec<u8> = (0..100).flat_map(|n| message(n, 1000 + usize::from(n))).collect();
    history.reset(&image, 100).unwrap();
    history.publish();
    for limit in [1, 10, 1003, 1004, 5000, 1 << 20] {
        let mut cursor = history.cursor(i64::MIN);
        let (mut all, mut out) = (Vec::new(), Vec::new());
        while matches!(cursor.read(limit, &mut out), Read::Some) {
            let read = std::mem::take(&mut out).concat();
            assert_eq!(drawhall_protocol::frame::whole_frames_len(&read), read.len(), "limit {limit}");
            assert!(read.len() <= 2 * limit + 1200, "limit {limit}: {}", read.len());
            all.extend(read);
        }
        assert_eq!((all, cursor.messages()), (image.clone(), 100), "limit {limit}");
    }
}

#[test]
fn readers_see_nothing_while_publishing_is_off() {
    let mut history = History::default();
    let mut cursor = history.cursor(i64::MIN);
    history.append(&message(1, 300_000 % 65_000), 1).unwrap();
    history.publish();
    assert!(read_all(&mut cursor).is_empty());
    history.set_publishing(true);
    history.publish();
    assert!(!read_all(&mut cursor).is_empty());
}

#[test]
fn appends_beyond_the_limit_are_refused_except_in_the_emergency_space() {
    let mut history = open();
    history.set_limit(10);
    assert_eq!(history.append(&message(1, 7), 1), Err(OutOfSpace));
    assert_eq!(history.append(&message(1, 6), 1), Ok(()));
    assert_eq!(history.append_emergency(&message(1, 0), 1, EMERGENCY_BYTES), Ok(()));
    let large = vec![0; EMERGENCY_BYTES as usize];
    assert_eq!(history.append_emergency(&large, 1, EMERGENCY_BYTES), Err(OutOfSpace));
    assert_eq!(history.reset(&message(1, 7), 1), Err(OutOfSpace));
    assert_eq!(history.size(), 14);
}

#[test]
fn the_emergency_space_is_limited_without_a_size_limit_and_while_the_server_is_full() {
    let mut history = open();
    history.set_server_full(true);
    let frame = message(1, 1000);
    let fill = |history: &mut History, reserve: u64| {
        (0..2000).filter(|_| history.append_emergency(&frame, 1, reserve).is_ok()).count()
    };
    assert_eq!(fill(&mut history, EMERGENCY_BYTES / 2), 522);
    assert_eq!(fill(&mut history, EMERGENCY_BYTES), 522, "the other half");
    history.reset(&[], 0).unwrap();
    assert_eq!(fill(&mut history, EMERGENCY_BYTES), 1044, "again after a reset");
    history.set_server_full(false);
    history.set_server_full(true);
    assert_eq!(fill(&mut history, EMERGENCY_BYTES), 1044, "and when the server was out of space again");
}

#[test]
fn after_a_reset_cursors_read_nothing_until_they_follow() {
    let mut history = open();
    let mut cursor = history.cursor(i64::MIN);
    history.append(&message(1, 3), 1).unwrap();
    history.publish();
    history.reset(&message(2, 2), 1).unwrap();
    history.publish();
    assert!(read_all(&mut cursor).is_empty());
    cursor.follow_reset(history.epoch());
    assert_eq!(read_all(&mut cursor), message(2, 2));
    assert_eq!((history.size(), history.first_index(), history.last_index()), (6, 1, 1));
    assert_eq!(read_all(&mut history.cursor(i64::MIN)), message(2, 2));
}

#[test]
fn a_streamed_reset_keeps_cursors_and_starts_new_ones_at_the_snapshot() {
    let mut history = open();
    let mut old = history.cursor(i64::MIN);
    history.append(&[message(1, 3), message(2, 4)].concat(), 2).unwrap();
    history.publish();
    read_all(&mut old);
    let fork = history.seal_at_fork();
    history.append(&message(3, 5), 1).unwrap();
    let staged = message(9, 1);
    assert_eq!(history.replace_prefix(fork, 1, &staged, 1), Ok(2));
    history.append(&message(4, 1), 1).unwrap();
    history.publish();
    let since = [message(3, 5), message(4, 1)].concat();
    assert_eq!(read_all(&mut old), since);
    assert_eq!(read_all(&mut history.cursor(i64::MIN)), [staged.to_vec(), since].concat());
    assert_eq!((history.first_index(), history.last_index()), (3, 5));
    assert_eq!(history.size(), 5 + 9 + 5);
}

#[test]
fn a_streamed_reset_that_does_not_fit_changes_nothing() {
    let mut history = open();
    history.append(&message(1, 3), 1).unwrap();
    let fork = history.seal_at_fork();
    history.set_limit(8);
    assert_eq!(history.replace_prefix(fork, 0, &message(9, 9), 1), Err(OutOfSpace));
    assert_eq!(history.to_bytes(), message(1, 3));
}

#[test]
fn offset_after_returns_the_offset_behind_a_message() {
    let mut history = open();
    for n in 0..5 {
        history.append(&message(n, n.into()), 1).unwrap();
        history.publish();
    }
    assert_eq!(history.offset_after(-1), None);
    assert_eq!(history.offset_after(0), Some(4));
    assert_eq!(history.offset_after(2), Some(15));
    assert_eq!(history.offset_after(4), Some(history.end()));
    assert_eq!(history.offset_after(5), None);
}

#[test]
fn many_small_publications_become_few_segments() {
    let mut history = open();
    for n in 0..2000u32 {
        history.append(&message(n as u8, 1000), 1).unwrap();
        history.publish();
    }
    assert!(lock(&history.shared.state).segments.len() < 140);
    assert_eq!(history.to_bytes().len(), 2000 * 1004);
    assert_eq!(history.offset_after(1999), Some(2000 * 1004));
}

#[test]
fn a_subscription_reports_publications_and_the_end_of_the_log() {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let mut history = open();
    let cursor = history.cursor(i64::MIN);
    let subscription = cursor.subscribe();
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pin!(subscription.published()).poll(&mut context), Poll::Pending);
    for _ in 0..2 {
        history.append(&message(1, 1), 1).unwrap();
        history.publish();
    }
    assert_eq!(pin!(subscription.published()).poll(&mut context), Poll::Ready(true));
    assert_eq!(pin!(subscription.published()).poll(&mut context), Poll::Pending);
    drop((history, cursor));
    assert_eq!(pin!(subscription.published()).poll(&mut context), Poll::Ready(false));
}

#[test]
fn a_cursor_inside_a_message_starts_at_the_beginning() {
    let mut history = open();
    history.append(&[message(1, 30), message(2, 40)].concat(), 2).unwrap();
    history.publish();
    let fork = history.seal_at_fork();
    history.append(&message(3, 5), 1).unwrap();
    history.publish();
    // What was before the fork is a staged snapshot with other messages now.
    history.replace_prefix(fork, 1, &[message(8, 20), message(9, 300)].concat(), 2).unwrap();
    history.append(&message(4, 7), 1).unwrap();
    for unpublished in [true, false] {
        if !unpublished {
            history.publish();
        }
        let all = history.to_bytes();
        let boundaries: Vec<usize> =
            frames(&all).scan(0, |at, f| Some(std::mem::replace(at, *at + f.bytes.len()))).collect();
        let mut from_start = 0;
        for offset in history.start() - 10..history.end() + 10 {
            let mut cursor = history.cursor(offset);
            history.publish();
            let skip = usize::try_from(offset - history.start()).ok();
            let from = skip.filter(|skip| *skip == all.len() || boundaries.contains(skip)).unwrap_or(0);
            assert_eq!(read_all(&mut cursor), all[from..], "at {offset}");
            from_start += usize::from(from == 0);
        }
        assert_eq!(from_start, all.len() + 20 - 4, "four boundaries besides the beginning");
    }
}

#[test]
fn reading_from_inside_a_message_returns_lost() {
    let mut history = open();
    let mut cursor = history.cursor(i64::MIN);
    history.append(&[message(1, 300), message(2, 400)].concat(), 2).unwrap();
    history.publish();
    history.seal_at_fork();
    history.append(&message(3, 5), 1).unwrap();
    history.publish();
    cursor.position().store(5, Ordering::Release);
    let mut out = Vec::new();
    let reads: Vec<Read> = (0..10).map(|_| cursor.read(1000, &mut out)).collect();
    assert!(reads.iter().any(|r| matches!(r, Read::Lost)), "{reads:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8, usize),
    Publish,
    Read(usize),
    Reset,
    Fork,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u8>(), 0usize..40_000).prop_map(|(n, len)| Step::Append(n, len)),
        4 => Just(Step::Publish),
        4 => (1usize..60_000).prop_map(Step::Read),
        1 => Just(Step::Reset),
        1 => Just(Step::Fork),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Compares the log with a plain list of messages. A reader that started first reads every message once, in order,
    /// since the last reset.
    #[test]
    fn the_log_agrees_with_a_plain_list(steps in steps()) {
        let mut history = open();
        let mut cursor = history.cursor(i64::MIN);
        let mut list: Vec<Bytes> = Vec::new();
        let mut read: Vec<u8> = Vec::new();
        let mut expected_by_reader: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Append(n, len) => {
                    let message = message(n, len);
                    history.append(&message, 1).unwrap();
                    expected_by_reader.extend_from_slice(&message);
                    list.push(message);
                }
                Step::Publish => history.publish(),
                Step::Read(limit) => {
                    let mut out = Vec::new();
                    cursor.read(limit, &mut out);
                    read.extend(out.concat());
                }
                Step::Reset => {
                    list = vec![message(7, 7)];
                    history.reset(&message(7, 7), 1).unwrap();
                    cursor.follow_reset(history.epoch());
                    read.clear();
                    expected_by_reader = message(7, 7).to_vec();
                }
                Step::Fork => {
                    history.publish();
                    let mut out = Vec::new();
                    while matches!(cursor.read(usize::MAX, &mut out), Read::Some) {}
                    read.extend(out.concat());
                    let fork = history.seal_at_fork();
                    history.replace_prefix(fork, 0, &message(8, 8), 1).unwrap();
                    list = vec![message(8, 8)];
                }
            }
            prop_assert_eq!(history.to_bytes(), list.concat());
            prop_assert_eq!(history.size() as usize, list.iter().map(Bytes::len).sum::<usize>());
            prop_assert_eq!(history.last_index() - history.first_index() + 1, list.len() as i64);
            prop_assert!(expected_by_reader.starts_with(&read));
        }
        history.publish();
        read.extend(read_all(&mut cursor));
        prop_assert_eq!(read, expected_by_reader);
        prop_assert_eq!(read_all(&mut history.cursor(i64::MIN)), list.concat());
    }

    /// From any position, valid or not, reading ends and does not panic.
    #[test]
    fn reading_from_any_position_ends_without_panic(
        sizes in prop::collection::vec(0usize..40_000, 1..20),
        staged in prop::collection::vec(0usize..400, 1..5),
        at in any::<prop::sample::Index>(),
        forks in any::<bool>(),
    ) {
        let mut history = open();
        let mut cursor = history.cursor(i64::MIN);
        for (n, size) in sizes.iter().enumerate() {
            history.append(&message(n as u8, *size), 1).unwrap();
            history.publish();
            if forks && n == sizes.len() / 2 {
                let fork = history.seal_at_fork();
                let image: Vec<u8> = staged.iter().flat_map(|len| message(9, *len)).collect();
                history.replace_prefix(fork, 0, &image, staged.len() as u64).unwrap();
            }
        }
        let position = history.start() - 10 + at.index(history.size() as usize + 20) as i64;
        cursor.position().store(position, Ordering::Release);
        let mut out = Vec::new();
        let reads = (0..1000).take_while(|_| matches!(cursor.read(1000, &mut out), Read::Some)).count();
        prop_assert!(reads < 1000);
        let mut fresh = history.cursor(position);
        let read = read_all(&mut fresh);
        prop_assert!(history.to_bytes().ends_with(&read));
    }
}
