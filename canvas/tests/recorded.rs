//! Pixels that a real client has sent, where `DRAWHALL_GOLDEN` names the directory of recordings.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../tests/common/skip.rs"]
mod skip;

use std::path::PathBuf;

use base64::Engine as _;
use drawhall_canvas::codec::{Form, Tile, decode_pixels, decode_tile, encode_pixels};
use drawhall_protocol::message::{Layout, Message};
use serde_json::Value;

fn golden() -> Option<PathBuf> {
    let path = std::env::var_os("DRAWHALL_GOLDEN").map(|root| PathBuf::from(root).join("realclient"));
    let found = path.filter(|p| p.is_dir());
    if found.is_none() {
        skip::skip("golden", "DRAWHALL_GOLDEN does not name the directory of recordings");
    }
    found
}

#[test]
fn pixels_of_a_real_client_are_decoded_and_coded_again() {
    let Some(root) = golden() else { return };
    let text = std::fs::read_to_string(root.join("host-draw-chat-join.jsonl")).unwrap();
    let (mut images, mut backgrounds) = (0, 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(data) = line["data"].as_str() else { continue };
        let payload = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let kind = line["type"].as_u64().unwrap() as u8;
        match Message::decode(kind, &payload, Layout::V4_25) {
            Ok(Message::PutImageZstd(image)) => {
                let count = image.w as usize * image.h as usize;
                let pixels = decode_pixels(&image.image, count, Form::Zstd).unwrap();
                let drawn = pixels.iter().filter(|pixel| **pixel != 0).count();
                assert!(drawn > 1000 && drawn < count, "{drawn} of {count} pixels");
                let coded = encode_pixels(&pixels);
                assert!(decode_pixels(&coded, count, Form::Zlib).unwrap() == pixels);
                images += 1;
            }
            Ok(Message::CanvasBackgroundZstd(background)) => {
                let tile = decode_tile(&background.image, Form::Zstd).unwrap();
                assert_eq!(tile, Tile::Solid(0xffff_ffff));
                backgrounds += 1;
            }
            _ => {}
        }
    }
    assert!(images >= 3 && backgrounds >= 2, "{images} images, {backgrounds} backgrounds");
}
