use super::stream::{asked, stream, zlib};
use super::*;
use crate::rules::session::input::Input;
use crate::rules::session::persistence::Suspended;
use crate::rules::undo::across_reset::AcrossReset;
use crate::rules::undo::rebuild::Messages;
use crate::rules::undo::times::{Origin, OriginKind};
use crate::storage::session_dir::SessionDir;

impl Table {
    /// Lets somebody draw as the actor does it, so that the time is marked.
    fn draw_at(&mut self, conn: ConnId, len: usize, wait_ms: u64) {
        self.wait(wait_ms);
        let frames = [Frame::new(128, 0, &[]).unwrap(), dab(len)];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.as_bytes().to_vec()).collect();
        self.act(|machine, cx| machine.handle(Input::Batch { conn, batch: Batch::new(bytes) }, cx));
    }

    /// Number of messages that stay when the history is cut back to the present time, plus this.
    fn messages_at(&mut self, later_ms: i64) -> Option<u64> {
        let mark = self.machine.times().at(self.now.utc_ms + later_ms).unwrap();
        let bytes = self.machine.history().to_bytes();
        mark.inspect(|mark| {
            let sizes = frames(&bytes).take(mark.messages as usize).map(|frame| frame.bytes.len() as u64);
            assert_eq!(sizes.sum::<u64>(), mark.size, "a mark is at the end of a message");
        })
        .map(|mark| mark.messages)
    }

    fn messages(&mut self) -> u64 {
        frames(&self.machine.history().to_bytes()).count() as u64
    }
}

#[test]
fn the_place_of_each_second_is_known() {
    let mut table = Table::of_three();
    let begun = table.messages();
    table.draw_at(B, 5, 2000);
    table.draw_at(B, 6, 2000);
    table.draw_at(C, 7, 3000);
    assert_eq!(table.messages_at(0), None, "nothing came later");
    assert_eq!(table.messages_at(-1000), Some(begun + 4));
    assert_eq!(table.messages_at(-3000), Some(begun + 4));
    assert_eq!(table.messages_at(-4000), Some(begun + 2));
    assert!(table.machine.times().at(0).is_err(), "there was nothing then");
}

#[test]
fn after_a_reset_times_begin_behind_its_image() {
    let mut table = Table::of_three();
    table.draw_at(B, 5, 2000);
    let before = table.machine.history().size();
    table.wait(2000);
    table.command(A, "reset-session", json!([]), json!({"type": "current"}));
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    let image = table.messages();
    let origin = table.machine.times().origin();
    assert_eq!((origin.kind, origin.image_of), (OriginKind::Current, Some(before)));
    table.draw_at(C, 7, 3000);
    assert_eq!(table.messages_at(-2000), Some(image));
    assert!(table.machine.times().at(table.now.utc_ms - 4000).is_err());
    table.command(A, "reset-session", json!([]), json!({"type": "past"}));
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    let origin = table.machine.times().origin();
    assert_eq!((origin.kind, origin.image_of), (OriginKind::Past, None));
}

#[test]
fn after_a_streamed_reset_times_begin_at_its_fork() {
    let (mut table, correlator) = asked();
    table.draw_at(B, 5, 2000);
    table.wait(2000);
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    let fork = table.machine.history().size();
    table.draw_at(B, 6, 2000);
    table.draw_at(B, 7, 2000);
    table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    let origin = table.machine.times().origin();
    assert_eq!((origin.kind, origin.image_of), (OriginKind::Streamed, Some(fork)));
    let bytes = table.machine.history().to_bytes();
    let image = frames(&bytes).position(|frame| frame.header.kind == 128).unwrap() as u64;
    assert_eq!(table.messages_at(-4000), Some(image));
    assert_eq!(table.messages_at(-2000), Some(image + 2));
    assert!(table.machine.times().at(table.now.utc_ms - 5000).is_err());
}

/// Stores the session, loads it again after `between`, and returns the warnings of that.
fn loaded_again(table: &mut Table, between: impl FnOnce(&std::path::Path)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let dir = SessionDir::open(folder.path(), std::time::Duration::from_secs(1)).unwrap();
    table.machine.store();
    let mut files = dir.create("id", ProtocolVersion::dp(4, 24, 0)).unwrap();
    for len in [5, 6, 7] {
        let stored = files.perform(table.machine.drain_writes()).stored;
        stored.into_iter().for_each(|stored| table.machine.history().stored(stored));
        table.draw_at(B, len, 2000);
    }
    drop(files);
    between(folder.path());
    let session = dir.load("id").unwrap().session;
    let warnings = session.warnings.clone();
    let rest = Suspended::at_start(table.now, table.now.utc_ms, table.now.utc_ms, [0, 0]);
    let mut cx = Cx::new(table.now, &mut table.rng);
    table.machine = SessionMachine::restored(ServerSettings::default(), session, Some(rest), &mut cx);
    table.seats.clear();
    warnings
}

#[test]
fn times_are_known_after_loading() {
    let mut table = Table::of_three();
    let begun = table.messages();
    assert!(loaded_again(&mut table, |_| ()).is_empty());
    // What was drawn last is not stored, like in a crash.
    assert_eq!(table.messages_at(-4000), Some(begun + 2));
    assert_eq!(table.messages_at(-2000), None);
    assert_eq!(table.machine.times().origin().kind, OriginKind::Hosted);
}

#[test]
fn a_session_is_loaded_without_its_time_marks_too() {
    for damage in [true, false] {
        let mut table = Table::of_three();
        let warnings = loaded_again(&mut table, |folder| {
            let path = folder.join("id.times");
            if damage {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[3] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
        });
        assert_eq!(warnings.iter().any(|text| text.contains("time marks")), damage, "{warnings:?}");
        assert!(table.machine.times().at(table.now.utc_ms - 1000).is_err(), "what was when is not known");
        let loaded = table.messages();
        table.wait(2000);
        table.join(client(9, "New"));
        table.draw_at(9, 5, 2000);
        assert!(table.messages_at(-2000) >= Some(loaded), "from now on it is");
    }
}

#[test]
fn nothing_that_was_drawn_counts_as_the_image_if_the_marks_are_lost() {
    let (mut table, correlator) = asked();
    table.draw_at(B, 5, 2000);
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    loaded_again(&mut table, |folder| {
        let path = folder.join("id.times");
        let mut bytes = std::fs::read(&path).unwrap();
        // The first mark, behind the header.
        bytes[32] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    });
    assert_eq!(table.machine.times().origin(), Origin::default(), "the image ends somewhere else");
}

/// Lengths of what was drawn, over the last reset.
fn drawn_across(table: &mut Table, before: &[u8]) -> Vec<usize> {
    let after = table.machine.history().to_bytes();
    let (times, layout) = (table.machine.times(), table.machine.protocol().layout());
    let image = *times.iter().next().unwrap();
    let (before, after) = (before, after.as_slice());
    let both = AcrossReset::new(&before, &after, times.origin(), image, layout).unwrap();
    let mut drawn = Vec::new();
    both.visit(&mut |frame| {
        if frame.header.kind == 148 {
            drawn.push(frame.payload().len());
        }
    })
    .unwrap();
    drawn
}

#[test]
fn what_was_drawn_before_a_streamed_reset_and_after_its_fork_is_there_once() {
    let (mut table, correlator) = asked();
    table.draw_at(B, 5, 2000);
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.draw_at(B, 6, 2000);
    table.send(A, &[stream(&zlib(&[canvas().as_bytes(), dab(1).as_bytes()].concat()))]);
    table.draw_at(B, 7, 2000);
    let before = table.machine.history().to_bytes();
    table.command(A, "stream-reset-finish", json!([2]), json!({}));
    table.draw_at(B, 8, 2000);
    assert_eq!(table.machine.times().origin().kind, OriginKind::Streamed);
    assert_eq!(drawn_across(&mut table, &before), [3000, 5, 6, 7, 8]);
}

#[test]
fn what_was_drawn_before_a_reset_to_the_present_canvas_is_there_up_to_its_begin() {
    let mut table = Table::of_three();
    table.draw_at(B, 5, 2000);
    table.command(A, "reset-session", json!([]), json!({"type": "current"}));
    table.send(A, &[canvas(), dab(1)]);
    let before = table.machine.history().to_bytes();
    table.command(A, "init-complete", json!([]), json!({}));
    table.draw_at(B, 8, 2000);
    assert_eq!(drawn_across(&mut table, &before), [5, 8]);
}
