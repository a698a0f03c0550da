use drawhall_protocol::message::TrustedUsers;

use super::stream::{asked, stream, zlib};
use super::*;
use crate::rules::session::LinkToken;
use crate::rules::session::admin::{AdminError, AdminRequest};
use crate::rules::session::input::Input;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::thumbnail::{Jpeg, Rendered};
use crate::rules::undo::restored_image::RestoredImage;
use crate::storage::session_dir::SessionDir;

const UNDO: u8 = 255;
const LAYER_ACL: u8 = 69;

/// Actions of a user: an undo point and a stroke each.
pub(super) fn draw(table: &mut Table, conn: ConnId, actions: usize) {
    for _ in 0..actions {
        table.send(conn, &[Frame::new(128, 0, &[]).unwrap(), dab(20)]);
    }
}

impl Table {
    fn ask(&mut self, request: AdminRequest) -> Result<Value, AdminError> {
        let mut answer = None;
        self.act(|machine, cx| answer = Some(machine.administer(request, cx).map(|answer| answer.to_json())));
        answer.unwrap()
    }

    fn person(&mut self, name: &str) -> Value {
        let list = self.ask(AdminRequest::People).unwrap();
        let people = list["people"].as_array().unwrap();
        people.iter().rfind(|person| person["name"] == name).cloned().unwrap_or_default()
    }

    fn reachable(&mut self, name: &str) -> (u64, u64) {
        let person = self.person(name);
        (person["undoable"].as_u64().unwrap_or(0), person["redoable"].as_u64().unwrap_or(0))
    }

    fn undo(&mut self, name: &str, count: Option<usize>, redo: bool) -> Result<(u64, u64), String> {
        let person = self.person(name)["person"].as_i64().unwrap_or(-1);
        let by = "the server administrator".into();
        let request = UndoRequest { person, name: Some(name.into()), count, redo, by, link: None };
        let answer = self.ask(AdminRequest::Undo(request)).map_err(|error| error.to_string())?;
        Ok((answer["count"].as_u64().unwrap(), answer["left"].as_u64().unwrap()))
    }
}

#[test]
fn the_last_actions_of_somebody_who_left_are_undone_for_everybody() {
    let mut table = Table::of_three();
    draw(&mut table, B, 6);
    table.leave(B);
    draw(&mut table, C, 2);
    table.forget();
    assert_eq!(table.reachable("B"), (6, 0));
    assert_eq!(table.undo("B", Some(5), false), Ok((5, 1)));
    let undo = (UNDO, 0, vec![2, 0]);
    assert_eq!(table.seat(A).history, vec![undo.clone(); 5]);
    assert_eq!(table.seat(C).history, vec![undo; 5]);
    assert_eq!((table.reachable("B"), table.reachable("C")), ((1, 5), (2, 0)));
}

#[test]
fn redo_takes_an_undo_back() {
    let mut table = Table::of_three();
    draw(&mut table, B, 3);
    table.undo("B", None, false).unwrap();
    table.forget();
    assert_eq!(table.reachable("B"), (0, 3));
    assert_eq!(table.undo("B", None, true), Ok((3, 0)));
    assert_eq!(table.seat(A).history, vec![(UNDO, 0, vec![2, 1]); 3]);
    assert_eq!(table.reachable("B"), (3, 0));
    draw(&mut table, B, 1);
    let error = table.undo("B", None, true).unwrap_err();
    assert!(error.contains("they have drawn since"), "{error}");
}

#[test]
fn an_id_that_somebody_else_draws_with_is_refused() {
    let mut table = Table::of_three();
    draw(&mut table, B, 2);
    table.leave(B);
    // All other ids have been used when this one is again.
    for conn in 4..=254 {
        table.join(client(conn, &format!("user {conn}")));
        table.leave(conn);
    }
    table.join(client(256, "New"));
    assert_eq!(table.seat(256).user, 2);
    assert_eq!(table.reachable("B"), (2, 0), "the new one has not drawn yet");
    draw(&mut table, 256, 1);
    let error = table.undo("B", Some(1), false).unwrap_err();
    assert!(error.contains("belongs to New"), "{error}");
    assert_eq!(table.undo("New", None, false), Ok((1, 0)));
}

#[test]
fn what_is_out_of_the_undo_depth_is_refused() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    draw(&mut table, C, 30);
    let error = table.undo("B", None, false).unwrap_err();
    assert!(error.contains("among the newest 30"), "{error}");
    table.undo("C", Some(2), false).unwrap();
    assert!(table.undo("B", None, false).is_err(), "undone actions count for the depth");
}

#[test]
fn a_locked_canvas_is_unlocked_for_the_undo() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    table.send(A, &[Frame::new(LAYER_ACL, 0, &[0, 0, 0x80]).unwrap()]);
    draw(&mut table, B, 1);
    table.forget();
    assert_eq!(table.ask(AdminRequest::People).unwrap()["canvasLocked"], true);
    assert_eq!(table.undo("B", None, false), Ok((1, 0)), "clients ignored the second action");
    let lock = |flags| (LAYER_ACL, 0, vec![0, 0, flags]);
    assert_eq!(table.seat(C).history, [lock(0), (UNDO, 0, vec![2, 0]), lock(0x80)]);
}

#[test]
fn an_outdated_list_of_people_is_refused() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    let person = table.person("B")["person"].as_i64().unwrap();
    let request = |person, name: &str| UndoRequest {
        person,
        name: Some(name.into()),
        count: None,
        redo: false,
        by: String::new(),
        link: None,
    };
    assert_eq!(table.ask(AdminRequest::Undo(request(person, "C"))).unwrap_err(), AdminError::PeopleOutdated);
    let unknown = table.ask(AdminRequest::Undo(request(999_999, "B"))).unwrap_err();
    assert!(matches!(unknown, AdminError::NotPossible(_)), "{unknown}");
    assert!(table.ask(AdminRequest::Undo(request(person, "B"))).is_ok());
}

#[test]
fn nothing_is_undone_during_a_reset() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    table.command(A, "reset-session", json!([]), json!({}));
    let error = table.undo("B", None, false).unwrap_err();
    assert!(error.contains("being reset"), "{error}");
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert_eq!(table.reachable("B"), (0, 0), "a reset makes everything final");
    draw(&mut table, B, 2);
    assert_eq!(table.reachable("B"), (2, 0));
}

#[test]
fn undo_works_when_the_session_is_full() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    let size = table.machine.history().size();
    table.machine.history().set_limit(size);
    assert_eq!(table.undo("B", None, false), Ok((1, 0)));
}

#[test]
fn each_undo_is_logged_with_who_asked() {
    let mut table = Table::of_three();
    draw(&mut table, B, 2);
    table.forget();
    table.undo("B", None, false).unwrap();
    let log = table.replies(A, "log");
    let text = log.last().unwrap().to_string();
    assert!(text.contains("Undid 2 actions of B, by the server administrator"), "{text}");
}

#[test]
fn operators_are_told_after_a_kick_what_can_be_undone() {
    let mut table = Table::of_three();
    draw(&mut table, B, 4);
    table.forget();
    table.command(A, "kick-user", json!([2]), json!({}));
    let alert = table.replies(A, "alert").pop().unwrap();
    assert!(alert["message"].as_str().unwrap().starts_with("4 actions of B can still be undone"), "{alert}");
    assert!(table.replies(C, "alert").is_empty(), "nobody else is told");
    table.forget();
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    assert_eq!(table.keys(A), ["ban", "undopossible"], "also after a ban of somebody who has left");
    table.command(A, "kick-user", json!([3]), json!({}));
    assert_eq!(table.keys(A), ["ban", "undopossible", "kick"], "not if there is nothing to undo");
}

/// The token of the link in an operator's newest alert.
fn token(table: &Table, conn: ConnId) -> String {
    let alert = table.replies(conn, "alert").pop().unwrap();
    let link = alert["P"]["link"].as_str().unwrap_or_default();
    link.strip_prefix("https://draw.example/operator/#id/").unwrap_or_default().to_owned()
}

/// A session of three in which B draws, whose operators get links.
fn with_links() -> Table {
    let mut table = Table::of_three();
    table.machine.shared.page_url = Some("https://draw.example/".into());
    draw(&mut table, B, 4);
    table.forget();
    table
}

#[test]
fn a_link_is_valid_for_15_minutes_while_its_operator_is_there() {
    let mut table = with_links();
    table.command(A, "kick-user", json!([2]), json!({}));
    let token = token(&table, A);
    let holder = |table: &Table, later: u64| {
        let now = Timestamp { monotonic_ms: table.now.monotonic_ms + later, ..table.now };
        table.machine.operator_by_link(&token, now)
    };
    let found = holder(&table, 0).unwrap();
    assert_eq!((found.name.as_str(), found.seconds_left), ("A", 900));
    assert_eq!(holder(&table, 899_999).unwrap().seconds_left, 1);
    assert_eq!(holder(&table, 900_000), None);
    table.leave(A);
    assert_eq!(holder(&table, 0), None);
}

/// Histories are read elsewhere; when that is done, who asked may have left.
#[test]
fn a_request_by_a_link_that_has_ended_meanwhile_is_not_met() {
    let mut table = with_links();
    table.command(A, "kick-user", json!([2]), json!({}));
    let link = LinkToken(token(&table, A));
    assert_eq!(format!("{link:?}"), "LinkToken", "it is a secret");
    let is_valid = |table: &Table, link: Option<&LinkToken>| table.machine.is_still_valid(link, table.now);
    assert!(is_valid(&table, Some(&link)));
    table.leave(A);
    assert!(!is_valid(&table, Some(&link)));
    assert!(is_valid(&table, None), "administrators need none");
}

#[test]
fn a_link_is_offered_also_when_undo_reaches_nothing_but_not_for_somebody_who_has_not_drawn() {
    let mut table = with_links();
    draw(&mut table, A, 40);
    table.forget();
    table.command(A, "kick-user", json!([2]), json!({}));
    let alert = table.replies(A, "alert").pop().unwrap();
    assert!(alert["message"].as_str().unwrap().starts_with("B has drawn in this session"), "{alert}");
    assert!(!token(&table, A).is_empty());
    table.command(A, "kick-user", json!([3]), json!({}));
    assert_eq!(table.keys(A), ["kick", "undopossible", "kick"]);
}

#[test]
fn a_trusted_user_who_kicks_as_a_deputy_gets_no_link() {
    let mut table = with_links();
    table.command(A, "sessionconf", json!([]), json!({"deputies": true}));
    table.forget();
    table.send(A, &[Frame::new(TrustedUsers::TYPE, 1, &[3]).unwrap()]);
    table.command(C, "kick-user", json!([2]), json!({}));
    assert!(table.replies(C, "alert").is_empty());
    assert!(!token(&table, A).is_empty(), "the operator gets one");
}

#[test]
fn the_history_is_followed_over_a_streamed_reset() {
    for read_before in [true, false] {
        let (mut table, correlator) = asked();
        draw(&mut table, B, 2);
        assert_eq!(table.reachable("B"), (2, 0));
        table.command(A, "stream-reset-start", json!([correlator]), json!({}));
        draw(&mut table, B, 3);
        if read_before {
            assert_eq!(table.reachable("B"), (3, 0), "it begins with a barrier");
        }
        table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
        table.command(A, "stream-reset-finish", json!([1]), json!({}));
        assert_eq!(table.reachable("B"), (3, 0));
        draw(&mut table, A, 1);
        assert_eq!((table.reachable("B"), table.reachable("A")), ((3, 0), (1, 0)));
        assert_eq!(table.undo("B", Some(1), false), Ok((1, 2)));
    }
}

#[test]
fn a_stored_session_knows_its_people_after_loading() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::of_three();
    table.machine.store();
    draw(&mut table, B, 3);
    let dir = SessionDir::open(folder.path(), std::time::Duration::from_secs(1)).unwrap();
    let mut files = dir.create("id", ProtocolVersion::dp(4, 24, 0)).unwrap();
    files.perform(table.machine.drain_writes());
    drop(files);
    let loaded = dir.load("id").unwrap();
    let rest = Suspended::at_start(table.now, table.now.utc_ms, table.now.utc_ms, [0, 0]);
    let rollback = Rollback::of_stored(&loaded.session, &rest);
    let mut cx = Cx::new(table.now, &mut table.rng);
    table.machine = SessionMachine::restored(ServerSettings::default(), loaded.session, Some(rest), &mut cx);
    table.machine.adopt_rollback(rollback);
    table.seats.clear();
    assert_eq!(table.reachable("B"), (3, 0));
    assert_eq!(table.person("B")["online"], false, "nobody is there after loading");
    assert_eq!(table.undo("B", Some(2), false), Ok((2, 1)));
}

#[test]
fn a_kick_does_not_wait_for_a_long_history_to_be_read() {
    let mut table = Table::of_three();
    for _ in 0..100 {
        let stroke = Frame::new(148, 0, &[0; 60_000]).unwrap();
        table.send(B, &[Frame::new(128, 0, &[]).unwrap(), stroke]);
    }
    table.forget();
    table.command(A, "kick-user", json!([2]), json!({}));
    assert_eq!(table.keys(A), ["kick"], "6 MB are read later");
    table.act(SessionMachine::expire);
    table.forget();
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    assert_eq!(table.keys(A), ["ban", "undopossible"]);
}

/// Puts an image of the present history in place, that was read before `meanwhile` happened.
fn restore_read_before(
    table: &mut Table,
    without: Option<u8>,
    meanwhile: impl FnOnce(&mut Table),
) -> Result<Value, AdminError> {
    put_in_place(table, without, None, meanwhile)
}

fn put_in_place(
    table: &mut Table,
    without: Option<u8>,
    compacts: Option<u64>,
    meanwhile: impl FnOnce(&mut Table),
) -> Result<Value, AdminError> {
    let layout = table.machine.protocol().layout();
    let history = table.machine.history();
    let (epoch, first_index, end) = (history.epoch(), history.first_index(), history.end());
    let image = RestoredImage::new(&history.to_bytes(), layout);
    let read = Some(ReadSoFar { epoch, first_index, end, without, cuts: false, compacts });
    meanwhile(table);
    let (what, by) = ("Removed".to_owned(), "somebody".to_owned());
    let request = RestoreRequest { image, what, read, by };
    let effects = table.effects(|machine, cx| machine.handle(Input::Restore(Box::new(request)), cx));
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Answer(answer) => Some(answer.map(|answer| answer.to_json())),
        _ => None,
    });
    answer.unwrap()
}

#[test]
fn a_streamed_reset_while_a_history_is_rebuilt_refuses_it() {
    let (mut table, correlator) = asked();
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    draw(&mut table, B, 1);
    let answer = restore_read_before(&mut table, Some(2), |table| {
        table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
        table.command(A, "stream-reset-finish", json!([1]), json!({}));
    });
    assert_eq!(answer, Err(AdminError::ResetMeanwhile));
}

#[test]
fn a_compaction_leaves_the_thumbnail_as_it_is() {
    let mut settings = Settings::default();
    settings.set("thumbnailInterval", "600").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.send(B, &[dab(5)]);
    let leave = table.effects(|machine, cx| machine.handle(Input::Leave(A), cx));
    assert!(!leave.iter().any(|effect| matches!(effect, Effect::MakeThumbnail)), "B is there");
    let made = |table: &mut Table| {
        table.now.monotonic_ms += 600_000;
        table.act(|machine, cx| machine.handle(Input::Expire, cx));
        let jpeg = Rendered::Made(Jpeg(b"jpeg".to_vec()));
        table.act(|machine, cx| machine.handle(Input::ThumbnailMade(jpeg), cx));
        assert!(!table.machine.wants_thumbnail());
    };
    table.act(|machine, cx| machine.handle(Input::Expire, cx));
    made(&mut table);
    let size = Some(table.machine.history().size());
    assert!(put_in_place(&mut table, None, size, |_| {}).is_ok());
    assert!(!table.machine.wants_thumbnail(), "the canvas is the same");
    let drawn = put_in_place(&mut table, None, size, |table| table.send(B, &[dab(5)]));
    assert!(drawn.is_ok() && table.machine.wants_thumbnail(), "somebody has drawn meanwhile");
    made(&mut table);
    assert!(restore_read_before(&mut table, None, |_| {}).is_ok());
    assert!(table.machine.wants_thumbnail(), "it may be another canvas");
}

#[test]
fn a_compaction_is_refused_when_much_is_drawn_meanwhile() {
    for (strokes, fits) in [(100, true), (150, false)] {
        let mut table = Table::running(Settings::default());
        table.join(client(B, "B"));
        let meanwhile = |table: &mut Table| (0..strokes).for_each(|_| table.send(B, &[dab(60_000)]));
        let size = Some(table.machine.history().size());
        let compacted = put_in_place(&mut table, None, size, meanwhile);
        assert_eq!(compacted.is_ok(), fits, "{compacted:?}");
        let removed = restore_read_before(&mut table, Some(2), meanwhile);
        assert!(removed.is_ok(), "what is made in seconds is not limited");
    }
}

#[test]
fn who_gets_the_id_of_somebody_who_is_removed_loses_nothing() {
    let mut table = Table::of_three();
    draw(&mut table, B, 1);
    let answer = restore_read_before(&mut table, Some(2), |table| {
        draw(table, B, 1);
        table.leave(B);
        table.join(client(4, "B"));
        assert_eq!(table.seat(4).user, 2, "the same id");
        table.send(4, &[Frame::new(128, 0, &[]).unwrap(), dab(77)]);
    });
    assert!(answer.is_ok(), "{answer:?}");
    let bytes = table.machine.history().to_bytes();
    let drawn: Vec<(u8, usize)> = frames(&bytes)
        .filter(|frame| frame.header.kind == 148 && frame.header.user == 2)
        .map(|frame| (frame.header.user, frame.payload().len()))
        .collect();
    assert_eq!(drawn, [(2, 20), (2, 77)], "what was read, and what the next holder drew");
}
