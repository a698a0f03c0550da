//! A reset that is streamed: any compressed content, whole or damaged, while somebody draws.
#![no_main]

use std::io::Write as _;

use arbitrary::Arbitrary;
use drawhall::config::Settings;
use drawhall_fuzz::Table;
use drawhall_protocol::Frame;
use drawhall_protocol::command::RawCommand;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
enum Chunk {
    /// Messages, compressed.
    Messages(Vec<(u8, Vec<u8>)>),
    /// What is in a message, compressed.
    Bytes(Vec<u8>),
    /// As it is.
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
    let mut table = Table::running(settings);
    table.join(2, String::new(), String::new());
    let mut sent = 0;
    for _ in 0..20 {
        draw(&mut table, 1, &[7; 100]);
    }
    answer(&mut table);
    start(&mut table);
    for chunk in chunks {
        if table.ended {
            return;
        }
        match chunk {
            Chunk::Messages(messages) => {
                let frames = messages.iter().filter_map(|(kind, payload)| Frame::new(*kind, 9, payload).ok());
                let bytes: Vec<u8> = frames.flat_map(|f| f.as_bytes().to_vec()).collect();
                sent += messages.len();
                stream(&mut table, &compressed(&bytes));
            }
            Chunk::Bytes(bytes) => stream(&mut table, &compressed(&bytes)),
            Chunk::Raw(bytes) => stream(&mut table, &bytes),
            Chunk::Draw(bytes) => draw(&mut table, 2, &bytes),
            Chunk::Join(who) => table.join(u64::from(who % 8) + 1, String::new(), String::new()),
            Chunk::Leave(who) => table.leave(u64::from(who % 8) + 1),
            Chunk::Wait(ms) => table.wait(ms.into()),
            Chunk::Start => {
                answer(&mut table);
                start(&mut table);
            }
            Chunk::Abort => command(&mut table, "stream-reset-abort", json!([]), json!({})),
            Chunk::Finish(right, other) => {
                let count = if right { sent } else { other.into() };
                command(&mut table, "stream-reset-finish", json!([count]), json!({}));
            }
        }
    }
});

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn command(table: &mut Table, cmd: &str, args: Value, kwargs: Value) {
    let raw = RawCommand {
        cmd: cmd.into(),
        args: args.as_array().cloned().unwrap_or_default(),
        kwargs: kwargs.as_object().cloned().unwrap_or_default(),
    };
    table.command(1, &raw);
}

fn draw(table: &mut Table, who: u64, payload: &[u8]) {
    if let Ok(frame) = Frame::new(140, 0, payload) {
        table.send(who, frame.into_bytes().to_vec());
    }
}

fn stream(table: &mut Table, data: &[u8]) {
    if let Ok(frame) = Frame::new(39, 0, data) {
        table.send(1, frame.into_bytes().to_vec());
    }
}

/// Says that the operator can stream a reset, and waits until it is asked to.
fn answer(table: &mut Table) {
    let asked = table.told.iter().rev().find(|t| t["type"] == "autoreset");
    let payload = asked.map_or(Value::Null, |t| t["payload"].clone());
    let kwargs = json!({"payload": payload, "capabilities": ["gzip1"]});
    command(table, "ready-to-autoreset", json!([payload]), kwargs);
    table.wait(4_000);
}

fn start(table: &mut Table) {
    let asked = table.told.iter().rev().find(|t| !t["correlator"].is_null());
    let correlator = asked.map_or(Value::Null, |t| t["correlator"].clone());
    command(table, "stream-reset-start", json!([correlator]), json!({}));
}
