use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{FillRect, Join, PenUp, PutTile};
use proptest::prelude::*;

use super::*;

const V25: Layout = Layout::V4_25;
/// The person to be left out: whoever joined first.
const VANDAL: u8 = 9;

fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
}

fn typed(message: impl Into<Message>, user: u8) -> Vec<u8> {
    message.into().to_frame(user, V25).unwrap().as_bytes().to_vec()
}

fn join(user: u8) -> Vec<u8> {
    typed(Join { name: format!("u{user}"), ..Join::default() }, user)
}

fn point(user: u8) -> Vec<u8> {
    frame(UndoPoint::TYPE, user, &[])
}

fn fill(user: u8, layer: u32, x: u32) -> Vec<u8> {
    typed(FillRect { layer, x, w: 1, h: 1, ..FillRect::default() }, user)
}

fn undo(user: u8, of: u8) -> Vec<u8> {
    typed(Undo { override_user: of, redo: false }, user)
}

fn layer(user: u8, id: u32, color: u32) -> Vec<u8> {
    typed(LayerTreeCreate { id, fill: color, ..LayerTreeCreate::default() }, user)
}

fn resize(user: u8, sides: [i32; 4]) -> Vec<u8> {
    let [top, right, bottom, left] = sides;
    typed(CanvasResize { top, right, bottom, left }, user)
}

/// The history without the person that joined with the first message: the messages that are left, and the report.
fn without(parts: &[Vec<u8>]) -> (Vec<Vec<u8>>, RemovalReport) {
    let history = parts.concat();
    let plan = Plan::new(history.as_slice(), V25, 0, Removal::default()).unwrap();
    let image = plan.image(history.as_slice()).unwrap();
    assert_eq!(frames(&image.bytes).count() as u64, image.messages);
    (frames(&image.bytes).map(|frame| frame.bytes.to_vec()).collect(), plan.report)
}

fn left(parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    without(parts).0
}

#[test]
fn what_the_person_drew_goes_and_the_rest_stays() {
    let image = [resize(1, [0, 10, 10, 0]), layer(1, 0x101, 1)];
    let others = [point(1), fill(1, 0x101, 1), point(1), fill(1, 0x101, 2)];
    let history =
        [&[join(VANDAL)], &image[..], &others[..2], &[point(VANDAL), fill(VANDAL, 0x101, 3)], &others[2..]]
            .concat();
    let (messages, report) = without(&history);
    assert_eq!(messages, [&[join(VANDAL)], &image[..], &others[..]].concat());
    assert_eq!((report.actions, report.messages), (1, 2));
    assert_eq!(report.bytes, (point(VANDAL).len() + fill(VANDAL, 0x101, 3).len()) as u64);
}

#[test]
fn what_others_have_undone_is_resolved() {
    let history = [join(VANDAL), point(1), fill(1, 1, 1), point(1), fill(1, 1, 2), undo(1, 0), point(VANDAL)];
    assert_eq!(left(&history), [join(VANDAL), point(1), fill(1, 1, 1)]);
}

#[test]
fn what_the_person_has_undone_of_others_comes_back() {
    let history = [join(VANDAL), point(1), fill(1, 1, 1), point(VANDAL), fill(VANDAL, 1, 2), undo(VANDAL, 1)];
    assert_eq!(left(&history), [join(VANDAL), point(1), fill(1, 1, 1)]);
}

#[test]
fn the_image_that_the_person_uploaded_stays() {
    // A streamed image has the user id of whoever sent it; it has no undo points.
    let image = [resize(VANDAL, [0, 10, 10, 0]), layer(VANDAL, 0x109, 1), typed(PutTile::default(), VANDAL)];
    let history = [&[join(VANDAL)], &image[..], &[point(VANDAL), fill(VANDAL, 0x109, 3)]].concat();
    assert_eq!(left(&history), [&[join(VANDAL)], &image[..]].concat());
}

#[test]
fn whoever_has_the_id_next_is_somebody_else() {
    let leave = frame(33, VANDAL, &[]);
    let history = [
        join(VANDAL),
        point(VANDAL),
        fill(VANDAL, 1, 1),
        leave.clone(),
        join(VANDAL),
        point(VANDAL),
        fill(VANDAL, 1, 2),
    ];
    assert_eq!(left(&history), [join(VANDAL), leave, join(VANDAL), point(VANDAL), fill(VANDAL, 1, 2)]);
}

#[test]
fn layers_that_the_person_deleted_come_back() {
    let history = [
        join(VANDAL),
        layer(1, 0x101, 1),
        fill(1, 0x101, 1),
        point(VANDAL),
        typed(LayerTreeDelete { id: 0x101, merge_to: 0 }, VANDAL),
        fill(1, 0x101, 2),
    ];
    let (messages, report) = without(&history);
    assert_eq!(messages, [join(VANDAL), layer(1, 0x101, 1), fill(1, 0x101, 1), fill(1, 0x101, 2)]);
    assert_eq!(report.layers_back, 1);
}

#[test]
fn layers_that_others_have_used_stay_without_their_colour() {
    let history = [
        join(VANDAL),
        layer(1, 0x101, 7),
        point(VANDAL),
        layer(VANDAL, 0x109, 7),
        layer(VANDAL, 0x209, 7),
        fill(1, 0x109, 1),
    ];
    let (messages, report) = without(&history);
    assert_eq!(messages, [join(VANDAL), layer(1, 0x101, 7), layer(VANDAL, 0x109, 0), fill(1, 0x109, 1)]);
    assert_eq!((report.layers_kept, report.messages), (1, 2));
}

#[test]
fn the_first_layer_of_all_keeps_its_colour() {
    let history = [join(VANDAL), point(VANDAL), layer(VANDAL, 0x109, 7), fill(1, 0x109, 1)];
    assert_eq!(left(&history), [join(VANDAL), layer(VANDAL, 0x109, 7), fill(1, 0x109, 1)]);
}

#[test]
fn copies_of_groups_stay_when_others_use_what_may_be_in_them() {
    let copy = typed(LayerTreeCreate { id: 0x109, source: 0x101, ..LayerTreeCreate::default() }, VANDAL);
    let history = |used| [join(VANDAL), layer(1, 0x101, 7), point(VANDAL), copy.clone(), fill(1, used, 1)];
    assert_eq!(left(&history(0x209)).len(), 4, "0x209 may be a layer of the copied group");
    assert_eq!(left(&history(0x201)).len(), 3, "0x201 is the other's own");
}

/// Layers that the person made before are known, as those of an image with their id are: naming them says nothing about
/// copied groups.
#[test]
fn layers_of_before_do_not_keep_copies_of_groups() {
    let copy = typed(LayerTreeCreate { id: 0x109, source: 0x101, ..LayerTreeCreate::default() }, VANDAL);
    let before = [join(VANDAL), layer(1, 0x101, 7), point(VANDAL), layer(VANDAL, 0x309, 0)];
    let since = TimeMark { utc_ms: 0, messages: 4, size: before.concat().len() as u64 };
    let removed = |used| {
        let after = [point(VANDAL), copy.clone(), fill(1, used, 1)];
        let history = [&before[..], &after].concat().concat();
        let removal = Removal { since: Some(since), ..Removal::default() };
        Plan::new(history.as_slice(), V25, 0, removal).unwrap().report.layers_kept
    };
    assert_eq!(removed(0x309), 0, "that one was there before");
    assert_eq!(removed(0x209), 1, "this may be a layer of the copied group");
}

#[test]
fn the_reason_says_that_nothing_was_drawn_since_a_time() {
    let history = [join(VANDAL), point(VANDAL), fill(VANDAL, 1, 1), point(1), fill(1, 1, 2)];
    let since = Some(TimeMark { utc_ms: 0, messages: 3, size: history[..3].concat().len() as u64 });
    let plan =
        |person| Plan::new(history.concat().as_slice(), V25, 0, Removal { person, since, reset_at: 0 });
    assert!(matches!(plan(0), Err(RebuildError::NothingOfTheirsSince)));
    assert!(matches!(plan(2), Err(RebuildError::NoSuchPerson)));
}

/// A time is behind the image, whether or not anybody has sent an undo point.
#[test]
fn what_was_drawn_since_a_time_without_undo_points_goes() {
    let history = [join(VANDAL), layer(1, 0x101, 1), fill(VANDAL, 0x101, 1), fill(VANDAL, 0x101, 2)];
    let since = Some(TimeMark { utc_ms: 0, messages: 3, size: history[..3].concat().len() as u64 });
    let plan = Plan::new(history.concat().as_slice(), V25, 0, Removal { since, ..Removal::default() });
    assert_eq!(plan.unwrap().report.messages, 1);
}

#[test]
fn changes_of_the_canvas_size_stay_if_others_drew_since() {
    let grow = resize(VANDAL, [5, 0, 0, 0]);
    let begin = [join(VANDAL), point(VANDAL), grow.clone()];
    assert_eq!(left(&begin), [join(VANDAL)]);
    let (messages, report) = without(&[&begin[..], &[fill(1, 1, 1)]].concat());
    assert_eq!((messages, report.resizes_kept), (vec![join(VANDAL), grow.clone(), fill(1, 1, 1)], 1));
    let back = resize(VANDAL, [-5, 0, 0, 0]);
    let reversed = [&begin[..], &[back.clone(), fill(1, 1, 1)]].concat();
    assert_eq!(left(&reversed), [join(VANDAL), fill(1, 1, 1)]);
    let between = [&begin[..], &[fill(1, 1, 1), back, fill(1, 1, 2)]].concat();
    assert_eq!(left(&between).len(), 5, "both stay: the first was drawn on");
}

#[test]
fn permissions_of_the_person_stay() {
    let lock = frame(69, VANDAL, &[0, 1, 1, 0x80]);
    assert_eq!(left(&[join(VANDAL), point(VANDAL), lock.clone()]), [join(VANDAL), lock]);
}

#[test]
fn commands_of_others_that_name_what_is_gone_are_counted() {
    let annotation = |id: u16| AnnotationCreate { id, ..AnnotationCreate::default() };
    let edit = |id: u16| AnnotationEdit { id, ..AnnotationEdit::default() };
    let history = [
        join(VANDAL),
        point(VANDAL),
        typed(annotation(0x109), VANDAL),
        typed(annotation(0x101), 1),
        typed(edit(0x109), 1),
        typed(edit(0x101), 1),
    ];
    assert_eq!(without(&history).1.without_effect, 1);
}

#[test]
fn reasons_are_given_for_what_cannot_be_rebuilt() {
    let plan = |parts: &[Vec<u8>], person| {
        Plan::new(parts.concat().as_slice(), V25, 0, Removal { person, ..Removal::default() }).map(|_| ())
    };
    let nothing = [join(VANDAL), layer(VANDAL, 1, 1)];
    assert!(matches!(plan(&nothing, 0), Err(RebuildError::NothingDrawn)));
    assert!(matches!(plan(&nothing, 7), Err(RebuildError::NoSuchPerson)));
    // Whoever joined behind the image, and drew nothing.
    let mut looked = vec![join(1), layer(1, 1, 1), join(VANDAL)];
    assert!(matches!(plan(&looked, 2), Err(RebuildError::DrewNothing)), "the last message");
    looked.extend([point(1), fill(1, 1, 1), frame(33, VANDAL, &[])]);
    assert!(matches!(plan(&looked, 2), Err(RebuildError::DrewNothing)));
}

/// One thing that somebody does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Stroke(u8, u32),
    Undo(u8),
    Redo(u8),
}

impl Deed {
    fn bytes(self) -> Vec<u8> {
        match self {
            Deed::Stroke(user, x) => {
                [point(user), fill(user, 0x101, x), typed(PenUp { layer: 0x101 }, user)].concat()
            }
            Deed::Undo(user) => undo(user, 0),
            Deed::Redo(user) => typed(Undo { override_user: 0, redo: true }, user),
        }
    }

    fn user(self) -> u8 {
        match self {
            Deed::Stroke(user, _) | Deed::Undo(user) | Deed::Redo(user) => user,
        }
    }
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let user = || prop_oneof![Just(1u8), Just(2), Just(VANDAL)];
    let deed = prop_oneof![
        4 => (user(), any::<u32>()).prop_map(|(user, x)| Deed::Stroke(user, x)),
        2 => user().prop_map(Deed::Undo),
        1 => user().prop_map(Deed::Redo),
    ];
    prop::collection::vec(deed, 1..60)
}

proptest! {
    /// Where nobody names what the person made, and nobody is at the end of the undo depth.
    #[test]
    fn rebuilding_without_somebody_is_the_history_that_they_were_never_in(deeds in deeds()) {
        let begin = [join(VANDAL), join(1), typed(drawhall_protocol::message::UndoDepth { depth: 255 }, 0)];
        let history = |deeds: &mut dyn Iterator<Item = &Deed>| {
            let mut bytes = begin.concat();
            deeds.for_each(|deed| bytes.extend(deed.bytes()));
            bytes
        };
        let all = history(&mut deeds.iter());
        let Ok(plan) = Plan::new(all.as_slice(), V25, 0, Removal::default()) else { return Ok(()) };
        let rebuilt = plan.image(all.as_slice()).unwrap();
        // Somebody who does nothing on the canvas is left out of the other history, so that its undo is resolved too.
        let mut never = history(&mut deeds.iter().filter(|deed| deed.user() != VANDAL));
        never.extend(point(VANDAL));
        let expected = Plan::new(never.as_slice(), V25, 0, Removal::default()).unwrap().image(never.as_slice()).unwrap();
        prop_assert_eq!(rebuilt, expected);
    }
}

proptest! {
    /// The same for what they drew since a time: what they drew before stays.
    #[test]
    fn removing_since_a_time_is_the_history_in_which_they_stopped_then(deeds in deeds(), at in 0usize..60) {
        let begin = [join(VANDAL), join(1), typed(drawhall_protocol::message::UndoDepth { depth: 255 }, 0)];
        let (before, after) = deeds.split_at(at.min(deeds.len()));
        let mut prefix = begin.concat();
        before.iter().for_each(|deed| prefix.extend(deed.bytes()));
        let messages = frames(&prefix).count() as u64;
        let since = Some(TimeMark { utc_ms: 0, messages, size: prefix.len() as u64 });
        let history = |deeds: &mut dyn Iterator<Item = &Deed>| {
            let mut bytes = prefix.clone();
            deeds.for_each(|deed| bytes.extend(deed.bytes()));
            bytes
        };
        let all = history(&mut after.iter());
        let Ok(plan) = Plan::new(all.as_slice(), V25, 0, Removal { since, ..Removal::default() }) else { return Ok(()) };
        let rebuilt = plan.image(all.as_slice()).unwrap();
        // Somebody who begins an action and does nothing: the plan needs something to remove.
        let mut stopped = history(&mut after.iter().filter(|deed| deed.user() != VANDAL));
        stopped.extend(point(VANDAL));
        let expected = Plan::new(stopped.as_slice(), V25, 0, Removal { since, ..Removal::default() }).unwrap();
        prop_assert_eq!(rebuilt, expected.image(stopped.as_slice()).unwrap());
    }
}

/// A modified client need not send undo points.
#[test]
fn what_is_drawn_without_undo_points_goes_too() {
    let others = [point(1), fill(1, 0x101, 1)];
    let vandal = [fill(VANDAL, 0x101, 2), fill(VANDAL, 0x101, 3)];
    let history = [&[join(VANDAL), layer(1, 0x101, 1)], &others[..], &vandal[..]].concat();
    let (messages, report) = without(&history);
    assert_eq!(messages, [&[join(VANDAL), layer(1, 0x101, 1)], &others[..]].concat());
    assert_eq!((report.actions, report.messages), (0, 2));
}

/// The time is linear: it was cubic in the number of copied layers.
#[test]
fn thousands_of_copied_layers_are_planned_at_once() {
    let copy = |n: u32| {
        let (id, source) = (n << 8 | u32::from(VANDAL), 0x101);
        typed(LayerTreeCreate { id, source, ..LayerTreeCreate::default() }, VANDAL)
    };
    let mut history = vec![join(VANDAL), point(VANDAL)];
    history.extend((1..30_000).map(copy));
    history.extend((1..30_000).map(|n| typed(PenUp { layer: n << 8 | u32::from(VANDAL) }, 1)));
    let (_, report) = without(&history);
    assert_eq!((report.layers_kept, report.messages), (29_999, 1));
}

#[test]
fn a_history_that_is_made_to_be_expensive_is_refused() {
    let redo = |user| typed(Undo { override_user: 0, redo: true }, user);
    let mut history = vec![join(VANDAL), point(VANDAL), fill(VANDAL, 0x101, 1), point(1)];
    history.extend((0..2000).map(|x| fill(1, 0x101, x)));
    history.extend((0..500).flat_map(|_| [undo(1, 0), redo(1)]));
    let history = history.concat();
    let refused = Plan::new(history.as_slice(), V25, 0, Removal::default());
    assert!(matches!(refused, Err(RebuildError::TooMuchUndo)), "{refused:?}");
}
