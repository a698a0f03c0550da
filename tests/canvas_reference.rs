//! Layers, annotations, tracks, metadata and permissions as clients follow them: random histories of five users,
//! compared with the reset images that Drawpile itself makes of them.
//!
//! Histories are made here from their numbers. They were given once to the permission filter, the canvas history and the
//! reset image of Drawpile 2.3.1-pre (commit 5e085d0); `tests/fixtures/canvas/*.txt` has digests of what came out, one
//! line a history. What Drawpile does wrong (see `drawhall_canvas::reset`) is not in the histories.
//!
//! To compare with another version: `DRAWHALL_WRITE_HISTORIES=DIRECTORY cargo test --test canvas_reference` writes them
//! as `4.24` and `4.25`, each history as its length in bytes (u32, little-endian) and its messages. A digest is that of
//! the messages of the reset image without tiles and background, with the `LayerACL`s in order of their bytes, and without
//! the repetition of the last frame of the range, which Drawpile sends twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/numbers.rs"]
mod numbers;

use std::fmt::Write as _;

use drawhall::rules::undo::on_canvas::on_canvas;
use drawhall_canvas::reset::{Pixels, reset_image};
use drawhall_canvas::state::Follower;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{
    AnnotationCreate, AnnotationDelete, AnnotationEdit, AnnotationReshape, CanvasResize, DefaultLayer,
    FeatureAccessLevels, FeatureLimits, Join, KeyFrameDelete, KeyFrameLayerAttributes, KeyFrameRetitle,
    KeyFrameSet, LayerACL, LayerAttributes, LayerRetitle, LayerTreeCreate, LayerTreeDelete, LayerTreeMove,
    Layout, Leave, Message, SessionOwner, SetMetadataInt, TrackCreate, TrackDelete, TrackOrder, TrackRetitle,
    TrustedUsers, Undo, UndoDepth, UndoPoint, UserACL,
};
use numbers::Numbers;
use sha2::{Digest as _, Sha256};

const HISTORIES: u64 = 2000;
const USERS: u64 = 5;
const MESSAGES: u64 = 150;

impl Numbers {
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn title(&mut self) -> String {
        ["", "Layer", "Tür", "夜"][self.below(4) as usize].to_owned()
    }

    fn users(&mut self) -> Vec<u8> {
        (1..=USERS as u8).filter(|_| self.chance(25)).collect()
    }
}

/// Makes a history. Ids come from few numbers, so that they meet.
struct Maker {
    numbers: Numbers,
    layout: Layout,
    bytes: Vec<u8>,
}

impl Maker {
    fn push(&mut self, user: u8, message: impl Into<Message>) {
        self.bytes.extend_from_slice(message.into().to_frame(user, self.layout).unwrap().as_bytes());
    }

    /// An id of something of the user's, or, rarely, of somebody else's.
    fn id(&mut self, user: u8) -> u16 {
        let owner = if self.numbers.chance(80) { user } else { self.numbers.user(USERS) };
        let number = self.numbers.below(6) as u16;
        match self.layout {
            Layout::V4_25 => number << 8 | u16::from(owner),
            Layout::V4_24 => u16::from(owner) << 8 | number,
        }
    }

    fn layer(&mut self, user: u8) -> u32 {
        self.id(user).into()
    }

    /// A layer, or none.
    fn maybe_layer(&mut self, user: u8) -> u32 {
        if self.numbers.chance(40) { 0 } else { self.layer(user) }
    }

    fn maybe_id(&mut self, user: u8) -> u16 {
        if self.numbers.chance(40) { 0 } else { self.id(user) }
    }

    fn history(mut self) -> Vec<u8> {
        for user in 1..=USERS as u8 {
            let flags = if self.numbers.chance(40) { Join::FLAGS_AUTH } else { 0 };
            self.push(user, Join { flags, name: format!("user {user}"), avatar: Vec::new() });
        }
        self.push(0, SessionOwner { users: vec![1] });
        self.push(1, CanvasResize { top: 0, right: 300, bottom: 200, left: 0 });
        for _ in 0..MESSAGES {
            let user = self.numbers.user(USERS);
            match self.numbers.below(20) {
                0 | 1 => self.push(user, UndoPoint {}),
                2 => self.undo(user),
                3..=8 => self.about_layers(user),
                9 | 10 => self.about_annotations(user),
                11..=15 => self.about_the_timeline(user),
                16 => self.about_the_canvas(user),
                17 | 18 => self.about_permissions(user),
                _ => self.about_users(),
            }
        }
        self.bytes
    }

    fn undo(&mut self, user: u8) {
        let override_user = if self.numbers.chance(20) { self.numbers.user(USERS) } else { 0 };
        let redo = self.numbers.chance(30);
        self.push(user, Undo { override_user, redo });
    }

    fn about_layers(&mut self, user: u8) {
        let (id, title) = (self.layer(user), self.numbers.title());
        let (one, other) = (self.maybe_layer(user), self.maybe_layer(user));
        match self.numbers.below(8) {
            0..=3 => {
                let flags = self.numbers.below(4) as u8;
                let source = if self.numbers.chance(30) { one } else { 0 };
                self.push(user, LayerTreeCreate { id, source, target: other, fill: 0, flags, title });
            }
            4 => self.push(user, LayerTreeMove { layer: id, parent: one, sibling: other }),
            5 => {
                let merge_to = if self.numbers.chance(15) { id } else { one };
                self.push(user, LayerTreeDelete { id, merge_to });
            }
            6 => {
                let (flags, opacity) = (self.numbers.below(16) as u8, self.numbers.below(256) as u8);
                let blend = [0, 1, 2, 21][self.numbers.below(4) as usize];
                self.push(user, LayerAttributes { id, sublayer: 0, flags, opacity, blend });
            }
            _ => self.push(user, LayerRetitle { id, title }),
        }
    }

    fn about_annotations(&mut self, user: u8) {
        let id = self.id(user);
        let (x, y) = (self.numbers.below(500) as i32 - 100, self.numbers.below(500) as i32 - 100);
        let (w, h) = (self.numbers.below(300) as u16, self.numbers.below(300) as u16);
        match self.numbers.below(6) {
            0 | 1 => self.push(user, AnnotationCreate { id, x, y, w, h }),
            2 => self.push(user, AnnotationReshape { id, x, y, w, h }),
            3 | 4 => {
                // Protected or not, at the top or in the middle.
                let flags = self.numbers.below(4) as u8;
                let text = self.numbers.title();
                self.push(user, AnnotationEdit { id, bg: 0x8012_3456, flags, border: 0, text });
            }
            _ => self.push(user, AnnotationDelete { id }),
        }
    }

    fn about_the_timeline(&mut self, user: u8) {
        let (id, other) = (self.id(user), self.maybe_id(user));
        let (frame_index, other_index) = (self.numbers.below(8) as u16, self.numbers.below(30) as u16);
        let title = self.numbers.title();
        match self.numbers.below(12) {
            0..=2 => {
                let source_id = if self.numbers.chance(30) { self.id(user) } else { 0 };
                self.push(user, TrackCreate { id, insert_id: other, source_id, title });
            }
            3 => self.push(user, TrackRetitle { id, title }),
            4 => self.push(user, TrackDelete { id }),
            5 => {
                let tracks = (0..self.numbers.below(4)).map(|_| self.id(user)).collect();
                self.push(user, TrackOrder { tracks });
            }
            6 | 7 => {
                let source = self.numbers.below(2) as u8;
                let source_id = if source == KeyFrameSet::SOURCE_LAYER {
                    self.maybe_layer(user)
                } else {
                    self.layer(user)
                };
                let source_index = self.numbers.below(8) as u16;
                self.push(user, KeyFrameSet { track_id: id, frame_index, source_id, source_index, source });
            }
            8 => self.push(user, KeyFrameRetitle { track_id: id, frame_index, title }),
            9 | 10 => {
                let layer_flags = self.layer_flags(user);
                self.push(user, KeyFrameLayerAttributes { track_id: id, frame_index, layer_flags });
            }
            _ => {
                let (move_track_id, move_frame_index) = (other, other_index);
                self.push(
                    user,
                    KeyFrameDelete { track_id: id, frame_index, move_track_id, move_frame_index },
                );
            }
        }
    }

    fn layer_flags(&mut self, user: u8) -> Vec<u32> {
        let mut all = Vec::new();
        for _ in 0..self.numbers.below(4) {
            let (layer, flags) = (self.layer(user), self.numbers.below(3) as u32);
            match self.layout {
                Layout::V4_25 => all.push(layer | flags << 24),
                Layout::V4_24 => all.extend([layer, flags]),
            }
        }
        all
    }

    fn about_the_canvas(&mut self, user: u8) {
        if self.numbers.chance(40) {
            let mut side = || self.numbers.below(160) as i32 - 64;
            let (top, right, bottom, left) = (side(), side(), side(), side());
            return self.push(user, CanvasResize { top, right, bottom, left });
        }
        let fields = if self.layout == Layout::V4_25 { 9 } else { 4 };
        let (field, value) = (self.numbers.below(fields) as u8, self.numbers.below(40) as i32);
        self.push(user, SetMetadataInt { field, value });
    }

    fn about_permissions(&mut self, user: u8) {
        // Mostly the operator, or little would happen.
        let user = if self.numbers.chance(60) { 1 } else { user };
        match self.numbers.below(10) {
            0..=3 => {
                let id = self.layer(user);
                let flags = (self.numbers.below(8) << 5) as u8 | self.numbers.below(4) as u8;
                let exclusive = if self.numbers.chance(40) { self.numbers.users() } else { Vec::new() };
                self.push(user, LayerACL { id, flags, exclusive });
            }
            4 => {
                // The whole canvas, mostly unlocked.
                let flags = if self.numbers.chance(20) { 0x80 } else { 0 };
                self.push(user, LayerACL { id: 0, flags, exclusive: Vec::new() });
            }
            5 | 6 => {
                let mut tier = || [0, 1, 2, 3, 3, 3, 255, 9][self.numbers.below(8) as usize];
                let feature_tiers = (0..12).map(|_| tier()).collect();
                self.push(user, FeatureAccessLevels { feature_tiers });
            }
            7 if self.layout == Layout::V4_25 => {
                let limits = (0..8).map(|_| [-1, 0, 3, 100][self.numbers.below(4) as usize]).collect();
                self.push(user, FeatureLimits { limits });
            }
            8 => {
                let id = self.layer(user);
                self.push(user, DefaultLayer { id });
            }
            9 if self.numbers.chance(20) => self.push(user, UndoDepth { depth: 20 }),
            _ => {
                let users = self.numbers.users();
                self.push(user, UserACL { users });
            }
        }
    }

    fn about_users(&mut self) {
        match self.numbers.below(4) {
            0 => {
                let users = [&[1], self.numbers.users().as_slice()].concat();
                self.push(0, SessionOwner { users });
            }
            1 => {
                let users = self.numbers.users();
                self.push(0, TrustedUsers { users });
            }
            2 => {
                let user = self.numbers.user(USERS);
                self.push(user, Leave {});
            }
            _ => {
                let (user, flags) = (self.numbers.user(USERS), self.numbers.below(2) as u8);
                self.push(user, Join { flags, name: "again".into(), avatar: Vec::new() });
            }
        }
    }
}

fn history(number: u64, layout: Layout) -> Vec<u8> {
    Maker { numbers: Numbers(number), layout, bytes: Vec::new() }.history()
}

/// The digest of the reset image that is made of a history.
fn digest(history: &[u8], layout: Layout) -> String {
    let mut follower = Follower::new(layout);
    let decoded: Vec<(u8, Message)> = frames(history)
        .map(|frame| (frame.header.user, Message::from_frame(frame, layout).unwrap()))
        .collect();
    let mut next = decoded.iter();
    let done = on_canvas(history, layout, &mut |_| {
        let (user, message) = next.next().unwrap();
        follower.accept(*user, message)
    });
    for number in done.unwrap() {
        let (user, message) = &decoded[number as usize];
        follower.apply(*user, message).unwrap();
    }
    let image = reset_image(&follower, &Pixels::default()).unwrap();
    let mut parts: Vec<Vec<u8>> = frames(&image.bytes).map(|frame| frame.bytes.to_vec()).collect();
    let of_layers = |part: &Vec<u8>| part[2] == LayerACL::TYPE;
    let first = parts.iter().position(of_layers).unwrap_or(0);
    let count = parts.iter().filter(|part| of_layers(part)).count();
    parts[first..first + count].sort();
    let digest = Sha256::digest(parts.concat());
    digest[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn compare(layout: Layout, name: &str) {
    if let Some(directory) = std::env::var_os("DRAWHALL_WRITE_HISTORIES") {
        let mut file = Vec::new();
        for number in 0..HISTORIES {
            let history = history(number, layout);
            file.extend_from_slice(&(history.len() as u32).to_le_bytes());
            file.extend_from_slice(&history);
        }
        std::fs::write(std::path::Path::new(&directory).join(name), file).unwrap();
        return;
    }
    let path = format!("{}/tests/fixtures/canvas/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(path).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(expected.len() as u64, HISTORIES);
    for (number, expected) in (0..).zip(expected) {
        assert_eq!(digest(&history(number, layout), layout), expected, "history {number}");
    }
}

#[test]
fn reset_images_of_sessions_of_2_3_are_those_of_drawpile() {
    compare(Layout::V4_25, "4.25");
}

#[test]
fn reset_images_of_sessions_of_2_2_are_those_of_drawpile() {
    compare(Layout::V4_24, "4.24");
}
