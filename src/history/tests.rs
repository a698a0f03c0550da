//! One writer and many readers, in every interleaving of their threads.
//!
//!     cargo test --lib --features loom history::tests

use std::sync::atomic::Ordering;

use bytes::Bytes;
use drawhall_protocol::Frame;
use loom::future::block_on;
use loom::thread;

use super::*;

/// Maximum number of preemptions: more find nothing new and take hours.
const PREEMPTIONS: usize = 6;

fn every_interleaving(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

fn message(n: u8) -> Bytes {
    Frame::new(148, n, &[n; 3]).unwrap().into_bytes()
}

fn open() -> History {
    let mut history = History::default();
    history.set_publishing(true);
    history
}

/// Reads once, without waiting.
fn read(cursor: &mut Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    cursor.read(1000, &mut out);
    out.concat()
}

/// Reads until there are `len` bytes, waiting for publications.
fn read_all(cursor: &mut Cursor, subscription: &std::sync::Arc<Subscription>, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        all.extend(read(cursor));
        if all.len() >= len || !block_on(subscription.published()) {
            return all;
        }
    }
}

#[test]
fn a_waiting_reader_misses_no_publication() {
    every_interleaving(|| {
        let mut history = open();
        let mut cursor = history.cursor(i64::MIN);
        let subscription = cursor.subscribe();
        let writer = thread::spawn(move || {
            for n in 1..=2 {
                history.append(&message(n), 1).unwrap();
                history.publish();
            }
            history
        });
        let expected = [message(1), message(2)].concat();
        assert_eq!(read_all(&mut cursor, &subscription, expected.len()), expected);
        writer.join().unwrap();
    });
}

#[test]
fn all_readers_read_the_same_messages_in_order() {
    every_interleaving(|| {
        let mut history = open();
        let readers = [history.cursor(i64::MIN), history.cursor(i64::MIN)].map(|mut cursor| {
            thread::spawn(move || {
                let mut all = read(&mut cursor);
                all.extend(read(&mut cursor));
                all
            })
        });
        history.append(&message(1), 1).unwrap();
        history.publish();
        history.append(&message(2), 1).unwrap();
        history.publish();
        let whole = [message(1), message(2)].concat();
        for reader in readers {
            let read = reader.join().unwrap();
            assert!(whole.starts_with(&read) && read.len() % message(1).len() == 0, "{read:?}");
        }
    });
}

#[test]
fn a_waiting_reader_learns_of_the_end() {
    every_interleaving(|| {
        let mut history = open();
        let mut cursor = history.cursor(i64::MIN);
        let subscription = cursor.subscribe();
        let writer = thread::spawn(move || {
            history.append(&message(1), 1).unwrap();
            history.publish();
            // From now on only the reader holds the log.
            drop(history);
        });
        let all = read_all(&mut cursor, &subscription, message(1).len());
        assert_eq!(all, message(1));
        writer.join().unwrap();
        cursor.unsubscribe(&subscription);
        // A publication may still be pending; after it comes the end. Loom would report a wait without end.
        while block_on(subscription.published()) {}
    });
}

#[test]
fn after_a_reset_readers_read_nothing_until_they_follow() {
    every_interleaving(|| {
        let mut history = open();
        history.append(&message(1), 1).unwrap();
        history.publish();
        let mut cursor = history.cursor(i64::MIN);
        let writer = thread::spawn(move || {
            history.reset(&message(9), 1).unwrap();
            history.publish();
            history
        });
        let before = read(&mut cursor);
        assert!(before.is_empty() || before == message(1), "nothing of the new content: {before:?}");
        let history = writer.join().unwrap();
        assert!(read(&mut cursor).is_empty());
        cursor.follow_reset(history.epoch());
        assert_eq!(read(&mut cursor), message(9));
    });
}

#[test]
fn a_streamed_reset_under_a_reader_loses_and_repeats_nothing() {
    every_interleaving(|| {
        let mut history = open();
        history.append(&message(1), 1).unwrap();
        history.publish();
        let mut cursor = history.cursor(i64::MIN);
        let position = cursor.position();
        let fork = history.seal_at_fork();
        history.append(&message(2), 1).unwrap();
        history.publish();
        let writer = thread::spawn(move || {
            // It is applied only if the reader has passed the fork.
            let passed = position.load(Ordering::Acquire) >= fork;
            if passed {
                history.replace_prefix(fork, 1, &message(9), 1).unwrap();
            }
            history.append(&message(3), 1).unwrap();
            history.publish();
            (history, passed)
        });
        let mut received = read(&mut cursor);
        received.extend(read(&mut cursor));
        let (history, passed) = writer.join().unwrap();
        received.extend(read(&mut cursor));
        assert_eq!(received, [message(1), message(2), message(3)].concat());
        let first = if passed { message(9) } else { message(1) };
        let newcomer = read(&mut history.cursor(i64::MIN));
        assert_eq!(newcomer, [first, message(2), message(3)].concat());
    });
}
