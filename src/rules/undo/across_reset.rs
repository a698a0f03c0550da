//! The histories before and after a reset as one, as if there had been no reset. Source:
//! docs/spec/session.md#across-resets.
//!
//! The image of a reset that kept the canvas is left out, because what it was made of is there. That is exact for a
//! streamed reset, whose image is that of its fork. An operator's client that makes a reset of type `current` may not
//! have received the last messages when it began.

use std::collections::BTreeMap;
use std::io;

use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef, frames};
use drawhall_protocol::message::{
    Join, LayerACL, Layout, Leave, Message, SessionOwner, SoftReset, TrustedUsers, UndoDepth, UndoPoint,
};

use super::UndoMachine;
use super::permissions::Permissions;
use super::points::DEFAULT_DEPTH;
use super::rebuild::{Messages, RebuildError};
use super::times::{Origin, OriginKind, TimeMark};

/// A history before a reset, and the one after it.
///
/// Its messages are those of the earlier history up to where the image was made of it, then what the reset has changed
/// besides (the bridge), then those of the later history behind its image.
pub struct AcrossReset<'a> {
    before: &'a dyn Messages,
    after: &'a dyn Messages,
    /// What of the earlier history the image was made of.
    cut: TimeMark,
    bridge: Vec<u8>,
    bridge_messages: u64,
    /// Number of messages of the image.
    image: u64,
    /// Size in bytes of all messages.
    size: u64,
    /// Users who are in the image, by the number of their `Join` there.
    image_joins: BTreeMap<u64, u8>,
    /// Who has which user id at the reset: index of the person.
    holders: BTreeMap<u8, i64>,
    /// Number of the last command of each person before the reset, by the person's index.
    last_commands: BTreeMap<i64, u64>,
}

impl Messages for AcrossReset<'_> {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        let mut number = 0;
        self.before.visit(&mut |frame| {
            if number < self.cut.messages {
                visit(frame);
            }
            number += 1;
        })?;
        frames(&self.bridge).for_each(&mut *visit);
        number = 0;
        self.after.visit(&mut |frame| {
            if number >= self.image {
                visit(frame);
            }
            number += 1;
        })
    }
}

/// What the image of a history says besides pixels.
#[derive(Default)]
struct ImageHead {
    /// Number and message of each user's last `Join`.
    joins: BTreeMap<u8, (u64, Vec<u8>)>,
    roles: Vec<u8>,
    depth: Option<Vec<u8>>,
    permissions: Permissions,
    messages: u64,
    size: u64,
    /// Size in bytes of what follows the image.
    behind: u64,
}

impl ImageHead {
    /// Reads the messages up to the end of the image.
    fn read(after: &dyn Messages, image: TimeMark, layout: Layout) -> Result<ImageHead, RebuildError> {
        let mut head = ImageHead::default();
        after.visit(&mut |frame| {
            if head.messages >= image.messages {
                head.behind += frame.bytes.len() as u64;
                return;
            }
            if Permissions::concerns(frame.header.kind) {
                head.permissions.update(frame, layout);
            }
            let bytes = frame.bytes.to_vec();
            match frame.header.kind {
                Join::TYPE => drop(head.joins.insert(frame.header.user, (head.messages, bytes))),
                Leave::TYPE => drop(head.joins.remove(&frame.header.user)),
                SessionOwner::TYPE | TrustedUsers::TYPE => head.roles.extend_from_slice(&bytes),
                UndoDepth::TYPE => head.depth = Some(bytes),
                _ => {}
            }
            head.messages += 1;
            head.size += frame.bytes.len() as u64;
        })?;
        if (head.messages, head.size) == (image.messages, image.size) {
            Ok(head)
        } else {
            Err(RebuildError::WrongMark)
        }
    }
}

/// What is known of the earlier history where the image was made of it.
struct State {
    machine: UndoMachine,
    messages: u64,
    /// Who is there: the last `Join` of each.
    present: BTreeMap<u8, Vec<u8>>,
    last_commands: BTreeMap<i64, u64>,
}

impl State {
    /// Reads the first `size` bytes.
    fn read(before: &dyn Messages, size: u64, layout: Layout) -> Result<State, RebuildError> {
        let machine = UndoMachine::new(layout);
        let mut state =
            State { machine, messages: 0, present: BTreeMap::new(), last_commands: BTreeMap::new() };
        state.machine.remember_everybody();
        let (mut read, mut fits, mut image_is_over) = (0, size == 0, false);
        before.visit(&mut |frame| {
            read += frame.bytes.len() as u64;
            fits |= read == size;
            if read > size {
                return;
            }
            image_is_over |= frame.header.kind == UndoPoint::TYPE;
            state.take(frame, image_is_over);
        })?;
        if fits { Ok(state) } else { Err(RebuildError::WrongMark) }
    }

    fn take(&mut self, frame: FrameRef<'_>, image_is_over: bool) {
        let header = frame.header;
        self.machine.feed(frame, self.messages.cast_signed());
        match header.kind {
            Join::TYPE => drop(self.present.insert(header.user, frame.bytes.to_vec())),
            Leave::TYPE => drop(self.present.remove(&header.user)),
            kind if kind >= FIRST_COMMAND && image_is_over => {
                if let Some(holder) = self.machine.people().holder(header.user) {
                    self.last_commands.insert(holder.index, self.messages);
                }
            }
            _ => {}
        }
        self.messages += 1;
    }
}

impl<'a> AcrossReset<'a> {
    /// Joins a history and the one that a reset has replaced it by, which began as `origin` says with the image before
    /// the mark `image`.
    ///
    /// # Errors
    /// When the image was not made of the earlier history, or one of them cannot be read.
    pub fn new(
        before: &'a dyn Messages,
        after: &'a dyn Messages,
        origin: Origin,
        image: TimeMark,
        layout: Layout,
    ) -> Result<AcrossReset<'a>, RebuildError> {
        let keeps_canvas = matches!(origin.kind, OriginKind::Current | OriginKind::Streamed);
        let size = origin.image_of.filter(|_| keeps_canvas).ok_or(RebuildError::OtherCanvas)?;
        let head = ImageHead::read(after, image, layout)?;
        let mut state = State::read(before, size, layout)?;
        let cut = TimeMark { utc_ms: image.utc_ms, messages: state.messages, size };
        let bridge = bridge(&state, &head, origin.kind, layout);
        for frame in frames(&bridge) {
            state.take(frame, false);
        }
        let holder = |user: &u8| Some((*user, state.machine.people().holder(*user)?.index));
        Ok(AcrossReset {
            before,
            after,
            cut,
            bridge_messages: state.messages - cut.messages,
            size: cut.size + bridge.len() as u64 + head.behind,
            bridge,
            image: head.messages,
            image_joins: head.joins.iter().map(|(user, (number, _))| (*number, *user)).collect(),
            holders: head.joins.keys().filter_map(holder).collect(),
            last_commands: state.last_commands,
        })
    }

    /// Number of the messages that lie before the reset.
    pub fn reset_at(&self) -> u64 {
        self.cut.messages + self.bridge_messages
    }

    /// Size of all messages in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Index of a person here; `number` is that of their `Join`, or first undo point, in the later history.
    pub fn person_of(&self, number: u64) -> Option<i64> {
        match number.checked_sub(self.image) {
            Some(behind) => Some((self.reset_at() + behind).cast_signed()),
            None => self.holders.get(self.image_joins.get(&number)?).copied(),
        }
    }

    /// The reverse of [`Self::person_of`]; `None` if the person had left before the reset.
    pub fn number_in_later(&self, person: i64) -> Option<u64> {
        if let Some(behind) = person.cast_unsigned().checked_sub(self.reset_at()) {
            return Some(self.image + behind);
        }
        let (user, _) = self.holders.iter().find(|(_, holder)| **holder == person)?;
        self.image_joins.iter().find(|(_, joined)| *joined == user).map(|(number, _)| *number)
    }

    /// The place here that a mark of the earlier history stands for; `None` if that is behind what the image was made
    /// of.
    pub fn place_of(&self, mark: TimeMark) -> Option<TimeMark> {
        (mark.size <= self.cut.size && mark.messages <= self.cut.messages).then_some(mark)
    }

    /// Whether a person has drawn before the reset, behind this place if one is given.
    pub fn has_drawn_before(&self, person: i64, since: Option<TimeMark>) -> bool {
        let from = since.map_or(0, |mark| mark.messages);
        self.last_commands.get(&person).is_some_and(|last| *last >= from)
    }

    /// In which of the two histories a message is, and its number there.
    pub fn locate(&self, number: u64) -> Location {
        match number.checked_sub(self.reset_at()) {
            Some(behind) => Location::Later(self.image + behind),
            None if number < self.cut.messages => Location::Earlier(number),
            None => Location::Reset,
        }
    }
}

/// Where a message of an [`AcrossReset`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the earlier history, with its number there.
    Earlier(u64),
    /// It stands for what the reset has changed.
    Reset,
    /// In the later history, with its number there.
    Later(u64),
}

/// Name and flags of a `Join`; avatars may be left out.
fn name_and_flags(join: &[u8], layout: Layout) -> Option<(String, u8)> {
    match Message::from_bytes(join, layout) {
        Ok((_, Message::Join(Join { name, flags, .. }))) => Some((name, flags)),
        _ => None,
    }
}

/// What a reset does besides replacing the canvas.
fn bridge(state: &State, head: &ImageHead, kind: OriginKind, layout: Layout) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut push = |message: Message, user: u8| {
        if let Ok(frame) = message.to_frame(user, layout) {
            bytes.extend_from_slice(frame.as_bytes());
        }
    };
    for user in state.present.keys().filter(|user| !head.joins.contains_key(user)) {
        push(Message::from(Leave {}), *user);
    }
    // A streamed reset has its barrier at the fork already, and keeps the depth.
    if kind == OriginKind::Current {
        push(Message::from(SoftReset {}), 0);
        // Images of clients have no lock of the whole canvas.
        if state.machine.permissions().canvas_locked() && !head.permissions.canvas_locked() {
            push(Message::from(LayerACL { id: 0, flags: 0, exclusive: Vec::new() }), 0);
        }
        if head.depth.is_none() {
            push(Message::from(UndoDepth { depth: DEFAULT_DEPTH }), 0);
        }
        bytes.extend(head.depth.iter().flatten());
    }
    for (user, (_, join)) in &head.joins {
        let then = state.present.get(user).map(|then| name_and_flags(then, layout));
        if then != Some(name_and_flags(join, layout)) {
            bytes.extend_from_slice(join);
        }
    }
    bytes.extend_from_slice(&head.roles);
    bytes
}

#[cfg(test)]
mod tests;
