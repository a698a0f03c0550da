//! Pictures that are made, imported and decoded again.

use std::io::{Cursor, Write as _};

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::Message;
use drawhall_protocol::text::write_line;
use png::{BitDepth, ColorType};
use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::codec::{Form, Tile, decode_tile};

const LAYOUTS: [Layout; 2] = [Layout::V4_24, Layout::V4_25];

fn options(layout: Layout) -> ImportOptions {
    ImportOptions { layout, background: 0xffff_ffff, max_bytes: 50 << 20 }
}

/// A PNG of RGBA pixels, `0xAARRGGBB`, not premultiplied.
fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u32) -> Vec<u8> {
    let mut data = Vec::new();
    for at in 0..width * height {
        let [a, r, g, b] = pixel(at % width, at / width).to_be_bytes();
        data.extend([r, g, b, a]);
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&data).unwrap();
    writer.finish().unwrap();
    out
}

fn ora(stack: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let deflated = stored.compression_method(CompressionMethod::Deflated);
    let list = [("mimetype", &b"image/openraster"[..]), ("stack.xml", stack.as_bytes())];
    for (at, (name, content)) in list.iter().chain(files).enumerate() {
        zip.start_file(*name, if at == 0 { stored } else { deflated }).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn messages(imported: &Imported, layout: Layout) -> Vec<Message> {
    let all: Vec<Message> = frames(&imported.messages.bytes)
        .map(|frame| {
            assert_eq!(frame.header.user, 0);
            Message::from_frame(frame, layout).unwrap()
        })
        .collect();
    assert_eq!(all.len() as u64, imported.messages.count);
    all
}

/// The messages in the text form, without tiles.
fn lines(imported: &Imported, layout: Layout) -> Vec<String> {
    let lines = frames(&imported.messages.bytes).map(|frame| {
        let mut line = String::new();
        write_line(frame, layout, &mut line).unwrap();
        line.trim().to_owned()
    });
    lines.filter(|line| !line.contains("puttile")).collect()
}

/// The pixels of a layer, premultiplied, as a client would have them.
fn pixels_of(messages: &[Message], layer: u32, size: CanvasSize) -> Vec<u32> {
    let (width, height) = (size.width as usize, size.height as usize);
    let columns = width.div_ceil(TILE_SIDE);
    let mut pixels = vec![0; width * height];
    let mut put = |first: usize, count: usize, tile: Tile| {
        for at in first..first + count {
            let (left, top) = (at % columns * TILE_SIDE, at / columns * TILE_SIDE);
            for y in top..(top + TILE_SIDE).min(height) {
                for x in left..(left + TILE_SIDE).min(width) {
                    pixels[y * width + x] = match &tile {
                        Tile::Solid(colour) => *colour,
                        Tile::Pixels(tile) => tile[(y - top) * TILE_SIDE + x - left],
                    };
                }
            }
        }
    };
    for message in messages {
        match message {
            Message::LayerTreeCreate(create) if create.id == layer && create.fill != 0 => {
                put(0, columns * height.div_ceil(TILE_SIDE), Tile::Solid(create.fill));
            }
            Message::PutTile(m) if m.layer == layer => {
                let first = usize::from(m.row) * columns + usize::from(m.col);
                put(first, usize::from(m.repeat) + 1, decode_tile(&m.image, Form::Zlib).unwrap());
            }
            _ => {}
        }
    }
    pixels
}

fn premultiply(pixel: u32) -> u32 {
    let [alpha, red, green, blue] = pixel.to_be_bytes();
    let channel = |c: u8| ((u32::from(c) * u32::from(alpha) * 2 + 255) / 510) as u8;
    u32::from_be_bytes([alpha, channel(red), channel(green), channel(blue)])
}

#[test]
fn a_png_is_a_canvas_with_one_layer() {
    let imported = import(&png(100, 50, |_, _| 0xff00_ff00), &options(Layout::V4_25)).unwrap();
    assert_eq!(
        lines(&imported, Layout::V4_25),
        [
            r#"0 resize {"bottom":50,"left":0,"right":100,"top":0}"#,
            r#"0 background {"image":"/////w=="}"#,
            r##"0 layertreecreate {"fill":"#00000000","id":257,"source":0,"target":0,"title":"Layer 1"}"##,
            r#"0 layerattr {"blend":"svg:src-over","id":257,"opacity":255,"sublayer":0}"#,
            r#"0 defaultlayer {"id":257}"#,
        ]
    );
    let older = import(&png(100, 50, |_, _| 0xff00_ff00), &options(Layout::V4_24)).unwrap();
    assert_eq!(lines(&older, Layout::V4_24)[1], r#"0 background {"image":"/////w=="}"#);
    assert_eq!(lines(&older, Layout::V4_24)[4], r#"0 defaultlayer {"id":257}"#);
}

#[test]
fn layers_keep_order_opacity_blend_mode_titles_and_groups() {
    let dot = png(1, 1, |_, _| 0xff00_00ff);
    let stack = r#"<image w="70" h="70" xres="300" yres="300"><stack>
        <layer name="ink" src="d.png" x="69" y="69" composite-op="svg:multiply"/>
        <stack name="colours" opacity="0.4"><layer name="b" src="d.png"/><layer name="a" src="d.png"/></stack>
        <layer name="paper" src="d.png"/></stack></image>"#;
    let layout = Layout::V4_25;
    let imported = import(&ora(stack, &[("d.png", &dot)]), &options(layout)).unwrap();
    let (create, attributes) = ("layertreecreate", "layerattr");
    let expected = [
        r#"0 resize {"bottom":70,"left":0,"right":70,"top":0}"#.to_owned(),
        r#"0 setmetadataint {"field":0,"value":300}"#.to_owned(),
        r#"0 setmetadataint {"field":1,"value":300}"#.to_owned(),
        r#"0 background {"image":"/////w=="}"#.to_owned(),
        format!(r##"0 {create} {{"fill":"#00000000","id":257,"source":0,"target":0,"title":"paper"}}"##),
        format!(r#"0 {attributes} {{"blend":"svg:src-over","id":257,"opacity":255,"sublayer":0}}"#),
        format!(
            r##"0 {create} {{"fill":"#00000000","flags":["group"],"id":513,"source":0,"target":0,"title":"colours"}}"##
        ),
        format!(r#"0 {attributes} {{"blend":"svg:src-over","id":513,"opacity":102,"sublayer":0}}"#),
        format!(
            r##"0 {create} {{"fill":"#00000000","flags":["into"],"id":769,"source":0,"target":513,"title":"a"}}"##
        ),
        format!(r#"0 {attributes} {{"blend":"svg:src-over","id":769,"opacity":255,"sublayer":0}}"#),
        format!(
            r##"0 {create} {{"fill":"#00000000","flags":["into"],"id":1025,"source":0,"target":513,"title":"b"}}"##
        ),
        format!(r#"0 {attributes} {{"blend":"svg:src-over","id":1025,"opacity":255,"sublayer":0}}"#),
        format!(r##"0 {create} {{"fill":"#00000000","id":1281,"source":0,"target":0,"title":"ink"}}"##),
        format!(r#"0 {attributes} {{"blend":"svg:multiply","id":1281,"opacity":255,"sublayer":0}}"#),
        r#"0 defaultlayer {"id":257}"#.to_owned(),
    ];
    let found = lines(&imported, layout);
    assert_eq!(found, expected);
    let size = CanvasSize { width: 70, height: 70 };
    let ink = pixels_of(&messages(&imported, layout), 1281, size);
    assert_eq!((ink[69 * 70 + 69], ink.iter().filter(|p| **p != 0).count()), (0xff00_00ff, 1));
}

#[test]
fn annotations_of_a_picture_follow_its_layers() {
    let stack = "<image w='9' h='9'><stack><layer name='x'/></stack><annotations><a x='1' y='-2'>&lt;b&gt;</a></annotations></image>";
    // The text form of dp:4.24 has flags as a number.
    for (layout, flags) in [(Layout::V4_24, r#""flags":0,"#), (Layout::V4_25, "")] {
        let imported = import(&ora(stack, &[]), &options(layout)).unwrap();
        let found = &lines(&imported, layout)[4..];
        let expected = [
            r#"0 newannotation {"h":100,"id":257,"w":100,"x":1,"y":-2}"#.to_owned(),
            format!(r##"0 editannotation {{"bg":"#00000000","border":0,{flags}"id":257,"text":"<b>"}}"##),
            r#"0 defaultlayer {"id":257}"#.to_owned(),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn the_background_tile_of_a_picture_is_its_background() {
    let stack = r#"<image w="9" h="9"><stack><layer background-tile="bg.png"/></stack></image>"#;
    let pattern = png(64, 64, |x, y| if x == y { 0xff12_3456 } else { 0xffab_cdef });
    let image = |tile: &[u8]| {
        let imported = import(&ora(stack, &[("bg.png", tile)]), &options(Layout::V4_24)).unwrap();
        let messages = messages(&imported, Layout::V4_24);
        let Message::CanvasBackground(background) = &messages[1] else { panic!("{messages:?}") };
        (decode_tile(&background.image, Form::Zlib).unwrap(), imported.warnings)
    };
    let (Tile::Pixels(pixels), _) = image(&pattern) else { panic!("a solid background") };
    assert_eq!((pixels[0], pixels[1]), (0xff12_3456, 0xffab_cdef));
    assert_eq!(image(&png(64, 64, |_, _| 0xff01_0203)).0, Tile::Solid(0xff01_0203));
    let (tile, warnings) = image(&png(32, 64, |_, _| 0xff01_0203));
    assert_eq!((tile, warnings.len()), (Tile::Solid(0xffff_ffff), 1));
}

#[test]
fn older_clients_get_the_nearest_blend_mode() {
    let stack = |op: &str| {
        let layer = format!("<layer name='x' composite-op='{op}'/>");
        ora(&format!("<image w='5' h='5'><stack>{layer}</stack></image>"), &[])
    };
    let blend = |op: &str, layout| {
        let imported = import(&stack(op), &options(layout)).unwrap();
        let found = messages(&imported, layout).into_iter().find_map(|message| match message {
            Message::LayerAttributes(attributes) => Some(blend::name(attributes.blend)),
            _ => None,
        });
        (found.unwrap(), imported.warnings)
    };
    for (wanted, nearest) in [
        ("-dp-multiply-alpha", "svg:multiply"),
        ("-dp-screen-alpha", "svg:screen"),
        ("-dp-luminosity-shine-sai-alpha", "krita:luminosity_sai"),
        ("-dp-color-alpha", "svg:color"),
        ("mypaint:spectral-wgm", "svg:src-over"),
        ("-dp-normal-and-eraser", "svg:src-over"),
    ] {
        let warning = format!("layer 'x': clients before 2.3 lack {wanted}: it is {nearest}");
        assert_eq!(blend(wanted, Layout::V4_24), (nearest, vec![warning]));
        assert_eq!(blend(wanted, Layout::V4_25), (wanted, vec![]));
    }
    assert_eq!(blend("svg:color", Layout::V4_24), ("svg:color", vec![]));
}

#[test]
fn what_is_no_picture_is_refused_in_one_line() {
    let good = png(100, 100, |x, y| 0xff00_0000 | (x * y * 7919));
    let stack = "<image w='9' h='9'><stack><layer src='a.png'/></stack></image>";
    let zipped = ora(stack, &[("a.png", &good)]);
    let nothing = options(Layout::V4_25);
    let small = ImportOptions { max_bytes: 1000, ..nothing };
    let error = |bytes: &[u8], options| import(bytes, options).unwrap_err().to_string();
    assert_eq!(error(b"GIF89a", &nothing), "this is neither a PNG nor an OpenRaster picture");
    assert_eq!(error(b"", &nothing), "this is neither a PNG nor an OpenRaster picture");
    assert!(error(&good, &small).starts_with("the picture takes more than 1000 bytes in a session"));
    assert!(error(&ora(stack, &[]), &nothing).contains("a.png"));
    assert!(
        error(&ora(stack, &[("a.png", b"rubbish")]), &nothing).starts_with("a.png: the PNG cannot be read")
    );
    assert!(error(&ora("<image", &[]), &nothing).contains("stack.xml"));
    let mut odd = ZipWriter::new(Cursor::new(Vec::new()));
    odd.start_file("mimetype", SimpleFileOptions::default()).unwrap();
    odd.write_all(b"application/zip").unwrap();
    assert!(error(&odd.finish().unwrap().into_inner(), &nothing).contains("neither a PNG nor"));
    for bytes in [&good, &zipped] {
        for len in (0..bytes.len() - 30).step_by(bytes.len() / 40) {
            let refused = error(&bytes[..len], &nothing);
            assert!(!refused.contains('\n') && refused.len() < 300, "{refused}");
        }
    }
}

#[test]
fn a_zip_bomb_is_not_unpacked() {
    // 70 MB of zeros, in less than 100 KB.
    let bomb = vec![0; 70 << 20];
    let stack = "<image w='9' h='9'><stack><layer src='a.png'/></stack></image>";
    let zipped = ora(stack, &[("a.png", &bomb)]);
    assert!(zipped.len() < 100_000);
    let error = import(&zipped, &options(Layout::V4_25)).unwrap_err().to_string();
    assert!(error.contains("a.png: larger than 67108864 bytes"), "{error}");
}

#[test]
fn the_same_large_layer_many_times_is_refused_before_it_is_decoded_each_time() {
    let large = png(2000, 2000, |_, _| 0);
    let layers = "<layer src='a.png'/>".repeat(200);
    let stack = format!("<image w='9' h='9'><stack>{layers}</stack></image>");
    let mut importer =
        Importer { options: &options(Layout::V4_25), pixels_left: 10_000_000, bytes: 0, warnings: vec![] };
    let error = importer.open_raster(&ora(&stack, &[("a.png", &large)])).unwrap_err().to_string();
    assert!(error.contains("more than 400 million pixels"), "{error}");
    assert_eq!(importer.pixels_left, 2_000_000, "two were decoded, the third was not");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_tiles_of_a_picture_are_its_pixels(
        width in 1u32..200, height in 1u32..200, seed: u32, kind in 0u8..4,
    ) {
        let pixel = |x: u32, y: u32| match kind {
            // Noise, stripes of noise on white, a colour, a gradient of alpha.
            0 => x.wrapping_mul(seed | 1).wrapping_add(y.wrapping_mul(2_654_435_761)),
            1 if y % 90 > 70 => x.wrapping_mul(seed | 1) | 0xff00_0000,
            1 => 0xffff_ffff,
            2 => seed | 0xff00_0000,
            _ => (x * 3 % 256) << 24 | (y * 5 % 256) << 16 | (seed & 0xffff),
        };
        let picture = png(width, height, pixel);
        for layout in LAYOUTS {
            let imported = import(&picture, &options(layout)).unwrap();
            let size = CanvasSize { width, height };
            let found = pixels_of(&messages(&imported, layout), 257, size);
            for at in 0..width * height {
                let expected = premultiply(pixel(at % width, at / width));
                prop_assert_eq!(found[at as usize], expected, "at {} of {} x {}", at, width, height);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400), at: usize, flip in 1u8..,
    ) {
        let _ = import(&[&PNG_SIGNATURE[..], &bytes].concat(), &options(Layout::V4_25));
        let _ = import(&[ZIP_SIGNATURE, &bytes].concat(), &options(Layout::V4_24));
        let dot = png(3, 3, |x, _| x);
        let mut picture = ora("<image w='5' h='5'><stack><layer src='a'/></stack></image>", &[("a", &dot)]);
        let at = at % picture.len();
        picture[at] ^= flip;
        let _ = import(&picture, &options(Layout::V4_25));
    }
}
