//! Any configuration file is read; what cannot be understood is told with its line, and the rest makes rules.
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
