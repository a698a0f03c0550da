//! What a member may not do costs that member, whatever it sends at once.

use super::*;
use crate::common::SID;

/// Draws, and sees that somebody else sees it.
fn draws_for(artist: &mut Client, viewer: &mut Client, mark: &[u8]) {
    artist.send(148, 0, mark);
    viewer.until(|m| m.kind == 148 && m.payload == mark);
}

#[test]
fn forbidden_messages_in_one_write_cost_their_sender_the_session_and_nobody_else() {
    let server = server("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut others: Vec<Client> = ["B", "C"]
        .map(|name| {
            let mut client = server.connect();
            client.join(name, &id);
            client
        })
        .into();
    let mut attacker = server.connect();
    attacker.join("X", &id);
    let leave = wire(33, &[]);
    attacker.send_bytes(&leave.repeat(65_536)).unwrap();
    assert!(attacker.rest().iter().any(|m| m.kind == GOODBYE), "it is told why");
    draws_for(&mut a, &mut others[0], b"still here");
    draws_for(&mut others[1], &mut a, b"all of us");
    assert_eq!(server.connect().ident_for_list("Y").len(), 1, "the session is still there");
}

#[test]
fn a_command_behind_an_image_that_is_too_large_is_nobodys() {
    let server = server("sessionSizeLimit=20kb\npersistence=true\n[users]\nm:plain;secret:MOD");
    let mut a = server.connect();
    let id = a.host_running("A");
    a.command("sessionconf", json!([]), json!({"persistent": true}));
    let mut moderator = server.connect();
    moderator.ident_as("m", "secret");
    moderator.command("join", json!([id]), json!({"s": SID}));
    moderator.reply(|v| v["state"] == "join");
    a.command("reset-session", json!([]), json!({}));
    a.reply(|v| v["state"] == "init");
    let kill = br#"{"cmd":"kill-session","args":[],"kwargs":{}}"#;
    let write = [wire(148, &[0; 15_000]), wire(148, &[0; 15_000]), wire(0, kill)].concat();
    a.send_bytes(&write).unwrap();
    assert!(a.rest().iter().any(|m| m.kind == GOODBYE));
    moderator.reply(|v| v["reset"] == "cancel");
    let mut b = server.connect();
    b.join("B", &id);
    draws_for(&mut b, &mut moderator, b"the session goes on");
}
