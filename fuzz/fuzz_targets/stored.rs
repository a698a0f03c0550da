//! Arbitrary journals and history files are loaded or refused, and a loaded session works.
#![no_main]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use drawhall::config::ServerSettings;
use drawhall::rules::metadata::Metadata;
use drawhall::rules::rng::Rng;
use drawhall::rules::session::write_batch::KeepGenerations;
use drawhall::rules::session::{ClientOp, Cx, Effect, JoinRequest, SessionMachine};
use drawhall::rules::time::Timestamp;
use drawhall::storage::session_dir::{LoadedSession, SessionDir};
use drawhall_fuzz::client;
use drawhall_protocol::Frame;
use drawhall_protocol::frame::whole_frames_len;
use libfuzzer_sys::fuzz_target;

const ID: &str = "01m7yb20cwcey0pp6xwhx30djk";

#[derive(Debug, Arbitrary)]
struct Input {
    journal: Vec<u8>,
    good_header: bool,
    messages: Vec<(u8, u8, Vec<u8>)>,
    tail: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let replay = Metadata::replay(&input.journal);
    assert!(replay.warnings.len() <= 2 * input.journal.len() + 2);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).expect("a directory");
    let mut journal = format!("FILE {ID}.dprec\n").into_bytes();
    journal.extend_from_slice(&input.journal);
    let mut history = Vec::new();
    if input.good_header {
        let metadata = br#"{"version":"dp:4.25.1"}"#;
        history.extend_from_slice(b"DPREC\0\0");
        history.push(metadata.len() as u8);
        history.extend_from_slice(metadata);
    }
    for (kind, user, payload) in &input.messages {
        let frame = Frame::new(*kind, *user, payload).expect("short");
        history.extend_from_slice(frame.as_bytes());
    }
    history.extend_from_slice(&input.tail);
    std::fs::write(directory.path().join(format!("{ID}.session")), journal).expect("write");
    std::fs::write(directory.path().join(format!("{ID}.dprec")), history).expect("write");
    let session_dir = SessionDir::open(directory.path(), Duration::from_secs(3600)).expect("opens");
    let mut listed = 0;
    session_dir
        .list(false, KeepGenerations { count: 2, min_free: 0, needs_newest: false }, |_| listed += 1)
        .expect("lists");
    join_and_read(&session_dir);
    session_dir.close();
});

/// A client joins the loaded session and reads its history.
fn join_and_read(session_dir: &Arc<SessionDir>) {
    let Ok(loaded) = session_dir.load(ID) else { return };
    let now = Timestamp { monotonic_ms: 1_000_000, utc_ms: 1_795_241_572_000 };
    let mut rng = Rng::unseeded();
    let mut cx = Cx::new(now, &mut rng);
    let LoadedSession { session, mut store } = loaded;
    let mut machine = SessionMachine::restored(ServerSettings::default(), session, None, &mut cx);
    let request = JoinRequest { client: client(7), ..JoinRequest::default() };
    machine.join(request, &mut cx);
    let result = store.perform(machine.drain_writes());
    assert!(result.error.is_none(), "there is room");
    for effect in cx.effects {
        if let Effect::Client(_, ClientOp::Direct(bytes)) = effect {
            assert_eq!(whole_frames_len(&bytes), bytes.len());
        }
    }
}
