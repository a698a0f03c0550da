//! How fast members may draw: by rank, and who is told of one that is slowed down.

use super::*;
use crate::rules::limits::{DrawRate, Rank};
use crate::rules::session::input::Input;

impl Table {
    fn give(&mut self, input: Input) {
        self.act(|machine, cx| machine.handle(input, cx));
    }

    fn command_input(&mut self, conn: ConnId, json: Value) {
        let frame = Frame::new(0, 0, json.to_string().as_bytes()).unwrap();
        self.give(Input::Batch { conn, batch: Batch::new(frame.as_bytes().to_vec()) });
    }

    fn come(&mut self, client: AuthenticatedClient) {
        self.seats.insert(client.conn, Seat::default());
        self.give(Input::Join(Box::new(JoinRequest { client, ..JoinRequest::default() })));
    }
}

fn rate(rank: Rank) -> DrawRate {
    crate::rules::session::draw_rates::rate_of(rank, &Settings::default())
}

#[test]
fn a_client_is_told_the_rate_limit_of_its_rank_whenever_that_changes() {
    let mut table = Table::running(Settings::default());
    table.come(client(B, "B"));
    table.come(account(C, "C"));
    assert_eq!(table.seat(A).draw_rate, DrawRate::UNLIMITED);
    assert_eq!(table.seat(B).draw_rate, rate(Rank::Guest));
    assert_eq!(table.seat(C).draw_rate, rate(Rank::Registered));
    let ids = [table.seat(B).user];
    let trusted = Frame::new(36, 0, &ids).unwrap();
    table.give(Input::Batch { conn: A, batch: Batch::new(trusted.as_bytes().to_vec()) });
    assert!(table.member(B).trusted);
    assert_eq!(table.seat(B).draw_rate, rate(Rank::Trusted));
    let mut settings = Settings::default();
    settings.set("trustedDrawRateLimit", "3").unwrap();
    let shared = ServerSettings { settings: Arc::new(settings), ..ServerSettings::default() };
    table.give(Input::Shared(shared));
    assert_eq!(table.seat(B).draw_rate.messages, 3);
}

#[test]
fn whoever_uploads_the_content_has_no_rate_limit() {
    let mut settings = Settings::default();
    settings.set("operatorDrawRateLimit", "50").unwrap();
    let mut table = Table::hosting(settings);
    table.give(Input::Tick);
    assert_eq!(table.seat(A).draw_rate, DrawRate::UNLIMITED, "the host's first upload");
    table.command_input(A, json!({"cmd": "init-complete"}));
    assert_eq!(table.seat(A).draw_rate.messages, 50);
    table.command_input(A, json!({"cmd": "reset-session"}));
    assert_eq!(table.seat(A).draw_rate, DrawRate::UNLIMITED);
    table.give(Input::Batch { conn: A, batch: Batch::new(canvas().as_bytes().to_vec()) });
    table.command_input(A, json!({"cmd": "init-complete"}));
    assert_eq!(table.seat(A).draw_rate.messages, 50);
}

#[test]
fn operators_and_the_log_are_told_once_who_is_slowed_down() {
    let mut table = Table::of_three();
    let told = |table: &Table, conn| {
        let texts = table.replies(conn, "msg");
        texts.iter().filter(|v| v["message"].to_string().contains("slowed down")).count()
    };
    let logged = |effects: &[Effect]| {
        let is_about = |effect: &&Effect| matches!(effect, Effect::Log(entry) if entry.message.contains("Draws too fast"));
        effects.iter().filter(is_about).count()
    };
    let slowed = |slowed| Input::DrawsTooFast { conn: B, slowed };
    table.give(slowed(true));
    assert_eq!([A, B, C].map(|conn| told(&table, conn)), [1, 0, 0]);
    assert!(table.member(B).slowed && !table.member(C).slowed);
    table.give(slowed(false));
    assert!(!table.member(B).slowed);
    table.wait(60_000);
    let effects = table.effects(|machine, cx| machine.handle(slowed(true), cx));
    assert_eq!(logged(&effects), 0, "the same person a minute later");
    assert!(table.member(B).slowed, "but it is known");
    table.wait(600_000);
    let effects = table.effects(|machine, cx| machine.handle(slowed(true), cx));
    assert_eq!(logged(&effects), 1);
}
