//! Rows of the tables of a canvas file.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Text};

/// A number in the header of the file.
#[derive(QueryableByName)]
pub(super) struct PragmaRow {
    #[diesel(sql_type = Integer)]
    pub(super) value: i32,
}

#[derive(QueryableByName)]
pub(super) struct SnapshotRow {
    #[diesel(sql_type = BigInt)]
    pub(super) snapshot_id: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) flags: i64,
}

#[derive(QueryableByName)]
pub(super) struct MetadataRow {
    #[diesel(sql_type = Integer)]
    pub(super) metadata_id: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) value: i64,
}

#[derive(QueryableByName)]
pub(super) struct BlobRow {
    #[diesel(sql_type = Binary)]
    pub(super) value: Vec<u8>,
}

pub(super) const LAYER_COLUMNS: &str =
    "layer_index, parent_index, layer_id, title, blend_mode, opacity, flags, fill";

#[derive(QueryableByName)]
pub(super) struct LayerRow {
    #[diesel(sql_type = Integer)]
    pub(super) layer_index: i32,
    /// -1 for none.
    #[diesel(sql_type = Integer)]
    pub(super) parent_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) layer_id: i32,
    #[diesel(sql_type = Text)]
    pub(super) title: String,
    #[diesel(sql_type = Integer)]
    pub(super) blend_mode: i32,
    #[diesel(sql_type = Integer)]
    pub(super) opacity: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) flags: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) fill: i64,
}

pub(super) const TILE_COLUMNS: &str = "layer_index, tile_index, context_id, repeat, pixels";

#[derive(QueryableByName)]
pub(super) struct TileRow {
    #[diesel(sql_type = Integer)]
    pub(super) layer_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) tile_index: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) context_id: i64,
    #[diesel(sql_type = Integer)]
    pub(super) repeat: i32,
    #[diesel(sql_type = Binary)]
    pub(super) pixels: Vec<u8>,
}

pub(super) const ANNOTATION_COLUMNS: &str =
    "annotation_id, content, x, y, width, height, background_color, valign, flags";

#[derive(QueryableByName)]
pub(super) struct AnnotationRow {
    #[diesel(sql_type = Integer)]
    pub(super) annotation_id: i32,
    #[diesel(sql_type = Text)]
    pub(super) content: String,
    #[diesel(sql_type = Integer)]
    pub(super) x: i32,
    #[diesel(sql_type = Integer)]
    pub(super) y: i32,
    #[diesel(sql_type = Integer)]
    pub(super) width: i32,
    #[diesel(sql_type = Integer)]
    pub(super) height: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) background_color: i64,
    #[diesel(sql_type = Integer)]
    pub(super) valign: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) flags: i64,
}

pub(super) const TRACK_COLUMNS: &str = "track_index, track_id, title";

#[derive(QueryableByName)]
pub(super) struct TrackRow {
    #[diesel(sql_type = Integer)]
    pub(super) track_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) track_id: i32,
    #[diesel(sql_type = Text)]
    pub(super) title: String,
}

pub(super) const KEY_FRAME_COLUMNS: &str = "track_index, frame_index, title, layer_id";

#[derive(QueryableByName)]
pub(super) struct KeyFrameRow {
    #[diesel(sql_type = Integer)]
    pub(super) track_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) frame_index: i32,
    #[diesel(sql_type = Text)]
    pub(super) title: String,
    #[diesel(sql_type = Integer)]
    pub(super) layer_id: i32,
}

pub(super) const KEY_FRAME_LAYER_COLUMNS: &str = "track_index, frame_index, layer_id, flags";

#[derive(QueryableByName)]
pub(super) struct KeyFrameLayerRow {
    #[diesel(sql_type = Integer)]
    pub(super) track_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) frame_index: i32,
    #[diesel(sql_type = Integer)]
    pub(super) layer_id: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) flags: i64,
}
