//! Imported and external ban lists: arbitrary text, compressed bytes and JSON.
#![no_main]

use std::io::Write as _;

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall::config::{Settings, extbans};
use drawhall_fuzz::{Json, TestSession};
use drawhall_protocol::command::RawCommand;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
enum Input {
    Text(String),
    Compressed { length: Option<u32>, bytes: Vec<u8> },
    List(Vec<(Json, Json, Json, Json)>),
    External(Vec<u8>),
    ExternalList(Vec<Json>),
}

fuzz_target!(|input: Input| {
    let text = match input {
        Input::Text(text) => text,
        Input::Compressed { length, bytes } => packed(length, &bytes),
        Input::List(list) => {
            let entries = list.into_iter().map(|(u, i, a, s)| {
                json!({"u": Value::from(u), "i": Value::from(i), "a": Value::from(a), "s": Value::from(s)})
            });
            let text = json!({"v": 1, "l": entries.collect::<Vec<_>>()}).to_string();
            packed(None, text.as_bytes())
        }
        Input::External(bytes) => return drop(extbans::parse(&String::from_utf8_lossy(&bytes))),
        Input::ExternalList(list) => {
            let list: Vec<Value> = list.into_iter().map(Value::from).collect();
            return drop(extbans::parse(&json!({"bans": list}).to_string()));
        }
    };
    let mut session = TestSession::running(Settings::default());
    let raw = RawCommand { cmd: "import-bans".into(), args: vec![text.into()], ..RawCommand::default() };
    session.command(1, &raw);
    session.join(2, String::new(), String::new());
    session.join(7, String::new(), String::new());
    let kwargs = json!({"plain": true}).as_object().cloned().unwrap_or_default();
    session.command(7, &RawCommand { cmd: "export-bans".into(), kwargs, ..RawCommand::default() });
});

fn packed(length: Option<u32>, bytes: &[u8]) -> String {
    let mut packed = length.unwrap_or(bytes.len() as u32).to_be_bytes().to_vec();
    let mut encoder = ZlibEncoder::new(&mut packed, Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory");
    format!("p{}", BASE64.encode(packed))
}
