//! The messages of a canvas in the order in which clients make reset images. Source: docs/spec/session.md#order-of-messages-in-a-reset-image.

use drawhall_protocol::message::{
    AnnotationCreate, AnnotationEdit, CanvasBackground, CanvasResize, DefaultLayer, EncodeError,
    LayerAttributes, LayerTreeCreate, Layout, Message, PutTile, SetMetadataInt,
};

use crate::layer::{CanvasSize, LayerTiles};

/// Sender of the messages. Clients take the server (0) for an operator, so permissions do not stop it.
const SENDER: u8 = 0;
/// Owner of the layers: the id of who joins first.
const OWNER: u8 = 1;
/// Maximum number of layers and groups: a layer's number has 8 bits in dp:4.24.
pub const MAX_LAYERS: usize = 250;

/// Maximum number of annotations, for the same reason.
pub const MAX_ANNOTATIONS: usize = 250;

/// A layer, or a group of layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Title.
    pub title: String,
    /// Opacity, 0 to 255.
    pub opacity: u8,
    /// Blend mode by its id.
    pub blend: u8,
    /// Flags of `LayerAttributes`.
    pub flags: u8,
    /// Pixels; none in a group.
    pub tiles: LayerTiles,
    /// Layers of a group, from the bottom; `None` if this is no group.
    pub children: Option<Vec<Layer>>,
}

/// A text box over the canvas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Left side in pixels.
    pub x: i32,
    /// Upper side in pixels.
    pub y: i32,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Background, `0xAARRGGBB`.
    pub background: u32,
    /// Text, in the HTML that clients make.
    pub text: String,
}

/// A canvas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    /// Size in pixels.
    pub size: CanvasSize,
    /// Resolution in dots per inch, if it is known: horizontal, vertical.
    pub resolution: Option<(i32, i32)>,
    /// Background: the coded image of a tile.
    pub background: Vec<u8>,
    /// Layers, from the bottom.
    pub layers: Vec<Layer>,
    /// Annotations; at most [`MAX_ANNOTATIONS`].
    pub annotations: Vec<Annotation>,
}

/// Messages as frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// Whole frames.
    pub bytes: Vec<u8>,
    /// Number of frames.
    pub count: u64,
}

/// Writes the messages of a canvas.
struct Writer {
    layout: Layout,
    messages: Messages,
    /// Number of the last layer.
    layers: u32,
}

impl Canvas {
    /// The messages.
    ///
    /// # Errors
    /// When a value does not fit, as with more than [`MAX_LAYERS`] layers.
    pub fn messages(&self, layout: Layout) -> Result<Messages, EncodeError> {
        let mut writer = Writer { layout, messages: Messages::default(), layers: 0 };
        let (right, bottom) = (self.size.width as i32, self.size.height as i32);
        writer.push(CanvasResize { top: 0, right, bottom, left: 0 })?;
        if let Some((x, y)) = self.resolution {
            writer.push(SetMetadataInt { field: SetMetadataInt::FIELD_DPIX, value: x })?;
            writer.push(SetMetadataInt { field: SetMetadataInt::FIELD_DPIY, value: y })?;
        }
        writer.push(CanvasBackground { image: self.background.clone() })?;
        writer.layers(&self.layers, 0)?;
        writer.annotations(&self.annotations)?;
        if writer.layers > 0 {
            let id = writer.id(1);
            writer.push(DefaultLayer { id })?;
        }
        Ok(writer.messages)
    }
}

impl Writer {
    fn push(&mut self, message: impl Into<Message>) -> Result<(), EncodeError> {
        let frame = message.into().to_frame(SENDER, self.layout)?;
        self.messages.bytes.extend_from_slice(frame.as_bytes());
        self.messages.count += 1;
        Ok(())
    }

    /// The id of a layer or annotation, which has the owner's user id in another byte in each layout.
    fn id(&self, number: u32) -> u32 {
        match self.layout {
            Layout::V4_25 => number << 8 | u32::from(OWNER),
            Layout::V4_24 => u32::from(OWNER) << 8 | number,
        }
    }

    /// Layers from the bottom, each with its attributes and tiles; those of a group follow it.
    fn layers(&mut self, layers: &[Layer], group: u32) -> Result<(), EncodeError> {
        for layer in layers {
            self.layers += 1;
            if self.layers as usize > MAX_LAYERS {
                return Err(EncodeError::OutOfRange { field: "layer", value: self.layers });
            }
            let id = self.id(self.layers);
            let group_flag = if layer.children.is_some() { LayerTreeCreate::FLAGS_GROUP } else { 0 };
            let into_flag = if group == 0 { 0 } else { LayerTreeCreate::FLAGS_INTO };
            self.push(LayerTreeCreate {
                id,
                source: 0,
                target: group,
                fill: layer.tiles.fill,
                flags: group_flag | into_flag,
                title: layer.title.clone(),
            })?;
            self.push(LayerAttributes {
                id,
                sublayer: 0,
                flags: layer.flags,
                opacity: layer.opacity,
                blend: layer.blend,
            })?;
            self.tiles(id, &layer.tiles)?;
            self.layers(layer.children.as_deref().unwrap_or_default(), id)?;
        }
        Ok(())
    }

    fn annotations(&mut self, annotations: &[Annotation]) -> Result<(), EncodeError> {
        for (number, annotation) in (1..).zip(annotations) {
            let Annotation { x, y, width: w, height: h, background: bg, ref text } = *annotation;
            let id = self.id(number) as u16;
            self.push(AnnotationCreate { id, x, y, w, h })?;
            self.push(AnnotationEdit { id, bg, flags: 0, border: 0, text: text.clone() })?;
        }
        Ok(())
    }

    fn tiles(&mut self, layer: u32, tiles: &LayerTiles) -> Result<(), EncodeError> {
        for run in &tiles.runs {
            let (col, row, repeat, image) = (run.column, run.row, run.repeat, run.image.clone());
            self.push(PutTile { user: 0, layer, sublayer: 0, col, row, repeat, image })?;
        }
        Ok(())
    }
}
