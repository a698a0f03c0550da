//! Vectors of messages, both ways: our own, and those of the reference converter where `DRAWHALL_GOLDEN` names the
//! directory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../tests/common/skip.rs"]
mod skip;

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use drawhall_protocol::Layout;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::Message;
use drawhall_protocol::recording::dprec::{DprecReader, DprecWriter};
use drawhall_protocol::recording::dptxt::{DptxtReader, DptxtWriter};
use drawhall_protocol::text::{parse_line, write_line};

/// The directories of vectors, and how many each has at least.
fn roots() -> Vec<(PathBuf, usize)> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/wire");
    [(own, 100)].into_iter().chain(golden().map(|root| (root, 150))).collect()
}

fn golden() -> Option<PathBuf> {
    let path = std::env::var_os("DRAWHALL_GOLDEN").map(|root| PathBuf::from(root).join("wire"));
    let found = path.filter(|p| p.is_dir());
    if found.is_none() {
        skip::skip("golden", "DRAWHALL_GOLDEN does not name the directory of recordings");
    }
    found
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn every_vector_holds_in_all_directions() {
    roots().iter().for_each(|(root, least)| check_vectors(root, *least));
}

fn check_vectors(root: &Path, least: usize) {
    let text = fs::read_to_string(root.join("vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(vectors.len() > least);
    for vector in &vectors {
        let name = format!("{} {}", vector["name"], vector["case"]);
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let line = vector["text"].as_str().unwrap();
        let frame = frames(&bytes).next().unwrap();
        let message = Message::from_frame(frame, Layout::V4_25).unwrap();
        let encoded = message.to_frame(frame.header.user, Layout::V4_25).unwrap();
        assert_eq!(encoded.as_bytes(), bytes, "{name}: decoded and encoded");
        let mut written = String::new();
        write_line(frame, Layout::V4_25, &mut written).unwrap();
        assert_eq!(written, line, "{name}: written");
        let mut warnings = Vec::new();
        let parsed = parse_line(line, Layout::V4_25, &mut warnings).unwrap();
        assert_eq!(
            (parsed.as_bytes(), warnings.as_slice()),
            (bytes.as_slice(), [].as_slice()),
            "{name}: parsed"
        );
    }
}

#[test]
fn both_recordings_have_the_same_content() {
    roots().iter().for_each(|(root, _)| check_recordings(root));
}

fn check_recordings(root: &Path) {
    let open = |name: &str| BufReader::new(File::open(root.join(name)).unwrap());
    let mut text = DptxtReader::new(open("every-message.dptxt")).unwrap();
    let mut binary = DprecReader::new(open("every-message.dprec")).unwrap();
    assert_eq!(text.header(), binary.header());
    let mut as_text = DptxtWriter::new(Vec::new(), binary.header()).unwrap();
    let mut as_binary = DprecWriter::new(Vec::new(), text.header()).unwrap();
    while let Some(frame) = text.next_frame().unwrap() {
        as_binary.write(frame.as_bytes()).unwrap();
    }
    while let Some(frame) = binary.next_frame().unwrap() {
        as_text.write(frames(frame.as_bytes()).next().unwrap()).unwrap().unwrap();
    }
    let read = |name: &str| {
        let mut bytes = Vec::new();
        open(name).read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(as_binary.finish().unwrap() == read("every-message.dprec"), "binary form differs");
    assert!(as_text.finish().unwrap() == read("every-message.dptxt"), "text form differs");
    assert!(text.take_warnings().is_empty() && binary.truncation().is_none());
}
