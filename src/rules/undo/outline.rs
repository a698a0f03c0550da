//! The outline of a canvas, as far as headers and a few payloads tell it, to notice resets that look wrong.

use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::{
    CanvasBackground, CanvasBackgroundZstd, CanvasResize, DrawDabsClassic, DrawDabsMyPaint,
    DrawDabsMyPaintBlend, DrawDabsPixel, DrawDabsPixelSquare, FillRect, LayerTreeCreate, Layout, Message,
    PutImage, PutImageZstd, PutTile, PutTileZstd,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An image that is smaller than this part of the one before is suspicious.
const MUCH_SMALLER: u64 = 10;
/// Images below this size say nothing by their size, in bytes.
const MIN_BYTES: u64 = 256 << 10;

/// What a canvas has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outline {
    width: i64,
    height: i64,
    has_layers: bool,
    has_pixels: bool,
}

/// What is suspicious about a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Oddity {
    /// The new canvas has no size.
    NoCanvas,
    /// It has no layers.
    NoLayers,
    /// Nothing is drawn on it.
    Blank,
    /// Its area is less than half of what it was.
    SmallerCanvas,
    /// The image is less than a tenth of the one that the history began with.
    MuchSmaller,
    /// The client that made it had not received everything yet.
    Outdated,
}

impl Oddity {
    /// In words, after "the reset looks wrong: ".
    pub fn text(self) -> &'static str {
        match self {
            Oddity::NoCanvas => "the canvas has no size",
            Oddity::NoLayers => "there are no layers",
            Oddity::Blank => "nothing is drawn on it",
            Oddity::SmallerCanvas => "the canvas is less than half as large",
            Oddity::MuchSmaller => "its data are less than a tenth of those of the last reset",
            Oddity::Outdated => "the client that made it had not received everything yet",
        }
    }
}

impl Outline {
    /// Takes the next message of the history.
    pub fn add(&mut self, frame: FrameRef<'_>, layout: Layout) {
        match frame.header.kind {
            CanvasResize::TYPE => {
                if let Ok(Message::CanvasResize(resize)) = Message::from_frame(frame, layout) {
                    let grown = |side: i64, by: [i32; 2]| {
                        by.into_iter().fold(side, |side, by| side.saturating_add(i64::from(by))).max(0)
                    };
                    self.width = grown(self.width, [resize.left, resize.right]);
                    self.height = grown(self.height, [resize.top, resize.bottom]);
                }
            }
            LayerTreeCreate::TYPE => {
                self.has_layers = true;
                if let Ok(Message::LayerTreeCreate(create)) = Message::from_frame(frame, layout) {
                    self.has_pixels |= create.fill != 0;
                }
            }
            PutTile::TYPE
            | PutTileZstd::TYPE
            | PutImage::TYPE
            | PutImageZstd::TYPE
            | FillRect::TYPE
            | CanvasBackground::TYPE
            | CanvasBackgroundZstd::TYPE
            | DrawDabsClassic::TYPE
            | DrawDabsPixel::TYPE
            | DrawDabsPixelSquare::TYPE
            | DrawDabsMyPaint::TYPE
            | DrawDabsMyPaintBlend::TYPE => self.has_pixels = true,
            _ => {}
        }
    }

    fn area(&self) -> i64 {
        self.width.saturating_mul(self.height)
    }

    /// What is suspicious about a reset from this canvas to `new`. The images have these sizes in bytes; `old_image` is
    /// that of the image which the history began with.
    pub fn oddities(&self, new: &Outline, old_image: u64, new_image: u64) -> Vec<Oddity> {
        let is_much_smaller = old_image >= MIN_BYTES && new_image.saturating_mul(MUCH_SMALLER) < old_image;
        let is_smaller = new.area() > 0 && new.area() < self.area() / 2;
        [
            (Oddity::NoCanvas, self.area() > 0 && new.area() == 0),
            (Oddity::NoLayers, self.has_layers && !new.has_layers),
            (Oddity::Blank, self.has_pixels && !new.has_pixels),
            (Oddity::SmallerCanvas, is_smaller),
            (Oddity::MuchSmaller, is_much_smaller),
        ]
        .into_iter()
        .filter_map(|(oddity, applies)| applies.then_some(oddity))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::frame::frames;

    use super::*;

    const V25: Layout = Layout::V4_25;

    fn outline(messages: &[Message]) -> Outline {
        let mut outline = Outline::default();
        for message in messages {
            let frame = message.to_frame(1, V25).unwrap();
            frames(frame.as_bytes()).for_each(|frame| outline.add(frame, V25));
        }
        outline
    }

    fn canvas(right: i32, bottom: i32) -> Message {
        CanvasResize { top: 0, right, bottom, left: 0 }.into()
    }

    fn layer(fill: u32) -> Message {
        LayerTreeCreate { id: 0x101, fill, ..LayerTreeCreate::default() }.into()
    }

    fn tile() -> Message {
        PutTile::default().into()
    }

    #[test]
    fn a_reset_to_the_same_is_not_odd() {
        let old = outline(&[canvas(100, 100), layer(0), tile(), canvas(-20, 0)]);
        let new = outline(&[canvas(80, 100), layer(0), tile()]);
        assert!(old.oddities(&new, 1 << 20, 1 << 20).is_empty());
        assert!(Outline::default().oddities(&new, 0, 100).is_empty(), "nothing is known of the old one");
        assert!(Outline::default().oddities(&Outline::default(), 0, 0).is_empty());
    }

    #[test]
    fn what_is_missing_is_odd() {
        let old = outline(&[canvas(100, 100), layer(0), tile()]);
        for (new, expected) in [
            (outline(&[]), vec![Oddity::NoCanvas, Oddity::NoLayers, Oddity::Blank]),
            (outline(&[canvas(100, 100), layer(0)]), vec![Oddity::Blank]),
            (outline(&[canvas(100, 100), layer(7)]), vec![]),
            (outline(&[canvas(100, 100), tile()]), vec![Oddity::NoLayers]),
            (outline(&[canvas(100, 49), layer(0), tile()]), vec![Oddity::SmallerCanvas]),
            (outline(&[canvas(100, 50), layer(0), tile()]), vec![]),
        ] {
            assert_eq!(old.oddities(&new, 0, 0), expected, "{new:?}");
        }
    }

    #[test]
    fn images_are_compared_with_images() {
        let canvas = outline(&[canvas(100, 100), layer(0), tile()]);
        assert_eq!(canvas.oddities(&canvas, 1 << 20, 100 << 10), [Oddity::MuchSmaller]);
        assert!(canvas.oddities(&canvas, 1 << 20, 200 << 10).is_empty());
        assert!(canvas.oddities(&canvas, 100 << 10, 10).is_empty(), "small ones differ by chance");
    }
}
