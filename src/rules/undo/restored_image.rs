//! Reset images that the server makes from an earlier history, to go back to it.
//!
//! Replaying the earlier messages gives the earlier canvas, so the image is these messages but for what only mattered
//! then: the server's own messages, chat, pointers. Strokes that were not finished are ended, or their first half
//! would stay on a layer of its own. Source: docs/spec/session.md#going-back.

use std::collections::{BTreeMap, BTreeSet};

use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::{
    Chat, DrawDabsClassic, DrawDabsMyPaint, DrawDabsMyPaintBlend, DrawDabsPixel, DrawDabsPixelSquare,
    Interval, Join, LaserTrail, Layout, Leave, Message, MovePointer, PenUp, ServerCommand,
};
use serde::{Deserialize, Serialize};

use super::permissions::Permissions;

/// Somebody who was there at the end of the earlier history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Name by the `Join`.
    pub name: String,
    /// Flags of the `Join`.
    pub flags: u8,
}

/// A reset image made from an earlier history. Who is in the session now is added when it is put in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredImage {
    /// The messages.
    #[serde(with = "crate::rules::serde_base64")]
    pub bytes: Vec<u8>,
    /// Number of messages.
    pub messages: u64,
    /// Who was there at the end, by user id.
    pub present: BTreeMap<u8, Present>,
    /// Follows from the messages.
    #[serde(skip)]
    followed: FollowedPermissions,
}

/// What clients know about users behind a part of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FollowedPermissions {
    /// Size of the part in bytes.
    end: usize,
    permissions: Permissions,
}

impl RestoredImage {
    /// Makes an image from the messages of an earlier history.
    pub fn new(history: &[u8], layout: Layout) -> RestoredImage {
        let mut builder = ImageBuilder::new(layout);
        frames(history).for_each(|frame| builder.add(frame));
        builder.finish()
    }

    /// Follows the permissions up to the end. For a large image it takes long, so it is done before a session gets it.
    pub fn follow_permissions(&mut self, layout: Layout) {
        let FollowedPermissions { end, permissions } = &mut self.followed;
        frames(self.bytes.get(*end..).unwrap_or_default())
            .filter(|frame| Permissions::concerns(frame.header.kind))
            .for_each(|frame| permissions.update(frame, layout));
        *end = self.bytes.len();
    }

    /// Who is locked at its end.
    pub(crate) fn locked(&mut self, layout: Layout) -> BTreeSet<u8> {
        self.follow_permissions(layout);
        self.followed.permissions.locked().collect()
    }

    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.messages += 1;
    }
}

/// Makes an image message by message.
#[derive(Debug)]
pub struct ImageBuilder {
    layout: Layout,
    image: RestoredImage,
    /// The last pinned message.
    pin: Option<Vec<u8>>,
    /// Users with a stroke that is not finished.
    drawing: BTreeSet<u8>,
}

impl ImageBuilder {
    /// An image without messages.
    pub fn new(layout: Layout) -> ImageBuilder {
        ImageBuilder { layout, image: RestoredImage::default(), pin: None, drawing: BTreeSet::new() }
    }

    /// Goes on with an image.
    pub fn going_on(image: RestoredImage, layout: Layout) -> ImageBuilder {
        ImageBuilder { image, ..ImageBuilder::new(layout) }
    }

    /// Takes the next message of the history. Those that do not belong in an image are left out.
    pub fn add(&mut self, frame: FrameRef<'_>) {
        let user = frame.header.user;
        match frame.header.kind {
            // A `caughtup` in the middle would end the catch-up of clients.
            ServerCommand::TYPE | MovePointer::TYPE | LaserTrail::TYPE | Interval::TYPE => return,
            Chat::TYPE => {
                if is_pin(frame, self.layout) {
                    self.pin = Some(frame.bytes.to_vec());
                }
                return;
            }
            Join::TYPE => {
                if let Ok(Message::Join(join)) = Message::from_frame(frame, self.layout) {
                    self.image.present.insert(user, Present { name: join.name, flags: join.flags });
                }
            }
            Leave::TYPE => drop(self.image.present.remove(&user)),
            DrawDabsClassic::TYPE
            | DrawDabsPixel::TYPE
            | DrawDabsPixelSquare::TYPE
            | DrawDabsMyPaint::TYPE
            | DrawDabsMyPaintBlend::TYPE => drop(self.drawing.insert(user)),
            PenUp::TYPE => drop(self.drawing.remove(&user)),
            _ => {}
        }
        self.image.push(frame.bytes);
    }

    /// The image.
    pub fn finish(mut self) -> RestoredImage {
        for user in self.drawing {
            if let Ok(pen_up) = Message::from(PenUp { layer: 0 }).to_frame(user, self.layout) {
                self.image.push(pen_up.as_bytes());
            }
        }
        if let Some(pin) = self.pin {
            self.image.push(&pin);
        }
        self.image.follow_permissions(self.layout);
        self.image
    }
}

fn is_pin(frame: FrameRef<'_>, layout: Layout) -> bool {
    matches!(Message::from_frame(frame, layout), Ok(Message::Chat(chat)) if chat.oflags & Chat::OFLAGS_PIN != 0)
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use drawhall_protocol::message::UserACL;

    use super::*;

    fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
    }

    fn image(history: &[Vec<u8>]) -> RestoredImage {
        RestoredImage::new(&history.concat(), Layout::V4_25)
    }

    fn join(user: u8, name: &str) -> Vec<u8> {
        frame(Join::TYPE, user, &[&[0, name.len() as u8], name.as_bytes()].concat())
    }

    #[test]
    fn what_was_drawn_stays_and_what_was_only_said_goes() {
        let drawn =
            [frame(129, 1, &[0; 16]), frame(128, 1, &[]), frame(137, 1, &[0; 24]), frame(255, 1, &[0, 0])];
        let said =
            [frame(0, 0, b"{}"), frame(35, 1, b"\0\0hello"), frame(66, 1, &[0; 8]), frame(64, 1, &[0, 9])];
        let image = image(&[&said[..2], &drawn[..], &said[2..]].concat());
        assert_eq!((image.bytes, image.messages), (drawn.concat(), 4));
    }

    #[test]
    fn the_last_pinned_message_stays_pinned() {
        let pin = |text: &str| frame(35, 1, &[b"\0\x04", text.as_bytes()].concat());
        assert_eq!(image(&[pin("old"), pin("new"), frame(35, 1, b"\0\0more")]).bytes, pin("new"));
    }

    #[test]
    fn strokes_that_were_not_finished_are_ended() {
        let (dabs, pen_up) = (|user| frame(148, user, &[7; 20]), |user| frame(140, user, &[0, 0, 0]));
        let image = image(&[dabs(1), pen_up(1), dabs(2), dabs(3), pen_up(3), dabs(3)]);
        let expected = [dabs(1), pen_up(1), dabs(2), dabs(3), pen_up(3), dabs(3), pen_up(2), pen_up(3)];
        assert_eq!(image.bytes, expected.concat());
        let older = RestoredImage::new(&dabs(1), Layout::V4_24);
        assert_eq!(older.bytes, [dabs(1), frame(140, 1, &[])].concat());
    }

    #[test]
    fn it_says_who_was_there_at_the_end() {
        let image = image(&[join(1, "Ann"), join(2, "Bo"), frame(33, 1, &[]), join(1, "Cy")]);
        let names: Vec<(u8, &str)> = image.present.iter().map(|(id, p)| (*id, p.name.as_str())).collect();
        assert_eq!(names, [(1, "Cy"), (2, "Bo")]);
    }

    #[test]
    fn its_locks_are_known_before_a_session_asks_for_them() {
        let lock = |users: &[u8]| frame(UserACL::TYPE, 0, users);
        let mut image = image(&[join(1, "Ann"), lock(&[1, 2])]);
        assert_eq!(image.followed.end, image.bytes.len());
        assert_eq!(image.locked(Layout::V4_25), [1, 2].into());
        image.push(&lock(&[2]));
        assert_eq!(image.locked(Layout::V4_25), [2].into());
    }
}
