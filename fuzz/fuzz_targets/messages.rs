//! Every message that can be decoded can be encoded, and survives the text form.
#![no_main]

use arbitrary::Arbitrary;
use drawhall_protocol::Frame;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Layout, Message};
use drawhall_protocol::text::{parse_line, write_line};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    kind: u8,
    user: u8,
    old: bool,
    payload: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let layout = if input.old { Layout::V4_24 } else { Layout::V4_25 };
    let Ok(message) = Message::decode(input.kind, &input.payload, layout) else { return };
    let Ok(frame) = message.to_frame(input.user, layout) else { return };
    let again = Message::decode(input.kind, frame.payload(), layout).expect("decodes again");
    assert_eq!(again, message);
    let frame_ref = frames(frame.as_bytes()).next().expect("one frame");
    let mut line = String::new();
    write_line(frame_ref, layout, &mut line).expect("has a text form");
    let parsed: Frame = parse_line(&line, layout, &mut Vec::new()).expect("reads back");
    assert_eq!(parsed.header().kind, input.kind);
});
