//! Streamed resets: arbitrary compressed content, valid or corrupt, while another user draws.
#![no_main]

use std::io::Write as _;

use arbitrary::Arbitrary;
use drawhall::config::Settings;
use drawhall_fuzz::TestSession;
use drawhall_protocol::Frame;
use drawhall_protocol::command::RawCommand;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
enum Chunk {
    /// Compressed messages.
    Messages(Vec<(u8, Vec<u8>)>),
    /// Compressed bytes.
    Bytes(Vec<u8>),
    /// Bytes that are not compressed.
    Raw(Vec<u8>),
    Draw(Vec<u8>),
    Join(u8),
    Leave(u8),
    Wait(u16),
    Start,
    Abort,
    Finish(bool, u8),
}

fuzz_target!(|chunks: Vec<Chunk>| {
    let settings =
        Settings { session_size_limit: 1 << 20, autoreset_threshold: 1 << 10, ..Settings::default() };
    let mut session = TestSession::running(settings);
    session.join(2, String::new(), String::new());
    let mut sent = 0;
    for _ in 0..20 {
        draw(&mut session, 1, &[7; 100]);
    }
    offer_reset(&mut session);
    start(&mut session);
    for chunk in chunks {
        if session.ended {
            return;
        }
        match chunk {
            Chunk::Messages(messages) => {
                let frames = messages.iter().filter_map(|(kind, payload)| Frame::new(*kind, 9, payload).ok());
                let bytes: Vec<u8> = frames.flat_map(|f| f.as_bytes().to_vec()).collect();
                sent += messages.len();
                stream(&mut session, &compressed(&bytes));
            }
            Chunk::Bytes(bytes) => stream(&mut session, &compressed(&bytes)),
            Chunk::Raw(bytes) => stream(&mut session, &bytes),
            Chunk::Draw(bytes) => draw(&mut session, 2, &bytes),
            Chunk::Join(who) => session.join(u64::from(who % 8) + 1, String::new(), String::new()),
            Chunk::Leave(who) => session.leave(u64::from(who % 8) + 1),
            Chunk::Wait(ms) => session.wait(ms.into()),
            Chunk::Start => {
                offer_reset(&mut session);
                start(&mut session);
            }
            Chunk::Abort => command(&mut session, "stream-reset-abort", json!([]), json!({})),
            Chunk::Finish(right, other) => {
                let count = if right { sent } else { other.into() };
                command(&mut session, "stream-reset-finish", json!([count]), json!({}));
            }
        }
    }
});

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn command(session: &mut TestSession, cmd: &str, args: Value, kwargs: Value) {
    let raw = RawCommand {
        cmd: cmd.into(),
        args: args.as_array().cloned().unwrap_or_default(),
        kwargs: kwargs.as_object().cloned().unwrap_or_default(),
    };
    session.command(1, &raw);
}

fn draw(session: &mut TestSession, who: u64, payload: &[u8]) {
    if let Ok(frame) = Frame::new(140, 0, payload) {
        session.send(who, frame.into_bytes().to_vec());
    }
}

fn stream(session: &mut TestSession, data: &[u8]) {
    if let Ok(frame) = Frame::new(39, 0, data) {
        session.send(1, frame.into_bytes().to_vec());
    }
}

/// Offers to perform a streamed reset, and waits for the request.
fn offer_reset(session: &mut TestSession) {
    let request = session.replies.iter().rev().find(|t| t["type"] == "autoreset");
    let payload = request.map_or(Value::Null, |t| t["payload"].clone());
    let kwargs = json!({"payload": payload, "capabilities": ["gzip1"]});
    command(session, "ready-to-autoreset", json!([payload]), kwargs);
    session.wait(4_000);
}

fn start(session: &mut TestSession) {
    let request = session.replies.iter().rev().find(|t| !t["correlator"].is_null());
    let correlator = request.map_or(Value::Null, |t| t["correlator"].clone());
    command(session, "stream-reset-start", json!([correlator]), json!({}));
}
