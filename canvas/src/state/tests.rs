//! What a canvas is after some messages. That it is the same as in clients is compared in `tests/canvas_reference.rs`.

use drawhall_protocol::message::{
    AnnotationCreate, AnnotationEdit, CanvasResize, Chat, DrawDabsClassic, LayerACL, LayerAttributes,
    LayerTreeCreate, LayerTreeDelete, Layout, Message, PenUp, SyncSelectionTile, TrackCreate, UndoDepth,
};

use super::layers::MAX_LAYERS;
use super::*;

/// Applies messages of the server, all of which clients execute.
fn follow(layout: Layout, messages: impl IntoIterator<Item = Message>) -> Follower {
    let mut follower = Follower::new(layout);
    for message in messages {
        assert!(follower.accept(0, &message));
        follower.apply(0, &message).unwrap();
    }
    follower
}

fn create(id: u32, source: u32, target: u32, flags: u8) -> Message {
    LayerTreeCreate { id, source, target, flags, ..LayerTreeCreate::default() }.into()
}

const GROUP: u8 = LayerTreeCreate::FLAGS_GROUP;
const INTO: u8 = LayerTreeCreate::FLAGS_INTO;

#[test]
fn what_is_in_a_copied_group_gets_the_next_free_ids_the_last_first() {
    let follower = follow(
        Layout::V4_25,
        [
            create(0x101, 0, 0, GROUP),
            create(0x201, 0, 0x101, INTO),
            create(0x401, 0, 0x101, INTO),
            create(0x301, 0x101, 0, 0),
        ],
    );
    let layers = &follower.canvas().layers;
    assert_eq!(layers.in_order(), [0x101, 0x201, 0x401, 0x301, 0x601, 0x501]);
}

#[test]
fn ids_of_older_sessions_have_the_user_id_in_the_other_byte() {
    let follower = follow(Layout::V4_24, [create(0x0203, 0, 0, GROUP), create(0x0204, 0x0203, 0, 0)]);
    assert_eq!(follower.canvas().layers.in_order(), [0x0302, 0x0402]);
    let mut follower = follower;
    let own = create(0x0507, 0, 0, 0);
    assert!(follower.accept(5, &own) && !follower.accept(7, &own));
}

#[test]
fn copying_groups_into_themselves_is_bounded() {
    let mut follower = follow(Layout::V4_25, [create(0x101, 0, 0, GROUP), create(0x201, 0, 0, GROUP)]);
    let mut copies = 0;
    let error = loop {
        // Each is put into the group that is copied the next time.
        let (source, target) = if copies % 2 == 0 { (0x101, 0x201) } else { (0x201, 0x101) };
        copies += 1;
        // Each copy has an owner of its own, so that there are enough ids for what is in it.
        let message = create(0x101 + copies, source, target, INTO);
        if let Err(error) = follower.apply(0, &message) {
            break error;
        }
        assert!(follower.canvas().layers.len() <= MAX_LAYERS && copies < 100);
    };
    assert!(matches!(error, StateError::TooManyLayers | StateError::NoLayerIds), "{error}");
}

#[test]
fn copying_long_titles_is_bounded() {
    let title = "x".repeat(60_000);
    let mut messages = vec![create(0x101, 0, 0, GROUP)];
    for number in 2..=11 {
        let child = LayerTreeCreate {
            id: number << 8 | 1,
            target: 0x101,
            flags: INTO,
            title: title.clone(),
            ..LayerTreeCreate::default()
        };
        messages.push(child.into());
    }
    let mut follower = follow(Layout::V4_25, messages);
    let copies = (5..1000u32).map(|n| create((20 * n) << 8 | 1, 0x101, 0, 0));
    let failed = copies.map(|copy| follower.apply(0, &copy)).find(Result::is_err);
    assert_eq!(failed, Some(Err(StateError::TooMuchCopied)));
}

#[test]
fn a_stroke_on_a_sublayer_is_open_until_the_pen_goes_up_or_the_layer() {
    let dabs = |flags: u8| DrawDabsClassic { flags, layer: 0x101, ..DrawDabsClassic::default() };
    let begin = |follower: &mut Follower| follower.apply(4, &dabs(1).into()).unwrap();
    let mut follower = follow(Layout::V4_25, [create(0x101, 0, 0, 0)]);
    follower.apply(4, &dabs(0).into()).unwrap();
    assert!(!follower.canvas().layers.has_open_strokes());
    begin(&mut follower);
    assert!(follower.canvas().layers.has_open_strokes());
    follower.apply(5, &PenUp { layer: 0 }.into()).unwrap();
    follower.apply(4, &PenUp { layer: 0x201 }.into()).unwrap();
    assert!(follower.canvas().layers.has_open_strokes());
    follower.apply(4, &PenUp { layer: 0x101 }.into()).unwrap();
    assert!(!follower.canvas().layers.has_open_strokes());
    begin(&mut follower);
    follower.apply(1, &LayerTreeDelete { id: 0x101, merge_to: 0 }.into()).unwrap();
    assert!(!follower.canvas().layers.has_open_strokes());
}

#[test]
fn masks_of_shared_selections_are_kept_until_the_canvas_is_resized() {
    let resize = CanvasResize { top: 0, right: 100, bottom: 100, left: 0 };
    let tile = |selection_id, col, row, mask: &[u8]| SyncSelectionTile {
        user: 3,
        selection_id,
        col,
        row,
        mask: mask.to_vec(),
    };
    let messages: [Message; 5] = [
        resize.clone().into(),
        tile(128, 0, 1, b"mask").into(),
        tile(128, 3, 0, b"below").into(),
        tile(127, 0, 0, b"not shared").into(),
        tile(128, 9, 9, b"outside").into(),
    ];
    let mut follower = follow(Layout::V4_25, messages);
    let masks: Vec<(u16, u16)> =
        follower.canvas().selections.keys().map(|tile| (tile.column, tile.row)).collect();
    assert_eq!(masks, [(0, 1), (1, 1)]);
    let mut resized = follower.clone();
    resized.apply(0, &resize.into()).unwrap();
    assert!(resized.canvas().lost_selections);
    follower.apply(3, &tile(128, u16::MAX, u16::MAX, b"").into()).unwrap();
    assert!(follower.canvas().selections.is_empty());
}

#[test]
fn the_canvas_offset_is_how_much_it_grew_to_the_left_and_top() {
    let resize = |top, left| CanvasResize { top, right: 100, bottom: 100, left }.into();
    let messages = [
        resize(0, 0),
        AnnotationCreate { id: 0x101, x: 1, y: 2, w: 3, h: 4 }.into(),
        resize(10, 20),
        resize(-10, -10),
    ];
    let follower = follow(Layout::V4_25, messages);
    let canvas = follower.canvas();
    assert_eq!((canvas.width, canvas.height), (310, 300));
    assert_eq!(canvas.metadata.fields[7..], [-10, 0]);
    assert_eq!((canvas.annotations.all()[0].x, canvas.annotations.all()[0].y), (21, 12));
}

#[test]
fn a_resize_beyond_what_clients_allow_does_nothing() {
    for (right, bottom) in [(i32::MAX, 1), (0, 5), (-5, 5), (1_000_001, 1), (40_000, 40_000)] {
        let follower = follow(Layout::V4_25, [CanvasResize { top: 0, right, bottom, left: 0 }.into()]);
        assert_eq!(follower.canvas(), &CanvasState::default());
    }
}

#[test]
fn the_last_pinned_message_and_the_undo_depth_are_known() {
    let pin = |text: &str| Chat { tflags: 0, oflags: Chat::OFLAGS_PIN, message: text.into() };
    let said = Chat { tflags: 0, oflags: 0, message: "said".into() };
    let follower = follow(
        Layout::V4_25,
        [pin("old").into(), pin("new").into(), said.into(), UndoDepth { depth: 1 }.into()],
    );
    assert_eq!(follower.pinned(), Some((0, &pin("new"))));
    assert_eq!(follower.undo_depth(), Some(3));
}

#[test]
fn nobody_draws_on_a_locked_canvas_not_even_the_server() {
    let lock = |flags| LayerACL { id: 0, flags, exclusive: Vec::new() }.into();
    let mut follower = follow(Layout::V4_25, [lock(0x80)]);
    let track = TrackCreate { id: 0x100, ..TrackCreate::default() }.into();
    assert!(!follower.accept(0, &track));
    assert!(follower.accept(0, &lock(0)) && follower.accept(0, &track));
}

#[test]
fn attributes_of_a_sublayer_are_not_those_of_the_layer() {
    let attributes = |sublayer| LayerAttributes { id: 0x101, sublayer, flags: 1, opacity: 7, blend: 2 };
    let follower = follow(Layout::V4_25, [create(0x101, 0, 0, 0), attributes(3).into()]);
    let layer = follower.canvas().layers.get(0x101).unwrap();
    assert_eq!((layer.attributes.opacity, layer.open_strokes.len()), (255, 1));
}

#[test]
fn an_annotation_is_in_the_middle_only_with_that_flag_alone() {
    for (flags, expected) in [
        (0, VerticalAlignment::Top),
        (2, VerticalAlignment::Centre),
        (4, VerticalAlignment::Bottom),
        (6, VerticalAlignment::Top),
    ] {
        let follower = follow(
            Layout::V4_25,
            [
                AnnotationCreate { id: 0x101, ..AnnotationCreate::default() }.into(),
                AnnotationEdit { id: 0x101, flags, ..AnnotationEdit::default() }.into(),
            ],
        );
        assert_eq!(follower.canvas().annotations.all()[0].alignment, expected);
    }
}

#[test]
fn clients_of_any_user_id_execute_the_messages_of_a_new_session() {
    use drawhall_protocol::canvas::Canvas;
    use drawhall_protocol::frame::frames;
    use drawhall_protocol::message::SessionOwner;
    let canvas = Canvas { width: 80, height: 60, background: 0, layers: 2 };
    for layout in [Layout::V4_24, Layout::V4_25] {
        let mut follower = Follower::new(layout);
        // Clients take themselves for an operator until they are told.
        follower.accept(0, &SessionOwner { users: vec![2] }.into());
        for frame in canvas.messages(layout).unwrap() {
            for frame in frames(frame.as_bytes()) {
                let message = Message::from_frame(frame, layout).unwrap();
                assert!(follower.accept(frame.header.user, &message), "{message:?}");
                if message.message_type() >= 128 {
                    follower.apply(frame.header.user, &message).unwrap();
                }
            }
        }
        assert_eq!((follower.canvas().width, follower.canvas().layers.len()), (80, 2));
        assert_eq!(follower.default_layer(), 0x101);
    }
}
