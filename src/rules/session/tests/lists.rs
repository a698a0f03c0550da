//! What a session keeps about people, and how often it tells of it.

use super::*;
use crate::rules::journal::Entry;
use crate::rules::metadata::StoredBan;
use crate::rules::session::accounts::MAX_ACCOUNTS;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::input::Input;

fn command(cmd: &str, args: Value) -> Vec<u8> {
    let json = json!({"cmd": cmd, "args": args, "kwargs": {}}).to_string();
    Frame::new(0, 0, json.as_bytes()).unwrap().as_bytes().to_vec()
}

impl Table {
    fn input(&mut self, input: Input) {
        self.act(|machine, cx| machine.handle(input, cx));
    }

    /// Sends commands in one batch.
    fn batch(&mut self, conn: ConnId, commands: Vec<Vec<u8>>) {
        self.input(Input::Batch { conn, batch: Batch::new(commands.concat()) });
    }

    /// How often somebody was sent a list.
    fn lists(&self, conn: ConnId, member: &str) -> usize {
        self.replies(conn, "sessionconf").iter().filter(|v| v["config"].get(member).is_some()).count()
    }

    /// Has a ban list read or written that is waiting for it.
    fn exchange(&mut self, conn: ConnId, commands: Vec<Vec<u8>>) -> usize {
        let mut waiting = Vec::new();
        self.act(|machine, cx| {
            machine.handle(Input::Batch { conn, batch: Batch::new(commands.concat()) }, cx);
            waiting = take_exchanges(cx);
        });
        let count = waiting.len();
        self.exchange_bans(waiting);
        count
    }
}

/// Takes the ban lists that are to be read or written.
fn take_exchanges(cx: &mut Cx<'_>) -> Vec<BanExchange> {
    let exchanges = cx.effects.extract_if(.., |effect| matches!(effect, Effect::ExchangeBans(_)));
    let exchanges = exchanges.map(|effect| match effect {
        Effect::ExchangeBans(exchange) => exchange,
        _ => unreachable!("only these are taken"),
    });
    exchanges.collect()
}

fn auth(n: usize, op: bool) -> Value {
    json!({"a": format!("internal:{n}"), "o": op, "t": true, "u": format!("U{n}")})
}

#[test]
fn lists_are_sent_at_most_once_a_gathering() {
    let mut table = Table::of_three();
    let commands = (0..50).map(|n| command("auth-list", json!([[auth(n, true)]]))).collect();
    table.batch(A, commands);
    assert_eq!(table.lists(A, "auth"), 1, "the first change is shown at once");
    assert_eq!(table.part(A, "auth").unwrap().as_array().unwrap().len(), 1);
    let mutes = |n: usize| command("mute", json!([2, n.is_multiple_of(2)]));
    table.batch(A, (0..51).map(mutes).collect());
    assert_eq!((table.lists(B, "muted"), table.part(B, "muted")), (1, Some(json!([2]))));
    let due = table.machine.next_deadline().unwrap();
    assert!(due > table.now.monotonic_ms && due <= table.now.monotonic_ms + 100);
    table.wait(due - table.now.monotonic_ms);
    assert_eq!(
        (table.lists(A, "auth"), table.lists(B, "muted")),
        (2, 2),
        "then what has come of all of them"
    );
    assert_eq!(table.part(A, "auth").unwrap().as_array().unwrap().len(), 50);
    assert_eq!(table.machine.next_deadline(), None);
}

#[test]
fn broadcasts_of_long_lists_are_rate_limited() {
    let mut table = Table::of_three();
    for batch in 0..10 {
        let list: Vec<Value> = (0..100).map(|n| auth(100 * batch + n, true)).collect();
        table.batch(A, vec![command("auth-list", json!([list]))]);
    }
    table.wait(1000);
    table.forget();
    for n in 0..1000 {
        table.batch(A, vec![command("auth-list", json!([[auth(0, n % 2 == 1)]]))]);
        table.wait(1);
    }
    assert!(table.lists(A, "auth") <= 25, "{}", table.lists(A, "auth"));
    table.wait(1000);
    let entries = table.part(A, "auth").unwrap();
    let first = entries.as_array().unwrap().iter().find(|e| e["authId"] == "internal:0").unwrap().clone();
    assert_eq!(first["op"], true, "the last state is shown in the end");
}

#[test]
fn new_members_get_all_lists_at_once() {
    let mut table = Table::of_three();
    for n in 0..200 {
        table.seats.insert(10, Seat::default());
        table.input(Input::Join(Box::new(JoinRequest { client: client(10, "N"), ..JoinRequest::default() })));
        if n < 199 {
            table.input(Input::Leave(10));
        }
    }
    assert_eq!((table.lists(10, "muted"), table.lists(10, "announcements")), (1, 1));
    assert!(table.lists(B, "muted") <= 40, "{}", table.lists(B, "muted"));
}

#[test]
fn remembered_accounts_are_bounded() {
    let mut table = Table::of_three();
    table.machine.store();
    table.machine.drain_writes();
    for batch in 0..30 {
        let list: Vec<Value> = (0..100).map(|n| auth(100 * batch + n, false)).collect();
        table.batch(A, vec![command("auth-list", json!([list]))]);
        table.wait(1000);
    }
    assert_eq!(table.machine.moderation.accounts.all().count(), MAX_ACCOUNTS);
    let list = table.part(A, "auth").unwrap();
    assert!(list.as_array().unwrap().len() >= 600, "as many as fit into a message");
    assert!(table.machine.drain_writes().journal.len() <= 2 * MAX_ACCOUNTS);
}

#[test]
fn invalid_account_ids_are_not_remembered() {
    let mut table = Table::of_three();
    let long = format!("internal:{}", "x".repeat(60_000));
    let list: Vec<Value> = ["7-1", long.as_str(), ":x", "internal:2"]
        .iter()
        .map(|id| json!({"a": id, "o": true, "u": "x".repeat(23)}))
        .collect();
    table.batch(A, vec![command("auth-list", json!([list[..1]]))]);
    assert_eq!(table.error(A), "auth-list: 1 unknown accounts left out");
    table.batch(A, vec![command("auth-list", json!([list[1..2]]))]);
    table.batch(A, vec![command("auth-list", json!([list[2..]]))]);
    assert_eq!(table.error(A), "auth-list: 1 unknown accounts left out");
    let known: Vec<&String> = table.machine.moderation.accounts.all().map(|(id, _)| id).collect();
    assert_eq!(known, ["internal:2"]);
    assert_eq!(table.part(A, "auth"), Some(json!([])), "a name that nobody can have is none");
}

/// A list of bans in the form that is imported.
fn exported(names: impl Iterator<Item = String>) -> String {
    let banned_by = "B".repeat(22);
    let bans = names.map(|name| StoredBan { name, banned_by: banned_by.clone(), ..StoredBan::default() });
    crate::rules::session::ban_text::encode(&bans.collect::<Vec<_>>(), None, [0; 24]).unwrap()
}

#[test]
fn ban_lists_are_read_and_written_elsewhere_and_few_at_once() {
    let mut table = Table::of_three();
    let text = exported((0..3).map(|n| format!("n{n}")));
    let imports = vec![command("import-bans", json!([text])); 8];
    assert_eq!(table.exchange(A, imports), 4);
    assert_eq!(table.replies(A, "banimpex").len(), 4, "each that was begun is answered");
    assert_eq!(table.replies(A, "error").len(), 4, "and each that was not");
    assert!(table.error(A).starts_with("import-bans: Other ban lists are being read"));
    table.wait(60_000);
    assert_eq!(table.exchange(A, vec![command("import-bans", json!(["garbage"]))]), 1);
    assert_eq!(table.replies(A, "banimpex").last().unwrap()["T"], "banimportmalformed");
}

#[test]
fn an_import_needs_operator_status_when_it_finishes() {
    let mut table = Table::of_three();
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    let text = exported(["x".to_owned()].into_iter());
    let mut waiting = Vec::new();
    let bytes = command("import-bans", json!([text]));
    table.act(|machine, cx| {
        machine.handle(Input::Batch { conn: B, batch: Batch::new(bytes) }, cx);
        waiting = take_exchanges(cx);
    });
    table.send(A, &[Frame::new(34, 0, &[]).unwrap()]);
    let done = waiting.remove(0).perform(None);
    table.input(Input::BansExchanged(done));
    assert_eq!(table.error(B), "import-bans: Not a session owner");
    assert!(table.machine.moderation.bans.entries(false).is_empty());
}

#[test]
fn a_too_long_ban_list_drops_the_oldest_and_says_so() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    for part in 0..10 {
        let names = (0..100).map(|n| format!("{:0>22}", part * 100 + n));
        table.exchange(A, vec![command("import-bans", json!([exported(names)]))]);
        table.wait(10_000);
    }
    for conn in [A, 4] {
        let list = table.part(conn, "banlist").unwrap();
        let list = list.as_array().unwrap();
        assert!((400..1000).contains(&list.len()), "{}", list.len());
        assert_eq!((&list[list.len() - 1]["id"], &list[0]["id"]), (&json!(1000), &json!(1001 - list.len())));
    }
    let told = table.replies(B, "log");
    let told: Vec<_> =
        told.iter().map(|v| v["message"].to_string()).filter(|text| text.contains("too long")).collect();
    assert!((1..=2).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|text| !text.contains("oldest 0")), "{told:?}");
    table.forget();
    table.batch(A, vec![command("remove-ban", json!([1000]))]);
    assert!(table.part(A, "banlist").is_some(), "it is shown again after each change");
}

#[test]
fn long_log_texts_are_truncated_for_members() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    table.forget();
    table.input(Input::OutsideReport {
        user: crate::log::LogUser { id: 0, address: None, name: "X".into() },
        reason: "ä".repeat(30_000),
    });
    let shown = table.replies(4, "log");
    let text = shown[0]["message"].as_str().unwrap();
    assert!((900..=1003).contains(&text.len()), "{}", text.len());
}

#[test]
fn a_returning_name_does_not_change_the_journal() {
    let mut table = Table::of_three();
    table.machine.store();
    table.machine.drain_writes();
    for _ in 0..3 {
        table.leave(B);
        table.join(client(B, "B"));
    }
    let users = table.machine.drain_writes().journal.into_iter().filter(|e| matches!(e, Entry::User { .. }));
    assert_eq!(users.count(), 0);
}

#[test]
fn waiting_journal_entries_are_bounded_by_compaction() {
    let mut table = Table::of_three();
    table.machine.store();
    table.machine.drain_writes();
    for round in 0..3 {
        let text = exported((0..900).map(|n| format!("n{n}")));
        table.exchange(A, vec![command("import-bans", json!([text]))]);
        let removals = (1..=900).map(|n| command("remove-ban", json!([900 * round + n])));
        table.batch(A, removals.collect());
        table.wait(60_000);
    }
    let mut work = table.machine.drain_writes();
    assert!(work.incomplete && work.journal.len() <= 4096, "{}", work.journal.len());
    table.machine.compact_journal(&mut work);
    let snapshot = work.snapshot.unwrap();
    assert!(snapshot.len() < 20, "{}", snapshot.len());
    let mut text = String::new();
    snapshot.iter().for_each(|entry| entry.write(&mut text));
    let replay = crate::rules::metadata::Metadata::replay(text.as_bytes());
    assert_eq!((replay.warnings, replay.metadata.last_ban), (Vec::<String>::new(), 2700));
    assert_eq!(replay.metadata.users.len(), 3);
}

#[test]
fn an_administrators_chat_buffer_is_bounded() {
    let mut table = Table::of_three();
    let joined = AdminRequest::JoinChat { message: String::new(), timeout_ms: 60_000 };
    table.input(Input::Administer(joined));
    for _ in 0..200 {
        table.send(B, &[chat(&"x".repeat(60_000), true)]);
        table.wait(100);
    }
    let mut read = Value::Null;
    table.act(|machine, cx| {
        read = machine.administer(AdminRequest::ReadChat(0), cx).unwrap().to_json();
    });
    let messages = read["messages"].as_array().unwrap();
    assert!((10..20).contains(&messages.len()), "{}", messages.len());
    assert_eq!(read["offset"], 200 - messages.len());
}

#[test]
fn the_number_of_persisted_announcements_is_bounded() {
    let mut table = Table::of_three();
    for n in 0..30 {
        let news = crate::rules::session::ListingUpdate {
            announced: Some(format!("http://l/{n}")),
            ..Default::default()
        };
        table.input(Input::Listing(news));
    }
    assert_eq!(table.machine.announcements.wanted().len(), 10);
    assert_eq!(table.machine.announcements.wanted()[9], "http://l/29");
}

#[test]
fn a_thumbnail_that_cannot_be_sent_is_an_error() {
    let mut table = Table::of_three();
    let ghost = AuthenticatedClient { ghost: true, ..moderator(4, "M") };
    table.join(ghost);
    table.forget();
    let quotes = "\"".repeat(40_000);
    table.send(4, &[chat(&quotes, true)]);
    assert_eq!(table.error(4), "chat: Message too long for an alert");
    table.command(4, "kill-session", json!([]), json!({"reason": "x".repeat(40_000)}));
    assert_eq!(table.error(4), "kill-session: Reason too long");
    assert!(!table.ended && table.replies(B, "alert").is_empty());
    table.command(A, "sessionconf", json!([]), json!({"password": "x".repeat(40_000), "title": "T"}));
    assert_eq!(table.error(A), "sessionconf: Password too long");
    assert_eq!(table.settings()["title"], "");
    table.batch(B, vec![command(&"y".repeat(65_000), json!([]))]);
    assert_eq!(table.error(B), format!("{}: Unknown command", "y".repeat(100)));
    let news = crate::rules::session::ListingUpdate { text: Some("w".repeat(200_000)), ..Default::default() };
    table.input(Input::Listing(news));
    assert!(table.replies(B, "msg").last().is_some(), "what a list server says is cut");
}
