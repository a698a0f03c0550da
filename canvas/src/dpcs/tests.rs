//! Canvas files that are made here, with the tables and columns that are read.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::*;

/// Tables of a canvas file, and a canvas of 100 x 70 with a layer in a group.
const CANVAS: &str = "
pragma application_id = 520585025;
pragma user_version = 1;
create table snapshots (snapshot_id integer primary key, flags integer);
create table snapshot_metadata (snapshot_id integer, metadata_id integer, value any);
create table snapshot_layers (snapshot_id integer, layer_index integer, parent_index integer, layer_id integer,
    title text, blend_mode integer, opacity integer, flags integer, fill integer);
create table snapshot_tiles (snapshot_id integer, layer_index integer, tile_index integer, context_id integer,
    repeat integer, pixels blob);
create table snapshot_annotations (snapshot_id integer, annotation_index integer, annotation_id integer,
    content text, x integer, y integer, width integer, height integer, background_color integer, valign integer,
    flags integer);
create table snapshot_tracks (snapshot_id integer, track_index integer, track_id integer, title text);
create table snapshot_key_frames (snapshot_id integer, track_index integer, frame_index integer, title text,
    layer_id integer);
create table snapshot_key_frame_layers (snapshot_id integer, track_index integer, frame_index integer,
    layer_id integer, flags integer);
insert into snapshots values (1, 5);
insert into snapshot_metadata values (1, 1, 100), (1, 2, 70), (1, 3, x'ffffffff'), (1, 4, 300), (1, 12, -5);
insert into snapshot_layers values (1, 0, -1, 257, 'group', 1, 32768, 9, 0), (1, 1, 0, 513, 'layer', 2, 16448, 20, 4278190335);
insert into snapshot_tiles values (1, 1, 3, 0, 0, x'00000000'), (1, 1, 0, 7, 1, x'010203ff');
insert into snapshot_annotations values (1, 0, 258, '<p>text</p>', -3, 4, 50, 60, 4294967295, 2, 7);
insert into snapshot_tracks values (1, 0, 257, 'lower'), (1, 1, 513, 'upper');
insert into snapshot_key_frames values (1, 1, 5, 'frame', 513);
insert into snapshot_key_frame_layers values (1, 1, 5, 513, 2);
";

fn file(changes: &str) -> Vec<u8> {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    connection.batch_execute(CANVAS).unwrap();
    connection.batch_execute(changes).unwrap();
    connection.serialize_database_to_buffer().to_vec()
}

#[test]
fn everything_in_a_canvas_file_is_read() {
    let Snapshot { canvas, pixels } = read(&file("")).unwrap();
    assert_eq!((canvas.width, canvas.height), (100, 70));
    assert_eq!(canvas.metadata.fields, [300, 72, 24, 24, 0, -1, -1, -5, 0]);
    assert_eq!(canvas.layers.in_order(), [0x101, 0x201]);
    let (group, layer) = (canvas.layers.get(0x101).unwrap(), canvas.layers.get(0x201).unwrap());
    assert_eq!((group.children.as_deref(), group.attributes.isolated), (Some(&[0x201][..]), false));
    assert_eq!((layer.parent, layer.title.as_str()), (0x101, "layer"));
    let Attributes { opacity, blend, censored, clip, .. } = layer.attributes;
    assert_eq!((opacity, blend, censored, clip), (128, 2, true, true));
    let runs = vec![
        TileRun { index: 0, count: 2, user: 7, image: vec![1, 2, 3, 255] },
        TileRun { index: 3, count: 1, user: 0, image: vec![0; 4] },
    ];
    assert_eq!(pixels.layers, [(0x201, LayerPixels { fill: 0xff00_00ff, runs })].into());
    assert_eq!(pixels.background, Some(vec![0xff; 4]));
    let [annotation] = canvas.annotations.all() else { panic!() };
    assert_eq!((annotation.id, annotation.x, annotation.background), (0x102, -3, u32::MAX));
    assert_eq!(annotation.alignment, VerticalAlignment::Bottom);
    assert!(annotation.protected && annotation.alias && annotation.rasterize);
    let tracks = canvas.timeline.tracks();
    assert_eq!(tracks.iter().map(|track| track.id).collect::<Vec<_>>(), [0x101, 0x201]);
    let frame = KeyFrame { title: "frame".into(), layer: 0x201, layers: vec![(0x201, 2)] };
    assert_eq!(tracks[1].key_frames, [(5, frame)].into());
}

#[test]
fn what_is_no_canvas_file_is_refused() {
    assert!(matches!(read(b"no database"), Err(DpcsError::Database(_))));
    assert!(matches!(read(&[]), Err(DpcsError::Database(_) | DpcsError::Version)));
    for changes in ["pragma application_id = 520585024", "pragma user_version = 2"] {
        assert!(matches!(read(&file(changes)), Err(DpcsError::Version)), "{changes}");
    }
    for changes in [
        "delete from snapshots",
        "insert into snapshots values (2, 1)",
        "update snapshots set flags = 4",
        "update snapshots set flags = 33",
    ] {
        assert!(matches!(read(&file(changes)), Err(DpcsError::NotWhole)), "{changes}");
    }
    assert!(matches!(read(&file("drop table snapshot_tiles")), Err(DpcsError::Database(_))));
}

#[test]
fn values_that_no_canvas_has_are_refused() {
    for changes in [
        "update snapshot_metadata set value = -1 where metadata_id = 1",
        "update snapshot_metadata set value = 99999999 where metadata_id = 2",
        "update snapshot_layers set layer_id = 257",
        "update snapshot_layers set layer_id = -1 where layer_index = 1",
        "update snapshot_layers set parent_index = 1 where layer_index = 1",
        "update snapshot_layers set blend_mode = 256",
        "update snapshot_tiles set layer_index = 0",
        "update snapshot_tiles set layer_index = 9",
        "update snapshot_tiles set repeat = -1",
        "update snapshot_tiles set context_id = 256",
        "update snapshot_annotations set width = 65536",
        "update snapshot_annotations set valign = 3",
        "update snapshot_key_frames set track_index = 9",
        "update snapshot_key_frame_layers set frame_index = 9",
    ] {
        let refused = read(&file(changes));
        assert!(matches!(refused, Err(DpcsError::Value(_))), "{changes}: {refused:?}");
    }
}

#[test]
fn no_part_of_a_file_makes_it_panic() {
    let whole = file("");
    for length in (0..whole.len()).step_by(509) {
        let _ = read(&whole[..length]);
    }
    for at in (0..whole.len()).step_by(97) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        let _ = read(&changed);
    }
}
