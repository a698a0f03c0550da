//! Commands of operators in the chat.

use super::rollback::draw;
use super::*;

const UNDO: u8 = 255;
const CHAT: u8 = 35;

impl Table {
    fn with_chat_commands() -> Table {
        let mut settings = Settings::default();
        settings.set("operatorChatCommands", "true").unwrap();
        let mut table = Table::running(settings);
        table.join(client(B, "B"));
        table.join(client(C, "Bob 2"));
        table
    }

    /// Somebody writes a line; returns what they are told.
    fn write(&mut self, conn: ConnId, line: &str) -> String {
        self.forget();
        self.send(conn, &[chat(line, false)]);
        let told = self.replies(conn, "msg").pop();
        told.map_or(String::new(), |v| v["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Messages of a kind that C was sent.
    fn sent(&self, kind: u8) -> Vec<Vec<u8>> {
        let history = self.seats[&C].history.iter();
        history.filter(|(sent, ..)| *sent == kind).map(|(_, _, payload)| payload.clone()).collect()
    }
}

#[test]
fn an_operator_undoes_and_redoes_in_the_chat_and_others_see_only_the_effect() {
    let mut table = Table::with_chat_commands();
    draw(&mut table, B, 6);
    table.leave(B);
    assert_eq!(table.write(A, "!undo b 2"), "Undid 2 actions of B; 4 more possible.");
    assert_eq!((table.sent(UNDO), table.sent(CHAT)), (vec![vec![2, 0]; 2], vec![]));
    assert!(table.write(A, "!redo B 1").starts_with("Redid 1 action of B;"));
    assert_eq!(table.write(A, "!undo B"), "Undid 5 actions of B; 0 more possible.");
    assert_eq!(table.sent(UNDO).len(), 5);
    let logs = table.replies(A, "log");
    assert!(logs.iter().any(|v| v["message"].to_string().contains("Undid 5 actions of B, by A")), "{logs:?}");
    assert!(table.write(A, "!undo B").contains("none of their actions"));
}

#[test]
fn a_number_may_be_a_part_of_a_name() {
    let mut table = Table::with_chat_commands();
    draw(&mut table, C, 4);
    assert_eq!(table.write(A, "!undo Bob 2 1"), "Undid 1 action of Bob 2; 3 more possible.");
    assert_eq!(table.write(A, "!undo Bob 2"), "Undid 3 actions of Bob 2; 0 more possible.");
    for unknown in ["!undo Bob", "!undo Bob 3", "!undo B 0"] {
        assert!(table.write(A, unknown).starts_with("Nobody called "), "{unknown}");
    }
    // The answer fits into a message, whatever was written.
    let long = format!("!undo {}", "\u{1}x".repeat(30_000));
    assert_eq!(
        table.write(A, &long),
        format!("Nobody called {} is here, or has drawn lately.", "x".repeat(30))
    );
    assert!(table.sent(UNDO).is_empty());
}

#[test]
fn only_operators_have_commands_and_only_with_the_setting() {
    let mut table = Table::with_chat_commands();
    draw(&mut table, A, 1);
    table.write(B, "!undo A");
    assert_eq!((table.sent(CHAT).len(), table.sent(UNDO).len()), (1, 0), "it is chat");
    assert!(table.write(A, "!help").contains("!link") && table.sent(CHAT).is_empty());
    table.write(A, "!!! wow");
    assert_eq!(table.sent(CHAT).len(), 1);
    let mut without = Table::of_three();
    draw(&mut without, B, 1);
    assert_eq!(without.write(A, "!undo B"), "");
    assert_eq!((without.sent(CHAT).len(), without.sent(UNDO).len()), (1, 0));
}

#[test]
fn an_operator_asks_for_a_link() {
    let mut table = Table::with_chat_commands();
    assert!(table.write(A, "!link").contains("no public address"));
    table.machine.shared.page_url = Some("https://draw.example/".into());
    let told = table.write(A, "!link");
    let (_, token) = told.rsplit_once('/').unwrap();
    assert!(told.contains("https://draw.example/operator/#id/"), "{told}");
    assert_eq!(table.machine.operator_by_link(token, table.now).unwrap().name, "A");
}

#[test]
fn nothing_is_undone_while_much_is_still_to_be_read() {
    let mut table = Table::with_chat_commands();
    for _ in 0..100 {
        table.send(B, &[Frame::new(128, 0, &[]).unwrap(), dab(60_000)]);
    }
    assert!(table.write(A, "!undo B 1").contains("Try again"));
    for _ in 0..3 {
        table.act(SessionMachine::expire);
    }
    assert!(table.write(A, "!undo B 1").starts_with("Undid 1 action"));
}
