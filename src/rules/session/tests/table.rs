//! Walks `docs/protocol/session-states.md` and the machine side by side.

use std::collections::{BTreeMap, BTreeSet};

use drawhall_protocol::message::{Group, MESSAGES};

use super::stream::{stream, zlib};
use super::*;

const PAGE: &str = include_str!("../../../../docs/protocol/session-states.md");
const STATES: [&str; 8] =
    ["Initialization", "Running", "Asked", "Answered", "Chosen", "Streaming", "Reset", "Shutdown"];
const INPUTS: [&str; 20] = [
    "message",
    "message of another",
    "init-begin",
    "init-complete",
    "init-complete after an image",
    "init-cancel",
    "reset-session",
    "ready-to-autoreset",
    "stream-reset-start",
    "chunk",
    "corrupt chunk",
    "stream-reset-finish",
    "stream-reset-finish, wrong count",
    "stream-reset-finish after a stream",
    "stream-reset-abort",
    "leave",
    "deop",
    "three seconds",
    "two minutes",
    "kill-session",
];
/// A moderator who is not seen.
const GHOST: ConnId = 8;
/// Another one, who is.
const MODERATOR: ConnId = 9;

/// The cells of the rows of the table that begins with this heading row.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let rest = PAGE.split(heading).nth(1).unwrap_or_else(|| panic!("the page has no table {heading}"));
    let rows = rest.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// A session in a state: A hosts, is operator and does what the state is about; B is operator, too; C is not.
fn reach(state: &str) -> Table {
    let mut settings = Settings { persistence: true, ..Settings::default() };
    settings.set("autoResetThreshold", "2kb").unwrap();
    let mut table = Table::hosting(settings);
    table.join(client(B, "B"));
    table.join(client(C, "C"));
    if state == "Initialization" {
        table.forget();
        return table;
    }
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
    if ["Asked", "Answered", "Chosen", "Streaming"].contains(&state) {
        table.send(C, &[dab(3000)]);
    }
    let ready = |table: &mut Table, conn: ConnId| {
        table.command(conn, "ready-to-autoreset", json!([]), json!({"capabilities": ["gzip1"]}));
    };
    match state {
        "Answered" => ready(&mut table, A),
        "Chosen" | "Streaming" => {
            ready(&mut table, A);
            ready(&mut table, B);
        }
        "Reset" => table.command(A, "reset-session", json!([]), json!({"type": "current"})),
        "Shutdown" => table.act(|machine, cx| machine.shut_down("Over", cx)),
        _ => {}
    }
    if state == "Streaming" {
        give(&mut table, "stream-reset-start");
    }
    table.forget();
    if state == "Shutdown" {
        table.seats.clear();
    }
    table
}

/// Gives an input; returns who gave it.
fn give(table: &mut Table, input: &str) -> ConnId {
    let correlator = table.machine.resets.requested_correlator().unwrap_or("none").to_owned();
    let image = zlib(dab(2).as_bytes());
    match input {
        "message" => table.send(A, &[dab(1)]),
        "message of another" => table.send(C, &[dab(1)]),
        "init-begin" | "init-complete" | "init-cancel" => table.command(A, input, json!([]), json!({})),
        "init-complete after an image" => {
            table.send(A, &[canvas()]);
            table.command(A, "init-complete", json!([]), json!({}));
        }
        "reset-session" => table.command(A, input, json!([]), json!({"type": "current"})),
        "ready-to-autoreset" => table.command(A, input, json!([]), json!({"capabilities": ["gzip1"]})),
        "stream-reset-start" => table.command(A, input, json!([correlator]), json!({})),
        "chunk" => table.send(A, &[stream(&image)]),
        "corrupt chunk" => table.send(A, &[stream(b"garbage")]),
        "stream-reset-finish" => table.command(A, input, json!([0]), json!({})),
        "stream-reset-finish, wrong count" => {
            table.command(A, "stream-reset-finish", json!([7]), json!({}));
        }
        "stream-reset-finish after a stream" => {
            table.send(A, &[stream(&image)]);
            table.command(A, "stream-reset-finish", json!([1]), json!({}));
        }
        "stream-reset-abort" => table.command(A, input, json!([]), json!({})),
        "leave" => {
            table.leave(A);
            table.seats.remove(&A);
        }
        "deop" => {
            table.send(B, &[Frame::new(34, 0, &[2]).unwrap()]);
            return B;
        }
        "three seconds" => table.wait(3_000),
        "two minutes" => table.wait(120_000),
        "kill-session" => {
            table.join(moderator(MODERATOR, "M"));
            table.forget();
            table.command(MODERATOR, input, json!([]), json!({}));
            return MODERATOR;
        }
        other => panic!("there is no input {other}"),
    }
    A
}

fn state_of(table: &Table) -> &'static str {
    match (table.machine.state(), table.machine.resets.autoreset_status()) {
        (SessionState::Initialization, _) => "Initialization",
        (SessionState::Reset, _) => "Reset",
        (SessionState::Shutdown, _) => "Shutdown",
        (SessionState::Running, _) if table.machine.resets.stream_stage().is_some() => "Streaming",
        (SessionState::Running, "queried") => "Asked",
        (SessionState::Running, "waiting for responses") => "Answered",
        (SessionState::Running, "requested") => "Chosen",
        (SessionState::Running, _) => "Running",
    }
}

/// What somebody was sent, in the words of the page: direct replies, then what came from the history.
fn sent(table: &Table, conn: ConnId) -> String {
    let Some(seat) = table.seats.get(&conn) else { return "-".into() };
    let mut words: Vec<String> = Vec::new();
    for reply in &seat.direct {
        let kind = reply["type"].as_str().unwrap_or_default();
        let key = reply["T"].as_str().unwrap_or_default();
        match kind {
            "log" | "sessionconf" => {}
            "msg" | "alert" => words.push(key.to_owned()),
            "reset" => words.push(format!("reset {}", reply["state"].as_str().unwrap_or_default())),
            "autoreset" if reply["query"] == true => words.push("autoreset?".into()),
            "sprogress" if reply["cancel"] == true => words.push("sprogress cancel".into()),
            other => words.push(other.to_owned()),
        }
    }
    words.extend(seat.frames.iter().map(|(kind, ..)| format!("message {kind}")));
    let mut history: Vec<String> = seat.history.iter().map(|(kind, ..)| kind.to_string()).collect();
    history.dedup();
    if !history.is_empty() {
        words.push(format!("history {}", history.join(" ")));
    }
    if let Some((reason, _)) = &seat.gone {
        words.push(format!("disconnect {}", *reason as u8));
    }
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

/// A row of the table of states, for one state and one input.
struct Row {
    state: &'static str,
    input: &'static str,
    next: &'static str,
    to_giver: &'static str,
    to_c: &'static str,
}

fn state_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for cells in table("| state | input | next | to who gave it | to C |\n") {
        let [states, inputs, next, to_giver, to_c] = cells[..] else { panic!("{cells:?}") };
        let inputs = if inputs == "anything" { INPUTS.to_vec() } else { inputs.split("; ").collect() };
        for state in states.split(", ") {
            let next = if next == "same" { state } else { next };
            rows.extend(inputs.iter().map(|input| Row { state, input, next, to_giver, to_c }));
        }
    }
    rows
}

#[test]
fn states_follow_each_other_as_the_page_says() {
    for row in state_rows() {
        let mut table = reach(row.state);
        assert_eq!(state_of(&table), row.state);
        let giver = give(&mut table, row.input);
        let found = (state_of(&table), sent(&table, giver), sent(&table, C));
        let expected = (row.next, row.to_giver.to_owned(), row.to_c.to_owned());
        assert_eq!(found, expected, "{}: {}", row.state, row.input);
    }
}

#[test]
fn the_page_says_something_of_every_input_in_every_state() {
    let mut said = BTreeMap::new();
    for row in state_rows() {
        *said.entry((row.state, row.input)).or_insert(0) += 1;
    }
    for (state, input) in STATES.into_iter().flat_map(|state| INPUTS.map(|input| (state, input))) {
        assert_eq!(said.remove(&(state, input)), Some(1), "{state}: {input}");
    }
    assert!(said.is_empty(), "{said:?}");
}

// Messages.

/// The payload of a message that C could send.
fn message(name: &str) -> (u8, Vec<u8>) {
    match name {
        "opaque (64-255)" => (148, vec![7]),
        "ServerCommand" => (0, b"{\"cmd\":\"nonsense\"}".to_vec()),
        "Thumbnail" => (4, b"picture".to_vec()),
        "Join" => (32, b"\0\x01X".to_vec()),
        "Leave" => (33, vec![]),
        "SessionOwner" => (34, vec![2]),
        "TrustedUsers" => (36, vec![2]),
        "Chat" => (35, b"\0\0hello".to_vec()),
        "Chat past the history" => (35, b"\x01\0hello".to_vec()),
        "SoftReset" => (37, vec![]),
        "PrivateChat" => (38, b"\x02\0hello".to_vec()),
        "ResetStream" => (39, zlib(dab(2).as_bytes())),
        other => panic!("there is no message {other}"),
    }
}

/// Where a message went, in the words of the page.
fn where_it_goes(name: &str, sender: &str, state: &str) -> &'static str {
    let mut table = reach(state);
    let conn = match sender {
        "uploader" => A,
        "operator" => B,
        "member" | "muted" => C,
        "ghost" => {
            table.join(AuthenticatedClient { ghost: true, ..moderator(GHOST, "G") });
            GHOST
        }
        other => panic!("there is no sender {other}"),
    };
    if sender == "muted" {
        table.command(A, "mute", json!([3, true]), json!({}));
    }
    table.forget();
    let (kind, payload) = message(name);
    let before = (table.machine.history().last_index(), table.machine.resets.image_messages());
    table.send(conn, &[Frame::new(kind, 99, &payload).unwrap()]);
    let added = table.machine.history().last_index() - before.0;
    let direct = |conn: ConnId| table.seats[&conn].frames.iter().any(|(k, ..)| *k == kind);
    let logged = |conn: ConnId| table.replies(conn, "log").iter().any(|l| l["level"] == "Warn");
    let refused = table.replies(conn, "sprogress").iter().any(|r| r["cancel"] == true);
    let held = table.machine.members().iter().any(|m| m.conn() == conn && !m.held.is_empty());
    match () {
        () if held => "held",
        () if table.machine.resets.image_messages() > before.1 => "image",
        () if added == 1 => {
            let bytes = table.machine.history().to_bytes();
            assert_eq!(frames(&bytes).last().map(|f| f.header.kind), Some(kind), "{name}");
            "history"
        }
        () if added > 1 => panic!("{name} added {added} messages"),
        () if !table.error(conn).is_empty() => "command",
        () if table.replies(A, "alert").iter().any(|a| a["message"] == "hello") => "alert",
        () if direct(A) && direct(B) && direct(C) => "everybody",
        () if direct(B) && direct(conn) => "target and sender",
        () if refused || direct(conn) => "refused",
        () if !table.replies(conn, "sprogress").is_empty() => "stream",
        () if logged(A) => "dropped, logged",
        () => "dropped",
    }
}

#[test]
fn messages_go_where_the_page_says() {
    let mut said = BTreeSet::new();
    for cells in table("| message | sender | state | goes |\n") {
        let [name, sender, state, goes] = cells[..] else { panic!("{cells:?}") };
        assert_eq!(where_it_goes(name, sender, state), goes, "{name} of {sender} in {state}");
        said.insert(message(name).0);
    }
    let transparent =
        MESSAGES.iter().filter(|m| !m.reserved && matches!(m.group, Group::Control | Group::ServerMeta));
    // Three are handled below the session.
    let here = transparent.map(|m| m.id).filter(|id| ![1, 2, 3].contains(id));
    assert_eq!(said, here.chain([148]).collect());
}

// Commands.

#[test]
fn commands_need_the_role_that_the_page_says() {
    const RANKS: [&str; 4] = ["user", "deputy", "operator", "moderator"];
    let rows = table("| command | user | deputy | operator | moderator |\n");
    assert!(rows.len() > 20);
    for cells in rows {
        let command = if cells[0] == "any other" { "nonsense" } else { cells[0] };
        for (role, allowed) in RANKS.into_iter().zip(&cells[1..]) {
            let mut table = reach("Running");
            table.command(A, "sessionconf", json!([]), json!({"deputies": true}));
            let conn = match role {
                "user" => C,
                "deputy" => {
                    table.send(A, &[Frame::new(36, 0, &[3]).unwrap()]);
                    C
                }
                "operator" => B,
                _ => {
                    table.join(moderator(MODERATOR, "M"));
                    MODERATOR
                }
            };
            table.forget();
            table.command(conn, command, json!([]), json!({}));
            // Without arguments most have something else to complain of.
            let error = table.seats.get(&conn).map_or(String::new(), |_| table.error(conn));
            let refused = error.contains(": Not a ") || error.ends_with(": Unknown command");
            assert_eq!(if refused { "no" } else { "yes" }, *allowed, "{command} of a {role}: {error}");
        }
    }
}
