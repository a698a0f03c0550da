//! Any messages: a canvas is followed within its bounds, and its reset image makes the same canvas.
#![no_main]

use arbitrary::Arbitrary;
use drawhall_canvas::reset::{Pixels, reset_image};
use drawhall_canvas::state::Follower;
use drawhall_canvas::state::layers::MAX_LAYERS;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Layout, Message};
use libfuzzer_sys::fuzz_target;

/// Types that change what is followed.
const KINDS: &[u8] = &[
    32, 33, 34, 35, 36, 68, 69, 70, 71, 74, 77, 129, 131, 132, 140, 141, 142, 143, 144, 148, 151, 161, 162,
    162, 162, 163, 164, 166, 167, 168, 169, 170, 171, 172, 173, 177,
];

/// Fields of metadata that older sessions have.
const METADATA_4_24: usize = 4;

#[derive(Debug, Arbitrary)]
struct Sent {
    kind: u8,
    user: u8,
    payload: Vec<u8>,
}

/// Follows messages as if nothing was undone. `None` if there is too much in them.
fn follow(messages: impl Iterator<Item = (u8, Message)>, layout: Layout) -> Option<Follower> {
    let mut follower = Follower::new(layout);
    for (user, message) in messages {
        if follower.accept(user, &message) && message.message_type() >= 128 {
            follower.apply(user, &message).ok()?;
        }
        assert!(follower.canvas().layers.len() <= MAX_LAYERS);
        assert_eq!(follower.canvas().layers.in_order().len(), follower.canvas().layers.len());
    }
    Some(follower)
}

fuzz_target!(|input: (bool, Vec<Sent>)| {
    let (older, sent) = input;
    let layout = if older { Layout::V4_24 } else { Layout::V4_25 };
    let messages = sent.iter().filter_map(|sent| {
        let kind = KINDS[usize::from(sent.kind) % KINDS.len()];
        Some((sent.user % 4, Message::decode(kind, &sent.payload, layout).ok()?))
    });
    let Some(follower) = follow(messages, layout) else { return };
    let Ok(image) = reset_image(&follower, &Pixels::default()) else { return };
    let again = frames(&image.bytes)
        .map(|frame| (frame.header.user, Message::from_frame(frame, layout).expect("a reset image decodes")));
    let again = follow(again, layout).expect("a reset image has what the canvas had");
    let (mut one, mut other) = (follower.canvas().clone(), again.canvas().clone());
    if older {
        // It has messages for the first ones only.
        for canvas in [&mut one, &mut other] {
            canvas.metadata.fields[METADATA_4_24..].fill(0);
        }
    }
    assert_eq!(one.difference(&other), None);
    let (one, other) = (follower.permissions(), again.permissions());
    assert_eq!(one.layers(), other.layers());
    assert_eq!((one.tiers(), one.locked()), (other.tiers(), other.locked()));
});
