//! Arbitrary input from the users of a session: they receive complete messages only, and the session does not panic.
#![no_main]

use arbitrary::Arbitrary;
use drawhall::config::Settings;
use drawhall_fuzz::{Command, TestSession};
use drawhall_protocol::Frame;
use drawhall_protocol::message::{Layout, Message};
use libfuzzer_sys::fuzz_target;

const NAMES: &str = "ready-to-autoreset init-begin init-complete init-cancel sessionconf kick-user gain-op \
    reset-session kill-session announce-session unlist-session remove-ban mute report \
    export-bans import-bans auth-list stream-reset-start stream-reset-abort \
    stream-reset-finish invite-create invite-remove thumbnail-error other";

#[derive(Debug, Arbitrary)]
enum Step {
    Join(u8, String),
    JoinAt(u8, i64),
    Leave(u8),
    Frames(u8, Vec<(u8, u8, Vec<u8>)>),
    Command(u8, Command),
    Wait(u16),
}

#[derive(Debug, Arbitrary)]
struct Input {
    small: bool,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let limit = if input.small { 4 << 10 } else { 64 << 10 };
    let threshold = limit / 4;
    let settings = Settings {
        session_size_limit: limit,
        autoreset_threshold: threshold,
        persistence: true,
        ..Settings::default()
    };
    let mut session = TestSession::running(settings);
    for step in input.steps {
        if session.ended {
            return;
        }
        match step {
            Step::Join(who, password) => session.join(conn(who), password, String::new()),
            Step::JoinAt(who, index) => {
                let hidx = format!("{}:{index}:id", session.now.utc_ms / 1000);
                session.join(conn(who), String::new(), hidx);
            }
            Step::Leave(who) => session.leave(conn(who)),
            Step::Frames(who, messages) => {
                let mut bytes = Vec::new();
                // The client actor passes on only messages that can be decoded.
                for (kind, user, payload) in messages {
                    if kind < 64 && Message::decode(kind, &payload, Layout::V4_25).is_err() {
                        continue;
                    }
                    if let Ok(frame) = Frame::new(kind, user, &payload) {
                        bytes.extend_from_slice(frame.as_bytes());
                    }
                }
                session.send(conn(who), bytes);
            }
            Step::Command(who, command) => session.command(conn(who), &command.into_raw(NAMES)),
            Step::Wait(ms) => session.wait(ms.into()),
        }
    }
});

fn conn(who: u8) -> u64 {
    u64::from(who % 8) + 1
}
