//! Rows of pixels to the tile messages of a layer.

use std::ops::Range;

use crate::codec::{encode_colour, encode_pixels};
use crate::picture::{PictureError, Rows};
use crate::{TILE_PIXELS, TILE_SIDE};

/// Most tiles after the first that one message can repeat.
const MAX_REPEAT: usize = u16::MAX as usize;

/// A message for a run of equal tiles, which goes on in the next row of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileRun {
    /// Column of the first tile.
    pub column: u16,
    /// Row of the first tile.
    pub row: u16,
    /// Number of further tiles.
    pub repeat: u16,
    /// The coded tile.
    pub image: Vec<u8>,
}

/// What a layer has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerTiles {
    /// Colour that it is filled with when it is created, `0xAARRGGBB`; 0 for none.
    pub fill: u32,
    /// Its tiles, row by row.
    pub runs: Vec<TileRun>,
}

/// Why a layer was not made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The picture cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The tiles are larger than allowed.
    #[error("the coded picture takes more than {0} bytes")]
    TooLarge(usize),
}

/// Content of a tile before it is known what the layer is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Blank,
    /// An opaque colour.
    Solid(u32),
    Coded(Vec<u8>),
}

/// Width and height of a canvas in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanvasSize {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl CanvasSize {
    fn columns(self) -> usize {
        (self.width as usize).div_ceil(TILE_SIDE)
    }

    fn rows(self) -> usize {
        (self.height as usize).div_ceil(TILE_SIDE)
    }
}

/// Codes a picture whose upper left corner is at (`x`, `y`) of a canvas. What is beyond the canvas is left out. Holds
/// one row of tiles in memory, besides the coded ones, which are `max_bytes` at most.
///
/// # Errors
/// When the picture cannot be read, or its tiles are too large.
pub fn tiles_of(
    rows: &mut dyn Rows,
    (x, y): (i32, i32),
    canvas: CanvasSize,
    max_bytes: usize,
) -> Result<LayerTiles, LayerError> {
    let mut coder = TileCoder::new(canvas, max_bytes);
    let mut band = vec![0u32; canvas.columns() * TILE_PIXELS];
    let stride = canvas.columns() * TILE_SIDE;
    let mut next_row = i64::from(y);
    let mut is_at_end = false;
    for tile_row in 0..canvas.rows() as i64 {
        // Columns of pixels that have something: work for what is blank would cost as much as for a picture.
        let mut used = 0..0;
        let (top, side) = (tile_row * TILE_SIDE as i64, TILE_SIDE as i64);
        let bottom = (top + side).min(i64::from(canvas.height));
        while !is_at_end && next_row < bottom {
            let Some(row) = rows.next_row()? else {
                is_at_end = true;
                break;
            };
            if next_row >= top {
                let line = &mut band[(next_row - top) as usize * stride..][..canvas.width as usize];
                used = place(row, x, line);
            }
            next_row += 1;
        }
        let columns = used.start / TILE_SIDE..used.end.div_ceil(TILE_SIDE);
        coder.add_band(&band, columns)?;
        if !used.is_empty() {
            band.fill(0);
        }
    }
    Ok(coder.finish())
}

/// Copies a row that begins at `x` into a line of the canvas. Returns where it is in the line.
fn place(row: &[u32], x: i32, line: &mut [u32]) -> Range<usize> {
    let skipped = x.min(0).unsigned_abs() as usize;
    let start = x.max(0) as usize;
    let (Some(row), Some(line)) = (row.get(skipped..), line.get_mut(start..)) else { return 0..0 };
    let count = row.len().min(line.len());
    line[..count].copy_from_slice(&row[..count]);
    if count == 0 { 0..0 } else { start..start + count }
}

/// Codes tiles and joins equal ones.
struct TileCoder {
    canvas: CanvasSize,
    max_bytes: usize,
    bytes: usize,
    /// Runs with the number of their tiles.
    runs: Vec<(Content, usize)>,
    /// Pixels of the last tile that was not blank.
    last: Vec<u32>,
}

impl TileCoder {
    fn new(canvas: CanvasSize, max_bytes: usize) -> TileCoder {
        TileCoder { canvas, max_bytes, bytes: 0, runs: Vec::new(), last: Vec::new() }
    }

    /// Adds a row of tiles, of which only these columns are not blank.
    fn add_band(&mut self, band: &[u32], columns: Range<usize>) -> Result<(), LayerError> {
        let stride = self.canvas.columns() * TILE_SIDE;
        self.add_blank(columns.start);
        let mut tile = Vec::with_capacity(TILE_PIXELS);
        for column in columns.clone() {
            tile.clear();
            let lines = band.chunks_exact(stride);
            lines.for_each(|line| tile.extend_from_slice(&line[column * TILE_SIDE..][..TILE_SIDE]));
            self.add_tile(&mut tile)?;
        }
        self.add_blank(self.canvas.columns() - columns.end);
        Ok(())
    }

    /// Adds a tile and keeps its pixels.
    fn add_tile(&mut self, tile: &mut Vec<u32>) -> Result<(), LayerError> {
        if let Some((content, count)) = self.runs.last_mut()
            && *content != Content::Blank
            && *tile == self.last
        {
            *count += 1;
            return Ok(());
        }
        let content = self.content(tile);
        match &content {
            Content::Blank => {
                self.add_blank(1);
                return Ok(());
            }
            Content::Solid(_) => {}
            Content::Coded(image) => self.bytes += image.len(),
        }
        if self.bytes > self.max_bytes {
            return Err(LayerError::TooLarge(self.max_bytes));
        }
        self.runs.push((content, 1));
        std::mem::swap(&mut self.last, tile);
        Ok(())
    }

    /// Adds blank tiles.
    fn add_blank(&mut self, new: usize) {
        match self.runs.last_mut() {
            Some((Content::Blank, count)) => *count += new,
            _ if new > 0 => self.runs.push((Content::Blank, new)),
            _ => {}
        }
    }

    fn content(&self, tile: &[u32]) -> Content {
        let first = tile.first().copied().unwrap_or_default();
        let is_uniform = tile.iter().all(|pixel| *pixel == first);
        match first >> 24 {
            0 if is_uniform => Content::Blank,
            0xff if is_uniform => Content::Solid(first),
            // A colour that is not opaque would be rounded differently when it is premultiplied again.
            _ => Content::Coded(encode_pixels(tile)),
        }
    }

    /// The colour of more than half of all tiles, or 0.
    fn fill(&self) -> u32 {
        let total = self.canvas.columns() * self.canvas.rows();
        let mut counts = std::collections::HashMap::new();
        for (content, count) in &self.runs {
            if let Content::Solid(colour) = content {
                *counts.entry(*colour).or_insert(0) += count;
            }
        }
        counts.into_iter().find(|(_, count)| *count > total / 2).map_or(0, |(colour, _)| colour)
    }

    fn finish(self) -> LayerTiles {
        let (fill, columns) = (self.fill(), self.canvas.columns());
        let mut runs = Vec::new();
        let mut at = 0;
        for (content, count) in self.runs {
            let image = match content {
                Content::Blank if fill == 0 => None,
                Content::Blank => Some(encode_colour(0).to_vec()),
                Content::Solid(colour) if colour == fill => None,
                Content::Solid(colour) => Some(encode_colour(colour).to_vec()),
                Content::Coded(image) => Some(image),
            };
            if let Some(image) = image {
                push_runs(&mut runs, at, count, columns, &image);
            }
            at += count;
        }
        LayerTiles { fill, runs }
    }
}

/// Adds the messages for `count` equal tiles from the tile number `at` on.
fn push_runs(runs: &mut Vec<TileRun>, mut at: usize, mut count: usize, columns: usize, image: &[u8]) {
    while count > 0 {
        let now = count.min(MAX_REPEAT + 1);
        runs.push(TileRun {
            column: (at % columns) as u16,
            row: (at / columns) as u16,
            repeat: (now - 1) as u16,
            image: image.to_vec(),
        });
        at += now;
        count -= now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Form, Tile, decode_tile};

    /// Rows of a picture in memory.
    struct Memory {
        width: usize,
        pixels: Vec<u32>,
        at: usize,
    }

    impl Rows for Memory {
        fn next_row(&mut self) -> Result<Option<&[u32]>, PictureError> {
            let row = self.pixels.get(self.at..self.at + self.width);
            self.at += self.width;
            Ok(row)
        }
    }

    fn code(
        size: (u32, u32),
        offset: (i32, i32),
        canvas: (u32, u32),
        pixel: impl Fn(u32, u32) -> u32,
    ) -> LayerTiles {
        let pixels = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y))).map(|(x, y)| pixel(x, y));
        let mut rows = Memory { width: size.0 as usize, pixels: pixels.collect(), at: 0 };
        let canvas = CanvasSize { width: canvas.0, height: canvas.1 };
        tiles_of(&mut rows, offset, canvas, usize::MAX).unwrap()
    }

    /// Column, row and repeat of each message.
    fn places(tiles: &LayerTiles) -> Vec<(u16, u16, u16)> {
        tiles.runs.iter().map(|run| (run.column, run.row, run.repeat)).collect()
    }

    #[test]
    fn equal_tiles_are_one_message_also_over_the_end_of_a_row() {
        let red = |_: u32, y: u32| if y < 128 { 0xffff_0000 } else { 0xff00_ff00 };
        let tiles = code((192, 256), (0, 0), (192, 256), red);
        assert_eq!((tiles.fill, places(&tiles)), (0, vec![(0, 0, 5), (0, 2, 5)]));
        assert_eq!(tiles.runs[0].image, [0xff, 0xff, 0, 0]);
    }

    #[test]
    fn the_colour_of_most_tiles_fills_the_layer_and_blank_tiles_are_sent_then() {
        let pixel = |x: u32, y: u32| if x < 64 && y < 64 { 0 } else { 0xffff_ffff };
        let tiles = code((128, 128), (0, 0), (128, 128), pixel);
        let blank = TileRun { column: 0, row: 0, repeat: 0, image: vec![0; 4] };
        assert_eq!(tiles, LayerTiles { fill: 0xffff_ffff, runs: vec![blank] });
    }

    #[test]
    fn blank_tiles_are_not_sent() {
        let tiles = code((1, 1), (70, 130), (200, 200), |_, _| 0xff00_0001);
        assert_eq!((tiles.fill, places(&tiles)), (0, vec![(1, 2, 0)]));
        let Ok(Tile::Pixels(pixels)) = decode_tile(&tiles.runs[0].image, Form::Zlib) else {
            panic!("no pixels")
        };
        let set: Vec<usize> = (0..TILE_PIXELS).filter(|at| pixels[*at] != 0).collect();
        assert_eq!(set, [2 * 64 + 6]);
    }

    #[test]
    fn what_is_beyond_the_canvas_is_left_out() {
        let pixel = |x: u32, y: u32| 0xff00_0000 | (y << 8) | x;
        let tiles = code((200, 200), (-100, -100), (64, 64), pixel);
        let Ok(Tile::Pixels(pixels)) = decode_tile(&tiles.runs[0].image, Form::Zlib) else {
            panic!("no pixels")
        };
        assert_eq!((pixels[0], pixels[TILE_PIXELS - 1]), (0xff00_6464, 0xff00_a3a3));
        assert!(code((10, 10), (64, 0), (64, 64), pixel).runs.is_empty());
        assert!(code((10, 10), (i32::MIN, i32::MIN), (64, 64), pixel).runs.is_empty());
        assert!(code((10, 10), (i32::MAX, i32::MAX), (64, 64), pixel).runs.is_empty());
    }

    #[test]
    fn tiles_at_the_edge_are_blank_beyond_it() {
        let tiles = code((65, 1), (0, 0), (65, 1), |_, _| 0xff12_3456);
        let Ok(Tile::Pixels(pixels)) = decode_tile(&tiles.runs[1].image, Form::Zlib) else {
            panic!("no pixels")
        };
        assert_eq!((pixels[0], pixels[1]), (0xff12_3456, 0));
    }

    #[test]
    fn tiles_that_are_too_large_are_refused() {
        let mut rows =
            Memory { width: 64, pixels: (0..4096).map(|i| 0xff00_0000 | (i * 7919)).collect(), at: 0 };
        let canvas = CanvasSize { width: 64, height: 64 };
        let refused = tiles_of(&mut rows, (0, 0), canvas, 1000);
        assert!(matches!(refused, Err(LayerError::TooLarge(1000))));
    }
}
