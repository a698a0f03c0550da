//! The first messages of a session that is created without an upload: an empty canvas with its layers.

use crate::frame::Frame;
use crate::message::{
    CanvasBackground, CanvasResize, DefaultLayer, EncodeError, LayerRetitle, LayerTreeCreate, Layout, Message,
};

/// Sender of the messages. Clients take the server (0) for an operator; others may not set size and background, so
/// clients with another user id would ignore these.
const SENDER: u8 = 0;
/// Owner of the layers: the id of who joins first.
const OWNER: u8 = 1;
/// Maximum width and height of a canvas in pixels; the limit of the clients.
pub const MAX_SIDE: u32 = 32_767;
/// Maximum number of layers of a new canvas.
pub const MAX_LAYERS: u8 = 100;

/// Description of an empty canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Width in pixels, 1 to [`MAX_SIDE`].
    pub width: u32,
    /// Height in pixels, 1 to [`MAX_SIDE`].
    pub height: u32,
    /// Background colour, `0xAARRGGBB`.
    pub background: u32,
    /// Number of transparent layers, 1 to [`MAX_LAYERS`].
    pub layers: u8,
}

/// An invalid canvas.
#[derive(Debug, thiserror::Error)]
pub enum CanvasError {
    /// Width or height is out of range.
    #[error("width and height must be 1 to {MAX_SIDE} pixels")]
    Size,
    /// The number of layers is out of range.
    #[error("there must be 1 to {MAX_LAYERS} layers")]
    Layers,
    /// A message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Canvas {
    /// Encodes the messages in a payload layout.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn messages(&self, layout: Layout) -> Result<Vec<Frame>, CanvasError> {
        let Canvas { width, height, background, layers } = *self;
        let side = |length: u32| i32::try_from(length).ok().filter(|_| (1..=MAX_SIDE).contains(&length));
        let (right, bottom) = side(width).zip(side(height)).ok_or(CanvasError::Size)?;
        if !(1..=MAX_LAYERS).contains(&layers) {
            return Err(CanvasError::Layers);
        }
        // A layer id holds the owner's user id, in another byte in each layout.
        let id = |number: u8| match layout {
            Layout::V4_25 => u32::from(number) << 8 | u32::from(OWNER),
            Layout::V4_24 => u32::from(OWNER) << 8 | u32::from(number),
        };
        let mut messages: Vec<Message> = vec![
            CanvasResize { top: 0, right, bottom, left: 0 }.into(),
            CanvasBackground { image: background.to_be_bytes().to_vec() }.into(),
        ];
        for number in 1..=layers {
            let layer = LayerTreeCreate { id: id(number), ..LayerTreeCreate::default() };
            messages.push(layer.into());
            messages.push(LayerRetitle { id: id(number), title: format!("Layer {number}") }.into());
        }
        messages.push(DefaultLayer { id: id(1) }.into());
        let frames = messages.iter().map(|message| message.to_frame(SENDER, layout));
        Ok(frames.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::write_line;

    fn lines(canvas: Canvas, layout: Layout) -> Vec<String> {
        let frames = canvas.messages(layout).unwrap();
        let mut lines = Vec::new();
        for frame in &frames {
            let mut line = String::new();
            let whole = crate::frame::frames(frame.as_bytes()).next().unwrap();
            write_line(whole, layout, &mut line).unwrap();
            lines.push(line.trim().to_owned());
        }
        lines
    }

    #[test]
    fn a_canvas_has_its_size_colour_and_layers() {
        let canvas = Canvas { width: 800, height: 600, background: 0xffff_ffff, layers: 2 };
        let expected = [
            r#"0 resize {"bottom":600,"left":0,"right":800,"top":0}"#,
            r#"0 background {"image":"/////w=="}"#,
        ];
        let new = lines(canvas, Layout::V4_25);
        assert_eq!(new[..2], expected[..2]);
        assert!(new[2].contains(r#""id":257"#) && new[3].contains(r#""title":"Layer 1""#), "{new:?}");
        assert!(new[4].contains(r#""id":513"#) && new[6].contains(r#""id":257"#), "{new:?}");
        let old = lines(canvas, Layout::V4_24);
        assert!(old[4].contains(r#""id":258"#), "{old:?}");
    }

    #[test]
    fn an_invalid_canvas_is_refused() {
        let good = Canvas { width: 1, height: MAX_SIDE, background: 0, layers: MAX_LAYERS };
        assert_eq!(good.messages(Layout::V4_24).unwrap().len(), 2 + 2 * usize::from(MAX_LAYERS) + 1);
        for bad in [
            Canvas { width: 0, ..good },
            Canvas { height: MAX_SIDE + 1, ..good },
            Canvas { layers: 0, ..good },
            Canvas { layers: MAX_LAYERS + 1, ..good },
        ] {
            assert!(bad.messages(Layout::V4_25).is_err(), "{bad:?}");
        }
    }
}
