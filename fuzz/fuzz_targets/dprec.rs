//! A binary recording is read up to an incomplete message; what was read equals the input byte for byte.
#![no_main]

use drawhall_protocol::recording::dprec::DprecReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The header is hard to guess, so also try the input behind a valid one.
    check(&[b"DPREC\0\0\x02{}".as_slice(), bytes].concat());
});

fn check(bytes: &[u8]) {
    let Ok(mut reader) = DprecReader::new(bytes) else { return };
    let start = reader.offset() as usize;
    let mut read = Vec::new();
    while let Ok(Some(frame)) = reader.next_frame() {
        read.extend_from_slice(frame.as_bytes());
    }
    assert!(bytes[start..].starts_with(&read));
    let rest = bytes.len() - start - read.len();
    assert_eq!(reader.truncation().map_or(0, |t| t.available as usize), rest);
}
