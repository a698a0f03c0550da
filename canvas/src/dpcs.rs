//! Canvases as Drawpile's tools save them (`.dpcs`): an SQLite database with layers, tiles, annotations and tracks.
//! Source: docs/spec/storage.md#canvas-files.
//!
//! What is read was made by another program from what strangers have sent. It is read from memory, and the database
//! can do nothing but be read.

mod rows;

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_query;

use crate::codec::CodecError;
use crate::reset::{LayerPixels, Pixels, TileRun};
use crate::state::layers::{Attributes, LayerTree, Node};
use crate::state::timeline::{KeyFrame, MAX_KEY_FRAMES, Timeline, Track};
use crate::state::{Annotation, Annotations, CanvasState, Metadata, VerticalAlignment};
use rows::{
    AnnotationRow, BlobRow, KeyFrameLayerRow, KeyFrameRow, LayerRow, MetadataRow, SnapshotRow, TileRow,
    TrackRow,
};

/// Number in the header of the file that says what it is, and the version of its tables.
const APPLICATION_ID: i32 = 520_585_025;
const USER_VERSION: i32 = 1;
/// Flags of the snapshot: it is whole; it has pixels of open strokes.
const COMPLETE: i64 = 1;
const HAS_SUBLAYERS: i64 = 1 << 5;
/// Ids of metadata.
const WIDTH: i32 = 1;
const HEIGHT: i32 = 2;
const BACKGROUND: i32 = 3;
/// Ids of the metadata that `SetMetadataInt` has, by its field.
const FIELDS: [i32; 9] = [4, 5, 6, 7, 8, 9, 10, 12, 13];
/// Flags of layers.
const GROUP: i64 = 1;
const CENSORED: i64 = 1 << 2;
const PASS_THROUGH: i64 = 1 << 3;
const CLIP: i64 = 1 << 4;
/// Flags of annotations.
const PROTECTED: i64 = 1;
const ALIAS: i64 = 1 << 1;
const RASTERIZE: i64 = 1 << 2;
/// The largest value of a colour or opacity.
const MAX_CHANNEL: i64 = 1 << 15;

/// A canvas with its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the canvas is, without shared selections.
    pub canvas: CanvasState,
    /// Its pixels.
    pub pixels: Pixels,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum DpcsError {
    /// It is no database, or a table is missing.
    #[error("this is no canvas file: {0}")]
    Database(String),
    /// It is another kind of database, or of another version.
    #[error("this is no canvas file of a known version")]
    Version,
    /// It has not exactly one whole canvas without open strokes.
    #[error("there is not exactly one whole canvas in it")]
    NotWhole,
    /// Values that no canvas has.
    #[error("there is no such canvas: {0}")]
    Value(&'static str),
    /// A tile cannot be decoded.
    #[error("a tile cannot be decoded: {0}")]
    Tile(#[from] CodecError),
}

impl From<diesel::result::Error> for DpcsError {
    fn from(error: diesel::result::Error) -> Self {
        DpcsError::Database(error.to_string())
    }
}

/// Reads a canvas file.
///
/// # Errors
/// When it is none, or has values that no canvas has.
pub fn read(file: &[u8]) -> Result<Snapshot, DpcsError> {
    let database = |error: ConnectionError| DpcsError::Database(error.to_string());
    let mut connection = SqliteConnection::establish(":memory:").map_err(database)?;
    connection.deserialize_readonly_database_from_buffer(file)?;
    // Nothing is written to temporary files, and names in the schema call no functions.
    connection.batch_execute("pragma temp_store = memory; pragma trusted_schema = off;")?;
    let snapshot = check(&mut connection)?;
    Reader { connection, snapshot }.read()
}

/// The id of the one canvas in the file.
fn check(connection: &mut SqliteConnection) -> Result<i64, DpcsError> {
    use rows::PragmaRow;
    let pragma = |connection: &mut SqliteConnection, name: &str| -> Result<i32, DpcsError> {
        let query = format!("select {name} as value from pragma_{name}");
        Ok(sql_query(query).get_result::<PragmaRow>(connection)?.value)
    };
    if pragma(connection, "application_id")? != APPLICATION_ID
        || pragma(connection, "user_version")? != USER_VERSION
    {
        return Err(DpcsError::Version);
    }
    let snapshots: Vec<SnapshotRow> =
        sql_query("select snapshot_id, flags from snapshots limit 2").load(connection)?;
    match snapshots.as_slice() {
        [one] if one.flags & COMPLETE != 0 && one.flags & HAS_SUBLAYERS == 0 => Ok(one.snapshot_id),
        _ => Err(DpcsError::NotWhole),
    }
}

struct Reader {
    connection: SqliteConnection,
    snapshot: i64,
}

impl Reader {
    fn rows<R>(&mut self, columns: &str, table: &str, order: &str) -> Result<Vec<R>, DpcsError>
    where
        R: diesel::deserialize::FromSqlRow<diesel::sql_types::Untyped, diesel::sqlite::Sqlite> + 'static,
    {
        let snapshot = self.snapshot;
        let query =
            format!("select {columns} from snapshot_{table} where snapshot_id = {snapshot} order by {order}");
        Ok(sql_query(query).load(&mut self.connection)?)
    }

    fn read(mut self) -> Result<Snapshot, DpcsError> {
        let columns = "metadata_id, value";
        let mut values: BTreeMap<i32, i64> = BTreeMap::new();
        let table = format!("metadata where metadata_id <> {BACKGROUND} and snapshot_id = {}", self.snapshot);
        let query = format!("select {columns} from snapshot_{table}");
        for row in sql_query(query).load::<MetadataRow>(&mut self.connection)? {
            values.insert(row.metadata_id, row.value);
        }
        let mut canvas = canvas_of(&values)?;
        let rows: Vec<LayerRow> = self.rows(rows::LAYER_COLUMNS, "layers", "layer_index")?;
        let ids: BTreeMap<i32, u32> = layer_ids(&rows)?;
        canvas.layers = layers(&rows, &ids)?;
        let pixels = self.pixels(&rows, &ids)?;
        canvas.annotations = self.annotations()?;
        canvas.timeline = self.timeline()?;
        Ok(Snapshot { canvas, pixels })
    }

    fn pixels(&mut self, layers: &[LayerRow], ids: &BTreeMap<i32, u32>) -> Result<Pixels, DpcsError> {
        let query = format!(
            "select value from snapshot_metadata where metadata_id = {BACKGROUND} and snapshot_id = {}",
            self.snapshot
        );
        let background = sql_query(query).load::<BlobRow>(&mut self.connection)?.pop().map(|row| row.value);
        let mut pixels = Pixels { background, layers: BTreeMap::new() };
        for row in layers.iter().filter(|row| row.flags & GROUP == 0) {
            let fill = u32::try_from(row.fill).map_err(|_| DpcsError::Value("fill"))?;
            pixels.layers.insert(id_of(ids, row.layer_index)?, LayerPixels { fill, runs: Vec::new() });
        }
        let tiles: Vec<TileRow> = self.rows(rows::TILE_COLUMNS, "tiles", "layer_index, tile_index")?;
        for row in tiles {
            let index = u32::try_from(row.tile_index).map_err(|_| DpcsError::Value("tile"))?;
            let repeat = u32::try_from(row.repeat).map_err(|_| DpcsError::Value("repeat"))?;
            let user = u8::try_from(row.context_id).map_err(|_| DpcsError::Value("user id"))?;
            let layer = id_of(ids, row.layer_index)?;
            let of_layer = pixels.layers.get_mut(&layer).ok_or(DpcsError::Value("tile of a group"))?;
            let count = repeat.checked_add(1).ok_or(DpcsError::Value("repeat"))?;
            of_layer.runs.push(TileRun { index, count, user, image: row.pixels });
        }
        Ok(pixels)
    }

    fn annotations(&mut self) -> Result<Annotations, DpcsError> {
        let rows: Vec<AnnotationRow> =
            self.rows(rows::ANNOTATION_COLUMNS, "annotations", "annotation_index")?;
        let annotations = rows.into_iter().map(annotation).collect::<Result<_, _>>()?;
        Ok(Annotations::from_list(annotations))
    }

    fn timeline(&mut self) -> Result<Timeline, DpcsError> {
        let tracks: Vec<TrackRow> = self.rows(rows::TRACK_COLUMNS, "tracks", "track_index")?;
        let frames: Vec<KeyFrameRow> =
            self.rows(rows::KEY_FRAME_COLUMNS, "key_frames", "track_index, frame_index")?;
        let layers: Vec<KeyFrameLayerRow> = self.rows(
            rows::KEY_FRAME_LAYER_COLUMNS,
            "key_frame_layers",
            "track_index, frame_index, layer_id",
        )?;
        if frames.len() > MAX_KEY_FRAMES {
            return Err(DpcsError::Value("number of key frames"));
        }
        let mut all: BTreeMap<i32, Track> = BTreeMap::new();
        for row in tracks {
            let id = u16::try_from(row.track_id).map_err(|_| DpcsError::Value("track"))?;
            all.insert(row.track_index, Track { id, title: row.title, key_frames: BTreeMap::new() });
        }
        let frame_number = |number: i32| u16::try_from(number).map_err(|_| DpcsError::Value("frame"));
        for row in frames {
            let track = all.get_mut(&row.track_index).ok_or(DpcsError::Value("track of a key frame"))?;
            let layer = layer_id(row.layer_id)?;
            let frame = KeyFrame { title: row.title, layer, layers: Vec::new() };
            track.key_frames.insert(frame_number(row.frame_index)?, frame);
        }
        for row in layers {
            let track = all.get_mut(&row.track_index).ok_or(DpcsError::Value("track of a key frame"))?;
            let frame = track.key_frames.get_mut(&frame_number(row.frame_index)?);
            let frame = frame.ok_or(DpcsError::Value("key frame"))?;
            let flags = u8::try_from(row.flags).map_err(|_| DpcsError::Value("flags of a key frame"))?;
            frame.layers.push((layer_id(row.layer_id)?, flags));
        }
        Ok(Timeline::from_tracks(all.into_values().collect()))
    }
}

fn canvas_of(values: &BTreeMap<i32, i64>) -> Result<CanvasState, DpcsError> {
    let side = |id: i32| {
        let value = values.get(&id).copied().unwrap_or(0);
        u32::try_from(value).ok().filter(|side| *side <= 1_000_000).ok_or(DpcsError::Value("size"))
    };
    let mut metadata = Metadata::default();
    for (field, id) in metadata.fields.iter_mut().zip(FIELDS) {
        if let Some(value) = values.get(&id) {
            *field = i32::try_from(*value).map_err(|_| DpcsError::Value("metadata"))?;
        }
    }
    Ok(CanvasState { width: side(WIDTH)?, height: side(HEIGHT)?, metadata, ..CanvasState::default() })
}

fn layer_id(id: i32) -> Result<u32, DpcsError> {
    u32::try_from(id).map_err(|_| DpcsError::Value("layer"))
}

fn id_of(ids: &BTreeMap<i32, u32>, index: i32) -> Result<u32, DpcsError> {
    ids.get(&index).copied().ok_or(DpcsError::Value("layer"))
}

/// Ids of layers by their index in the file.
fn layer_ids(rows: &[LayerRow]) -> Result<BTreeMap<i32, u32>, DpcsError> {
    rows.iter().map(|row| Ok((row.layer_index, layer_id(row.layer_id)?))).collect()
}

fn layers(rows: &[LayerRow], ids: &BTreeMap<i32, u32>) -> Result<LayerTree, DpcsError> {
    let mut nodes = Vec::with_capacity(rows.len());
    for row in rows {
        let parent = if row.parent_index < 0 { 0 } else { id_of(ids, row.parent_index)? };
        let is_group = row.flags & GROUP != 0;
        let opacity = i64::from(row.opacity).clamp(0, MAX_CHANNEL);
        let attributes = Attributes {
            // Rounded as clients do it; at most 255.
            opacity: ((opacity * 255 + MAX_CHANNEL / 2) / MAX_CHANNEL) as u8,
            blend: u8::try_from(row.blend_mode).map_err(|_| DpcsError::Value("blend mode"))?,
            censored: row.flags & CENSORED != 0,
            isolated: is_group && row.flags & PASS_THROUGH == 0,
            clip: row.flags & CLIP != 0,
        };
        let (title, children) = (row.title.clone(), is_group.then(Vec::new));
        let open_strokes = std::collections::BTreeSet::new();
        nodes.push((layer_id(row.layer_id)?, Node { title, attributes, children, parent, open_strokes }));
    }
    LayerTree::from_nodes(nodes).ok_or(DpcsError::Value("tree of layers"))
}

fn annotation(row: AnnotationRow) -> Result<Annotation, DpcsError> {
    let bad = |_| DpcsError::Value("annotation");
    Ok(Annotation {
        id: u16::try_from(row.annotation_id).map_err(bad)?,
        x: row.x,
        y: row.y,
        width: u16::try_from(row.width).map_err(bad)?,
        height: u16::try_from(row.height).map_err(bad)?,
        background: u32::try_from(row.background_color).map_err(bad)?,
        protected: row.flags & PROTECTED != 0,
        alias: row.flags & ALIAS != 0,
        rasterize: row.flags & RASTERIZE != 0,
        alignment: match row.valign {
            0 => VerticalAlignment::Top,
            1 => VerticalAlignment::Centre,
            2 => VerticalAlignment::Bottom,
            _ => return Err(DpcsError::Value("alignment of an annotation")),
        },
        text: row.content,
    })
}

#[cfg(test)]
mod tests;
