//! Commands and replies are parsed leniently; a parsed reply survives encoding and parsing.
#![no_main]

use drawhall_protocol::command::{LoginCommand, RawCommand, SessionCommand};
use drawhall_protocol::reply::ServerReply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let raw = RawCommand::parse(bytes);
    if let Ok(command) = LoginCommand::parse(&raw) {
        assert_eq!(LoginCommand::parse(&command.to_raw()).map(|again| again.name()), Ok(command.name()));
    }
    if let Ok(command) = SessionCommand::parse(&raw) {
        assert_eq!(SessionCommand::parse(&command.to_raw()).map(|again| again.name()), Ok(command.name()));
    }
    let reply = ServerReply::parse(bytes);
    if let Ok(frame) = reply.to_frame() {
        assert_eq!(ServerReply::parse(frame.payload()), reply);
    }
});
