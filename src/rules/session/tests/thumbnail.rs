//! Pictures of a session.

use drawhall_protocol::command::Capabilities;

use super::super::thumbnail::{Jpeg, NotAsked, PictureWish, Rendered};
use super::input::Input;
use super::*;

/// A session with B, who can make pictures, and C, who cannot.
fn table() -> Table {
    let mut table = Table::running(Settings::default());
    let capabilities = Capabilities { thumbnail: true, ..Capabilities::default() };
    table.join(AuthenticatedClient { capabilities, ..client(B, "B") });
    table.join(client(C, "C"));
    table.forget();
    table
}

fn ask(table: &mut Table, user: u8, wish: PictureWish) -> Result<String, NotAsked> {
    let mut answer = Err(NotAsked::NoUser);
    table.act(|machine, cx| answer = machine.ask_thumbnail(user, wish, cx));
    answer
}

fn picture(correlator: &str, picture: &[u8]) -> Frame {
    Frame::new(4, 0, &[correlator.as_bytes(), picture].concat()).unwrap()
}

#[test]
fn a_client_that_is_asked_sends_a_picture() {
    let mut table = table();
    let wish = PictureWish { max_width: Some(320), format: Some("webp".into()), ..PictureWish::default() };
    let correlator = ask(&mut table, 2, wish).unwrap();
    let asked = json!({"type": "thumbnail", "correlator": correlator, "maxWidth": 320, "format": "webp"});
    assert_eq!(table.replies(B, "thumbnail"), [asked]);
    assert!(table.replies(A, "thumbnail").is_empty());
    assert_eq!(ask(&mut table, 2, PictureWish::default()), Err(NotAsked::Already));

    table.send(A, &[picture(&correlator, b"not asked")]);
    table.send(B, &[picture("0:0", b"wrong correlator")]);
    assert_eq!(table.machine.thumbnail(), None);
    assert_eq!(table.machine.thumbnail_request(), Some((2, correlator.as_str())));

    table.send(B, &[picture(&correlator, b"RIFF")]);
    assert_eq!(table.machine.thumbnail().unwrap().data, "RIFF");
    assert_eq!(table.machine.thumbnail_request(), None);
    assert!(!table.history(A).iter().any(|(kind, _)| *kind == 4), "pictures do not enter the history");

    table.send(B, &[picture(&correlator, b"again")]);
    assert_eq!(table.machine.thumbnail().unwrap().data, "RIFF", "nobody asked again");
    table.machine.forget_thumbnail();
    assert_eq!(table.machine.thumbnail(), None);
}

#[test]
fn thumbnails_are_requested_from_capable_members_only() {
    let mut table = table();
    assert_eq!(ask(&mut table, 3, PictureWish::default()), Err(NotAsked::Incapable));
    assert_eq!(ask(&mut table, 9, PictureWish::default()), Err(NotAsked::NoUser));
    assert!(table.replies(C, "thumbnail").is_empty());
}

#[test]
fn a_request_ends_with_an_error_a_cancel_an_empty_picture_or_a_leaver() {
    let mut table = table();
    let correlator = ask(&mut table, 2, PictureWish::default()).unwrap();
    table.command(B, "thumbnail-error", json!(["0:0", "another"]), json!({}));
    table.command(A, "thumbnail-error", json!([correlator, "not mine"]), json!({}));
    assert!(table.machine.thumbnail_request().is_some());
    table.command(B, "thumbnail-error", json!([correlator, "too large"]), json!({}));
    assert_eq!(table.machine.thumbnail_request(), None);
    assert_eq!(table.error(B), "");

    let again = ask(&mut table, 2, PictureWish::default()).unwrap();
    assert_ne!(again, correlator);
    assert!(!table.machine.cancel_thumbnail(Some(3)));
    assert!(table.machine.cancel_thumbnail(Some(2)));
    table.send(B, &[picture(&again, b"late")]);
    assert_eq!(table.machine.thumbnail(), None);

    let third = ask(&mut table, 2, PictureWish::default()).unwrap();
    table.send(B, &[picture(&third, b"")]);
    assert_eq!((table.machine.thumbnail(), table.machine.thumbnail_request()), (None, None));

    ask(&mut table, 2, PictureWish::default()).unwrap();
    table.leave(B);
    assert_eq!(table.machine.thumbnail_request(), None);
}

/// A session whose thumbnails the server makes every ten minutes.
fn with_interval() -> Table {
    let mut settings = Settings::default();
    settings.set("thumbnailInterval", "600").unwrap();
    settings.set("emptySessionLingerTime", "1d").unwrap();
    Table::running(settings)
}

/// Whether the server makes a thumbnail at the next periodic check, after this time.
fn makes_after(table: &mut Table, seconds: u64) -> bool {
    table.now.monotonic_ms += seconds * 1000;
    let effects = table.effects(|machine, cx| machine.handle(Input::Expire, cx));
    effects.iter().any(|effect| matches!(effect, Effect::MakeThumbnail))
}

/// Whether the server makes a thumbnail because somebody leaves.
fn makes_when_left(table: &mut Table, who: ConnId) -> bool {
    let effects = table.effects(|machine, cx| machine.handle(Input::Leave(who), cx));
    effects.iter().any(|effect| matches!(effect, Effect::MakeThumbnail))
}

fn made(table: &mut Table, rendered: Rendered<Jpeg>) {
    table.act(|machine, cx| machine.handle(Input::ThumbnailMade(rendered), cx));
}

#[test]
fn the_server_makes_a_thumbnail_at_intervals_if_somebody_has_drawn() {
    let mut table = with_interval();
    assert!(!makes_after(&mut table, 0));
    assert!(!makes_after(&mut table, 599));
    assert!(makes_after(&mut table, 1));
    assert!(!makes_after(&mut table, 900), "it is being made");
    made(&mut table, Rendered::Made(Jpeg(b"jpeg".to_vec())));
    assert_eq!(table.machine.thumbnail().unwrap().data, "jpeg");
    assert!(!makes_after(&mut table, 900), "nobody has drawn");
    table.send(A, &[chat("hello", false)]);
    assert!(!makes_after(&mut table, 900), "nobody has drawn");
    table.send(A, &[dab(5)]);
    assert!(makes_after(&mut table, 0), "the last one is old");
    table.send(A, &[dab(5)]);
    made(&mut table, Rendered::Made(Jpeg(b"newer".to_vec())));
    assert!(!makes_after(&mut table, 599));
    assert!(makes_after(&mut table, 1), "it lacks what was drawn meanwhile");

    let mut off = Table::running(Settings::default());
    assert!(!off.machine.wants_thumbnail() && !makes_after(&mut off, 100_000));
}

#[test]
fn the_server_makes_a_thumbnail_with_nobody_there() {
    let mut table = with_interval();
    table.send(A, &[dab(5)]);
    assert!(!makes_after(&mut table, 0));
    table.now.monotonic_ms += 1000;
    assert!(makes_when_left(&mut table, A), "at once, so that it can be unloaded");
    made(&mut table, Rendered::Made(Jpeg(b"jpeg".to_vec())));
    assert!(!table.machine.awaits_thumbnail());

    // Who comes and goes all the time has no more made than one a minute.
    table.join(client(B, "B"));
    table.send(B, &[dab(5)]);
    assert!(!makes_when_left(&mut table, B));
    assert!(table.machine.awaits_thumbnail(), "it is not unloaded before");
    assert!(!makes_after(&mut table, 59));
    assert!(makes_after(&mut table, 1));
    made(&mut table, Rendered::Made(Jpeg(b"jpeg".to_vec())));
    table.now.monotonic_ms += 60_000;
    table.join(client(C, "C"));
    assert!(!makes_when_left(&mut table, C), "nobody has drawn");
}

#[test]
fn a_session_is_unloaded_without_a_thumbnail_that_has_failed() {
    let mut table = with_interval();
    table.send(A, &[dab(5)]);
    assert!(makes_when_left(&mut table, A));
    made(&mut table, Rendered::Busy);
    assert!(table.machine.awaits_thumbnail());
    assert!(makes_after(&mut table, 60));
    made(&mut table, Rendered::Failed("it took too long".into()));
    table.join(client(B, "B"));
    table.send(B, &[dab(5)]);
    assert!(!makes_when_left(&mut table, B));
    assert!(!table.machine.awaits_thumbnail(), "the next attempt is in 20 minutes");
    assert!(!makes_after(&mut table, 1199) && makes_after(&mut table, 1), "if it is still loaded");
}

#[test]
fn a_thumbnail_is_put_off_while_others_are_made_and_not_tried_again_after_a_failure() {
    let mut table = with_interval();
    assert!(!makes_after(&mut table, 0));
    assert!(makes_after(&mut table, 600));
    made(&mut table, Rendered::Busy);
    assert!(!makes_after(&mut table, 59));
    assert!(makes_after(&mut table, 1));
    made(&mut table, Rendered::Failed("no program".into()));
    assert!(!table.machine.wants_thumbnail() && !makes_after(&mut table, 100_000));
    assert_eq!(table.machine.thumbnail(), None);
    table.send(A, &[dab(5)]);
    assert!(makes_after(&mut table, 0), "there is something else to see");
}

#[test]
fn each_failure_doubles_the_delay_of_the_next_thumbnail() {
    let mut table = with_interval();
    assert!(!makes_after(&mut table, 0));
    assert!(makes_after(&mut table, 600));
    for delay in [1200, 2400, 4800] {
        made(&mut table, Rendered::Failed("it took too long".into()));
        table.send(A, &[dab(5)]);
        assert!(!makes_after(&mut table, delay - 1), "{delay}");
        assert!(makes_after(&mut table, 1), "{delay}");
    }
    made(&mut table, Rendered::Made(Jpeg(b"jpeg".to_vec())));
    table.send(A, &[dab(5)]);
    assert!(makes_after(&mut table, 9600));
    made(&mut table, Rendered::Made(Jpeg(b"jpeg".to_vec())));
    table.send(A, &[dab(5)]);
    assert!(makes_after(&mut table, 600), "after a success it is the interval again");
    for _ in 0..30 {
        made(&mut table, Rendered::Failed("it took too long".into()));
        table.send(A, &[dab(5)]);
        assert!(makes_after(&mut table, 86_400), "a day at most");
    }
}

#[test]
fn a_full_disk_puts_a_thumbnail_off_and_keeps_no_session_loaded() {
    let mut table = with_interval();
    table.send(A, &[dab(5)]);
    assert!(makes_when_left(&mut table, A));
    let no_space = Input::ThumbnailMade(Rendered::NoSpace);
    let effects = table.effects(|machine, cx| machine.handle(no_space, cx));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Log(..))), "{effects:?}");
    assert!(table.machine.wants_thumbnail() && !table.machine.awaits_thumbnail());
    assert!(!makes_after(&mut table, 59));
    assert!(makes_after(&mut table, 1));
    made(&mut table, Rendered::Busy);
    assert!(table.machine.awaits_thumbnail(), "the disk has space again");
}
