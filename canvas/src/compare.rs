//! Whether two canvases look the same, tile by tile, with the 8 bits a colour that messages have.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{CodecError, Form, Tile, decode_tile};
use crate::reset::{LayerPixels, Pixels, TileRun};

/// By how much a colour of a solid tile may differ: it is sent divided by its alpha, which is rounded.
const ROUNDING: u8 = 1;

/// Content of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// One premultiplied colour.
    Solid(u32),
    Pixels(Vec<u32>),
}

impl Content {
    fn of(tile: Tile) -> Content {
        match tile {
            Tile::Solid(colour) => Content::Solid(premultiplied(colour)),
            Tile::Pixels(pixels) => match pixels.first() {
                Some(first) if pixels.iter().all(|pixel| pixel == first) => Content::Solid(*first),
                _ => Content::Pixels(pixels),
            },
        }
    }

    fn looks_like(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Solid(one), Content::Solid(other)) => {
                let mut channels = one.to_be_bytes().into_iter().zip(other.to_be_bytes());
                channels.all(|(one, other)| one.abs_diff(other) <= ROUNDING)
            }
            _ => self == other,
        }
    }
}

/// A colour multiplied by its alpha, rounded.
fn premultiplied(colour: u32) -> u32 {
    let [alpha, red, green, blue] = colour.to_be_bytes();
    let times = |channel: u8| ((u32::from(channel) * u32::from(alpha) + 127) / 255) as u8;
    u32::from_be_bytes([alpha, times(red), times(green), times(blue)])
}

/// Whether both look the same.
///
/// # Errors
/// When a tile cannot be decoded.
pub fn same_pixels(one: &Pixels, other: &Pixels) -> Result<bool, CodecError> {
    let background = |pixels: &Pixels| {
        pixels.background.as_deref().map(|image| decode_tile(image, Form::Zstd).map(Content::of)).transpose()
    };
    let same_background = match (background(one)?, background(other)?) {
        (Some(one), Some(other)) => one.looks_like(&other),
        (one, other) => one == other,
    };
    let layers: BTreeSet<u32> = one.layers.keys().chain(other.layers.keys()).copied().collect();
    let blank = LayerPixels::default();
    let of = |pixels: &'_ BTreeMap<u32, LayerPixels>, layer: u32| pixels.get(&layer).cloned();
    if !same_background {
        return Ok(false);
    }
    for layer in layers {
        let (a, b) = (of(&one.layers, layer), of(&other.layers, layer));
        let (a, b) = (a.as_ref().unwrap_or(&blank), b.as_ref().unwrap_or(&blank));
        if !same_layer(a, b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares where runs begin or end: between these places nothing changes.
fn same_layer(one: &LayerPixels, other: &LayerPixels) -> Result<bool, CodecError> {
    let ends = |run: &TileRun| [u64::from(run.index), u64::from(run.index) + u64::from(run.count)];
    let mut places: BTreeSet<u64> = one.runs.iter().chain(&other.runs).flat_map(ends).collect();
    // Beyond the last run there is the fill only.
    places.extend(places.last().map(|last| last + 1).or(Some(0)));
    let (mut one, mut other) = (Walk::new(one), Walk::new(other));
    for place in places {
        if !one.at(place)?.looks_like(&other.at(place)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Goes through the tiles of a layer in order.
struct Walk<'a> {
    fill: Content,
    runs: std::iter::Peekable<std::slice::Iter<'a, TileRun>>,
}

impl<'a> Walk<'a> {
    fn new(layer: &'a LayerPixels) -> Walk<'a> {
        Walk { fill: Content::Solid(premultiplied(layer.fill)), runs: layer.runs.iter().peekable() }
    }

    fn at(&mut self, place: u64) -> Result<Content, CodecError> {
        let is_over = |run: &&TileRun| u64::from(run.index) + u64::from(run.count) <= place;
        while self.runs.next_if(is_over).is_some() {}
        match self.runs.peek() {
            Some(run) if u64::from(run.index) <= place => {
                Ok(Content::of(decode_tile(&run.image, Form::Zstd)?))
            }
            _ => Ok(self.fill.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(index: u32, count: u32, colour: [u8; 4]) -> TileRun {
        TileRun { index, count, user: 0, image: colour.to_vec() }
    }

    fn same(one: LayerPixels, other: LayerPixels) -> bool {
        let pixels = |layer| Pixels { background: None, layers: [(0x101, layer)].into() };
        same_pixels(&pixels(one), &pixels(other)).unwrap()
    }

    #[test]
    fn runs_and_fills_that_look_the_same_are_the_same() {
        let (red, blue) = ([0, 0, 0xff, 0xff], [0xff, 0, 0, 0xff]);
        let layer = |fill, runs| LayerPixels { fill, runs };
        assert!(same(layer(0, vec![run(0, 4, red)]), layer(0, vec![run(0, 1, red), run(1, 3, red)])));
        assert!(!same(layer(0, vec![run(0, 4, red)]), layer(0, vec![run(0, 1, red), run(1, 2, red)])));
        assert!(!same(layer(0, vec![run(0, 4, red)]), layer(0, vec![run(0, 2, red), run(2, 2, blue)])));
        assert!(!same(layer(0, Vec::new()), layer(0, vec![run(7, 1, red)])));
        assert!(!same(layer(0xffff_0000, Vec::new()), layer(0, Vec::new())));
        let filled = layer(0xffff_0000, vec![run(1, 1, [0; 4])]);
        assert!(same(filled.clone(), layer(0xffff_0000, vec![run(0, 1, red), run(1, 1, [0; 4])])));
        assert!(same(layer(0, Vec::new()), LayerPixels::default()));
        assert!(
            same_pixels(
                &Pixels::default(),
                &Pixels { background: None, layers: [(1, layer(0, Vec::new()))].into() }
            )
            .unwrap()
        );
    }

    #[test]
    fn another_background_is_not_the_same() {
        let with = |image: Option<[u8; 4]>| Pixels { background: image.map(Into::into), ..Pixels::default() };
        assert!(same_pixels(&with(Some([1, 2, 3, 255])), &with(Some([1, 2, 3, 255]))).unwrap());
        assert!(!same_pixels(&with(Some([1, 2, 3, 255])), &with(Some([1, 9, 3, 255]))).unwrap());
        assert!(!same_pixels(&with(Some([1, 2, 3, 255])), &with(None)).unwrap());
    }

    #[test]
    fn a_colour_that_was_rounded_is_the_same() {
        let tiles = |colour: [u8; 4]| LayerPixels { fill: 0, runs: vec![run(0, 1, colour)] };
        assert!(same(tiles([10, 20, 100, 17]), tiles([12, 20, 100, 17])));
        assert!(!same(tiles([10, 20, 100, 255]), tiles([12, 20, 100, 255])));
    }
}
