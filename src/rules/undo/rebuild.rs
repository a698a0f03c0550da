//! Rebuilding a history without what one person drew: what is left out, and a report before anything happens.
//!
//! Clients replay the messages that are left, so what others have drawn over, moved or copied comes out as if that
//! person had not drawn. Source: docs/spec/session.md#removing-a-person.

use std::collections::BTreeSet;
use std::io;

use drawhall_protocol::Frame;
use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef};
use drawhall_protocol::message::{
    AnnotationCreate, AnnotationDelete, AnnotationEdit, AnnotationReshape, CanvasResize, Chat, Interval,
    KeyFrameDelete, KeyFrameLayerAttributes, KeyFrameRetitle, KeyFrameSet, LaserTrail, LayerTreeCreate,
    LayerTreeDelete, Layout, Message, MovePointer, ServerCommand, TrackCreate, TrackDelete, TrackRetitle,
    Undo, UndoPoint,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::restored_image::{ImageBuilder, RestoredImage};
use super::times::TimeMark;
use super::{EntryState, targets};

mod reading;

use reading::{Reading, read};

/// A history that can be read several times.
pub trait Messages {
    /// Calls `visit` with each message in order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()>;
}

impl<M: Messages + ?Sized> Messages for &M {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        (**self).visit(visit)
    }
}

impl Messages for [u8] {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        drawhall_protocol::frame::frames(self).for_each(visit);
        Ok(())
    }
}

/// Why a history cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RebuildError {
    #[error("nobody joined at that place of the history: a reset came in between")]
    NoSuchPerson,
    #[error(
        "nothing of theirs can be told apart from the picture that the session began with; going back to before a \
         reset may help"
    )]
    NothingDrawn,
    #[error("they have drawn nothing")]
    DrewNothing,
    #[error("there is too much undo and redo in this history; going back to before a reset may help")]
    TooMuchUndo,
    #[error("nothing was drawn since that time")]
    NothingSince,
    #[error("they have drawn nothing since that time")]
    NothingOfTheirsSince,
    #[error(
        "the canvas of the last reset was not made of the one before, or that is not known any more: go back to \
         before the reset"
    )]
    OtherCanvas,
    #[error("the time marks do not fit the history")]
    WrongMark,
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What removing a person means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovalReport {
    /// Actions of the person that are on the canvas now.
    pub actions: u64,
    /// Those of them that were drawn before the last reset.
    pub before_reset: u64,
    /// Messages of the person that are left out.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Layers that the person deleted or merged, and that come back.
    pub layers_back: u64,
    /// Layers that the person made, and that stay because others have used them.
    pub layers_kept: u64,
    /// Changes of the canvas size that stay because others have drawn since.
    pub resizes_kept: u64,
    /// Messages of others that will do nothing, because they name something of the person's that is gone.
    pub without_effect: u64,
}

/// Which messages are left out, which are changed, and what that means.
#[derive(Debug)]
pub struct Plan {
    layout: Layout,
    /// For each message, whether it stays.
    stays: Vec<bool>,
    /// Messages that stay without their fill colour.
    unfilled: BTreeSet<usize>,
    /// What it means.
    pub report: RemovalReport,
    /// User id of the person.
    pub user: u8,
    /// Name of the person.
    pub name: String,
    /// They are still there.
    pub is_present: bool,
}

/// Whose drawing is to be removed, and which part of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// Index of the person's `Join`.
    pub person: i64,
    /// Only what was drawn behind this place.
    pub since: Option<TimeMark>,
    /// Messages that lie before the last reset, if the history is one [across it](super::across_reset).
    pub reset_at: u64,
}

impl Plan {
    /// Plans to leave out what a person drew from their first action on, or since a time, in a history whose first message
    /// has `first_index`.
    ///
    /// # Errors
    /// When there is no such person, or it has drawn nothing.
    pub fn new(
        history: &(impl Messages + ?Sized),
        layout: Layout,
        first_index: i64,
        removal: Removal,
    ) -> Result<Plan, RebuildError> {
        let Reading { scan, theirs, user, name } = read(history, layout, first_index, removal)?;
        let holder = scan.machine().people().holder(user);
        let is_present = holder.is_some_and(|holder| holder.index == removal.person);
        let mut plan = Plan {
            layout,
            stays: vec![true; scan.messages() as usize],
            unfilled: BTreeSet::new(),
            report: RemovalReport::default(),
            user,
            name,
            is_present,
        };
        for entry in scan.entries() {
            let number = entry.message as usize;
            let is_done = entry.state == EntryState::Done;
            plan.stays[number] = is_done;
            let is_action = entry.kind == UndoPoint::TYPE && theirs[number];
            plan.report.actions += u64::from(is_action && is_done);
            let is_before = u64::from(entry.message) < removal.reset_at;
            plan.report.before_reset += u64::from(is_action && is_done && is_before);
        }
        drop(scan);
        plan.leave_out(history, &theirs)?;
        Ok(plan)
    }

    /// Decides on the person's messages, which needs to know what others have named.
    fn leave_out(&mut self, history: &(impl Messages + ?Sized), theirs: &[bool]) -> Result<(), RebuildError> {
        let mut seen = Seen { user: self.user, ..Seen::default() };
        let mut number = 0;
        history.visit(&mut |frame| {
            let is_theirs = theirs[number];
            self.stays[number] &= !never_stays(frame.header.kind);
            if is_theirs {
                if leaves_with_them(frame.header.kind) {
                    if self.stays[number] {
                        seen.own(number, frame, self.layout);
                    }
                    self.stays[number] = false;
                    self.report.messages += 1;
                    self.report.bytes += frame.bytes.len() as u64;
                }
            } else if self.stays[number] {
                seen.foreign(number, frame, self.layout);
            }
            number += 1;
        })?;
        self.report.layers_back = seen.deletions;
        self.report.without_effect = seen.without_effect;
        let names_unknown = seen.names_unknown_layer(self.layout);
        for created in &seen.created {
            let copies = created.is_copy && names_unknown;
            if seen.named.contains(&created.layer) || copies {
                self.keep(created.number, created.len);
                self.report.layers_kept += 1;
                if !created.is_first {
                    self.unfilled.insert(created.number);
                }
            }
        }
        for (number, len) in seen.resizes_to_keep() {
            self.keep(number, len);
            self.report.resizes_kept += 1;
        }
        Ok(())
    }

    fn keep(&mut self, number: usize, len: u64) {
        self.stays[number] = true;
        self.report.messages -= 1;
        self.report.bytes -= len;
    }

    /// Makes the image of the history without them.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn image(&self, history: &(impl Messages + ?Sized)) -> io::Result<RestoredImage> {
        let mut builder = ImageBuilder::new(self.layout);
        let mut number = 0;
        history.visit(&mut |frame| {
            // Chat stays here, because the builder looks for the last pin.
            if self.stays.get(number).is_some_and(|stays| *stays) || frame.header.kind == Chat::TYPE {
                match self.unfilled.contains(&number).then(|| without_fill(frame, self.layout)).flatten() {
                    Some(changed) => {
                        drawhall_protocol::frame::frames(changed.as_bytes())
                            .for_each(|frame| builder.add(frame));
                    }
                    None => builder.add(frame),
                }
            }
            number += 1;
        })?;
        Ok(builder.finish())
    }
}

/// Messages that mean nothing in an image. Undo is resolved.
fn never_stays(kind: u8) -> bool {
    matches!(
        kind,
        ServerCommand::TYPE | Chat::TYPE | MovePointer::TYPE | LaserTrail::TYPE | Interval::TYPE | Undo::TYPE
    )
}

/// Messages of the person that are left out. Permissions stay: the later commands of others were judged by them.
fn leaves_with_them(kind: u8) -> bool {
    kind >= FIRST_COMMAND
}

fn without_fill(frame: FrameRef<'_>, layout: Layout) -> Option<Frame> {
    let Ok(Message::LayerTreeCreate(create)) = Message::from_frame(frame, layout) else { return None };
    let create = LayerTreeCreate { fill: 0, ..create };
    Message::from(create).to_frame(frame.header.user, layout).ok()
}

/// A layer that the person made.
struct Created {
    number: usize,
    /// Size of the message in bytes.
    len: u64,
    layer: u32,
    is_copy: bool,
    /// There was no layer before.
    is_first: bool,
}

/// A change of the canvas size by the person.
struct Resize {
    number: usize,
    /// Size of the message in bytes.
    len: u64,
    sides: [i32; 4],
    /// Others have drawn before the person's next one.
    is_drawn_after: bool,
}

/// What the second reading has met.
#[derive(Default)]
struct Seen {
    /// User id of the person.
    user: u8,
    has_layer: bool,
    created: Vec<Created>,
    /// Layers that kept messages of others name.
    named: BTreeSet<u32>,
    /// Layers with the person's user id that messages which stay have created: before what is removed, in an image, or by
    /// another holder of the id.
    known: BTreeSet<u32>,
    /// The person's changes of the canvas size.
    resizes: Vec<Resize>,
    /// Number of the last kept command of others.
    last_foreign: Option<usize>,
    deletions: u64,
    annotations: BTreeSet<u16>,
    tracks: BTreeSet<u16>,
    without_effect: u64,
}

fn first_u16(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

impl Seen {
    /// A message of the person that is on the canvas.
    fn own(&mut self, number: usize, frame: FrameRef<'_>, layout: Layout) {
        let len = frame.bytes.len() as u64;
        match frame.header.kind {
            LayerTreeCreate::TYPE => {
                if let Ok(Message::LayerTreeCreate(create)) = Message::from_frame(frame, layout) {
                    let (layer, is_copy, is_first) = (create.id, create.source != 0, !self.has_layer);
                    self.created.push(Created { number, len, layer, is_copy, is_first });
                    self.has_layer = true;
                }
            }
            LayerTreeDelete::TYPE => self.deletions += 1,
            CanvasResize::TYPE => {
                if let Ok(Message::CanvasResize(resize)) = Message::from_frame(frame, layout) {
                    let sides = [resize.top, resize.right, resize.bottom, resize.left];
                    self.resizes.push(Resize { number, len, sides, is_drawn_after: false });
                }
            }
            AnnotationCreate::TYPE => self.annotations.extend(first_u16(frame.payload())),
            TrackCreate::TYPE => self.tracks.extend(first_u16(frame.payload())),
            _ => {}
        }
    }

    /// A message of somebody else that stays.
    fn foreign(&mut self, number: usize, frame: FrameRef<'_>, layout: Layout) {
        let kind = frame.header.kind;
        if kind == LayerTreeCreate::TYPE {
            self.has_layer = true;
            let created = targets::created(frame.payload(), layout);
            self.known.extend(created.filter(|layer| targets::owner(*layer, layout) == self.user));
        }
        if kind >= FIRST_COMMAND && kind != UndoPoint::TYPE {
            self.last_foreign = Some(number);
            if let Some(last) = self.resizes.last_mut() {
                last.is_drawn_after = true;
            }
        }
        if !self.created.is_empty() {
            targets::layers(kind, frame.payload(), layout, |layer| {
                self.named.insert(layer);
            });
        }
        let named = first_u16(frame.payload());
        let is_gone = |set: &BTreeSet<u16>| named.is_some_and(|id| set.contains(&id));
        let names_gone = match kind {
            AnnotationReshape::TYPE | AnnotationEdit::TYPE | AnnotationDelete::TYPE => {
                is_gone(&self.annotations)
            }
            TrackRetitle::TYPE
            | TrackDelete::TYPE
            | KeyFrameSet::TYPE
            | KeyFrameRetitle::TYPE
            | KeyFrameLayerAttributes::TYPE
            | KeyFrameDelete::TYPE => is_gone(&self.tracks),
            _ => false,
        };
        self.without_effect += u64::from(names_gone);
    }

    /// Whether others name a layer of this user that no message has created: a part of a group that was copied.
    fn names_unknown_layer(&self, layout: Layout) -> bool {
        let created: BTreeSet<u32> = self.created.iter().map(|created| created.layer).collect();
        let is_known = |layer: &u32| created.contains(layer) || self.known.contains(layer);
        self.named.iter().any(|layer| targets::owner(*layer, layout) == self.user && !is_known(layer))
    }

    /// Changes of the canvas size that must stay: the coordinates of what others drew later are relative to it. One
    /// that is reversed by the next before anybody draws goes with that one.
    fn resizes_to_keep(&self) -> Vec<(usize, u64)> {
        let mut keep = Vec::new();
        let mut at = 0;
        while let Some(resize) = self.resizes.get(at) {
            let is_reversed = self.resizes.get(at + 1).is_some_and(|next| {
                resize.sides.iter().zip(&next.sides).all(|(side, other)| side.checked_neg() == Some(*other))
            });
            if is_reversed && !resize.is_drawn_after {
                at += 2;
                continue;
            }
            if self.last_foreign.is_some_and(|last| last > resize.number) {
                keep.push((resize.number, resize.len));
            }
            at += 1;
        }
        keep
    }
}

#[cfg(test)]
mod tests;
