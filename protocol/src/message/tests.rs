use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;
use crate::message::MESSAGES;

/// A payload that is valid for `fields`, with random contents.
pub(crate) fn random_payload(fields: &[FieldInfo], rng: &mut TestRng) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        push_random(field, rng, &mut out);
    }
    out
}

fn push_random(field: &FieldInfo, rng: &mut TestRng, out: &mut Vec<u8>) {
    let mut items = |min: usize, max: usize| min + rng.random_range(0..=max.min(min + 20) - min);
    match &field.kind {
        FieldKind::Bool => out.push(u8::from(rng.random::<bool>())),
        FieldKind::Flags8(names) => out.push(rng.random::<u8>() & ((1u16 << names.len()) - 1) as u8),
        FieldKind::BlendMode => out.push(rng.random_range(0..=90)),
        FieldKind::Utf8 { length_prefix } => {
            let text: String = (0..items(0, 60)).map(|_| rng.random::<char>()).collect();
            push_var(text.as_bytes(), *length_prefix, out);
        }
        FieldKind::Bytes { length_prefix } => {
            let len = items(0, 200);
            let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            push_var(&bytes, *length_prefix, out);
        }
        FieldKind::List { item, min, max } => {
            let len = items(*min, *max) * item.width();
            out.extend((0..len).map(|_| rng.random::<u8>()));
        }
        FieldKind::StructList { fields, min } => {
            for _ in 0..items(*min, 20) {
                for inner in *fields {
                    push_random(inner, rng, out);
                }
            }
        }
        fixed => out.extend((0..fixed.width().unwrap_or(0)).map(|_| rng.random::<u8>())),
    }
}

fn push_var(bytes: &[u8], prefixed: bool, out: &mut Vec<u8>) {
    if prefixed {
        out.push(bytes.len() as u8);
    }
    out.extend_from_slice(bytes);
}

pub(crate) const LAYOUTS: [Layout; 2] = [Layout::V4_24, Layout::V4_25];

/// Every message type that exists in a layout.
pub(crate) fn types_of(layout: Layout) -> impl Iterator<Item = &'static MessageInfo> {
    MESSAGES.iter().filter(move |m| m.exists_in(layout))
}

#[test]
fn the_table_has_every_id_once_in_order() {
    assert!(MESSAGES.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(MESSAGES.len(), 77);
    assert_eq!(info_of(133).map(|m| (m.name, m.reserved)), Some(("RemovedLayerOrder", true)));
    assert!(info_of(20).is_none());
    let control = |id: u8| info_of(id).map(|m| m.group);
    assert_eq!(control(2), Some(Group::Control));
    assert_eq!(control(255), Some(Group::Command));
}

#[test]
fn test_vectors_decode_and_encode() {
    use Layout::{V4_24, V4_25};
    let vectors: [(Layout, u8, &[u8], Message); 8] = [
        (V4_25, 2, &[1], Ping { is_pong: true }.into()),
        (V4_25, 32, b"\x03\x02mei!", Join { flags: 3, name: "me".into(), avatar: b"i!".to_vec() }.into()),
        (V4_25, 34, &[1, 254], SessionOwner { users: vec![1, 254] }.into()),
        (V4_25, 140, &[1, 2, 3], PenUp { layer: 0x01_0203 }.into()),
        (V4_24, 140, &[], PenUp { layer: 0 }.into()),
        (
            V4_24,
            148,
            &[1, 2, 0, 0, 0, 4, 255, 255, 255, 252, 255, 1, 2, 3, 1, 4, 252, 1, 0, 9, 8],
            DrawDabsClassic {
                flags: 0,
                layer: 0x0102,
                x: 4,
                y: -4,
                color: 0xff01_0203,
                mode: 1,
                dabs: vec![ClassicDab { x: 4, y: -4, size: 256, hardness: 9, opacity: 8 }],
            }
            .into(),
        ),
        (
            V4_24,
            172,
            &[0, 1, 0, 2, 255, 254],
            KeyFrameLayerAttributes { track_id: 1, frame_index: 2, layer_flags: vec![0xfffe] }.into(),
        ),
        (V4_25, 255, &[3, 1], Undo { override_user: 3, redo: true }.into()),
    ];
    for (layout, kind, payload, message) in vectors {
        assert_eq!(Message::decode(kind, payload, layout), Ok(message.clone()));
        let mut out = Vec::new();
        message.encode_payload(layout, &mut out).unwrap();
        assert_eq!((message.message_type(), out.as_slice()), (kind, payload));
    }
}

#[test]
fn invalid_payloads_are_refused() {
    use Layout::{V4_24, V4_25};
    let decode = |kind, payload: &[u8]| Message::decode(kind, payload, V4_25);
    assert_eq!(decode(2, &[]), Err(DecodeError::TooShort));
    assert_eq!(decode(2, &[0, 0]), Err(DecodeError::TooLong(1)));
    assert_eq!(decode(32, &[0, 5, b'a']), Err(DecodeError::TooShort));
    assert!(matches!(decode(70, &[]), Err(DecodeError::BadList { min: 1, .. })));
    assert!(matches!(decode(169, &[0]), Err(DecodeError::BadList { .. })));
    assert_eq!(decode(20, &[]), Err(DecodeError::UnknownType(20)));
    assert_eq!(decode(133, &[]), Err(DecodeError::UnknownType(133)));
    assert_eq!(Message::decode(175, &[1], V4_24), Err(DecodeError::NotInLayout(175)));
}

#[test]
fn replacement_characters_can_make_a_text_too_long_to_encode() {
    let payload = [&[0, 100][..], &[0xff; 100], &[0]].concat();
    for layout in LAYOUTS {
        let join = Message::decode(Join::TYPE, &payload, layout).unwrap();
        let long = EncodeError::BadLength { field: "name", len: 300 };
        assert_eq!(join.encode_payload(layout, &mut Vec::new()), Err(long));
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let mut out = Vec::new();
    let layer = Message::from(PenUp { layer: 0x0100_0000 });
    let wide = EncodeError::OutOfRange { field: "layer", value: 0x0100_0000 };
    assert_eq!(layer.encode_payload(Layout::V4_25, &mut out), Err(wide));
    let acl = Message::from(LayerACL { id: 0x01_0000, ..Default::default() });
    assert!(acl.encode_payload(Layout::V4_25, &mut out).is_ok());
    assert!(acl.encode_payload(Layout::V4_24, &mut out).is_err());
    let join = Message::from(Join { name: "x".repeat(256), ..Default::default() });
    let long = EncodeError::BadLength { field: "name", len: 256 };
    assert_eq!(join.encode_payload(Layout::V4_25, &mut out), Err(long));
    let chat = Message::from(Chat { message: "x".repeat(65534), ..Default::default() });
    assert_eq!(chat.to_frame(1, Layout::V4_25), Err(EncodeError::TooLong(65536)));
}

#[test]
fn invalid_utf8_becomes_replacement_characters() {
    let chat = Message::decode(35, b"\0\0\xff", Layout::V4_25);
    assert_eq!(chat, Ok(Chat { message: "\u{fffd}".into(), ..Default::default() }.into()));
}

proptest! {
    #[test]
    fn every_message_type_round_trips_in_both_layouts(seed in Just(()).prop_perturb(|(), rng| rng)) {
        let mut rng = seed;
        for layout in LAYOUTS {
            for info in types_of(layout) {
                let payload = random_payload(info.layout(layout), &mut rng);
                let message = Message::decode(info.id, &payload, layout);
                let message = message.map_err(|e| TestCaseError::fail(format!("{}: {e}", info.name)))?;
                let mut encoded = Vec::new();
                message.encode_payload(layout, &mut encoded).unwrap();
                prop_assert_eq!(&encoded, &payload, "{}", info.name);
                prop_assert_eq!(Message::decode(info.id, &encoded, layout), Ok(message));
            }
        }
    }

    #[test]
    fn no_input_makes_the_decoder_panic(kind: u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
        for layout in LAYOUTS {
            if let Ok(message) = Message::decode(kind, &payload, layout) {
                prop_assert_eq!(message.message_type(), kind);
                let mut out = Vec::new();
                let encoded = message.encode_payload(layout, &mut out);
                // Replacement characters are longer than the invalid bytes they replace.
                let grown = matches!(encoded, Err(EncodeError::BadLength { .. }))
                    && std::str::from_utf8(&payload).is_err();
                prop_assert!(encoded.is_ok() || grown, "{:?}", encoded);
            }
        }
    }
}
