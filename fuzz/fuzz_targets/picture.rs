//! Arbitrary pictures and tiles: they are imported, decoded or refused, within their limits.
#![no_main]

use drawhall_canvas::codec::{Form, Tile, decode_tile, encode_pixels};
use drawhall_canvas::{ImportOptions, import};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Layout, Message};
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let (layout, form) =
        if kind % 2 == 0 { (Layout::V4_24, Form::Zlib) } else { (Layout::V4_25, Form::Zstd) };
    if kind & 2 != 0 {
        if let Ok(Tile::Pixels(pixels)) = decode_tile(bytes, form) {
            let coded = encode_pixels(&pixels);
            assert_eq!(decode_tile(&coded, Form::Zlib).unwrap(), Tile::Pixels(pixels));
        }
        return;
    }
    let options = ImportOptions { layout, background: 0, max_bytes: MAX_BYTES };
    let Ok(imported) = import(bytes, &options) else { return };
    assert!(imported.messages.bytes.len() <= MAX_BYTES);
    let mut all = frames(&imported.messages.bytes);
    let mut count = 0;
    for frame in all.by_ref() {
        let message = Message::from_frame(frame, layout).unwrap();
        if let Message::PutTile(put) = message {
            decode_tile(&put.image, Form::Zlib).unwrap();
        }
        count += 1;
    }
    assert!(all.rest().is_empty());
    assert_eq!(count, imported.messages.count);
});
