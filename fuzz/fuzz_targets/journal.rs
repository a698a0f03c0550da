//! Arbitrary journals are replayed, and parsed entries survive writing and parsing.
#![no_main]

use drawhall::rules::journal::{Line, parse_line};
use drawhall::rules::metadata::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let replay = Metadata::replay(bytes);
    assert_eq!(replay.torn, !bytes.is_empty() && !bytes.ends_with(b"\n"));
    for line in String::from_utf8_lossy(bytes).lines() {
        let Line::Entry(entry, _) = parse_line(line) else { continue };
        let mut written = String::new();
        entry.write(&mut written);
        assert_eq!(written.lines().count(), 1, "one line an entry");
        // Control characters are dropped, so a value may become empty.
        let plain = !line.trim().chars().any(char::is_control);
        match parse_line(&written) {
            Line::Entry(again, _) => {
                assert!(again == entry || !plain);
                let mut rewritten = String::new();
                again.write(&mut rewritten);
                assert_eq!(rewritten, written);
            }
            _ => assert!(!plain, "{written:?} does not read back"),
        }
    }
});
