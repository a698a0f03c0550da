//! What a canvas is after some messages, except for its pixels: layers, annotations, tracks, metadata, permissions.
//!
//! Messages go through [`Follower`], in two steps, because undo is between them: [`Follower::accept`] says whether
//! clients execute a message, and is given all messages in order; [`Follower::apply`] is given the commands that are on
//! the canvas, in order, when that is known. What clients do not execute, or what names things that are not there, does
//! nothing. Source: docs/spec/session.md#commands-and-the-state-of-a-canvas.

mod annotations;
mod difference;
pub mod ids;
pub mod layers;
pub mod permissions;
pub mod timeline;

use std::collections::BTreeMap;

use drawhall_protocol::message::{
    CanvasResize, Chat, KeyFrameLayerAttributes, KeyFrameSet, LayerTreeCreate, LayerTreeDelete,
    LayerTreeMove, Layout, Message, SetMetadataInt, SyncSelectionTile, TrackCreate,
};

pub use annotations::{Annotation, Annotations, VerticalAlignment};
use ids::Ids;
use layers::LayerTree;
use permissions::Permissions;
use timeline::{MAX_KEY_FRAMES, Timeline};

/// Maximum width or height of a canvas in pixels.
const MAX_SIDE: i64 = 1_000_000;
/// Maximum number of pixels of a canvas.
const MAX_AREA: i64 = 32_767 * 32_767;
/// Maximum number of bytes that messages may copy, as by copying groups of layers again and again.
const MAX_COPIED: usize = 64 << 20;
/// The smallest undo depth.
const MIN_UNDO_DEPTH: u8 = 3;
/// The first selection that others can see.
const FIRST_SHARED_SELECTION: u8 = 128;
/// Column and row of a `SyncSelectionTile` that clears the selection.
const WHOLE_SELECTION: u16 = u16::MAX;
/// Flags of dabs: how a stroke is painted; 0 means directly on the layer.
const PAINT_MODE: u8 = 3;
/// The bit of the mode of `DrawDabsMyPaint` that means a stroke on a sublayer.
const MYPAINT_INDIRECT: u8 = 0x80;

/// Why a canvas is not followed any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// There are more layers than anybody needs.
    #[error("there are too many layers, or too many groups inside of groups")]
    TooManyLayers,
    /// A copied group has more layers than there are ids. Clients of different versions do different things then.
    #[error("there are not enough layer ids for a copied group")]
    NoLayerIds,
    /// Messages copy too much.
    #[error("layers, tracks and key frames are copied too often")]
    TooMuchCopied,
}

/// Metadata of a canvas that is not the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Values of `SetMetadataInt` by field, 0 to 8.
    pub fields: [i32; FIELDS],
}

/// Number of fields of metadata.
pub const FIELDS: usize = 9;
/// Values of a new canvas by field.
pub const DEFAULT_METADATA: [i32; FIELDS] = [72, 72, 24, 24, 0, -1, -1, 0, 0];

impl Default for Metadata {
    fn default() -> Self {
        Metadata { fields: DEFAULT_METADATA }
    }
}

impl Metadata {
    fn frame_count(&self) -> i32 {
        self.fields[usize::from(SetMetadataInt::FIELD_FRAME_COUNT)]
    }
}

/// A tile of a selection that others can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SelectionTile {
    /// User id of whose selection it is.
    pub user: u8,
    /// Id of the selection, 128 and up.
    pub selection: u8,
    /// Row of the tile.
    pub row: u16,
    /// Column of the tile.
    pub column: u16,
}

/// A canvas without its pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CanvasState {
    /// Width in pixels; 0 if there is no canvas yet.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Resolution, frame rate and the like.
    pub metadata: Metadata,
    /// Layers and groups.
    pub layers: LayerTree,
    /// Annotations.
    pub annotations: Annotations,
    /// Tracks.
    pub timeline: Timeline,
    /// Masks of shared selections, as in messages.
    pub selections: BTreeMap<SelectionTile, Vec<u8>>,
    /// The canvas was resized while there was a shared selection, so its masks are not known any more.
    pub lost_selections: bool,
}

/// Follows the messages of a session.
#[derive(Debug, Clone)]
pub struct Follower {
    ids: Ids,
    permissions: Permissions,
    default_layer: u32,
    undo_depth: Option<u8>,
    pinned: Option<(u8, Chat)>,
    canvas: CanvasState,
    copied: usize,
}

impl Follower {
    /// At the beginning of a history whose payloads have this layout.
    pub fn new(layout: Layout) -> Follower {
        Follower {
            ids: Ids(layout),
            permissions: Permissions::default(),
            default_layer: 0,
            undo_depth: None,
            pinned: None,
            canvas: CanvasState::default(),
            copied: 0,
        }
    }

    /// Layout of payloads.
    pub fn layout(&self) -> Layout {
        self.ids.0
    }

    /// The permissions now.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// Id of the layer that new users begin on; 0 if none is set.
    pub fn default_layer(&self) -> u32 {
        self.default_layer
    }

    /// Undo depth that an operator has set.
    pub fn undo_depth(&self) -> Option<u8> {
        self.undo_depth
    }

    /// The last pinned message, and the user id of its sender.
    pub fn pinned(&self) -> Option<(u8, &Chat)> {
        self.pinned.as_ref().map(|(user, chat)| (*user, chat))
    }

    /// The canvas.
    pub fn canvas(&self) -> &CanvasState {
        &self.canvas
    }

    /// Takes the next message, of whatever type, and says whether clients execute it. Permissions are not undone.
    pub fn accept(&mut self, user: u8, message: &Message) -> bool {
        let accepted = self.permissions.accept(user, message, self.ids);
        match message {
            Message::DefaultLayer(layer) if accepted => self.default_layer = self.ids.layer(layer.id),
            Message::Chat(chat) if chat.oflags & Chat::OFLAGS_PIN != 0 => {
                self.pinned = Some((user, chat.clone()));
            }
            Message::UndoDepth(depth) if accepted => self.undo_depth = Some(depth.depth.max(MIN_UNDO_DEPTH)),
            _ => {}
        }
        accepted
    }

    /// Takes the next command that is on the canvas.
    ///
    /// # Errors
    /// When the canvas cannot be followed any more; what follows is not to be applied then.
    pub fn apply(&mut self, user: u8, message: &Message) -> Result<(), StateError> {
        match message {
            Message::CanvasResize(resize) => self.canvas.resize(resize),
            Message::SetMetadataInt(set) => self.canvas.set_metadata(set),
            Message::SyncSelectionTile(tile) => self.canvas.set_selection_tile(tile),
            Message::LayerTreeCreate(create) => self.create_layer(create)?,
            Message::LayerTreeMove(to) => {
                let layer = |id: u32| self.ids.layer(id);
                let (parent, sibling) = (layer(to.parent), layer(to.sibling));
                self.canvas.layers.move_to(&LayerTreeMove { layer: layer(to.layer), parent, sibling })?;
            }
            Message::LayerTreeDelete(delete) => self.delete_layer(delete),
            Message::LayerAttributes(a) => self.canvas.layers.set_attributes(a, self.ids),
            Message::LayerRetitle(r) => self.canvas.layers.retitle(self.ids.layer(r.id), &r.title),
            Message::AnnotationCreate(_)
            | Message::AnnotationReshape(_)
            | Message::AnnotationEdit(_)
            | Message::AnnotationDelete(_) => self.canvas.annotations.apply(message, self.ids),
            Message::TrackCreate(_)
            | Message::TrackRetitle(_)
            | Message::TrackDelete(_)
            | Message::TrackOrder(_) => self.apply_to_tracks(message),
            Message::KeyFrameSet(_)
            | Message::KeyFrameRetitle(_)
            | Message::KeyFrameLayerAttributes(_)
            | Message::KeyFrameDelete(_) => self.apply_to_key_frames(message),
            _ => self.follow_stroke(user, message),
        }
        let is_too_much = self.copied > MAX_COPIED || self.canvas.timeline.key_frames() > MAX_KEY_FRAMES;
        if is_too_much { Err(StateError::TooMuchCopied) } else { Ok(()) }
    }

    fn create_layer(&mut self, create: &LayerTreeCreate) -> Result<(), StateError> {
        let create = LayerTreeCreate {
            id: self.ids.layer(create.id),
            source: self.ids.layer(create.source),
            target: self.ids.layer(create.target),
            ..create.clone()
        };
        self.copied += self.canvas.layers.create(&create, self.ids.max_number())?;
        Ok(())
    }

    fn delete_layer(&mut self, delete: &LayerTreeDelete) {
        let (layer, target) = (self.ids.layer(delete.id), self.ids.layer(delete.merge_to));
        let CanvasState { layers, timeline, .. } = &mut self.canvas;
        if layers.delete(layer, target) {
            timeline.forget_layers(|id| layers.get(id).is_some());
        }
    }

    fn apply_to_tracks(&mut self, message: &Message) {
        let (ids, timeline) = (self.ids, &mut self.canvas.timeline);
        match message {
            Message::TrackCreate(create) => {
                self.copied += timeline.create(&TrackCreate {
                    id: ids.object(create.id),
                    insert_id: ids.object(create.insert_id),
                    source_id: ids.object(create.source_id),
                    title: create.title.clone(),
                });
            }
            Message::TrackRetitle(retitle) => timeline.retitle(ids.object(retitle.id), &retitle.title),
            Message::TrackDelete(delete) => timeline.delete(ids.object(delete.id)),
            Message::TrackOrder(order) => {
                let wanted: Vec<u16> = order.tracks.iter().map(|id| ids.object(*id)).collect();
                timeline.order(&wanted);
            }
            _ => {}
        }
    }

    fn apply_to_key_frames(&mut self, message: &Message) {
        let (ids, frames) = (self.ids, self.canvas.metadata.frame_count());
        let CanvasState { layers, timeline, .. } = &mut self.canvas;
        match message {
            Message::KeyFrameSet(set) => {
                let set = KeyFrameSet { track_id: ids.object(set.track_id), ..set.clone() };
                if i32::from(set.frame_index) >= frames {
                    return;
                }
                match set.source {
                    KeyFrameSet::SOURCE_LAYER => {
                        let layer = ids.layer(set.source_id);
                        if layer == 0 || ids::is_layer(layer) {
                            timeline.set_layer(&set, layers.get(layer).map_or(0, |_| layer));
                        }
                    }
                    KeyFrameSet::SOURCE_KEY_FRAME => {
                        // A track: its id has 16 bits in a field that can have more.
                        if let Ok(track) = u16::try_from(set.source_id) {
                            self.copied += timeline.copy_key_frame(&set, ids.object(track));
                        }
                    }
                    _ => {}
                }
            }
            Message::KeyFrameRetitle(retitle) => {
                if let Some(frame) = timeline.key_frame_mut(ids.object(retitle.track_id), retitle.frame_index)
                {
                    retitle.title.clone_into(&mut frame.title);
                }
            }
            Message::KeyFrameLayerAttributes(attributes) => {
                let track = ids.object(attributes.track_id);
                if let Some(frame) = timeline.key_frame_mut(track, attributes.frame_index) {
                    frame.layers = key_frame_layers(attributes, ids, layers);
                }
            }
            Message::KeyFrameDelete(delete) => {
                let mut delete = delete.clone();
                delete.track_id = ids.object(delete.track_id);
                delete.move_track_id = ids.object(delete.move_track_id);
                timeline.delete_key_frame(&delete, frames);
            }
            _ => {}
        }
    }

    /// Notes whose strokes are on a sublayer that is not merged yet.
    fn follow_stroke(&mut self, user: u8, message: &Message) {
        let is_indirect = |flags: u8, colour: u32| match self.ids.0 {
            Layout::V4_25 => flags & PAINT_MODE != 0,
            Layout::V4_24 => colour >> 24 != 0,
        };
        let (layer, begins) = match message {
            Message::DrawDabsClassic(d) => (d.layer, is_indirect(d.flags, d.color)),
            Message::DrawDabsPixel(d) => (d.layer, is_indirect(d.flags, d.color)),
            Message::DrawDabsPixelSquare(d) => (d.layer, is_indirect(d.flags, d.color)),
            Message::DrawDabsMyPaint(d) => (d.layer, d.mode & MYPAINT_INDIRECT != 0),
            Message::DrawDabsMyPaintBlend(d) => (d.layer, is_indirect(d.flags, d.color)),
            Message::PutTile(put) => return self.begin_stroke(put.layer, put.sublayer),
            Message::PutTileZstd(put) => return self.begin_stroke(put.layer, put.sublayer),
            Message::PenUp(pen_up) => {
                return self.canvas.layers.end_stroke(self.ids.layer(pen_up.layer), user);
            }
            _ => return,
        };
        if begins {
            self.begin_stroke(layer, user);
        }
    }

    fn begin_stroke(&mut self, layer: u32, user: u8) {
        if user != 0 {
            self.canvas.layers.begin_stroke(self.ids.layer(layer), user);
        }
    }
}

/// Layers of a key frame: each that is there, once, if something is different about it.
fn key_frame_layers(message: &KeyFrameLayerAttributes, ids: Ids, layers: &LayerTree) -> Vec<(u32, u8)> {
    let mut found: Vec<(u32, u8)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let all = message.layer_flags.iter();
    let pairs: Vec<(u32, u8)> = match ids.0 {
        Layout::V4_25 => all.map(|value| (value & 0xff_ffff, (value >> 24) as u8)).collect(),
        // Pairs of an id and flags.
        Layout::V4_24 => {
            let values: Vec<u32> = all.copied().collect();
            values.chunks_exact(2).map(|pair| (ids.layer(pair[0]), pair[1] as u8)).collect()
        }
    };
    for (layer, flags) in pairs {
        if flags != 0 && layers.get(layer).is_some() && seen.insert(layer) {
            found.push((layer, flags));
        }
    }
    found
}

impl CanvasState {
    /// `CanvasResize`: what grows on each side, or shrinks.
    fn resize(&mut self, resize: &CanvasResize) {
        let CanvasResize { top, right, bottom, left } = *resize;
        let [top_, right_, bottom_, left_] = [top, right, bottom, left].map(i64::from);
        let width = i64::from(self.width) + left_ + right_;
        let height = i64::from(self.height) + top_ + bottom_;
        let fits =
            (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) && width * height <= MAX_AREA;
        if !fits {
            return;
        }
        // Both are in 1 to `MAX_SIDE`.
        (self.width, self.height) = (width as u32, height as u32);
        let [.., x, y] = &mut self.metadata.fields;
        (*x, *y) = (x.wrapping_sub(left), y.wrapping_sub(top));
        if left > 0 || top > 0 {
            self.annotations.shift(left, top);
        }
        self.lost_selections |= !self.selections.is_empty();
    }

    fn set_metadata(&mut self, set: &SetMetadataInt) {
        let Some(field) = self.metadata.fields.get_mut(usize::from(set.field)) else { return };
        *field = match set.field {
            SetMetadataInt::FIELD_DPIX | SetMetadataInt::FIELD_DPIY | SetMetadataInt::FIELD_FRAME_COUNT => {
                set.value.max(1)
            }
            SetMetadataInt::FIELD_FRAMERATE | SetMetadataInt::FIELD_FRAMERATE_FRACTION => set.value.max(0),
            SetMetadataInt::FIELD_FRAME_RANGE_LAST => set.value.min(i32::MAX - 1),
            _ => set.value,
        };
        if set.field == SetMetadataInt::FIELD_FRAME_COUNT {
            self.timeline.truncate(set.value);
        }
    }

    fn set_selection_tile(&mut self, tile: &SyncSelectionTile) {
        let SyncSelectionTile { user, selection_id: selection, col: column, row, ref mask } = *tile;
        if selection < FIRST_SHARED_SELECTION {
            return;
        }
        if column == WHOLE_SELECTION && row == WHOLE_SELECTION && mask.is_empty() {
            self.selections.retain(|tile, _| (tile.user, tile.selection) != (user, selection));
            return;
        }
        // Clients count tiles row by row, so a column beyond the last is in a row below.
        let tiles = |length: u32| u64::from(length.div_ceil(crate::TILE_SIDE as u32));
        let (columns, rows) = (tiles(self.width), tiles(self.height));
        let index = u64::from(row) * columns + u64::from(column);
        if index >= columns * rows {
            return;
        }
        // Both are below the number of tiles in one direction, which is at most `MAX_SIDE / TILE_SIDE`.
        let (row, column) = ((index / columns) as u16, (index % columns) as u16);
        let place = SelectionTile { user, selection, row, column };
        if mask.is_empty() {
            self.selections.remove(&place);
        } else {
            self.selections.insert(place, mask.clone());
        }
    }
}

#[cfg(test)]
mod tests;
