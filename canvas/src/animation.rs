//! Animated PNG (APNG) of pictures of a canvas at several times: a time-lapse.

use std::io::{Cursor, Write};

use png::{
    BitDepth, BlendOp, ColorType, Compression, Decoder, DecodingError, DisposeOp, Encoder, EncodingError,
    Limits, Transformations,
};

/// Maximum width and height of a frame in pixels.
pub const MAX_FRAME_SIDE: u32 = 1024;
/// Maximum number of frames.
pub const MAX_FRAMES: usize = 1000;
/// Memory of the PNG decoder for everything but pixels, in bytes.
const DECODER_LIMIT: usize = 32 << 20;
/// Bytes of a pixel.
const PIXEL: usize = 4;

/// Why there is no animation.
#[derive(Debug, thiserror::Error)]
pub enum AnimationError {
    /// There are no frames, or too many.
    #[error("there are {0} frames instead of 1 to {MAX_FRAMES}")]
    Count(usize),
    /// A frame is no valid PNG.
    #[error("a frame cannot be read: {0}")]
    Frame(#[from] DecodingError),
    /// A frame is too large.
    #[error("a frame has {0} x {1} pixels; width and height may be 1 to {MAX_FRAME_SIDE}")]
    TooLarge(u32, u32),
    /// A frame has another size than the first.
    #[error("a frame has {0} x {1} pixels, and the first has others")]
    OtherSize(u32, u32),
    /// Writing failed.
    #[error("the animation cannot be written: {0}")]
    Write(#[from] EncodingError),
}

/// How long frames are shown, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Each but the last.
    pub each_ms: u16,
    /// The last, before it begins again.
    pub last_ms: u16,
}

/// A picture with four bytes a pixel: red, green, blue, alpha.
struct Frame {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// The part of a frame that differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Frame {
    fn read(png: &[u8]) -> Result<Frame, AnimationError> {
        let mut decoder = Decoder::new(Cursor::new(png));
        decoder.set_limits(Limits { bytes: DECODER_LIMIT });
        decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
        decoder.set_ignore_text_chunk(true);
        let header = decoder.read_header_info()?;
        let (width, height) = (header.width, header.height);
        let fits = |side: u32| (1..=MAX_FRAME_SIDE).contains(&side);
        if !fits(width) || !fits(height) {
            return Err(AnimationError::TooLarge(width, height));
        }
        let mut reader = decoder.read_info()?;
        let size = reader.output_buffer_size().ok_or(AnimationError::TooLarge(width, height))?;
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels)?;
        pixels.truncate(info.buffer_size());
        if info.color_type == ColorType::GrayscaleAlpha {
            pixels = pixels.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect();
        }
        Ok(Frame { width, height, pixels })
    }

    /// Reads a frame of the size of another.
    fn read_like(png: &[u8], other: &Frame) -> Result<Frame, AnimationError> {
        let frame = Frame::read(png)?;
        if (frame.width, frame.height) != (other.width, other.height) {
            return Err(AnimationError::OtherSize(frame.width, frame.height));
        }
        Ok(frame)
    }

    fn whole(&self) -> Area {
        Area { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// The smallest rectangle outside of which both are equal; `None` if they are equal everywhere.
    fn difference(&self, before: &Frame) -> Option<Area> {
        let line = self.width as usize * PIXEL;
        let rows = || self.pixels.chunks_exact(line).zip(before.pixels.chunks_exact(line));
        let top = rows().position(|(now, then)| now != then)?;
        let bottom = rows().rposition(|(now, then)| now != then)?;
        let (mut left, mut right) = (usize::MAX, 0);
        for (now, then) in rows().skip(top).take(bottom - top + 1) {
            let mut pixels = now.chunks_exact(PIXEL).zip(then.chunks_exact(PIXEL));
            let Some(first) = pixels.position(|(now, then)| now != then) else { continue };
            left = left.min(first);
            let last = pixels.rposition(|(now, then)| now != then);
            right = right.max(last.map_or(first, |last| first + 1 + last));
        }
        let side = |from: usize, to: usize| (to + 1 - from) as u32;
        Some(Area { x: left as u32, y: top as u32, width: side(left, right), height: side(top, bottom) })
    }

    /// The pixels of a part.
    fn part(&self, area: Area) -> Vec<u8> {
        let line = self.width as usize * PIXEL;
        let (from, len) = (area.x as usize * PIXEL, area.width as usize * PIXEL);
        let rows = self.pixels.chunks_exact(line).skip(area.y as usize).take(area.height as usize);
        rows.flat_map(|row| &row[from..from + len]).copied().collect()
    }
}

/// Writes an animation of PNG pictures of the same size, without those that look like the one before. Returns the number
/// of frames. It is repeated for ever.
///
/// # Errors
/// When a picture cannot be read or has another size, or writing fails.
pub fn animate(pictures: &[Vec<u8>], timing: Timing, output: impl Write) -> Result<usize, AnimationError> {
    let count = AnimationError::Count(pictures.len());
    let Some((first, others)) = pictures.split_first().filter(|_| pictures.len() <= MAX_FRAMES) else {
        return Err(count);
    };
    let first = Frame::read(first)?;
    // The number of frames comes first in the file, so all are read twice instead of being kept.
    let changes = changes(&first, others)?;
    let mut left = changes.len() + 1;
    let (frames, each_ms) = (left, timing.each_ms);
    let mut encoder = Encoder::new(output, first.width, first.height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_animated(left as u32, 0)?;
    encoder.set_blend_op(BlendOp::Source)?;
    encoder.set_dispose_op(DisposeOp::None)?;
    encoder.set_frame_delay(each_ms, 1000)?;
    let mut writer = encoder.write_header()?;
    let mut write = |frame: &Frame, area: Area| -> Result<(), AnimationError> {
        left -= 1;
        if left == 0 {
            writer.set_frame_delay(timing.last_ms, 1000)?;
        }
        writer.reset_frame_position()?;
        writer.set_frame_dimension(area.width, area.height)?;
        writer.set_frame_position(area.x, area.y)?;
        Ok(writer.write_image_data(&frame.part(area))?)
    };
    write(&first, first.whole())?;
    for (place, area) in changes {
        write(&Frame::read_like(&others[place], &first)?, area)?;
    }
    writer.finish()?;
    Ok(frames)
}

/// What changes from frame to frame, with the places of those in which something does.
fn changes(first: &Frame, others: &[Vec<u8>]) -> Result<Vec<(usize, Area)>, AnimationError> {
    let mut changes = Vec::new();
    let mut before: Option<Frame> = None;
    for (place, picture) in others.iter().enumerate() {
        let frame = Frame::read_like(picture, first)?;
        if let Some(area) = frame.difference(before.as_ref().unwrap_or(first)) {
            changes.push((place, area));
        }
        before = Some(frame);
    }
    Ok(changes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { each_ms: 100, last_ms: 3000 };

    /// A picture of 5 x 4 pixels, white but for these.
    fn picture(black: &[(usize, usize)]) -> Vec<u8> {
        let mut pixels = vec![255; 5 * 4 * PIXEL];
        for (x, y) in black {
            pixels[(y * 5 + x) * PIXEL..][..3].fill(0);
        }
        encoded(5, 4, ColorType::Rgba, &pixels)
    }

    fn encoded(width: u32, height: u32, colours: ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut png = Vec::new();
        let mut encoder = Encoder::new(&mut png, width, height);
        encoder.set_color(colours);
        encoder.set_depth(BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        png
    }

    #[test]
    fn each_frame_has_what_has_changed() {
        let one = picture(&[]);
        let two = picture(&[(1, 1), (3, 2)]);
        let three = picture(&[(1, 1), (3, 2), (4, 3)]);
        let mut animation = Vec::new();
        let pictures = [one, two.clone(), two, three];
        assert_eq!(animate(&pictures, TIMING, &mut animation).unwrap(), 3, "one looks like the one before");

        let decoder = Decoder::new(Cursor::new(&animation));
        let mut reader = decoder.read_info().unwrap();
        assert_eq!(reader.info().animation_control().unwrap().num_frames, 3);
        let mut frames = Vec::new();
        for _ in 0..3 {
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            let control = *reader.info().frame_control().unwrap();
            let place = (control.x_offset, control.y_offset, control.width, control.height);
            frames.push((place, control.delay_num, pixels[..info.buffer_size()].to_vec()));
        }
        let shown: Vec<_> = frames.iter().map(|(place, delay, _)| (*place, *delay)).collect();
        assert_eq!(shown, [((0, 0, 5, 4), 100), ((1, 1, 3, 2), 100), ((4, 3, 1, 1), 3000)]);
        let dark = |pixels: &[u8]| pixels.chunks(PIXEL).map(|p| p[0] == 0).collect::<Vec<_>>();
        assert_eq!(dark(&frames[1].2), [true, false, false, false, false, true]);
        assert_eq!(dark(&frames[2].2), [true]);
    }

    #[test]
    fn frames_of_another_size_or_without_an_end_are_refused() {
        let other = encoded(2, 1, ColorType::GrayscaleAlpha, &[7, 255, 9, 255]);
        let refused = |pictures: &[Vec<u8>]| animate(pictures, TIMING, Vec::new()).unwrap_err().to_string();
        assert!(refused(&[picture(&[]), other.clone()]).contains("2 x 1 pixels"));
        assert_eq!(animate(&[other.clone(), other], TIMING, Vec::new()).unwrap(), 1);
        assert!(refused(&[]).contains("0 frames"));
        assert!(refused(&vec![picture(&[]); MAX_FRAMES + 1]).contains("1001 frames"));
        let torn = picture(&[])[..60].to_vec();
        assert!(refused(&[picture(&[]), torn]).contains("cannot be read"));
        let wide = encoded(1025, 1, ColorType::Grayscale, &[0; 1025]);
        assert!(refused(&[wide]).contains("1025 x 1 pixels"));
    }
}
