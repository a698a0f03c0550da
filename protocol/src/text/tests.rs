use proptest::prelude::*;

use super::legacy::{Legacy, parse};
use super::*;
use crate::frame::frames;
use crate::message::tests::{LAYOUTS, random_payload, types_of};
use crate::message::{self as m, Message};

fn frame(text: &str) -> Result<Frame, LineError> {
    parse_line(text, Layout::V4_25, &mut Vec::new())
}

fn warnings(text: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    parse_line(text, Layout::V4_25, &mut warnings).unwrap();
    warnings
}

fn line(frame: &Frame, layout: Layout) -> String {
    let mut out = String::new();
    write_line(frames(frame.as_bytes()).next().unwrap(), layout, &mut out).unwrap();
    out
}

#[test]
fn test_vectors_parse_and_format() {
    let vectors: [(&str, u8, &[u8]); 8] = [
        ("0 keepalive", 3, &[]),
        ("9 penup {\"layer\":258}", 140, &[0, 1, 2]),
        (
            "1 chat {\"message\":\"a\\\"\\\\\\n/ü\",\"oflags\":[\"shout\",\"pin\"]}",
            35,
            b"\0\x05a\"\\\n/\xc3\xbc",
        ),
        ("0 join {\"avatar\":\"AP8=\",\"name\":\"\"}", 32, &[0, 0, 0, 255]),
        ("2 lasertrail {\"color\":\"#80010203\",\"persistence\":1}", 65, &[128, 1, 2, 3, 1]),
        ("2 lasertrail {\"color\":\"#0102ff\",\"persistence\":1}", 65, &[255, 1, 2, 255, 1]),
        (
            "3 featurelimits {\"limits\":[-1,0,1,2]}",
            77,
            &[255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],
        ),
        (
            "4 classicdabs {\"color\":\"#000000\",\"flags\":0,\"layer\":1,\"mode\":\"svg:multiply\",\"x\":0.25,\"y\":-1,\
             \"_\":[{\"x\":0.5,\"y\":-32,\"size\":1.00390625,\"hardness\":9,\"opacity\":255}]}",
            148,
            &[0, 0, 0, 1, 0, 0, 0, 1, 255, 255, 255, 252, 255, 0, 0, 0, 2, 2, 128, 0, 1, 1, 9, 255],
        ),
    ];
    for (text, kind, payload) in vectors {
        let parsed = frame(text).unwrap();
        assert_eq!((parsed.header().kind, parsed.payload()), (kind, payload), "{text}");
        assert_eq!(line(&parsed, Layout::V4_25), text);
    }
}

#[test]
fn missing_members_have_default_values() {
    assert_eq!(frame("1 putimage"), frame("1 putimage {\"mode\":\"svg:src-over\",\"x\":0}"));
    assert_eq!(frame("1 putimage").unwrap().payload()[3], 1);
}

#[test]
fn numbers_are_rounded_and_those_out_of_range_are_zero() {
    assert_eq!(frame("1 interval {\"msecs\":2.5}").unwrap().payload(), [0, 3]);
    assert_eq!(frame("1 interval {\"msecs\":70000}").unwrap().payload(), [0, 0]);
    assert_eq!(warnings("1 interval {\"msecs\":70000}"), ["field 'msecs': 70000 is out of range"]);
    assert_eq!(warnings("1 interval {\"msecs\":\"x\"}"), ["field 'msecs': expected a number"]);
    assert_eq!(warnings("1 join {\"flags\":[\"x\",\"mod\"]}"), ["field 'flags': unknown flag 'x'"]);
}

#[test]
fn base64_needs_no_padding() {
    for line in ["1 putimage {\"image\":\"YWI=\"}", "1 putimage {\"image\":\"YWI\"}"] {
        assert!(frame(line).unwrap().payload().ends_with(b"ab"), "{line}");
    }
}

#[test]
fn invalid_lines_are_refused_with_a_reason() {
    assert_eq!(frame("1"), Err(LineError::Incomplete));
    assert_eq!(frame("256 penup"), Err(LineError::BadUser("256".into())));
    assert_eq!(frame("1 nosuch {}"), Err(LineError::UnknownName("nosuch".into())));
    assert!(matches!(frame("1 penup []"), Err(LineError::BadBody(_))));
    assert!(matches!(frame("1 penup {bad"), Err(LineError::BadBody(_))));
    assert!(matches!(frame("1 featureaccess {}"), Err(LineError::BadField { .. })));
    assert!(matches!(frame("1 putimage {\"image\":\"*\"}"), Err(LineError::BadField { .. })));
    let old = parse_line("1 selectionclear {}", Layout::V4_24, &mut Vec::new());
    assert_eq!(old, Err(LineError::NotInVersion("selectionclear".into())));
}

fn legacy(line: &str, block: &[&str]) -> Message {
    let block: Vec<String> = block.iter().map(|l| l.to_string()).collect();
    match parse(line, &block) {
        Ok(Legacy::Message(f)) => Message::decode(f.header().kind, f.payload(), Layout::V4_24).unwrap(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_old_form_is_converted_to_current_messages() {
    let resize = m::CanvasResize { right: 3200, bottom: 16, ..Default::default() };
    assert_eq!(legacy("1 resize right=3200 bottom=0x10", &[]), resize.into());
    let create = m::LayerTreeCreate {
        id: 0x0102,
        target: 0x0101,
        fill: 0xffff_ffff,
        title: "Ink".into(),
        ..Default::default()
    };
    let text = "1 newlayer id=0x0102 source=0x0101 fill=#ffffff flags=insert title=Ink";
    assert_eq!(legacy(text, &[]), create.into());
    let chat = m::Chat { tflags: 1, oflags: 2, message: "two words\nsecond".into() };
    assert_eq!(
        legacy("7 chat {", &["flags=bypass,action", "message=two words", "message=second"]),
        chat.into()
    );
    assert_eq!(legacy("0 owner users=1,2", &[]), m::SessionOwner { users: vec![1, 2] }.into());
    assert_eq!(legacy("1 redo", &[]), m::Undo { override_user: 0, redo: true }.into());
    let attr = m::LayerAttributes { id: 257, opacity: 128, blend: 1, flags: 1, ..Default::default() };
    assert_eq!(legacy("1 layerattr layer=257 opacity=50.2 blend=1 flags=censor", &[]), attr.into());
    let dabs = m::DrawDabsClassic {
        layer: 0x0101,
        x: 6,
        y: 8,
        color: 0xff00_0000,
        mode: 1,
        dabs: vec![m::ClassicDab { x: 0, y: 2, size: 640, hardness: 255, opacity: 7 }],
        ..Default::default()
    };
    let head = "1 classicdabs layer=0x0101 x=1.5 y=2 color=#000000 mode=1 {";
    assert_eq!(legacy(head, &["0 0.5 2.5 255 7"]), dabs.into());
    let features = m::FeatureAccessLevels { feature_tiers: vec![0, 3, 1, 3, 3, 3, 3, 3, 2] };
    assert_eq!(legacy("0 featureaccess putimage=op resize=trusted undo=auth", &[]), features.into());
}

#[test]
fn old_messages_that_cannot_be_converted_are_reported() {
    let fails = |line: &str| parse(line, &[]).unwrap_err().to_string();
    assert_eq!(fails("1 nosuch"), "unknown message 'nosuch'");
    assert_eq!(fails("1 resize right"), "expected key=value instead of 'right'");
    assert_eq!(fails("1 resize right=x"), "field 'right': cannot read 'x'");
    assert!(fails("1 deletelayer id=1 merge=true").contains("merge"));
    assert!(fails("1 classicdabs layer=1 x=1 y=1 color=#000000 mode=1").contains("5 numbers"));
    assert_eq!(parse("1 layerorder layers=1,2", &[]), Ok(Legacy::Skipped("layerorder".into())));
}

proptest! {
    #[test]
    fn every_message_type_survives_the_text_form(seed in Just(()).prop_perturb(|(), rng| rng)) {
        let mut rng = seed;
        for layout in LAYOUTS {
            for info in types_of(layout) {
                let payload = random_payload(info.layout(layout), &mut rng);
                let sent = Frame::new(info.id, 7, &payload).unwrap();
                let text = line(&sent, layout);
                let mut warnings = Vec::new();
                let back = parse_line(&text, layout, &mut warnings);
                prop_assert_eq!(back, Ok(sent), "{}", text);
                prop_assert!(warnings.is_empty());
            }
        }
    }

    #[test]
    fn no_input_makes_the_parsers_panic(line in "[0-9]{1,3} [a-z]{3,12} .{0,60}", block in prop::collection::vec(".{0,20}", 0..3)) {
        let _ = frame(&line);
        let _ = parse(&line, &block);
    }

    #[test]
    fn no_arguments_make_a_legacy_message_panic(
        name in prop::sample::select(vec!["classicdabs", "putimage", "layerattr", "newlayer", "chat", "puttile", "resize"]),
        args in prop::collection::vec("(x|y|id|layer|mode|blend|opacity|flags|color|img|source)=[-0-9a-z#.,]{0,8}", 0..5),
    ) {
        let _ = parse(&format!("1 {name} {}", args.join(" ")), &["1 2 3 4 5".to_owned()]);
    }
}
