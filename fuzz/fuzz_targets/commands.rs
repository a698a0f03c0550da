//! Commands and replies are parsed leniently; a parsed reply survives encoding and parsing.
#![no_main]

use drawhall_protocol::command::{RawCommand, ServerCommand};
use drawhall_protocol::reply::ServerReply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let raw = RawCommand::parse(bytes);
    for command in [ServerCommand::login(&raw), ServerCommand::session(&raw)].into_iter().flatten() {
        let again = command.to_raw();
        assert_eq!(again.cmd, command.name());
    }
    let reply = ServerReply::parse(bytes);
    if let Ok(frame) = reply.to_frame() {
        assert_eq!(ServerReply::parse(frame.payload()), reply);
    }
});
