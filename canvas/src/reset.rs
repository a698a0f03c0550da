//! Reset images: the messages that make a canvas anew, in the order in which clients make them. Source:
//! docs/spec/session.md#order-of-messages-in-a-reset-image.
//!
//! Three things differ from what Drawpile's client makes, because it is wrong there: a `LayerACL` has the whole id of
//! its layer, not only the low 16 bits; an annotation keeps its alignment to the bottom, and its flags for aliasing
//! and rasterizing; a run of more than 65,536 equal tiles goes on where the first message ends.

use std::collections::BTreeMap;

use drawhall_protocol::message::{
    AnnotationCreate, AnnotationEdit, CanvasBackground, CanvasBackgroundZstd, CanvasResize, DefaultLayer,
    EncodeError, FeatureAccessLevels, FeatureLimits, KeyFrameLayerAttributes, KeyFrameRetitle, KeyFrameSet,
    LayerACL, LayerAttributes, LayerTreeCreate, Layout, Message, PutTile, PutTileZstd, SetMetadataInt,
    SyncSelectionTile, TrackCreate, UndoDepth, UserACL,
};

use crate::TILE_SIDE;
use crate::codec::{CodecError, Form, Tile, decode_tile, encode_colour, encode_pixels};
use crate::image::Messages;
use crate::state::ids::Ids;
use crate::state::layers::Node;
use crate::state::timeline::Track;
use crate::state::{Annotation, DEFAULT_METADATA, Follower};

/// Sender of the messages. Clients take the server (0) for an operator, so permissions do not stop it.
const SENDER: u8 = 0;
/// Tiles of one message.
const MAX_RUN: u32 = 65_536;
/// Fields of metadata that dp:4.24 knows.
const FIELDS_4_24: usize = 4;

/// Equal tiles that follow one another, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileRun {
    /// Number of the first tile, counted row by row.
    pub index: u32,
    /// Number of tiles, at least 1.
    pub count: u32,
    /// User id of who painted them last; 0 if that is not known.
    pub user: u8,
    /// The image of a tile in the form [`Form::Zstd`].
    pub image: Vec<u8>,
}

/// Pixels of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerPixels {
    /// Colour of all tiles that are not in `runs`, `0xAARRGGBB`, not premultiplied; 0 for none.
    pub fill: u32,
    /// The other tiles.
    pub runs: Vec<TileRun>,
}

/// Pixels of a canvas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pixels {
    /// Image of the background's tile in the form [`Form::Zstd`], if there is one.
    pub background: Option<Vec<u8>>,
    /// Pixels of layers by id.
    pub layers: BTreeMap<u32, LayerPixels>,
}

/// Why there is no reset image.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Somebody's stroke is not finished, and its pixels are not known.
    #[error("somebody is drawing a stroke that is not finished")]
    OpenStroke,
    /// The masks of shared selections are not known.
    #[error("the canvas was resized while there was a shared selection")]
    LostSelections,
    /// More layers have permissions of their own than are followed.
    #[error("too many layers have permissions of their own")]
    LostPermissions,
    /// There is no canvas.
    #[error("there is no canvas")]
    NoCanvas,
    /// A tile cannot be decoded.
    #[error("a tile cannot be decoded: {0}")]
    Tile(#[from] CodecError),
    /// A message cannot be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Makes the messages of a reset image from what a canvas is and its pixels.
///
/// # Errors
/// When there is no canvas, or something of it is not known, or a tile is corrupt.
pub fn reset_image(follower: &Follower, pixels: &Pixels) -> Result<Messages, ResetError> {
    let canvas = follower.canvas();
    if canvas.width == 0 {
        return Err(ResetError::NoCanvas);
    }
    if canvas.layers.has_open_strokes() {
        return Err(ResetError::OpenStroke);
    }
    if canvas.lost_selections {
        return Err(ResetError::LostSelections);
    }
    if !follower.permissions().are_complete() {
        return Err(ResetError::LostPermissions);
    }
    let columns = canvas.width.div_ceil(TILE_SIDE as u32);
    let mut writer = Writer { follower, ids: Ids(follower.layout()), columns, messages: Messages::default() };
    writer.session()?;
    writer.canvas(pixels)?;
    writer.layers(pixels)?;
    writer.selections()?;
    canvas.annotations.all().iter().try_for_each(|annotation| writer.annotation(annotation))?;
    canvas.timeline.tracks().iter().rev().try_for_each(|track| writer.track(track))?;
    writer.permissions()?;
    Ok(writer.messages)
}

struct Writer<'a> {
    follower: &'a Follower,
    ids: Ids,
    /// Tiles of a row.
    columns: u32,
    messages: Messages,
}

impl Writer<'_> {
    fn push(&mut self, message: impl Into<Message>) -> Result<(), EncodeError> {
        self.push_from(SENDER, message)
    }

    fn push_from(&mut self, user: u8, message: impl Into<Message>) -> Result<(), EncodeError> {
        let frame = message.into().to_frame(user, self.ids.0)?;
        self.messages.bytes.extend_from_slice(frame.as_bytes());
        self.messages.count += 1;
        Ok(())
    }

    fn is_newer(&self) -> bool {
        self.ids.0 == Layout::V4_25
    }

    /// What has to be before the canvas.
    fn session(&mut self) -> Result<(), EncodeError> {
        if let Some((user, chat)) = self.follower.pinned() {
            self.push_from(user, chat.clone())?;
        }
        self.follower.undo_depth().map_or(Ok(()), |depth| self.push(UndoDepth { depth }))
    }

    fn canvas(&mut self, pixels: &Pixels) -> Result<(), ResetError> {
        let canvas = self.follower.canvas();
        // Neither is more than a million.
        let (right, bottom) = (canvas.width as i32, canvas.height as i32);
        self.push(CanvasResize { top: 0, right, bottom, left: 0 })?;
        let known = if self.is_newer() { DEFAULT_METADATA.len() } else { FIELDS_4_24 };
        let values = canvas.metadata.fields.iter().zip(DEFAULT_METADATA).take(known);
        for (field, (value, default)) in (0..).zip(values) {
            if *value != default {
                self.push(SetMetadataInt { field, value: *value })?;
            }
        }
        match &pixels.background {
            Some(image) if self.is_newer() => self.push(CanvasBackgroundZstd { image: image.clone() })?,
            Some(image) => self.push(CanvasBackground { image: to_zlib(image)? })?,
            None => {}
        }
        Ok(())
    }

    fn layers(&mut self, pixels: &Pixels) -> Result<(), ResetError> {
        let layers = &self.follower.canvas().layers;
        let blank = LayerPixels::default();
        for id in layers.in_order() {
            let Some(node) = layers.get(id) else { continue };
            let of_layer = pixels.layers.get(&id).filter(|_| node.children.is_none()).unwrap_or(&blank);
            self.layer(id, node, of_layer.fill)?;
            of_layer.runs.iter().try_for_each(|run| self.tiles(id, run))?;
        }
        Ok(())
    }

    fn layer(&mut self, id: u32, node: &Node, fill: u32) -> Result<(), EncodeError> {
        let is_group = node.children.is_some();
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let id = self.ids.layer(id);
        self.push(LayerTreeCreate {
            id,
            source: 0,
            target: self.ids.layer(node.parent),
            fill,
            flags: flag(is_group, LayerTreeCreate::FLAGS_GROUP)
                | flag(node.parent != 0, LayerTreeCreate::FLAGS_INTO),
            title: node.title.clone(),
        })?;
        let attributes = node.attributes;
        self.push(LayerAttributes {
            id,
            sublayer: 0,
            flags: flag(attributes.censored, LayerAttributes::FLAGS_CENSOR)
                | flag(is_group && attributes.isolated, LayerAttributes::FLAGS_ISOLATED)
                | flag(attributes.clip, LayerAttributes::FLAGS_CLIP),
            opacity: attributes.opacity,
            blend: attributes.blend,
        })
    }

    fn tiles(&mut self, layer: u32, run: &TileRun) -> Result<(), ResetError> {
        let image = if self.is_newer() { run.image.clone() } else { to_zlib(&run.image)? };
        let (layer, end) = (self.ids.layer(layer), u64::from(run.index) + u64::from(run.count));
        let mut at = run.index;
        while u64::from(at) < end {
            let count = (end - u64::from(at)).min(u64::from(MAX_RUN)) as u32;
            // A canvas has fewer than 65,536 tiles in each direction, and `MAX_RUN - 1` fits.
            let (col, row) = ((at % self.columns) as u16, (at / self.columns) as u16);
            let (repeat, image, sublayer) = ((count - 1) as u16, image.clone(), 0);
            if self.is_newer() {
                self.push(PutTileZstd { user: run.user, layer, sublayer, col, row, repeat, image })?;
            } else {
                self.push(PutTile { user: 0, layer, sublayer, col, row, repeat, image })?;
            }
            at = at.saturating_add(count);
        }
        Ok(())
    }

    fn selections(&mut self) -> Result<(), EncodeError> {
        for (tile, mask) in &self.follower.canvas().selections {
            let (user, selection_id, col, row) = (tile.user, tile.selection, tile.column, tile.row);
            self.push(SyncSelectionTile { user, selection_id, col, row, mask: mask.clone() })?;
        }
        Ok(())
    }

    fn annotation(&mut self, annotation: &Annotation) -> Result<(), EncodeError> {
        let Annotation { x, y, width: w, height: h, background: bg, .. } = *annotation;
        let id = self.ids.object(annotation.id);
        self.push(AnnotationCreate { id, x, y, w, h })?;
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = annotation.alignment.flag()
            | flag(annotation.protected, AnnotationEdit::FLAGS_PROTECT)
            | flag(annotation.alias, AnnotationEdit::FLAGS_ALIAS)
            | flag(annotation.rasterize, AnnotationEdit::FLAGS_RASTERIZE);
        self.push(AnnotationEdit { id, bg, flags, border: 0, text: annotation.text.clone() })
    }

    /// Tracks come from the last to the first, so that each goes below those before.
    fn track(&mut self, track: &Track) -> Result<(), EncodeError> {
        let track_id = self.ids.object(track.id);
        self.push(TrackCreate { id: track_id, insert_id: 0, source_id: 0, title: track.title.clone() })?;
        for (&frame_index, frame) in &track.key_frames {
            let source_id = self.ids.layer(frame.layer);
            let source = KeyFrameSet::SOURCE_LAYER;
            self.push(KeyFrameSet { track_id, frame_index, source_id, source_index: 0, source })?;
            if !frame.title.is_empty() {
                self.push(KeyFrameRetitle { track_id, frame_index, title: frame.title.clone() })?;
            }
            if !frame.layers.is_empty() {
                let layer_flags = self.layer_flags(&frame.layers);
                self.push(KeyFrameLayerAttributes { track_id, frame_index, layer_flags })?;
            }
        }
        Ok(())
    }

    fn layer_flags(&self, layers: &[(u32, u8)]) -> Vec<u32> {
        let all = layers.iter();
        match self.ids.0 {
            Layout::V4_25 => all.map(|(layer, flags)| layer | u32::from(*flags) << 24).collect(),
            Layout::V4_24 => {
                all.flat_map(|(layer, flags)| [self.ids.layer(*layer), u32::from(*flags)]).collect()
            }
        }
    }

    /// Last, because they also hold for the server: locked layers could not be filled any more.
    fn permissions(&mut self) -> Result<(), EncodeError> {
        let (follower, permissions) = (self.follower, self.follower.permissions());
        if follower.default_layer() != 0 {
            self.push(DefaultLayer { id: self.ids.layer(follower.default_layer()) })?;
        }
        for (layer, acl) in permissions.layers() {
            let exclusive = acl.exclusive.iter().copied().collect();
            self.push(LayerACL { id: self.ids.layer(*layer), flags: acl.flags, exclusive })?;
        }
        self.push(FeatureAccessLevels { feature_tiers: permissions.tiers().to_vec() })?;
        if self.is_newer() {
            self.push(FeatureLimits { limits: permissions.limits().as_flattened().to_vec() })?;
        }
        self.push(UserACL { users: permissions.locked().iter().copied().collect() })
    }
}

/// The image of a tile for dp:4.24.
fn to_zlib(image: &[u8]) -> Result<Vec<u8>, CodecError> {
    Ok(match decode_tile(image, Form::Zstd)? {
        Tile::Solid(colour) => encode_colour(colour).to_vec(),
        Tile::Pixels(pixels) => encode_pixels(&pixels),
    })
}

#[cfg(test)]
mod tests;
