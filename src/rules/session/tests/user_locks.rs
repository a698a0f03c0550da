//! The locks of users after somebody has left, after resets, and after going back.

use drawhall_protocol::message::Layout;

use super::restrictions::locking;
use super::stream::{asked, stream, zlib};
use super::*;
use crate::rules::session::RestoreRequest;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::input::Input;
use crate::rules::session::restrictions::RestrictionKind;
use crate::rules::session::user_locks::locked_in;
use crate::rules::undo::restored_image::RestoredImage;

impl Table {
    /// Whom a newcomer's client locks.
    pub(super) fn locked(&mut self) -> Vec<u8> {
        locked_in(&self.machine.history().to_bytes(), Layout::V4_24).into_iter().collect()
    }

    fn image(&mut self) -> RestoredImage {
        RestoredImage::new(&self.machine.history().to_bytes(), Layout::V4_24)
    }

    fn go_back(&mut self, image: &RestoredImage) {
        let (image, what, by) = (image.clone(), "Went back".into(), "A".into());
        let request = RestoreRequest { image, what, read: None, by };
        self.act(|machine, cx| machine.handle(Input::Restore(Box::new(request)), cx));
    }

    fn user(&mut self, conn: ConnId) -> u8 {
        self.seat(conn).user
    }

    fn lift(&mut self, id: u64) {
        self.administer(AdminRequest::LiftRestriction(id)).unwrap();
    }
}

fn command(cmd: &str) -> Frame {
    Frame::new(0, 0, json!({"cmd": cmd}).to_string().as_bytes()).unwrap()
}

fn by(user: u8, frame: &Frame) -> Frame {
    let bytes = frame.as_bytes();
    Frame::new(bytes[2], user, &bytes[4..]).unwrap()
}

#[test]
fn going_back_brings_no_lock_of_a_restriction_back_that_has_ended() {
    let mut table = Table::of_three();
    let b = table.user(B);
    table.restrict(B, RestrictionKind::Nodraw, 4);
    assert_eq!(table.locked(), [b]);
    let during = table.image();
    table.pass(4);
    assert!(table.locked().is_empty());
    table.go_back(&during);
    assert!(table.locked().is_empty(), "nobody could lift it");
}

#[test]
fn after_going_back_those_are_locked_who_were_before() {
    let mut table = Table::of_three();
    let (b, c) = (table.user(B), table.user(C));
    let nobody = table.image();
    table.batch_input(A, &[locking(&[c])]);
    let details = table.restrict(B, RestrictionKind::Nodraw, 600);
    table.go_back(&nobody);
    assert_eq!(table.locked(), [b, c]);
    table.forget();
    table.go_back(&nobody);
    assert_eq!(table.locks(C).len(), 1, "once in the new history");
    table.lift(details.id);
    assert_eq!(table.locked(), [c]);
    table.batch_input(A, &[locking(&[])]);
    table.forget();
    table.go_back(&nobody);
    assert!(table.locks(C).is_empty(), "a history without locks needs none");
}

#[test]
fn locks_of_a_cancelled_reset_lock_nobody() {
    let mut table = Table::of_three();
    let (b, c) = (table.user(B), table.user(C));
    table.batch_input(A, &[command("reset-session")]);
    table.batch_input(A, &[canvas(), locking(&[c]), dab(4)]);
    table.batch_input(A, &[command("init-cancel")]);
    table.restrict(B, RestrictionKind::Nodraw, 600);
    assert_eq!(table.locked(), [b]);
}

#[test]
fn a_reset_has_the_locks_of_its_image_and_those_of_restrictions() {
    let mut table = Table::of_three();
    let (a, b, c) = (table.user(A), table.user(B), table.user(C));
    table.batch_input(A, &[locking(&[c])]);
    table.batch_input(A, &[command("reset-session"), canvas(), command("init-complete")]);
    table.restrict(B, RestrictionKind::Nodraw, 600);
    assert_eq!(table.locked(), [b], "C was unlocked by the image");
    table.pass(600);
    let details = table.restrict(B, RestrictionKind::Nodraw, 600);
    table.wait(2000);
    table.batch_input(A, &[command("reset-session")]);
    table.batch_input(A, &[canvas(), by(a, &locking(&[b, c])), command("init-complete")]);
    assert_eq!(table.locked(), [b, c]);
    table.lift(details.id);
    assert_eq!(table.locked(), [c], "the client repeated the lock of the server");
}

#[test]
fn who_has_left_is_not_locked_in_absence() {
    let mut table = Table::of_three();
    let (b, c) = (table.user(B), table.user(C));
    table.batch_input(A, &[locking(&[c])]);
    table.restrict(B, RestrictionKind::Nodraw, 600);
    assert_eq!(table.locked(), [b, c]);
    for conn in [C, B] {
        table.act(|machine, cx| machine.handle(Input::Leave(conn), cx));
    }
    assert!(table.locked().is_empty());
    table.come_again(C, "C");
    assert_eq!(table.user(C), c);
    assert!(table.locked().is_empty(), "who comes again is not locked by what clients have forgotten");
    table.come_again(B, "B");
    assert_eq!(table.locked(), [b]);
}

#[test]
fn a_streamed_reset_unlocks_nobody_for_newcomers() {
    let (mut table, correlator) = asked();
    let b = table.user(B);
    table.batch_input(A, &[locking(&[b])]);
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    table.pass(1);
    assert_eq!(table.locked(), [b]);
}

#[test]
fn a_streamed_reset_that_has_all_locks_is_followed_by_no_list() {
    let (mut table, correlator) = asked();
    let b = table.user(B);
    table.batch_input(A, &[locking(&[b])]);
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.forget();
    let image = [canvas().as_bytes(), locking(&[b]).as_bytes()].concat();
    table.send(A, &[stream(&zlib(&image))]);
    table.command(A, "stream-reset-finish", json!([2]), json!({}));
    table.pass(1);
    assert_eq!(table.locked(), [b]);
    assert!(table.locks(B).is_empty(), "members know it");
}
