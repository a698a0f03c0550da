//! Pictures of a session.

use drawhall_protocol::command::Capabilities;

use super::super::thumbnail::{NotAsked, PictureWish};
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
