//! Cost of messages on their way through the session rules and the history, without sockets.
//!
//! `cargo bench` prints one line per measurement: nanoseconds per unit of work, the best of several rounds. Compare
//! lines of one run, or of runs on the same idle machine.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use drawhall::config::ServerSettings;
use drawhall::history::{History, Read};
use drawhall::rules::batch::Batch;
use drawhall::rules::rng::Rng;
use drawhall::rules::session::WriteBatch;
use drawhall::rules::session::{AuthenticatedClient, Cx, SessionMachine};
use drawhall::rules::time::Timestamp;
use drawhall::rules::undo::cut::cut_back;
use drawhall::rules::undo::rebuild::Plan;
use drawhall::rules::undo::times::TimeMark;
use drawhall::storage::session_dir::SessionDir;
use drawhall::storage::session_files::SessionFiles;
use drawhall_protocol::command::Host;
use drawhall_protocol::frame::{frames, set_user_of_all, whole_frames_len};
use drawhall_protocol::message::Layout;
use drawhall_protocol::{Frame, ProtocolVersion};

const ROUNDS: usize = 7;
const MESSAGES: usize = 10_000;

fn strokes(size: usize) -> Vec<u8> {
    Frame::new(148, 1, &vec![7; size]).unwrap().as_bytes().repeat(MESSAGES)
}

/// Prints the best time of `work`, divided by its number of `units`.
fn measure<S>(name: &str, units: usize, set_up: impl Fn() -> S, mut work: impl FnMut(S)) {
    let best = (0..ROUNDS).map(|_| {
        let state = set_up();
        let begin = Instant::now();
        work(state);
        begin.elapsed()
    });
    let best = best.min().unwrap_or_default();
    println!("{name:<48} {:>9.2} ns", best.as_nanos() as f64 / units as f64);
}

fn running_session() -> SessionMachine {
    let now = Timestamp::now();
    let version = ProtocolVersion::current();
    let mut machine =
        SessionMachine::new(ServerSettings::default(), "id".into(), String::new(), version, "A".into(), now);
    let client = AuthenticatedClient { conn: 1, ..AuthenticatedClient::default() };
    let mut rng = Rng::unseeded();
    let mut cx = Cx::new(now, &mut rng);
    machine.set_up(&Host::default(), &client);
    machine.host(client, 1, &mut cx);
    let complete = Frame::new(0, 0, br#"{"cmd":"init-complete"}"#).unwrap();
    machine.batch(1, Batch::new(complete.as_bytes().to_vec()), &mut cx);
    machine
}

fn main() {
    let bytes = strokes(60);
    measure(
        "walk frames, a message",
        MESSAGES,
        || (),
        |()| {
            black_box(whole_frames_len(black_box(&bytes)));
        },
    );
    measure("reader: split off and measure frames, a message", MESSAGES, Vec::new, |mut partial| {
        black_box(Batch::split_off(&mut partial, black_box(&bytes)));
    });
    measure(
        "overwrite user ids, a message",
        MESSAGES,
        || bytes.clone(),
        |mut bytes| {
            set_user_of_all(black_box(&mut bytes), 9);
        },
    );
    measure(
        "session: a batch of strokes, a message",
        MESSAGES,
        || (running_session(), Batch::new(bytes.clone())),
        |(mut m, batch)| {
            let mut rng = Rng::unseeded();
            m.batch(1, batch, &mut Cx::new(Timestamp::now(), &mut rng));
            black_box(m);
        },
    );
    const READERS: usize = 50;
    const GATHERED: usize = 100;
    let unit = 64 * GATHERED;
    measure("history: fan-out, a delivery", MESSAGES * READERS, History::default, |mut history| {
        history.set_publishing(true);
        let mut readers: Vec<_> = (0..READERS).map(|_| history.cursor(0)).collect();
        let mut out = Vec::new();
        for batch in bytes.chunks(unit) {
            history.append(batch, GATHERED as u64).unwrap();
            history.publish();
            for reader in &mut readers {
                reader.read(usize::MAX, &mut out);
                black_box(&out);
                out.clear();
            }
        }
    });
    let large = strokes(1000);
    let full = || {
        let mut history = History::default();
        history.set_publishing(true);
        history.append(&large, frames(&large).count() as u64).unwrap();
        history.publish();
        history
    };
    measure("history: catch-up, a kilobyte", large.len() / 1024, full, |history| {
        let mut reader = history.cursor(0);
        let mut out = Vec::new();
        while matches!(reader.read(256 << 10, &mut out), Read::Some) {}
        black_box(out);
    });
    removal();
    stored();
}

/// What removing a person costs: undo is resolved, then it is decided what stays.
fn removal() {
    let frame = |kind, user, payload: &[u8]| Frame::new(kind, user, payload).unwrap();
    let mut history = frame(32, 1, b"\0\x01A").as_bytes().to_vec();
    for action in 0..MESSAGES / 20 {
        let user = (action % 2) as u8 + 1;
        history.extend_from_slice(frame(128, user, &[]).as_bytes());
        history.extend(frame(148, user, &[7; 90]).as_bytes().repeat(19));
    }
    let history = history.as_slice();
    measure(
        "undo: plan to remove a person, a message",
        MESSAGES,
        || (),
        |()| {
            black_box(Plan::new(black_box(history), Layout::V4_25, 0, 0, None).unwrap());
        },
    );
    let half = frames(history).take(MESSAGES / 2);
    let size = half.map(|frame| frame.bytes.len() as u64).sum();
    let mark = TimeMark { utc_ms: 0, messages: MESSAGES as u64 / 2, size };
    measure(
        "undo: report of a cut to a time, a message",
        MESSAGES,
        || (),
        |()| {
            black_box(cut_back(black_box(history), Layout::V4_25, mark, false).unwrap());
        },
    );
}

/// Measurements with a history file.
fn stored() {
    const BATCHES: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let dir = SessionDir::open(directory.path(), Duration::from_secs(1)).unwrap();
    let number = Cell::new(0);
    let write = |history: &mut History, files: &mut SessionFiles| {
        let batch = WriteBatch { history: history.unstored(), ..WriteBatch::default() };
        files.perform(batch).stored.into_iter().for_each(|stored| history.stored(stored));
        history.publish();
    };
    let batch = &strokes(60)[..32 * 64];
    let session = || {
        number.set(number.get() + 1);
        let mut history = History::default();
        history.store();
        history.set_publishing(true);
        history.append(batch, 32).unwrap();
        let mut files = dir.create(&format!("s{}", number.get()), ProtocolVersion::dp(4, 24, 0)).unwrap();
        write(&mut history, &mut files);
        (history, files)
    };
    measure("stored: write a batch of 2 KiB, a batch", BATCHES, session, |(mut history, mut files)| {
        for _ in 0..BATCHES {
            history.append(batch, 32).unwrap();
            write(&mut history, &mut files);
        }
    });
}
