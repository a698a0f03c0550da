//! The order and the fields of messages in a reset image.

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Chat, DrawDabsClassic};

use super::*;
use crate::state::ids::is_layer;
use crate::state::layers::LayerTree;
use crate::state::permissions::MAX_LAYER_ACLS;

fn follow(layout: Layout, messages: impl IntoIterator<Item = Message>) -> Follower {
    let mut follower = Follower::new(layout);
    for message in messages {
        assert!(follower.accept(0, &message));
        follower.apply(0, &message).unwrap();
    }
    follower
}

fn resize(right: i32, bottom: i32) -> Message {
    CanvasResize { top: 0, right, bottom, left: 0 }.into()
}

fn layer(id: u32) -> Message {
    LayerTreeCreate { id, title: "L".into(), ..LayerTreeCreate::default() }.into()
}

fn image(follower: &Follower, pixels: &Pixels) -> Vec<Message> {
    let image = reset_image(follower, pixels).unwrap();
    let messages: Vec<Message> =
        frames(&image.bytes).map(|frame| Message::from_frame(frame, follower.layout()).unwrap()).collect();
    assert_eq!(messages.len() as u64, image.count);
    messages
}

fn with_tiles(layer: u32, runs: Vec<TileRun>) -> Pixels {
    let of_layer = LayerPixels { fill: 0xff00_ff00, runs };
    Pixels { background: Some(vec![1, 2, 3, 0xff]), layers: [(layer, of_layer)].into() }
}

#[test]
fn messages_are_in_the_order_of_clients() {
    let messages: Vec<Message> = vec![
        resize(100, 100),
        layer(0x101),
        AnnotationCreate { id: 0x101, x: 1, y: 2, w: 3, h: 4 }.into(),
        TrackCreate { id: 0x101, ..TrackCreate::default() }.into(),
        TrackCreate { id: 0x201, ..TrackCreate::default() }.into(),
        KeyFrameSet { track_id: 0x201, frame_index: 3, source_id: 0x101, source_index: 0, source: 0 }.into(),
        KeyFrameRetitle { track_id: 0x201, frame_index: 3, title: "K".into() }.into(),
        KeyFrameLayerAttributes { track_id: 0x201, frame_index: 3, layer_flags: vec![0x0100_0101] }.into(),
        SyncSelectionTile { user: 2, selection_id: 128, col: 1, row: 0, mask: vec![0] }.into(),
        SetMetadataInt { field: SetMetadataInt::FIELD_FRAMERATE_FRACTION, value: 5 }.into(),
        DefaultLayer { id: 0x101 }.into(),
        LayerACL { id: 0x101, flags: 0x83, exclusive: Vec::new() }.into(),
        UserACL { users: vec![9] }.into(),
        UndoDepth { depth: 60 }.into(),
        Chat { tflags: 0, oflags: Chat::OFLAGS_PIN, message: "pinned".into() }.into(),
    ];
    let run = TileRun { index: 3, count: 1, user: 7, image: vec![0, 0, 0, 0] };
    let image = image(&follow(Layout::V4_25, messages), &with_tiles(0x101, vec![run]));
    let types: Vec<u8> = image.iter().map(Message::message_type).collect();
    assert_eq!(
        types,
        [35, 74, 129, 161, 180, 162, 131, 179, 177, 141, 143, 166, 166, 170, 171, 172, 71, 69, 70, 77, 68]
    );
    let Message::LayerTreeCreate(create) = &image[5] else { panic!() };
    assert_eq!((create.fill, create.title.as_str()), (0xff00_ff00, "L"));
    let Message::PutTileZstd(tile) = &image[7] else { panic!() };
    assert_eq!((tile.user, tile.col, tile.row, tile.repeat), (7, 1, 1, 0));
    let Message::TrackCreate(first) = &image[11] else { panic!() };
    assert_eq!(
        first.id, 0x101,
        "the upper track comes first, and the one that was put below it goes there again"
    );
    let Message::FeatureAccessLevels(levels) = &image[18] else { panic!() };
    assert_eq!(levels.feature_tiers, [3, 3, 0, 0, 0, 3, 3, 3, 3, 0, 3, 3]);
}

#[test]
fn older_sessions_get_zlib_tiles_and_nothing_that_they_do_not_know() {
    let messages: Vec<Message> = vec![
        resize(100, 100),
        layer(0x0102),
        SetMetadataInt { field: SetMetadataInt::FIELD_DPIX, value: 300 }.into(),
        SetMetadataInt { field: SetMetadataInt::FIELD_OFFSET_X, value: 5 }.into(),
    ];
    // The id in the state has the user id in the low byte.
    let run = TileRun { index: 0, count: 4, user: 7, image: vec![1, 2, 3, 0xff] };
    let image = image(&follow(Layout::V4_24, messages), &with_tiles(0x0201, vec![run]));
    let types: Vec<u8> = image.iter().map(Message::message_type).collect();
    assert_eq!(types, [129, 161, 147, 162, 131, 146, 70, 68]);
    let Message::CanvasBackground(background) = &image[2] else { panic!() };
    assert_eq!(background.image, [0xff, 3, 2, 1]);
    let Message::PutTile(tile) = &image[5] else { panic!() };
    assert_eq!((tile.layer, tile.repeat, tile.image.as_slice()), (0x0102, 3, &[0xff, 3, 2, 1][..]));
}

#[test]
fn locks_of_layers_with_high_numbers_stay_on_their_layers() {
    let lock = LayerACL { id: 0x01_2301, flags: 0x83, exclusive: Vec::new() };
    let follower = follow(Layout::V4_25, [resize(1, 1), layer(0x01_2301), lock.clone().into()]);
    assert!(image(&follower, &Pixels::default()).contains(&lock.into()));
}

#[test]
fn annotations_keep_their_alignment_and_flags() {
    for flags in [0, 2, 4, 1 | 4 | 8, 8 | 16, 2 | 16] {
        let edit = AnnotationEdit { id: 0x101, bg: 1, flags, border: 0, text: "t".into() };
        let create = AnnotationCreate { id: 0x101, x: 1, y: 2, w: 3, h: 4 };
        let follower = follow(Layout::V4_25, [resize(1, 1), create.into(), edit.clone().into()]);
        assert!(image(&follower, &Pixels::default()).contains(&edit.into()));
    }
}

#[test]
fn long_runs_go_on_where_the_message_before_ends() {
    let follower = follow(Layout::V4_25, [resize(20_000, 20_000), layer(0x101)]);
    let run = TileRun { index: 5, count: 70_000, user: 0, image: vec![0; 4] };
    let image = image(&follower, &with_tiles(0x101, vec![run]));
    let places: Vec<(u32, u16)> = image
        .iter()
        .filter_map(|message| match message {
            Message::PutTileZstd(tile) => {
                Some((u32::from(tile.row) * 313 + u32::from(tile.col), tile.repeat))
            }
            _ => None,
        })
        .collect();
    assert_eq!(places, [(5, 65_535), (65_541, 4_463)]);
}

#[test]
fn there_is_no_image_of_an_open_stroke_or_of_lost_selections_or_of_nothing() {
    let refused = |follower: &Follower| reset_image(follower, &Pixels::default()).unwrap_err();
    assert!(matches!(refused(&Follower::new(Layout::V4_25)), ResetError::NoCanvas));
    let mut drawing = follow(Layout::V4_25, [resize(1, 1), layer(0x101)]);
    let mut selecting = drawing.clone();
    let dabs = DrawDabsClassic { flags: 1, layer: 0x101, ..DrawDabsClassic::default() };
    drawing.apply(3, &dabs.into()).unwrap();
    assert!(matches!(refused(&drawing), ResetError::OpenStroke));
    let mut locking = follow(Layout::V4_25, [resize(1, 1), layer(0x101)]);
    let lock = |id: u32| Message::from(LayerACL { id, flags: 0x80, exclusive: Vec::new() });
    let ids = (1..0x80_0000).filter(|id| is_layer(*id)).take(MAX_LAYER_ACLS);
    ids.for_each(|id| assert!(locking.accept(0, &lock(id))));
    assert!(reset_image(&locking, &Pixels::default()).is_ok());
    assert!(locking.accept(0, &lock(0x10_0001)));
    assert!(matches!(refused(&locking), ResetError::LostPermissions));
    let tile = SyncSelectionTile { user: 3, selection_id: 130, col: 0, row: 0, mask: vec![0] };
    selecting.apply(3, &tile.into()).unwrap();
    assert!(reset_image(&selecting, &Pixels::default()).is_ok());
    selecting.apply(0, &resize(1, 1)).unwrap();
    assert!(matches!(refused(&selecting), ResetError::LostSelections));
}

#[test]
fn a_canvas_made_of_its_reset_image_is_the_same_and_so_is_its_image() {
    let follower = follow(
        Layout::V4_25,
        [
            resize(100, 100),
            LayerTreeCreate { id: 0x101, flags: LayerTreeCreate::FLAGS_GROUP, ..LayerTreeCreate::default() }
                .into(),
            LayerTreeCreate {
                id: 0x201,
                target: 0x101,
                flags: LayerTreeCreate::FLAGS_INTO,
                ..LayerTreeCreate::default()
            }
            .into(),
            layer(0x301),
        ],
    );
    let first = image(&follower, &Pixels::default());
    let again = follow(Layout::V4_25, first.clone());
    assert_eq!(again.canvas(), follower.canvas());
    assert_eq!(image(&again, &Pixels::default()), first);
    let layers: &LayerTree = &again.canvas().layers;
    assert_eq!(layers.in_order(), [0x101, 0x201, 0x301]);
}
