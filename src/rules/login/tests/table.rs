//! Walks `docs/protocol/login-states.md` and the machine side by side.

use std::collections::{BTreeMap, BTreeSet};

use drawhall_protocol::reply::SessionDescription;
use serde_json::{Value, json};

use super::*;
use crate::rules::login::AccountCheck;
use crate::rules::login::NameAnswer;
use crate::rules::session::Refusal;

const PAGE: &str = include_str!("../../../../docs/protocol/login-states.md");
const COMMANDS: [&str; 8] = ["startTls", "cinfo", "lookup", "ident", "host", "join", "report", "nonsense"];
/// What each waiting state can be answered.
const ANSWERS: [(&str, &[&str]); 6] = [
    ("Lookup?", &["found", "template", "not found", "invite unknown", "invite used up"]),
    (
        "Account?",
        &[
            "none",
            "right",
            "moderator",
            "wrong password",
            "locked",
            "ghost",
            "ghost without MOD",
            "similar",
            "busy",
        ],
    ),
    ("AuthServer?", &["guest", "account", "not in group", "banned", "other", "no answer"]),
    ("Session?", &["found", "none", "another"]),
    ("Join?", &["refused", "wrong password", "banned"]),
    (
        "Host?",
        &["full", "id in use", "other version", "too many of address", "no space", "is draining or stops"],
    ),
];

struct Row<'a> {
    state: &'a str,
    given: Vec<&'a str>,
    input: &'a str,
    next: &'a str,
    effects: &'a str,
}

impl Row<'_> {
    fn has(&self, condition: &str) -> bool {
        self.given.contains(&condition)
    }
}

/// The rows of all tables with five columns.
fn rows() -> Vec<Row<'static>> {
    let lines = PAGE.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let rows = cells.filter_map(|cells| match cells[..] {
        [state, given, input, next, effects] if state != "state" => {
            let given = if given == "-" { Vec::new() } else { given.split(", ").collect() };
            Some(Row { state, given, input, next, effects })
        }
        _ => None,
    });
    rows.collect()
}

/// The conditions that the page explains.
fn conditions() -> BTreeSet<&'static str> {
    let table = PAGE.split("| condition | meaning |").nth(1).and_then(|rest| rest.split("\n\n").next());
    let lines = table.into_iter().flat_map(str::lines).filter_map(|line| line.split('|').nth(1));
    lines.map(str::trim).filter(|cell| !cell.is_empty() && *cell != "---").collect()
}

fn config(row: &Row<'_>) -> String {
    let mut settings = String::new();
    let mut sections = String::new();
    for (condition, line) in [
        ("host must match", "requireMatchingHost=true"),
        ("look-up needed", "mandatoryLookup=true"),
        ("no guests", "allowGuests=false"),
        ("no guest hosts", "allowGuestHosts=false"),
        ("auth server", "extauth=true"),
        ("auth server needed", "extauth=true\nextauthfallback=false"),
        ("ghosts", "enableGhosts=true"),
        ("ghost", "enableGhosts=true"),
        ("minimum", "minimumProtocolVersion=dp:4.23.0"),
        ("name forbidden", "forbiddenNameRegex=^n$"),
        ("no browsers", "allowGuestWeb=false"),
    ] {
        if row.has(condition) {
            settings += &format!("{line}\n");
        }
    }
    if row.state == "AuthServer?" {
        settings += "extauth=true\n";
    }
    let needs_account =
        ["accounts", "moderator", "ghost"].iter().any(|c| row.has(c)) || row.state == "Account?";
    if needs_account {
        sections += "[users]\nn:plain;p:\n";
    }
    if row.has("banned") {
        sections += "[ipbans]\n192.0.2.7\n";
    }
    for condition in &row.given {
        if let Some(reaction) = condition.strip_prefix("system banned ") {
            sections += &format!("[systembans]\n{SID}:{reaction}\n");
        }
    }
    settings + &sections
}

/// A machine that has just begun.
fn begin(row: &Row<'_>) -> Login {
    let must_encrypt = row.has("TLS");
    let arrival = Arrival {
        conn: 1,
        address: "192.0.2.7".parse().unwrap(),
        browser: row.has("browser"),
        encrypted: false,
        must_encrypt,
        proxied: false,
        rng_seed: 0,
        utc_ms: 1_795_241_572_000,
    };
    let mut rules = Arc::unwrap_or_clone(rules(&config(row)));
    rules.extauth_url = Some("https://auth.example.org/".into());
    Login::with_rules(arrival, Arc::new(rules))
}

/// A machine in the state of the row, under its conditions.
fn reach(row: &Row<'_>) -> Login {
    let mut login = begin(row);
    if row.state == "Ignore" {
        login.command("nonsense", json!([]), json!({}));
    }
    if ["Begin", "WaitForSecure", "WaitForClientInfo", "Ignore"].contains(&row.state) {
        return login;
    }
    if row.has("told") {
        login.command("cinfo", json!(["Example.org", info()]), json!({}));
    }
    if row.has("looked up") {
        login.command("lookup", json!(["id"]), json!({}));
        login.give(LoginInput::LookedUp(LookupAnswer::Found(description("id"))));
    } else if row.has("looked up nothing") {
        login.command("lookup", json!([]), json!({}));
    }
    match row.state {
        "WaitForLookup" => return login,
        "Lookup?" => {
            login.command("lookup", json!(["id"]), json!({}));
            return login;
        }
        _ => {}
    }
    if row.has("asked for token") {
        login.ident("n");
        login.give(LoginInput::ExtAuth(NameAnswer::Account));
    }
    if row.state == "WaitForIdent" {
        if row.has("nine wrong") {
            for _ in 0..9 {
                give(&mut login, "ident, password");
            }
        }
        return login;
    }
    login.ident("n");
    let flags: &[&str] = match () {
        () if row.has("ghost") => &["MOD", "GHOST", "HOST"],
        () if row.has("moderator") => &["MOD", "HOST"],
        () => &[],
    };
    if !flags.is_empty() {
        login.account(super::ok(flags));
    }
    if ["Account?", "AuthServer?", "WaitForLogin"].contains(&row.state) {
        return login;
    }
    if row.state == "Host?" {
        give(&mut login, "host");
        return login;
    }
    if row.state == "Join?" && row.has("nine wrong") {
        for _ in 0..9 {
            give(&mut login, "join");
            give(&mut login, "session: found");
            give(&mut login, "session: wrong password");
        }
    }
    give(&mut login, "join");
    if row.state == "Join?" {
        give(&mut login, "session: found");
    }
    login
}

fn description(id: &str) -> Box<SessionDescription> {
    Box::new(SessionDescription { id: id.into(), ..SessionDescription::default() })
}

/// Gives the machine an input by its name on the page.
fn give(login: &mut Login, input: &str) {
    if let Some((_, answer)) = input.split_once(": ") {
        login.give(answers(input, answer));
        return;
    }
    let (name, variant) = input.split_once([',', ' ']).unwrap_or((input, ""));
    let (args, kwargs) = match name {
        "cinfo" => (cinfo(variant.trim()), json!({})),
        "lookup" => match variant.trim() {
            "" | "to host" => (json!([]), json!({})),
            "of nothing" => (json!([""]), json!({})),
            "of a session" => (json!(["id"]), json!({})),
            "two arguments" => (json!(["a", "b"]), json!({})),
            other => panic!("lookup {other}"),
        },
        "ident" => ident(variant.trim()),
        "host" => (json!([]), host(variant.trim())),
        "join" => match variant.trim() {
            "" => (json!(["id"]), json!({"s": SID})),
            "no argument" => (json!([]), json!({"s": SID})),
            "same client info" => (json!(["id"]), info()),
            other => panic!("join {other}"),
        },
        "report" => (json!([]), json!({"session": "id", "reason": "x"})),
        "startTls" | "nonsense" => (json!([]), json!({})),
        other => panic!("there is no input {other}"),
    };
    login.command(name, args, kwargs);
}

fn cinfo(variant: &str) -> Value {
    let mut client = info();
    match variant {
        "" => {}
        "other host" => return json!(["other.example.org", client]),
        "one argument" => return json!(["Example.org"]),
        "bad version" => client["app_version"] = "two".into(),
        "no system id" => drop(client.as_object_mut().unwrap().remove("s")),
        "bad system id" => client["s"] = "xyz".into(),
        other => panic!("cinfo, {other}"),
    }
    json!(["Example.org", client])
}

fn ident(variant: &str) -> (Value, Value) {
    let intent = |intent: &str| (json!(["n"]), json!({"intent": intent}));
    match variant {
        "" => (json!(["n"]), json!({})),
        "no name" => (json!([]), json!({})),
        "empty name" => (json!([""]), json!({})),
        "long name" => (json!(["x".repeat(23)]), json!({})),
        "quoted name" => (json!(["a\"b"]), json!({})),
        "name with hidden marks" => (json!(["n\u{200b}x"]), json!({})),
        "unknown intent" => intent("nonsense"),
        "as guest" => intent("guest"),
        "as account" => intent("auth"),
        "as account of elsewhere" => intent("extauth"),
        "password" => (json!(["n", "wrong"]), json!({})),
        "token" => (json!(["n"]), json!({"extauth": "1.e30=.AAAA"})),
        other => panic!("ident, {other}"),
    }
}

fn host(variant: &str) -> Value {
    let mut kwargs = json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID});
    match variant {
        "" => {}
        "same client info" => {
            kwargs = info();
            kwargs["protocol"] = "dp:4.25.1".into();
            kwargs["user_id"] = 1.into();
        }
        "no version" => kwargs["protocol"] = "nonsense".into(),
        "old version" => kwargs["protocol"] = "dp:4.21.2".into(),
        "other namespace" => kwargs["protocol"] = "xy:4.25.1".into(),
        "no system id" => kwargs["s"] = "".into(),
        "old version and no system id" => kwargs = json!({"protocol": "dp:4.21.2", "user_id": 1}),
        "bad system id" => kwargs["s"] = "xyz".into(),
        "user id 0" => kwargs["user_id"] = 0.into(),
        "user id 255" => kwargs["user_id"] = 255.into(),
        "bad alias" => kwargs["alias"] = "a b".into(),
        other => panic!("host, {other}"),
    }
    kwargs
}

fn answers(input: &str, answer: &str) -> LoginInput {
    let refusal = |code: &'static str| Refusal::error(code, "no");
    let found = |id: &str| LoginInput::SessionFound(Some((id.into(), ProtocolVersion::dp(4, 25, 1))));
    match input.split_once(':').unwrap().0 {
        "look-up" => LoginInput::LookedUp(match answer {
            "found" => LookupAnswer::Found(description("id")),
            "template" => LookupAnswer::Template { id: "id".into(), description: json!({}) },
            "not found" => LookupAnswer::NotFound,
            "invite unknown" => LookupAnswer::Refused(refusal("inviteNotFound")),
            "invite used up" => LookupAnswer::Refused(refusal("inviteLimitReached")),
            other => panic!("look-up: {other}"),
        }),
        "account" => LoginInput::Account(match answer {
            "none" => AccountCheck::NotFound,
            "right" => super::ok(&[]),
            "moderator" => super::ok(&["MOD"]),
            "wrong password" => AccountCheck::BadPassword,
            "locked" => AccountCheck::Locked,
            "similar" => AccountCheck::Similar,
            "busy" => AccountCheck::Busy,
            "ghost" => super::ok(&["MOD", "GHOST"]),
            "ghost without MOD" => super::ok(&["GHOST"]),
            other => panic!("account: {other}"),
        }),
        "auth server" => LoginInput::ExtAuth(match answer {
            "guest" => NameAnswer::Guest,
            "account" => NameAnswer::Account,
            "not in group" => NameAnswer::OutGroup,
            "banned" => NameAnswer::Banned,
            "other" => NameAnswer::Other("nonsense".into()),
            "no answer" => NameAnswer::Unavailable,
            other => panic!("auth server: {other}"),
        }),
        "session" => match answer {
            "found" => found("id"),
            "another" => found("another"),
            "none" => LoginInput::SessionFound(None),
            "refused" => LoginInput::Refused(refusal("closed")),
            "wrong password" => LoginInput::Refused(Refusal::BadPassword),
            "banned" => LoginInput::Refused(Refusal::ServerBan),
            other => panic!("session: {other}"),
        },
        "server" => LoginInput::HostRefused(match answer {
            "full" => HostRefusal::Full,
            "id in use" => HostRefusal::IdInUse,
            "other version" => HostRefusal::BadProtocol,
            "too many of address" => HostRefusal::TooManyOfAddress,
            "no space" => HostRefusal::NoSpace,
            "is draining or stops" => HostRefusal::Draining,
            other => panic!("server: {other}"),
        }),
        other => panic!("nobody answers as {other}"),
    }
}

/// The state of a machine as the page names it.
fn state_of(machine: &LoginMachine) -> String {
    match &machine.waiting {
        Some(PendingAnswer::Account(..) | PendingAnswer::Token(_)) => "Account?".into(),
        Some(PendingAnswer::ExtAuth(..)) => "AuthServer?".into(),
        Some(PendingAnswer::Lookup { .. }) => "Lookup?".into(),
        Some(PendingAnswer::Session(_)) => "Session?".into(),
        Some(PendingAnswer::Join) => "Join?".into(),
        Some(PendingAnswer::Host) => "Host?".into(),
        None => format!("{:?}", machine.state()),
    }
}

/// An effect in the words of the page; nothing for log entries.
fn show(effect: &LoginEffect) -> Option<String> {
    Some(match effect {
        LoginEffect::Send(reply) => match &**reply {
            ServerReply::Login(_) => "login".into(),
            ServerReply::Error(error) => format!("error {}", error.code),
            ServerReply::Result(result) => match &**result {
                ResultReply { start_tls: true, .. } => "result startTls".into(),
                ResultReply { cinfo: Some(_), .. } => "result cinfo".into(),
                ResultReply { lookup, .. } if !lookup.is_empty() => format!("result lookup {lookup}"),
                ResultReply { state, .. } => format!("result {state}"),
            },
            other => panic!("{other:?} does not belong to the login"),
        },
        LoginEffect::Disconnect { .. } => "disconnect".into(),
        LoginEffect::CutAfter(_) => "cut later".into(),
        LoginEffect::StartTls => "start TLS".into(),
        LoginEffect::Log(..) => return None,
        LoginEffect::CheckAccount { .. } => "check account".into(),
        LoginEffect::QueryExtAuth { .. } => "ask auth server".into(),
        LoginEffect::LookUp { .. } => "look up".into(),
        LoginEffect::EnterLobby { moderator: true, .. } => "lobby of a moderator".into(),
        LoginEffect::EnterLobby { list_now: true, .. } => "lobby with list".into(),
        LoginEffect::EnterLobby { list_changes: true, .. } => "lobby".into(),
        LoginEffect::EnterLobby { .. } => "lobby without changes".into(),
        LoginEffect::FindSession { .. } => "find session".into(),
        LoginEffect::Join(_) => "join".into(),
        LoginEffect::Host { .. } => "host".into(),
        LoginEffect::Report { .. } => "report".into(),
    })
}

/// Next state and effects.
fn outcome(login: &Login) -> (String, String) {
    let effects: Vec<String> = login.effects.iter().filter_map(show).collect();
    let effects = if effects.is_empty() { "-".to_owned() } else { effects.join("; ") };
    (state_of(&login.machine), effects)
}

/// Name of the command of an input.
fn command_of(input: &str) -> &str {
    input.split([',', ' ']).next().unwrap_or(input)
}

#[test]
fn the_machine_does_what_the_page_says() {
    let known = conditions();
    for row in rows() {
        for condition in &row.given {
            let name = if condition.starts_with("system banned ") { "system banned NAME" } else { condition };
            assert!(known.contains(name), "the page does not explain '{condition}'");
        }
        let inputs: Vec<&str> = match row.input {
            "any other" => {
                let named: BTreeSet<&str> =
                    rows().iter().filter(|r| r.state == row.state).map(|r| command_of(r.input)).collect();
                COMMANDS.into_iter().filter(|command| !named.contains(command)).collect()
            }
            input => vec![input],
        };
        assert!(!inputs.is_empty(), "{}: there is no other command", row.state);
        for input in inputs {
            let mut login = reach(&row);
            if input != "connect" {
                assert_eq!(state_of(&login.machine), row.state, "before '{input}' given {:?}", row.given);
                give(&mut login, input);
            }
            let expected = (row.next.to_owned(), row.effects.to_owned());
            assert_eq!(outcome(&login), expected, "{}, {:?}: {input}", row.state, row.given);
        }
    }
}

#[test]
fn the_page_says_something_of_every_input_in_every_state() {
    let mut inputs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let rows = rows();
    for row in &rows {
        inputs.entry(row.state).or_default().insert(row.input);
    }
    let states =
        ["WaitForSecure", "WaitForClientInfo", "WaitForLookup", "WaitForIdent", "WaitForLogin", "Ignore"];
    for state in states {
        let said = &inputs[state];
        let missing =
            COMMANDS.iter().find(|command| !said.iter().any(|input| command_of(input) == **command));
        assert!(missing.is_none() || said.contains("any other"), "{state}: {missing:?}");
    }
    for (state, answers) in ANSWERS {
        let said: BTreeSet<&str> =
            inputs[state].iter().filter_map(|i| i.split_once(": ")).map(|(_, a)| a).collect();
        assert_eq!(said, answers.iter().copied().collect(), "{state}");
    }
    let known: BTreeSet<&str> =
        states.into_iter().chain(ANSWERS.map(|(state, _)| state)).chain(["Begin"]).collect();
    assert_eq!(inputs.keys().copied().collect::<BTreeSet<_>>(), known);
    let reached: BTreeSet<&str> = rows.iter().map(|row| row.next).collect();
    assert!(known.iter().filter(|s| **s != "Begin").all(|state| reached.contains(state)), "{reached:?}");
}
