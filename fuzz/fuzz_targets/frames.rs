//! Chunk boundaries in a byte stream do not change its frames.
#![no_main]

use arbitrary::Arbitrary;
use drawhall_protocol::FrameDecoder;
use drawhall_protocol::frame::{frames, set_user_of_all, whole_frames_len};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    bytes: Vec<u8>,
    cuts: Vec<u8>,
    user: u8,
}

fuzz_target!(|input: Input| {
    let Input { mut bytes, cuts, user } = input;
    let whole: Vec<Vec<u8>> = frames(&bytes).map(|f| f.bytes.to_vec()).collect();
    let mut decoder = FrameDecoder::default();
    let mut got = Vec::new();
    let mut rest = bytes.as_slice();
    for cut in cuts.iter().map(|c| usize::from(*c)).chain([usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        decoder.buffer_mut().extend_from_slice(now);
        got.extend(std::iter::from_fn(|| decoder.next_frame()).map(|f| f.as_bytes().to_vec()));
        rest = later;
    }
    assert_eq!(got, whole);
    let len = whole_frames_len(&bytes);
    set_user_of_all(&mut bytes, user);
    assert_eq!(whole_frames_len(&bytes), len);
    assert!(frames(&bytes).all(|f| f.header.user == user));
});
