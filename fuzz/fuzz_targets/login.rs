//! Arbitrary login commands: no client joins or hosts without being identified, and nothing panics.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use drawhall::config::{Rules, ini};
use drawhall::rules::login::AccountCheck;
use drawhall::rules::login::{
    Arrival, HostRefusal, LoginEffect, LoginInput, LoginMachine, LoginSource, LookupAnswer,
};
use drawhall_fuzz::Command;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::reply::{ServerReply, SessionDescription};
use libfuzzer_sys::fuzz_target;

const NAMES: &str = "cinfo lookup ident host join report startTls other";

static RULES: LazyLock<[Arc<Rules>; 3]> = LazyLock::new(|| {
    let configs = [
        "",
        "allowGuests=false\nmandatoryLookup=true\n[users]\nA:plain;secret:MOD,GHOST\n[systembans]\n0123456789abcdef0123456789abcdef:timer",
        "minimumProtocolVersion=dp:4.24.0\nrequireMatchingHost=true\n[ipbans]\n192.0.2.0/24",
    ];
    configs.map(|c| Arc::new(Rules::new(ini::parse(c.as_bytes()), None, "id".into()).0))
});

#[derive(Debug, Arbitrary)]
enum Input {
    Command(Command),
    Raw(Vec<u8>),
    Answer(bool, u8),
}

#[derive(Debug, Arbitrary)]
struct Login {
    rules: u8,
    rng_seed: u64,
    browser: bool,
    must_encrypt: bool,
    inputs: Vec<Input>,
}

fuzz_target!(|login: Login| {
    let rules = RULES[usize::from(login.rules) % RULES.len()].clone();
    let address = "192.0.2.7".parse().expect("an address");
    let Login { rng_seed, browser, must_encrypt, .. } = login;
    let arrival = Arrival {
        conn: 1,
        address,
        browser,
        encrypted: false,
        must_encrypt,
        proxied: false,
        rng_seed,
        utc_ms: 0,
    };
    let (mut machine, greeting) = LoginMachine::new(rules, &arrival);
    let mut source = LoginSource::new(&arrival);
    let mut identified = false;
    let mut pending = None;
    perform(vec![greeting], &mut identified, &mut pending);
    for input in login.inputs {
        let input = match input {
            Input::Answer(good, which) => match answer(pending.take(), good, which) {
                Some(answer) => answer,
                None => continue,
            },
            _ if machine.is_waiting() => continue,
            Input::Command(command) => LoginInput::Command(command.into_raw(NAMES)),
            Input::Raw(bytes) => LoginInput::Command(RawCommand::parse(&bytes)),
        };
        let mut cx = source.cx();
        machine.handle(input, &mut cx);
        perform(cx.effects, &mut identified, &mut pending);
    }
});

fn perform(effects: Vec<LoginEffect>, identified: &mut bool, pending: &mut Option<LoginEffect>) {
    for effect in effects {
        match effect {
            LoginEffect::Send(reply) => {
                reply.to_frame().expect("replies to a login are short");
                if let ServerReply::Result(result) = *reply {
                    *identified |= result.state == "identOk";
                }
            }
            LoginEffect::Join(_) | LoginEffect::Host { .. } => {
                assert!(*identified, "nobody gets in without a name");
                *pending = Some(effect);
            }
            LoginEffect::CheckAccount { .. }
            | LoginEffect::QueryExtAuth { .. }
            | LoginEffect::LookUp { .. }
            | LoginEffect::FindSession { .. } => *pending = Some(effect),
            _ => {}
        }
    }
}

/// An answer to what the login waits for; `None` if it waits for nothing.
fn answer(pending: Option<LoginEffect>, good: bool, which: u8) -> Option<LoginInput> {
    Some(match pending? {
        LoginEffect::CheckAccount { .. } => LoginInput::Account(match which % 3 {
            _ if good => {
                AccountCheck::Ok { auth_id: "internal:1".into(), flags: vec!["MOD".into(), "GHOST".into()] }
            }
            0 => AccountCheck::NotFound,
            1 => AccountCheck::Locked,
            _ => AccountCheck::BadPassword,
        }),
        LoginEffect::LookUp { .. } => LoginInput::LookedUp(if good {
            LookupAnswer::Found(Box::new(SessionDescription {
                id: "id".into(),
                ..SessionDescription::default()
            }))
        } else {
            LookupAnswer::NotFound
        }),
        LoginEffect::FindSession { .. } => {
            LoginInput::SessionFound(good.then(|| ("id".into(), ProtocolVersion::dp(4, 25, 1))))
        }
        LoginEffect::Host { .. } => LoginInput::HostRefused(HostRefusal::Full),
        LoginEffect::Join(_) => LoginInput::Refused(drawhall::rules::session::Refusal::BadPassword),
        _ => return None,
    })
}
