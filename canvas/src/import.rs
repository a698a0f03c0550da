//! Pictures to the messages of a session.

use drawhall_protocol::blend;
use drawhall_protocol::message::{EncodeError, Layout};

use crate::TILE_SIDE;
use crate::codec::{encode_colour, encode_pixels};
use crate::image::{Canvas, Layer, MAX_LAYERS, Messages};
use crate::layer::{CanvasSize, LayerError, LayerTiles, tiles_of};
use crate::ora::{Archive, Entry, Stack};
use crate::picture::{PNG_SIGNATURE, PictureError, PngRows, Rows as _};

/// Maximum number of pixels that are decoded for one picture, all its layers together.
pub const MAX_PIXELS: u64 = 400_000_000;
/// Maximum number of pixels of a canvas.
const MAX_CANVAS: u64 = 150_000_000;
/// Maximum number of warnings.
const MAX_WARNINGS: usize = 20;
/// First bytes of a zip archive.
const ZIP_SIGNATURE: &[u8] = b"PK\x03\x04";
/// First id of a blend mode that clients before 2.3 do not know; and one below it.
const FIRST_NEW_BLEND: u8 = 25;
const NORMAL_AND_ERASER: u8 = 14;

/// What is wanted of an import.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions {
    /// Layout of the session's protocol version.
    pub layout: Layout,
    /// Background where the picture has none, `0xAARRGGBB`.
    pub background: u32,
    /// Maximum size of the messages in bytes.
    pub max_bytes: usize,
}

/// A picture as messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The messages, in order.
    pub messages: Messages,
    /// What became different from the picture.
    pub warnings: Vec<String>,
}

/// Why a picture is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is neither PNG nor OpenRaster.
    #[error("this is neither a PNG nor an OpenRaster picture")]
    NoPicture,
    /// The archive is corrupt, or something is missing in it.
    #[error("the OpenRaster archive cannot be read: {0}")]
    Archive(String),
    /// The canvas has no size, or too large a one.
    #[error("width and height of the picture must be 1 to {max}, and there may be {MAX_CANVAS} pixels", max = crate::picture::MAX_SIDE)]
    CanvasSize,
    /// There are too many layers.
    #[error("there are more than {MAX_LAYERS} layers and groups")]
    TooManyLayers,
    /// A layer cannot be read or is too large.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A picture inside the archive cannot be read.
    #[error("{file}: {error}")]
    File {
        /// Name in the archive.
        file: String,
        /// Why.
        error: LayerError,
    },
    /// The messages are larger than allowed.
    #[error("the picture takes more than {0} bytes in a session, which is the limit of its size")]
    TooLarge(usize),
    /// A message cannot be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<PictureError> for ImportError {
    fn from(error: PictureError) -> Self {
        ImportError::Layer(error.into())
    }
}

/// Makes the messages of a picture.
///
/// # Errors
/// When it cannot be read, or is larger than allowed.
pub fn import(picture: &[u8], options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut importer = Importer { options, pixels_left: MAX_PIXELS, bytes: 0, warnings: Vec::new() };
    let canvas = if picture.starts_with(&PNG_SIGNATURE) {
        importer.png(picture)
    } else if picture.starts_with(ZIP_SIGNATURE) {
        importer.open_raster(picture)
    } else {
        Err(ImportError::NoPicture)
    };
    let messages = canvas.map_err(|error| importer.shown(error))?.messages(options.layout)?;
    if messages.bytes.len() > options.max_bytes {
        return Err(ImportError::TooLarge(options.max_bytes));
    }
    let mut warnings = importer.warnings;
    if warnings.len() > MAX_WARNINGS {
        warnings.truncate(MAX_WARNINGS);
        warnings.push("more warnings are left out".into());
    }
    Ok(Imported { messages, warnings })
}

struct Importer<'a> {
    options: &'a ImportOptions,
    /// Pixels that may still be decoded.
    pixels_left: u64,
    /// Size of the coded tiles so far.
    bytes: usize,
    warnings: Vec<String>,
}

impl Importer<'_> {
    /// The limit of all tiles, instead of what was left of it.
    fn shown(&self, error: ImportError) -> ImportError {
        match error {
            ImportError::Layer(LayerError::TooLarge(_))
            | ImportError::File { error: LayerError::TooLarge(_), .. } => {
                ImportError::TooLarge(self.options.max_bytes)
            }
            error => error,
        }
    }

    fn colour(&self) -> Vec<u8> {
        encode_colour(self.options.background).to_vec()
    }

    fn png(&mut self, png: &[u8]) -> Result<Canvas, ImportError> {
        let mut rows = PngRows::open(png, &mut self.pixels_left)?;
        let size = checked_size(CanvasSize { width: rows.width(), height: rows.height() })?;
        self.warnings.extend(rows.take_warning());
        let tiles = self.tiles(&mut rows, (0, 0), size)?;
        let title = "Layer 1".to_owned();
        let layer = Layer { title, opacity: 255, blend: blend::NORMAL, tiles, ..Layer::default() };
        let (background, layers) = (self.colour(), vec![layer]);
        Ok(Canvas { size, resolution: None, background, layers, annotations: Vec::new() })
    }

    fn open_raster(&mut self, bytes: &[u8]) -> Result<Canvas, ImportError> {
        let mut archive = Archive::open(bytes)?;
        let mut stack = archive.stack()?;
        let size = checked_size(stack.size)?;
        self.warnings.append(&mut stack.warnings);
        let background = match &stack.background {
            None => self.colour(),
            Some(file) => self.background_tile(&mut archive, file)?,
        };
        let layers = self.layers(&mut archive, std::mem::take(&mut stack.entries), size)?;
        let Stack { resolution, annotations, .. } = stack;
        Ok(Canvas { size, resolution, background, layers, annotations })
    }

    fn layers(
        &mut self,
        archive: &mut Archive<'_>,
        entries: Vec<Entry>,
        size: CanvasSize,
    ) -> Result<Vec<Layer>, ImportError> {
        let mut layers = Vec::new();
        for entry in entries {
            let Entry { title, opacity, blend, flags, file, x, y, children } = entry;
            let blend = self.blend(blend, &title);
            let tiles = if children.is_some() || file.is_empty() {
                LayerTiles::default()
            } else {
                let png = archive.png(&file)?;
                self.layer(&png, (x, y), size, &file)?
            };
            let children = children.map(|children| self.layers(archive, children, size)).transpose()?;
            layers.push(Layer { title, opacity, blend, flags, tiles, children });
        }
        Ok(layers)
    }

    fn layer(
        &mut self,
        png: &[u8],
        place: (i32, i32),
        size: CanvasSize,
        file: &str,
    ) -> Result<LayerTiles, ImportError> {
        let in_file = |error| ImportError::File { file: file.to_owned(), error };
        let mut rows = PngRows::open(png, &mut self.pixels_left).map_err(|error| in_file(error.into()))?;
        self.warnings.extend(rows.take_warning().map(|warning| format!("{file}: {warning}")));
        self.tiles(&mut rows, place, size).map_err(in_file)
    }

    fn tiles(
        &mut self,
        rows: &mut PngRows<'_>,
        place: (i32, i32),
        size: CanvasSize,
    ) -> Result<LayerTiles, LayerError> {
        let left = self.options.max_bytes.saturating_sub(self.bytes);
        let tiles = tiles_of(rows, place, size, left)?;
        self.bytes += tiles.runs.iter().map(|run| run.image.len()).sum::<usize>();
        Ok(tiles)
    }

    /// The background of a picture by MyPaint or Drawpile, a tile.
    fn background_tile(&mut self, archive: &mut Archive<'_>, file: &str) -> Result<Vec<u8>, ImportError> {
        let in_file = |error: PictureError| ImportError::File { file: file.to_owned(), error: error.into() };
        let png = archive.png(file)?;
        let mut rows = PngRows::open(&png, &mut self.pixels_left).map_err(in_file)?;
        if (rows.width() as usize, rows.height() as usize) != (TILE_SIDE, TILE_SIDE) {
            let warning =
                format!("{file}: the background is not of {TILE_SIDE} x {TILE_SIDE} pixels: ignored");
            self.warnings.push(warning);
            return Ok(self.colour());
        }
        let mut pixels = Vec::new();
        while let Some(row) = rows.next_row().map_err(in_file)? {
            pixels.extend_from_slice(row);
        }
        let first = pixels.first().copied().unwrap_or_default();
        let is_solid = first >> 24 == 0xff && pixels.iter().all(|pixel| *pixel == first);
        Ok(if is_solid { encode_colour(first).to_vec() } else { encode_pixels(&pixels) })
    }

    /// A blend mode that clients of the session know.
    fn blend(&mut self, blend: u8, title: &str) -> u8 {
        let is_known =
            self.options.layout == Layout::V4_25 || blend < FIRST_NEW_BLEND && blend != NORMAL_AND_ERASER;
        if is_known {
            return blend;
        }
        let nearest = older_blend(blend);
        let (wanted, used) = (blend::name(blend), blend::name(nearest));
        self.warnings.push(format!("layer '{title}': clients before 2.3 lack {wanted}: it is {used}"));
        nearest
    }
}

/// The nearest blend mode that clients before 2.3 know for layers. Those that change alpha become the same mode that
/// keeps it; for the others there is none but the normal one.
fn older_blend(blend: u8) -> u8 {
    match blend {
        46..=53 => blend - 44,
        54 => 13,
        55..=64 => blend - 40,
        _ => blend::NORMAL,
    }
}

fn checked_size(size: CanvasSize) -> Result<CanvasSize, ImportError> {
    let count = u64::from(size.width) * u64::from(size.height);
    if count <= MAX_CANVAS { Ok(size) } else { Err(ImportError::CanvasSize) }
}

#[cfg(test)]
mod tests;
