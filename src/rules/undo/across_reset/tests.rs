use drawhall_protocol::Frame;
use drawhall_protocol::message::FillRect;
use proptest::prelude::*;

use super::*;
use crate::rules::undo::rebuild::{Plan, Removal};

const V25: Layout = Layout::V4_25;

fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
}

fn typed(message: impl Into<Message>, user: u8) -> Vec<u8> {
    message.into().to_frame(user, V25).unwrap().as_bytes().to_vec()
}

fn join(user: u8) -> Vec<u8> {
    frame(Join::TYPE, user, &[0, 1, b'a' + user])
}

fn dabs(number: u8) -> Vec<u8> {
    frame(148, 1, &[number; 20])
}

fn point(user: u8) -> Vec<u8> {
    frame(UndoPoint::TYPE, user, &[])
}

fn caught_up() -> Vec<u8> {
    frame(0, 0, br#"{"type":"caughtup","key":0}"#)
}

fn mark(messages: &[Vec<u8>]) -> TimeMark {
    TimeMark { utc_ms: 0, messages: messages.len() as u64, size: messages.concat().len() as u64 }
}

/// Two histories; the image of the second was made of the first messages of the first.
struct Histories {
    before: Vec<u8>,
    after: Vec<u8>,
    origin: Origin,
    image: TimeMark,
}

impl Histories {
    fn new(
        kind: OriginKind,
        before: &[Vec<u8>],
        cut: usize,
        image: &[Vec<u8>],
        after: &[Vec<u8>],
    ) -> Histories {
        let origin = Origin { kind, image_of: Some(mark(&before[..cut]).size) };
        let after = [image, after].concat().concat();
        Histories { before: before.concat(), after, origin, image: mark(image) }
    }

    fn with_both<T>(&self, with: impl FnOnce(&AcrossReset<'_>) -> T) -> Result<T, RebuildError> {
        let (before, after) = (self.before.as_slice(), self.after.as_slice());
        AcrossReset::new(&before, &after, self.origin, self.image, V25).map(|both| with(&both))
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let messages = self.with_both(|both| {
            let mut messages = Vec::new();
            both.visit(&mut |frame| messages.push(frame.bytes.to_vec())).unwrap();
            assert_eq!(both.size(), messages.concat().len() as u64);
            messages
        });
        messages.unwrap()
    }
}

#[test]
fn the_image_of_a_streamed_reset_is_replaced_by_what_it_was_made_of() {
    let before = [join(1), join(2), point(1), dabs(1), frame(SoftReset::TYPE, 0, &[]), dabs(2)];
    let owner = frame(SessionOwner::TYPE, 0, &[1]);
    let image = [join(1), join(3), owner.clone(), dabs(50), caught_up()];
    let after = [dabs(2), dabs(3)];
    let histories = Histories::new(OriginKind::Streamed, &before, 5, &image, &after);
    let leave = frame(Leave::TYPE, 2, &[]);
    let bridge = [leave, join(3), owner];
    assert_eq!(histories.messages(), [&before[..5], &bridge, &after].concat());
}

#[test]
fn a_reset_is_a_barrier_and_unlocks_the_canvas() {
    let lock = |flags| typed(LayerACL { id: 0, flags, exclusive: Vec::new() }, 0);
    let before = [join(1), point(1), dabs(1), lock(0x80)];
    let depth = frame(UndoDepth::TYPE, 1, &[60]);
    let image = [join(1), depth.clone(), dabs(50), caught_up()];
    let soft = frame(SoftReset::TYPE, 0, &[]);
    let histories = Histories::new(OriginKind::Current, &before, 4, &image, &[dabs(3)]);
    let bridge = [soft.clone(), lock(0), depth];
    assert_eq!(histories.messages(), [&before[..], &bridge, &[dabs(3)]].concat());
    let image = [join(1), dabs(50), caught_up()];
    let histories = Histories::new(OriginKind::Current, &before[..3], 3, &image, &[]);
    let bridge = [soft, frame(UndoDepth::TYPE, 0, &[DEFAULT_DEPTH])];
    assert_eq!(histories.messages(), [&before[..3], &bridge].concat(), "the depth of clients after a reset");
}

#[test]
fn people_are_the_same_before_and_after() {
    // The second has left and joined again while the reset was made, the third came after it.
    let before = [join(1), join(2), point(1), dabs(1), point(2)];
    let image = [join(1), frame(Join::TYPE, 2, &[0, 1, b'z']), dabs(50), caught_up()];
    let after = [join(3), point(3), point(1)];
    let histories = Histories::new(OriginKind::Current, &before, 5, &image, &after);
    let checked = histories.with_both(|both| {
        // SoftReset, UndoDepth and the Join of the second are the bridge.
        assert_eq!(both.reset_at(), 8);
        let here = [0, 1, 4].map(|number| both.person_of(number));
        assert_eq!(here, [Some(0), Some(7), Some(8)]);
        let later = [0, 7, 8, 1].map(|person| both.number_in_later(person));
        assert_eq!(later, [Some(0), Some(1), Some(4), None], "the second is somebody else since");
        let drew = [0, 1, 7, 8].map(|person| both.has_drawn_before(person, None));
        assert_eq!(drew, [true, true, false, false]);
        let since = Some(mark(&before[..4]));
        assert_eq!([0, 1].map(|person| both.has_drawn_before(person, since)), [false, true]);
        let places = [4, 5, 8, 9].map(|number| both.locate(number));
        assert_eq!(places, [Location::Earlier(4), Location::Reset, Location::Later(4), Location::Later(5)]);
    });
    checked.unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let (before, image) = ([join(1), dabs(1)], [join(1), dabs(50), caught_up()]);
    let others = [OriginKind::Past, OriginKind::External, OriginKind::Restored, OriginKind::Unknown];
    for kind in others.into_iter().chain([OriginKind::Hosted, OriginKind::Reset]) {
        let refused = Histories::new(kind, &before, 2, &image, &[]).with_both(|_| {});
        assert!(matches!(refused, Err(RebuildError::OtherCanvas)), "{kind:?}");
    }
    let mut histories = Histories::new(OriginKind::Current, &before, 2, &image, &[]);
    histories.image.size += 1;
    assert!(matches!(histories.with_both(|_| {}), Err(RebuildError::WrongMark)));
    let mut histories = Histories::new(OriginKind::Current, &before, 2, &image, &[]);
    histories.origin.image_of = Some(3);
    assert!(matches!(histories.with_both(|_| {}), Err(RebuildError::WrongMark)));
}

proptest! {
    /// A reset that keeps the canvas makes no difference to what is left without somebody, but for undo over it.
    #[test]
    fn removing_somebody_over_a_streamed_reset_is_as_if_it_had_not_been(
        strokes in prop::collection::vec((1u8..4, any::<u32>()), 1..40),
        at in 0usize..40,
    ) {
        let stroke = |(user, x): &(u8, u32)| {
            let fill = FillRect { layer: 0x101, x: *x, w: 1, h: 1, ..FillRect::default() };
            [point(*user), typed(fill, *user)]
        };
        let (early, late) = strokes.split_at(at.min(strokes.len()));
        let joins = [join(1), join(2), join(3)];
        let soft = [frame(SoftReset::TYPE, 0, &[])];
        let early = [&joins[..], &early.iter().flat_map(stroke).collect::<Vec<_>>(), &soft].concat();
        let late: Vec<Vec<u8>> = late.iter().flat_map(stroke).collect();
        let before = [&early[..], &late[..late.len().min(4)]].concat();
        let image = [&joins[..], &[dabs(50), caught_up()]].concat();
        let histories = Histories::new(OriginKind::Streamed, &before, early.len(), &image, &late);
        let whole = [early, late].concat().concat();
        let removal = Removal { person: 2, ..Removal::default() };
        let image_of = |history: &dyn Messages| {
            let plan = Plan::new(history, V25, 0, removal).ok()?;
            plan.image(history).ok()
        };
        let expected = image_of(&whole.as_slice());
        let both = histories.with_both(|both| image_of(both)).unwrap();
        prop_assert_eq!(both, expected);
    }
}
