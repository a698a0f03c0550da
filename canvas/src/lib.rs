//! Pixels of Drawpile canvases: how they are coded in messages, and the messages that a picture becomes.
//!
//! | module | content |
//! | --- | --- |
//! | [`codec`] | pixels of tiles and images in messages, both forms |
//! | [`picture`] | PNG pictures row by row, as premultiplied sRGB |
//! | [`layer`] | rows of pixels to the tile messages of a layer |
//! | [`image`] | the ordered messages of a canvas: size, background, layers |
//! | [`state`] | what a canvas is after some messages, except for its pixels |
//! | [`reset`] | the messages of a reset image, from the state and the pixels of a canvas |
//! | [`dpcs`] | canvases with their pixels, as Drawpile's tools save them |
//! | [`animation`] | animated PNG of pictures at several times |
//! | [`compare`] | whether two canvases look the same |
//! | [`mod@import`] | PNG and OpenRaster pictures to the messages of a session |
//!
//! Everything here reads what strangers made, so it runs in a process of its own (`drawhall canvas`). No input makes
//! it panic, and what it decodes is bounded by the caller. Nothing opens files or reads a clock.

pub mod animation;
pub mod codec;
pub mod compare;
pub mod dpcs;
pub mod image;
pub mod import;
pub mod layer;
mod ora;
pub mod picture;
pub mod reset;
pub mod state;

pub use import::{ImportError, ImportOptions, Imported, import};

/// Width and height of a tile in pixels.
pub const TILE_SIDE: usize = 64;
/// Pixels of a tile.
pub const TILE_PIXELS: usize = TILE_SIDE * TILE_SIDE;
