//! Arbitrary text is parsed or refused, without a panic or an endless loop.
#![no_main]

use drawhall_protocol::recording::dptxt::{DptxtError, DptxtReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = DptxtReader::new(bytes) else { return };
    loop {
        match reader.next_frame() {
            Ok(None) | Err(DptxtError::Io { .. }) => break,
            Ok(Some(_)) | Err(DptxtError::Line { .. }) => {}
        }
    }
});
