//! The permissions are also followed by `drawhall_canvas`, with those of layers: both decide the same about undo.

use drawhall_canvas::state::ids::Ids;
use drawhall_canvas::state::permissions::Permissions as CanvasPermissions;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::UndoPoint;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const USERS: [u8; 5] = [0, 1, 2, 64, 255];

fn users() -> impl Strategy<Value = Vec<u8>> {
    vec(select(&USERS[..]), 0..4)
}

fn message() -> impl Strategy<Value = Message> {
    // Bits that mean nothing among them.
    let flags = prop_oneof![Just(0), Just(LOCKED), any::<u8>()];
    let tier = prop_oneof![0..=GUEST, Just(KEEP_TIER), any::<u8>()];
    prop_oneof![
        any::<u8>().prop_map(|flags| Join { flags, name: "x".into(), ..Join::default() }.into()),
        Just(Leave {}.into()),
        users().prop_map(|users| SessionOwner { users }.into()),
        users().prop_map(|users| TrustedUsers { users }.into()),
        users().prop_map(|users| UserACL { users }.into()),
        (select(&[0, 0, 0, 0x101, 0x800000][..]), flags, users())
            .prop_map(|(id, flags, exclusive)| LayerACL { id, flags, exclusive }.into()),
        // Clients of dp:4.24 have no tier for MyPaint brushes; fewer may be anything.
        vec(tier, 0..=12).prop_map(|feature_tiers| FeatureAccessLevels { feature_tiers }.into()),
        Just(UndoPoint {}.into()),
    ]
}

proptest! {
    #[test]
    fn both_copies_decide_the_same(
        messages in vec((select(&USERS[..]), message()), 0..40),
        layout in select(&[Layout::V4_24, Layout::V4_25][..]),
    ) {
        let (mut rules, mut canvas) = (Permissions::default(), CanvasPermissions::default());
        let ids = Ids(layout);
        for (user, message) in messages {
            let Ok(frame) = message.to_frame(user, layout) else { continue };
            let frame = frames(frame.as_bytes()).next().unwrap();
            if Permissions::concerns(frame.header.kind) {
                rules.update(frame, layout);
            }
            // Clients drop what does not decode.
            if let Ok(message) = Message::from_frame(frame, layout) {
                canvas.accept(user, &message, ids);
            }
            prop_assert_eq!(rules.canvas_locked(), canvas.canvas_locked(), "{:?}", message);
            prop_assert!(rules.locked().eq(canvas.locked().iter().copied()), "{:?}", message);
            for user in USERS {
                prop_assert_eq!(rules.is_operator(user), canvas.is_operator(user), "{:?}", message);
                for command in [Message::from(UndoPoint {}), Undo::default().into()] {
                    let allowed = rules.allows_command(command.message_type(), user);
                    let accepted = canvas.clone().accept(user, &command, ids);
                    prop_assert_eq!(allowed, accepted, "{:?} of {} after {:?}", command, user, message);
                }
            }
        }
    }
}
