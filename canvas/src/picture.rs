//! PNG pictures, row by row, as premultiplied pixels in sRGB.

use std::io::Cursor;
use std::sync::Arc;

use moxcms::{
    ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, Transform16BitExecutor, TransformOptions,
};
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

/// Largest width and height of a picture in pixels, the limit of the clients.
pub const MAX_SIDE: u32 = drawhall_protocol::canvas::MAX_SIDE;
/// Memory for an interlaced picture, which is decoded as a whole, in bytes.
const MAX_INTERLACED: usize = 192 << 20;
/// Memory of the PNG decoder for everything but pixels, in bytes.
const DECODER_LIMIT: usize = 32 << 20;
/// First bytes of a PNG file.
pub(crate) const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Why a picture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It is no valid PNG.
    #[error("the PNG cannot be read: {0}")]
    Png(#[from] png::DecodingError),
    /// Its width or height is out of range.
    #[error("the picture has {width} x {height} pixels; width and height may be 1 to {MAX_SIDE}")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// It has too many pixels.
    #[error("there are more than {0} million pixels in it")]
    TooManyPixels(u64),
    /// It is interlaced and too large.
    #[error("an interlaced PNG of {width} x {height} pixels is too large; save it without interlacing")]
    Interlaced {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Rows of premultiplied pixels, `0xAARRGGBB`.
pub trait Rows {
    /// The next row, from the top; `None` at the end.
    ///
    /// # Errors
    /// When the picture cannot be read further.
    fn next_row(&mut self) -> Result<Option<&[u32]>, PictureError>;
}

/// Where decoded rows come from.
enum Source<'a> {
    Rows(Box<Reader<Cursor<&'a [u8]>>>),
    /// All rows of an interlaced picture, and how much of them was read.
    Whole(Vec<u8>, usize),
}

/// Converts RGBA samples to sRGB.
enum Profile {
    None,
    Eight(Arc<Transform8BitExecutor>),
    Sixteen(Arc<Transform16BitExecutor>),
}

/// A PNG picture that is read row by row.
pub struct PngRows<'a> {
    source: Source<'a>,
    width: u32,
    height: u32,
    colours: ColorType,
    profile: Profile,
    is_deep: bool,
    /// Bytes of a decoded row.
    line: usize,
    pixels: Vec<u32>,
    /// Why the colours are not converted.
    warning: Option<String>,
}

impl<'a> PngRows<'a> {
    /// Begins to read a PNG. `pixels_left` is how many pixels may still be decoded, and is reduced by those of this.
    ///
    /// # Errors
    /// When it is no PNG, or too large.
    pub fn open(png: &'a [u8], pixels_left: &mut u64) -> Result<PngRows<'a>, PictureError> {
        let mut decoder = Decoder::new(Cursor::new(png));
        decoder.set_limits(Limits { bytes: DECODER_LIMIT });
        decoder.set_transformations(Transformations::EXPAND);
        decoder.set_ignore_text_chunk(true);
        let header = decoder.read_header_info()?;
        let (width, height, is_interlaced) = (header.width, header.height, header.interlaced);
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(PictureError::Size { width, height });
        }
        let count = u64::from(width) * u64::from(height);
        *pixels_left = pixels_left
            .checked_sub(count)
            .ok_or(PictureError::TooManyPixels(crate::import::MAX_PIXELS / 1_000_000))?;
        let mut reader = decoder.read_info()?;
        let (colours, depth) = reader.output_color_type();
        let is_deep = depth == BitDepth::Sixteen;
        let line = reader.output_line_size(width).ok_or(PictureError::Size { width, height })?;
        let (profile, warning) = match profile(&reader, colours, is_deep) {
            Ok(profile) => (profile, None),
            Err(error) => (Profile::None, Some(format!("the colour profile is ignored: {error}"))),
        };
        let source = if is_interlaced {
            let size = reader.output_buffer_size().filter(|size| *size <= MAX_INTERLACED);
            let mut whole = vec![0; size.ok_or(PictureError::Interlaced { width, height })?];
            reader.next_frame(&mut whole)?;
            Source::Whole(whole, 0)
        } else {
            Source::Rows(Box::new(reader))
        };
        Ok(PngRows { source, width, height, colours, profile, is_deep, line, pixels: Vec::new(), warning })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What is wrong with the picture, although it can be read.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }
}

impl Rows for PngRows<'_> {
    fn next_row(&mut self) -> Result<Option<&[u32]>, PictureError> {
        let row = match &mut self.source {
            Source::Rows(reader) => match reader.next_row()? {
                Some(row) => row,
                None => return Ok(None),
            }
            .data(),
            Source::Whole(whole, at) => {
                let Some(row) = whole.get(*at..*at + self.line) else { return Ok(None) };
                *at += self.line;
                row
            }
        };
        // `next_row` of the decoder borrows it; the row is converted before it is asked again.
        self.pixels.clear();
        if self.is_deep {
            let samples: Vec<u16> = row.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            let mut rgba = to_rgba(&samples, self.colours);
            if let Profile::Sixteen(transform) = &self.profile {
                let before = rgba.clone();
                // It fails only when the lengths differ.
                let _ = transform.transform(&before, &mut rgba);
            }
            self.pixels.extend(rgba.chunks_exact(4).map(|p| premultiplied(p, u32::from(u16::MAX))));
        } else {
            let mut rgba = to_rgba(row, self.colours);
            if let Profile::Eight(transform) = &self.profile {
                let before = rgba.clone();
                // As above.
                let _ = transform.transform(&before, &mut rgba);
            }
            self.pixels.extend(rgba.chunks_exact(4).map(|p| premultiplied(p, u32::from(u8::MAX))));
        }
        Ok(Some(&self.pixels))
    }
}

/// A sample of 8 or 16 bits.
trait Sample: Copy + Into<u32> {
    const MAX: Self;
}

impl Sample for u8 {
    const MAX: u8 = u8::MAX;
}

impl Sample for u16 {
    const MAX: u16 = u16::MAX;
}

/// Samples as red, green, blue, alpha.
fn to_rgba<S: Sample>(samples: &[S], colours: ColorType) -> Vec<S> {
    match colours {
        ColorType::Grayscale => samples.iter().flat_map(|g| [*g, *g, *g, S::MAX]).collect(),
        ColorType::GrayscaleAlpha => samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
        // The decoder expands palettes to RGB.
        ColorType::Rgb | ColorType::Indexed => {
            samples.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], S::MAX]).collect()
        }
        ColorType::Rgba => samples.to_vec(),
    }
}

/// A premultiplied pixel of 8 bits a channel, from samples up to `max`.
fn premultiplied<S: Sample>(rgba: &[S], max: u32) -> u32 {
    let alpha: u32 = rgba[3].into();
    let max = u64::from(max);
    // Rounded once, from the product of colour and alpha.
    let channel = |sample: S| {
        let sample: u32 = sample.into();
        let (product, divisor) = (u64::from(sample) * u64::from(alpha) * 255, max * max);
        ((product + divisor / 2) / divisor) as u32
    };
    let alpha = ((u64::from(alpha) * 255 + max / 2) / max) as u32;
    alpha << 24 | channel(rgba[0]) << 16 | channel(rgba[1]) << 8 | channel(rgba[2])
}

/// The conversion from the profile of a picture to sRGB.
fn profile(
    reader: &Reader<Cursor<&[u8]>>,
    colours: ColorType,
    is_deep: bool,
) -> Result<Profile, moxcms::CmsError> {
    let info = reader.info();
    let Some(icc) = info.icc_profile.as_deref().filter(|_| info.srgb.is_none()) else {
        return Ok(Profile::None);
    };
    let profile = ColorProfile::new_from_slice(icc)?;
    let is_grey = matches!(colours, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    // Grey pictures are converted as RGB with equal channels, which a profile for grey does not describe.
    if profile.color_space == DataColorSpace::Gray && is_grey {
        return Ok(Profile::None);
    }
    let (srgb, options) = (ColorProfile::new_srgb(), TransformOptions::default());
    Ok(if is_deep {
        Profile::Sixteen(profile.create_transform_16bit(Layout::Rgba, &srgb, Layout::Rgba, options)?)
    } else {
        Profile::Eight(profile.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgba, options)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(
        size: (u32, u32),
        colours: ColorType,
        depth: BitDepth,
        data: &[u8],
        icc: Option<Vec<u8>>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut info = png::Info::with_size(size.0, size.1);
        (info.color_type, info.bit_depth) = (colours, depth);
        info.icc_profile = icc.map(Into::into);
        let mut writer = png::Encoder::with_info(&mut out, info).unwrap().write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }

    fn read(png: &[u8]) -> Result<Vec<u32>, PictureError> {
        let mut left = 1_000_000;
        let mut rows = PngRows::open(png, &mut left)?;
        let mut pixels = Vec::new();
        while let Some(row) = rows.next_row()? {
            pixels.extend_from_slice(row);
        }
        Ok(pixels)
    }

    #[test]
    fn all_kinds_of_pixels_become_premultiplied_rgb() {
        let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
        for (colours, depth, data, expected) in [
            (ColorType::Rgba, eight, &[200, 100, 50, 128][..], 0x8064_3219),
            (ColorType::Rgb, eight, &[1, 2, 3], 0xff01_0203),
            (ColorType::Grayscale, eight, &[77], 0xff4d_4d4d),
            (ColorType::GrayscaleAlpha, eight, &[255, 0], 0),
            (ColorType::Grayscale, BitDepth::One, &[0x80], 0xffff_ffff),
            (ColorType::Rgba, sixteen, &[0xff, 0xff, 0x80, 0, 0, 0, 0x80, 0], 0x8080_4000),
            (ColorType::Rgb, sixteen, &[0, 0, 0x7f, 0x7f, 0xff, 0xff], 0xff00_7fff),
        ] {
            let pixels = read(&write((1, 1), colours, depth, data, None)).unwrap();
            assert_eq!(pixels, [expected], "{colours:?} {depth:?}: {:08x}", pixels[0]);
        }
    }

    #[test]
    fn eight_bits_stay_what_they_are() {
        let data: Vec<u8> = (0..=255u8).flat_map(|v| [v, 255 - v, v / 2, 255]).collect();
        let pixels = read(&write((256, 1), ColorType::Rgba, BitDepth::Eight, &data, None)).unwrap();
        let expected: Vec<u32> =
            data.chunks_exact(4).map(|p| u32::from_be_bytes([255, p[0], p[1], p[2]])).collect();
        assert_eq!(pixels, expected);
    }

    #[test]
    fn a_colour_profile_is_converted_to_srgb() {
        let with = |profile: ColorProfile, depth, data: &[u8]| {
            let icc = profile.encode().unwrap();
            read(&write((1, 1), ColorType::Rgb, depth, data, Some(icc))).unwrap()[0]
        };
        // A colour inside both gamuts: sRGB (200, 100, 50) is about (184, 105, 62) in Display P3.
        let p3 = || ColorProfile::new_display_p3();
        for (depth, data) in
            [(BitDepth::Eight, &[184, 105, 62][..]), (BitDepth::Sixteen, &[184, 184, 105, 105, 62, 62])]
        {
            let pixel = with(p3(), depth, data);
            let [_, red, green, blue] = pixel.to_be_bytes();
            let near = |found: u8, expected: u8| found.abs_diff(expected) <= 3;
            assert!(near(red, 200) && near(green, 100) && near(blue, 50), "{depth:?}: {pixel:08x}");
        }
        let same = with(ColorProfile::new_srgb(), BitDepth::Eight, &[200, 100, 50]);
        assert_eq!(same, 0xffc8_6432);
    }

    #[test]
    fn a_profile_that_cannot_be_read_is_ignored_with_a_warning() {
        let png = write((1, 1), ColorType::Rgb, BitDepth::Eight, &[1, 2, 3], Some(vec![9; 200]));
        let mut left = 100;
        let mut rows = PngRows::open(&png, &mut left).unwrap();
        assert!(rows.take_warning().unwrap().starts_with("the colour profile is ignored: "));
        assert_eq!(rows.next_row().unwrap().unwrap(), [0xff01_0203]);
    }

    #[test]
    fn a_picture_that_is_cut_off_or_too_large_is_refused() {
        let good = write((40, 40), ColorType::Rgb, BitDepth::Eight, &[7; 4800], None);
        let end = good.len() - 12;
        for len in (0..end).step_by(3) {
            assert!(read(&good[..len]).is_err(), "{len} of {}", good.len());
        }
        let mut left = 1599;
        assert!(matches!(PngRows::open(&good, &mut left), Err(PictureError::TooManyPixels(_))));
        // Width and height are bytes 16 to 23, with a checksum over them.
        let large = write((32_768, 1), ColorType::Grayscale, BitDepth::One, &[0; 4096], None);
        assert!(matches!(read(&large), Err(PictureError::Size { width: 32_768, height: 1 })));
    }
}
