//! Pixels as messages hold them. Source: docs/spec/session.md#tile-and-image-bytes.
//!
//! A pixel is `0xAARRGGBB`, premultiplied. Four bytes are a solid colour, which is not premultiplied. Anything else is
//! the number of plain bytes (u32) and a compressed stream of them:
//!
//! | form | number | stream | plain bytes |
//! | --- | --- | --- | --- |
//! | [`Form::Zlib`] (`PutTile`, `PutImage`, `CanvasBackground`) | big-endian | zlib | pixels, each blue, green, red, alpha |
//! | [`Form::Zstd`] (the same with `Zstd`, since dp:4.25) | little-endian | one Zstandard frame | planes of blue, green, red, alpha; each byte minus the one before |

use std::io::{Read, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use ruzstd::decoding::StreamingDecoder;

use crate::TILE_PIXELS;

/// Level of zlib streams: beyond it the time grows faster than the size shrinks.
const ZLIB_LEVEL: u32 = 4;
/// Largest window of a Zstandard frame in bytes. Frames of clients have the size of their content.
const MAX_WINDOW: u64 = 8 << 20;
/// Bytes of the number before a stream.
const PREFIX: usize = 4;
/// Bytes of a pixel.
const PIXEL: usize = 4;

/// How pixels are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// zlib; all protocol versions.
    Zlib,
    /// Zstandard; since dp:4.25.
    Zstd,
}

/// Bytes that are no pixels.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Neither a colour nor a number with a stream.
    #[error("{0} bytes are neither a colour nor compressed pixels")]
    TooShort(usize),
    /// The stream is said to have another size.
    #[error("there are {found} bytes of pixels instead of {expected}")]
    Size {
        /// Bytes that the caller expects.
        expected: usize,
        /// Bytes that the number before the stream says.
        found: usize,
    },
    /// The stream is shorter or longer than it says.
    #[error("the compressed pixels have another length than they say")]
    Length,
    /// The stream is corrupt.
    #[error("the compressed pixels are corrupt: {0}")]
    Corrupt(String),
}

/// Decoded pixels of a tile or background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tile {
    /// One colour, `0xAARRGGBB`, not premultiplied.
    Solid(u32),
    /// [`TILE_PIXELS`] pixels, row by row, premultiplied.
    Pixels(Vec<u32>),
}

/// Encodes the colour of a solid tile, `0xAARRGGBB`, not premultiplied, in the form [`Form::Zlib`].
pub fn encode_colour(colour: u32) -> [u8; PIXEL] {
    colour.to_be_bytes()
}

/// Encodes premultiplied pixels in the form [`Form::Zlib`], which clients of all versions understand. The encoder for
/// Zstandard that is written in Rust makes them up to five times as large, the one in C is not worth its build.
pub fn encode_pixels(pixels: &[u32]) -> Vec<u8> {
    let size = (pixels.len() * PIXEL) as u32;
    let plain: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let mut encoder = ZlibEncoder::new(size.to_be_bytes().to_vec(), Compression::new(ZLIB_LEVEL));
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(&plain);
    encoder.finish().unwrap_or_default()
}

/// Decodes the image of a tile or background.
///
/// # Errors
/// When the bytes are neither a colour nor a whole tile.
pub fn decode_tile(bytes: &[u8], form: Form) -> Result<Tile, CodecError> {
    match *bytes {
        [a, b, c, d] => Ok(Tile::Solid(match form {
            Form::Zlib => u32::from_be_bytes([a, b, c, d]),
            Form::Zstd => u32::from_le_bytes([a, b, c, d]),
        })),
        _ => decode_pixels(bytes, TILE_PIXELS, form).map(Tile::Pixels),
    }
}

/// Decodes compressed pixels, premultiplied; colours are no larger than alpha. Takes memory for `count` pixels at most.
///
/// # Errors
/// When the bytes are not exactly `count` pixels.
pub fn decode_pixels(bytes: &[u8], count: usize, form: Form) -> Result<Vec<u32>, CodecError> {
    let (prefix, stream) = bytes.split_first_chunk::<PREFIX>().ok_or(CodecError::TooShort(bytes.len()))?;
    let found = match form {
        Form::Zlib => u32::from_be_bytes(*prefix),
        Form::Zstd => u32::from_le_bytes(*prefix),
    } as usize;
    let expected = count.saturating_mul(PIXEL);
    if found != expected {
        return Err(CodecError::Size { expected, found });
    }
    let corrupt = |error: String| CodecError::Corrupt(error);
    match form {
        Form::Zlib => {
            let plain = read_exactly(ZlibDecoder::new(stream), expected)?;
            let pixels = plain.chunks_exact(PIXEL).map(|p| u32::from_le_bytes([p[0], p[1], p[2], p[3]]));
            Ok(pixels.map(clamped).collect())
        }
        Form::Zstd => {
            let decoder = StreamingDecoder::new_with_max_window_size(stream, MAX_WINDOW);
            let plain = read_exactly(decoder.map_err(|error| corrupt(error.to_string()))?, expected)?;
            Ok(from_planes(&plain))
        }
    }
}

/// Reads a stream that must have this length. The memory grows with what is read, not with what is promised.
fn read_exactly(stream: impl Read, expected: usize) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    let limit = expected as u64 + 1;
    stream.take(limit).read_to_end(&mut plain).map_err(|error| CodecError::Corrupt(error.to_string()))?;
    if plain.len() == expected { Ok(plain) } else { Err(CodecError::Length) }
}

/// Pixels from planes of blue, green, red and alpha, each byte minus the one before.
fn from_planes(planes: &[u8]) -> Vec<u32> {
    let count = planes.len() / PIXEL;
    let mut pixels = vec![0u32; count];
    for (plane, shift) in planes.chunks_exact(count.max(1)).zip([0, 8, 16, 24]) {
        let mut byte = 0u8;
        for (pixel, difference) in pixels.iter_mut().zip(plane) {
            byte = byte.wrapping_add(*difference);
            *pixel |= u32::from(byte) << shift;
        }
    }
    pixels.iter_mut().for_each(|pixel| *pixel = clamped(*pixel));
    pixels
}

/// A pixel with colours no larger than its alpha.
fn clamped(pixel: u32) -> u32 {
    let [alpha, red, green, blue] = pixel.to_be_bytes();
    u32::from_be_bytes([alpha, red.min(alpha), green.min(alpha), blue.min(alpha)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const FORMS: [Form; 2] = [Form::Zlib, Form::Zstd];

    /// Planes of blue, green, red and alpha, each byte minus the one before.
    fn to_planes(pixels: &[u32]) -> Vec<u8> {
        let mut planes = Vec::with_capacity(pixels.len() * PIXEL);
        for shift in [0, 8, 16, 24] {
            let mut before = 0u8;
            planes.extend(pixels.iter().map(|pixel| {
                let byte = (pixel >> shift) as u8;
                byte.wrapping_sub(std::mem::replace(&mut before, byte))
            }));
        }
        planes
    }

    fn encode_in(pixels: &[u32], form: Form) -> Vec<u8> {
        let size = (pixels.len() * PIXEL) as u32;
        match form {
            Form::Zlib => encode_pixels(pixels),
            Form::Zstd => {
                let frame = compress_to_vec(to_planes(pixels).as_slice(), CompressionLevel::Fastest);
                [size.to_le_bytes().to_vec(), frame].concat()
            }
        }
    }

    #[test]
    fn a_colour_has_the_byte_order_of_its_form() {
        assert_eq!(encode_colour(0x1234_5678), [0x12, 0x34, 0x56, 0x78]);
        let colour = |bytes, form| decode_tile(bytes, form).unwrap();
        assert_eq!(colour(&[0x80, 0xff, 0, 1], Form::Zlib), Tile::Solid(0x80ff_0001));
        assert_eq!(colour(&[1, 0, 0xff, 0x80], Form::Zstd), Tile::Solid(0x80ff_0001));
    }

    #[test]
    fn zstd_pixels_are_planes_of_differences() {
        let planes = [1, 3, 2, 0, 3, 254, 255, 0];
        assert_eq!(from_planes(&planes), [0xff03_0201, 0xff01_0204]);
        assert_eq!(to_planes(&[0xff03_0201, 0xff01_0204]), planes);
    }

    #[test]
    fn zlib_pixels_are_blue_green_red_alpha() {
        let encoded = encode_pixels(&[0xff03_0201]);
        assert_eq!(encoded[..4], [0, 0, 0, 4]);
        let mut plain = Vec::new();
        ZlibDecoder::new(&encoded[4..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, [1, 2, 3, 0xff]);
    }

    #[test]
    fn colours_are_no_larger_than_alpha() {
        for form in FORMS {
            let pixels = decode_pixels(&encode_in(&[0x80ff_7f81], form), 1, form).unwrap();
            assert_eq!(pixels, [0x8080_7f80]);
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        for form in FORMS {
            let good = encode_in(&[7; 100], form);
            assert!(matches!(
                decode_pixels(&good, 99, form),
                Err(CodecError::Size { expected: 396, found: 400 })
            ));
            for (size, count) in [(396u32, 99), (404, 101)] {
                let size = if form == Form::Zlib { size.to_be_bytes() } else { size.to_le_bytes() };
                let lie = [&size, &good[4..]].concat();
                assert!(
                    matches!(decode_pixels(&lie, count, form), Err(CodecError::Length)),
                    "{form:?} {size:?}"
                );
            }
            for len in 0..good.len() {
                assert!(decode_pixels(&good[..len], 100, form).is_err(), "{form:?} {len}");
            }
        }
    }

    #[test]
    fn a_bomb_does_not_take_more_memory_than_its_pixels() {
        // A million zeros behind the number of a tile.
        let mut encoder = ZlibEncoder::new(16_384u32.to_be_bytes().to_vec(), Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 2000);
        assert!(matches!(decode_tile(&bomb, Form::Zlib), Err(CodecError::Length)));
        let mut bomb = 16_384u32.to_le_bytes().to_vec();
        bomb.extend(compress_to_vec(vec![0; 1 << 20].as_slice(), CompressionLevel::Fastest));
        assert!(matches!(decode_tile(&bomb, Form::Zstd), Err(CodecError::Length)));
    }

    fn pixel() -> impl Strategy<Value = u32> {
        any::<u32>().prop_map(clamped)
    }

    /// Tiles with long runs, as drawings have, and noise.
    fn tile() -> impl Strategy<Value = Vec<u32>> {
        let runs = prop::collection::vec((pixel(), 1usize..500), 1..40).prop_map(|runs| {
            let pixels = runs.into_iter().flat_map(|(pixel, count)| std::iter::repeat_n(pixel, count));
            pixels.chain(std::iter::repeat(0)).take(TILE_PIXELS).collect()
        });
        let noise = prop::collection::vec(pixel(), TILE_PIXELS);
        prop_oneof![4 => runs, 1 => noise]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_forms_of_a_tile_decode_to_its_pixels(pixels in tile()) {
            for form in FORMS {
                let decoded = decode_tile(&encode_in(&pixels, form), form).unwrap();
                prop_assert_eq!(decoded, Tile::Pixels(pixels.clone()));
            }
        }

        #[test]
        fn corrupt_bytes_are_an_error_or_other_pixels(
            pixels in prop::collection::vec(pixel(), 1..300), at: usize, flip in 1u8..,
        ) {
            for form in FORMS {
                let mut bytes = encode_in(&pixels, form);
                let at = at % bytes.len();
                bytes[at] ^= flip;
                if let Ok(decoded) = decode_pixels(&bytes, pixels.len(), form) {
                    prop_assert_eq!(decoded.len(), pixels.len());
                }
            }
        }
    }
}
