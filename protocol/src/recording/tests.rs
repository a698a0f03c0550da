use std::io::Cursor;

use proptest::prelude::*;

use super::dprec::{DprecError, DprecReader, DprecWriter, Truncation};
use super::dptxt::{DptxtError, DptxtReader, DptxtWriter};
use super::*;
use crate::frame::{Frame, frames};
use crate::text::LineError;

fn dprec(header: &Header, messages: &[Frame]) -> Vec<u8> {
    let mut writer = DprecWriter::new(Vec::new(), header).unwrap();
    for message in messages {
        writer.write(message.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn read_dprec(bytes: &[u8]) -> Result<(Header, Vec<Frame>, Option<Truncation>), DprecError> {
    let mut reader = DprecReader::new(Cursor::new(bytes))?;
    let mut messages = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        messages.push(frame);
    }
    Ok((reader.header().clone(), messages, reader.truncation()))
}

fn read_dptxt(text: &str) -> (DptxtReader<&[u8]>, Vec<Result<Frame, DptxtError>>) {
    let mut reader = DptxtReader::new(text.as_bytes()).unwrap();
    let mut messages = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => messages.push(Ok(frame)),
            Ok(None) => return (reader, messages),
            Err(e) => messages.push(Err(e)),
        }
    }
}

fn some_frames() -> Vec<Frame> {
    vec![Frame::new(129, 1, &[0; 16]).unwrap(), Frame::new(140, 2, &[0, 1, 2]).unwrap()]
}

fn header() -> Header {
    let mut header = Header::of_version(&ProtocolVersion::current());
    header.set("title", "Käse \"1\"");
    header
}

#[test]
fn a_binary_recording_is_magic_header_and_frames() {
    let bytes = dprec(&Header::of_version(&ProtocolVersion::dp(4, 24, 0)), &some_frames());
    assert!(bytes.starts_with(b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}\0\x10\x81\x01"));
}

#[test]
fn header_metadata_keeps_its_order_and_values() {
    let (read, messages, truncation) = read_dprec(&dprec(&header(), &some_frames())).unwrap();
    assert_eq!((read, messages, truncation), (header(), some_frames(), None));
    let json = br#"{"b":1,"version":"dp:4.24.0","a":[true]}"#;
    let bytes = [b"DPREC\0\0".as_slice(), &[json.len() as u8], json].concat();
    let (read, _, _) = read_dprec(&bytes).unwrap();
    let expected = [("b", "1"), ("version", "dp:4.24.0"), ("a", "[true]")];
    assert_eq!(read.members(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(read.layout(), Layout::V4_24);
}

#[test]
fn a_file_that_is_not_a_recording_is_refused_with_a_reason() {
    assert!(matches!(read_dprec(b""), Err(DprecError::BadMagic)));
    assert!(matches!(read_dprec(b"DPTEXT\0\0\x02{}"), Err(DprecError::BadMagic)));
    assert!(matches!(read_dprec(b"DPREC\0\0"), Err(DprecError::TruncatedHeader(7))));
    assert!(matches!(read_dprec(b"DPREC\0\0\x05{}"), Err(DprecError::TruncatedHeader(10))));
    assert!(matches!(read_dprec(b"DPREC\0\0\0"), Err(DprecError::BadHeader(_))));
    assert!(matches!(read_dprec(b"DPREC\0\0\x02[]"), Err(DprecError::BadHeader(_))));
    assert!(matches!(read_dprec(b"DPREC\0\0\x03{}x"), Err(DprecError::BadHeader(_))));
}

#[test]
fn text_recordings_have_a_header_comments_and_messages() {
    let text = "\u{feff}# comment\n!version = dp:4.25.1 \n!flag\n\n  1 penup {\"layer\":1}\r\n# more\n!x=1\n2 undopoint";
    let (reader, messages) = read_dptxt(text);
    assert_eq!(reader.header().get("flag"), Some(""));
    assert_eq!(reader.header().get("version"), Some("dp:4.25.1"));
    assert_eq!(messages.len(), 3);
    let bad = messages[1].as_ref().unwrap_err();
    assert!(matches!(bad, DptxtError::Line { line: 7, source: LineError::Incomplete }), "{bad}");
    assert_eq!(messages[2].as_ref().unwrap().header().kind, 128);
}

#[test]
fn a_text_recording_from_before_2_2_is_read_in_the_old_form() {
    let text = "!version=dp:4.21.2\n1 resize right=3\n1 layerorder layers=1\n1 chat {\nmessage=a b\n}\n1 undopoint\n";
    let (mut reader, messages) = read_dptxt(text);
    let kinds: Vec<_> = messages.iter().map(|m| m.as_ref().unwrap().header().kind).collect();
    assert_eq!(kinds, [129, 35, 128]);
    assert!(reader.is_legacy());
    assert_eq!(reader.take_warnings(), ["line 3: 'layerorder' no longer exists, skipped"]);
    let (_, messages) = read_dptxt("!version=dp:4.21.2\n1 chat {\nmessage=a\n");
    let bad = messages[0].as_ref().unwrap_err().to_string();
    assert_eq!(bad, "line 2: the block that begins here is not closed");
}

#[test]
fn without_a_version_the_form_of_each_line_is_guessed() {
    let (_, messages) = read_dptxt("1 resize right=3\n1 penup {\"layer\":1}\n1 chat {\nmessage=x\n}\n");
    let kinds: Vec<_> = messages.iter().map(|m| m.as_ref().unwrap().header().kind).collect();
    assert_eq!(kinds, [129, 140, 35]);
}

#[test]
fn a_line_without_end_is_refused() {
    let text = format!("!version=dp:4.25.1\n1 chat {{\"message\":\"{}\"}}", "x".repeat(1 << 20));
    assert!(DptxtReader::new(text.as_bytes()).is_err());
}

#[test]
fn both_forms_have_the_same_content() {
    let mut writer = DptxtWriter::new(Vec::new(), &header()).unwrap();
    for frame in some_frames() {
        writer.write(frames(frame.as_bytes()).next().unwrap()).unwrap().unwrap();
    }
    let text = String::from_utf8(writer.finish().unwrap()).unwrap();
    let (reader, messages) = read_dptxt(&text);
    assert_eq!(reader.header(), &header());
    assert_eq!(messages.into_iter().map(Result::unwrap).collect::<Vec<_>>(), some_frames());
}

#[test]
fn a_payload_without_a_text_form_is_reported_and_not_written() {
    let mut writer = DptxtWriter::new(Vec::new(), &Header::default()).unwrap();
    let bad = Frame::new(140, 1, &[1]).unwrap();
    assert!(writer.write(frames(bad.as_bytes()).next().unwrap()).unwrap().is_err());
    assert!(writer.finish().unwrap().is_empty());
}

proptest! {
    #[test]
    fn a_truncated_recording_has_the_messages_before_the_cut(cut in 0usize..100) {
        let all = some_frames();
        let bytes = dprec(&header(), &all);
        let start = bytes.len() - all.iter().map(|f| f.as_bytes().len()).sum::<usize>();
        let cut = (start + cut).min(bytes.len());
        let (_, messages, truncation) = read_dprec(&bytes[..cut]).unwrap();
        let whole: usize = messages.iter().map(|f| f.as_bytes().len()).sum();
        prop_assert_eq!(&messages[..], &all[..messages.len()]);
        let left = (cut - start - whole) as u64;
        prop_assert_eq!(truncation.map_or(0, |t| t.available), left);
        prop_assert!(truncation.is_none_or(|t| t.offset == (start + whole) as u64));
    }

    #[test]
    fn no_input_makes_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_dprec(&bytes);
        let _ = read_dprec(&[b"DPREC\0\0\x02{}".as_slice(), &bytes].concat());
        let mut reader = DptxtReader::new(bytes.as_slice()).unwrap();
        for _ in 0..300 {
            let _ = reader.next_frame();
        }
    }
}

#[test]
fn a_text_recording_is_read_in_the_encoding_of_its_byte_order_mark() {
    let text = "!version=dp:4.25.1\r\n!title=Größe 名\r\n1 join {\"name\":\"A\"}\r\n1 undopoint\r\n";
    let expected: Vec<Frame> = read_dptxt(text).1.into_iter().map(Result::unwrap).collect();
    assert_eq!(expected.len(), 2);
    let units = || std::iter::once(0xfeff).chain(text.encode_utf16());
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    let utf8 = ["\u{feff}".as_bytes(), text.as_bytes()].concat();
    for bytes in [utf8, little, big] {
        let mut reader = DptxtReader::new(bytes.as_slice()).unwrap();
        assert_eq!(reader.header().get("title"), Some("Größe 名"));
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            frames.push(frame);
        }
        assert_eq!(frames, expected);
    }
    let endless = [&[0xff, 0xfe][..], &b"x\0".repeat(1 << 20)].concat();
    let error = DptxtReader::new(endless.as_slice()).unwrap_err();
    assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
    assert!(DptxtReader::new(&[0xff, 0xfe, b'x'][..]).is_ok(), "half a character at the end");
}
