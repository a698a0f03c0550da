//! Arbitrary configuration files are parsed: at most one error per line, and the valid lines make rules.
#![no_main]

use drawhall::config::{Rules, ini};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = ini::parse(bytes);
    let lines = bytes.iter().filter(|b| **b == b'\n' || **b == b'\r').count() + 1;
    assert!(file.errors.len() <= lines);
    let (rules, _) = Rules::new(file, None, String::new());
    let _ = rules.address_ban("192.0.2.1".parse().expect("an address"));
    let _ = rules.settings().values();
});
