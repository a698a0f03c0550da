//! Cost of messages on their way through the session rules and the history, without sockets.
//!
//! `cargo bench` prints one line per measurement: nanoseconds per unit of work, the best of several rounds. Compare
//! lines of one run, or of runs on the same idle machine.
//!
//! `.ci/instructions` counts instructions instead: `--once NAME` does the work of one measurement once, `--set-up NAME`
//! only what precedes it, and the difference is compared with `benches/instructions.txt`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::cell::Cell;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use drawhall::config::{Rules, ServerSettings};
use drawhall::db::{Database, LogRow};
use drawhall::history::{History, Read};
use drawhall::rules::batch::Batch;
use drawhall::rules::login::{Arrival, LoginEffect, LoginInput, LoginMachine, LoginSource};
use drawhall::rules::rng::Rng;
use drawhall::rules::session::WriteBatch;
use drawhall::rules::session::input::Input;
use drawhall::rules::session::{AuthenticatedClient, ConnId, Cx, JoinRequest, SessionMachine};
use drawhall::rules::sighting::Sighting;
use drawhall::rules::time::Timestamp;
use drawhall::rules::undo::cut::cut_back;
use drawhall::rules::undo::rebuild::{Plan, Removal};
use drawhall::rules::undo::times::TimeMark;
use drawhall::storage::session_dir::SessionDir;
use drawhall::storage::session_files::SessionFiles;
use drawhall_protocol::command::{Host, RawCommand};
use drawhall_protocol::frame::{frames, set_user_of_all, whole_frames_len};
use drawhall_protocol::message::Layout;
use drawhall_protocol::{Frame, ProtocolVersion};

const ROUNDS: usize = 7;
const MESSAGES: usize = 10_000;

fn strokes(size: usize) -> Vec<u8> {
    Frame::new(148, 1, &vec![7; size]).unwrap().as_bytes().repeat(MESSAGES)
}

/// What is done with each measurement.
enum Mode {
    /// Its time is printed.
    Time,
    /// The one of this name is done once.
    Once(String),
    /// The one of this name is prepared only.
    SetUp(String),
}

fn mode() -> &'static Mode {
    static MODE: OnceLock<Mode> = OnceLock::new();
    MODE.get_or_init(|| {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (Some("--once"), Some(name)) => Mode::Once(name),
            (Some("--set-up"), Some(name)) => Mode::SetUp(name),
            // `cargo bench` gives an argument of its own.
            _ => Mode::Time,
        }
    })
}

/// Prints the best time of `work`, divided by its number of `units`.
fn measure<S>(name: &str, units: usize, set_up: impl Fn() -> S, mut work: impl FnMut(S)) {
    match mode() {
        Mode::Time => {}
        Mode::Once(wanted) if wanted == name => return work(set_up()),
        Mode::SetUp(wanted) if wanted == name => return drop(black_box(set_up())),
        Mode::Once(_) | Mode::SetUp(_) => return,
    }
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
    logins();
    records();
    removal();
    stored();
}

/// Clients that identify, join a session and leave, one after the other.
fn logins() {
    const LOGINS: usize = 500;
    let set_up = || (running_session(), Arc::new(Rules::default()));
    measure("login: identify, join and leave, a client", LOGINS, set_up, |(mut machine, rules)| {
        let mut rng = Rng::unseeded();
        for n in 0..LOGINS {
            let conn = n as ConnId + 2;
            let request = request_of(&rules, conn).expect("a guest may join");
            for input in [Input::Join(request), Input::Leave(conn)] {
                let mut cx = Cx::new(Timestamp::now(), &mut rng);
                machine.handle(input, &mut cx);
                black_box(cx.effects);
            }
        }
        black_box(machine);
    });
}

/// The request to join with which a guest's login ends.
fn request_of(rules: &Arc<Rules>, conn: ConnId) -> Option<Box<JoinRequest>> {
    let arrival = Arrival {
        conn,
        address: "192.0.2.7".parse().unwrap(),
        browser: false,
        encrypted: false,
        must_encrypt: false,
        proxied: false,
        rng_seed: 7,
        utc_ms: 0,
    };
    let (mut machine, greeting) = LoginMachine::new(rules.clone(), &arrival);
    black_box(greeting);
    let mut source = LoginSource::new(&arrival);
    let command = |json: &str| LoginInput::Command(RawCommand::parse(json.as_bytes()));
    let inputs = [
        command(&format!(r#"{{"cmd":"ident","args":["guest{conn}"]}}"#)),
        command(&format!(r#"{{"cmd":"join","args":["id"],"kwargs":{{"s":"{conn:032x}"}}}}"#)),
        LoginInput::SessionFound(Some(("id".into(), ProtocolVersion::current()))),
    ];
    let mut request = None;
    for input in inputs {
        let mut cx = source.cx();
        machine.handle(input, &mut cx);
        for effect in cx.effects {
            match effect {
                LoginEffect::Send(reply) => drop(black_box(reply.to_frame().unwrap())),
                LoginEffect::Join(wanted) => request = Some(wanted),
                effect => drop(black_box(effect)),
            }
        }
    }
    request
}

/// What is written to the database about each client.
fn records() {
    const RECORDS: usize = 640;
    let directory = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    let database = || {
        number.set(number.get() + 1);
        let database = Database::open(&directory.path().join(format!("{}.db", number.get()))).unwrap();
        // The first of each prepares statements.
        database.append_log(&[log_row(0)]).unwrap();
        database.record_sightings(&[sighting(0)]).unwrap();
        database
    };
    let with_rows = || (database(), (0..RECORDS).map(log_row).collect::<Vec<_>>());
    measure("database: an entry of the log", RECORDS, with_rows, |(database, rows)| {
        rows.chunks(10).for_each(|rows| database.append_log(rows).unwrap());
    });
    let with_sightings = || (database(), (0..RECORDS).map(sighting).collect::<Vec<_>>());
    measure("database: somebody who was seen", RECORDS, with_sightings, |(database, seen)| {
        seen.chunks(10).for_each(|seen| database.record_sightings(seen).unwrap());
    });
}

fn log_row(n: usize) -> LogRow {
    LogRow {
        timestamp: "2026-11-27T12:00:00Z".into(),
        level: 2,
        topic: "Join".into(),
        user: format!("2;192.0.2.7;guest{n}"),
        session: "01jdz4y0000000000000000000".into(),
        message: "Joined session".into(),
    }
}

fn sighting(n: usize) -> Sighting {
    Sighting {
        device: format!("{n:032x}"),
        account: String::new(),
        name: format!("guest{n}"),
        address: "192.0.2.7".into(),
        session: "01jdz4y0000000000000000000".into(),
        title: "A session".into(),
        at_ms: 1_795_000_000_000 + n as i64,
        joined: true,
    }
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
            black_box(Plan::new(black_box(history), Layout::V4_25, 0, Removal::default()).unwrap());
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
