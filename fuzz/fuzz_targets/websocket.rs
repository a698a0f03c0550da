//! WebSocket frames: chunk boundaries do not matter, and no message exceeds the limit.
#![no_main]

use arbitrary::Arbitrary;
use drawhall::transport::websocket::{Accepts, Decoder, Event, Violation};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 500;

#[derive(Debug, Arbitrary)]
struct Frame {
    first: u8,
    plain: bool,
    masked: bool,
    payload: Vec<u8>,
}

#[derive(Debug, Arbitrary)]
enum Part {
    Frame(Frame),
    Raw(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
struct Input {
    text: bool,
    parts: Vec<Part>,
    cuts: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let bytes: Vec<u8> = input.parts.iter().flat_map(bytes_of).collect();
    let accepts = Accepts { message: MAX, text: input.text };
    let whole = decode(accepts, &bytes, &[]);
    let cut = decode(accepts, &bytes, &input.cuts);
    assert_eq!(whole, cut);
});

fn bytes_of(part: &Part) -> Vec<u8> {
    match part {
        Part::Raw(bytes) => bytes.clone(),
        Part::Frame(Frame { first, plain, masked, payload }) => {
            // Mostly valid first bytes, or the decoder would rarely get further.
            let first = if *plain { first & 0x8f } else { *first };
            let mask = if *masked { 0x80 } else { 0 };
            let mut out = vec![first];
            match payload.len() {
                len @ ..126 => out.push(mask | len as u8),
                len => {
                    out.push(mask | 126);
                    out.extend_from_slice(&(len as u16).to_be_bytes());
                }
            }
            if *masked {
                out.extend_from_slice(&[1, 2, 3, 4]);
            }
            out.extend_from_slice(payload);
            out
        }
    }
}

type Events = Vec<(Event, Vec<u8>)>;

fn decode(accepts: Accepts, bytes: &[u8], cuts: &[u8]) -> (Events, Option<Violation>) {
    let mut decoder = Decoder::new(accepts);
    let mut events = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().map(|c| usize::from(*c)).chain([usize::MAX]) {
        let (mut now, later) = rest.split_at(cut.min(rest.len()));
        rest = later;
        loop {
            match decoder.next(&mut now) {
                Ok(Some(event)) => {
                    assert!(decoder.payload().len() <= MAX);
                    events.push((event, decoder.payload().to_vec()));
                }
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert!(now.is_empty(), "it takes everything");
    }
    (events, None)
}
