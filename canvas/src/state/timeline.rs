//! Tracks and key frames of an animation.

use std::collections::BTreeMap;

use drawhall_protocol::message::{KeyFrameDelete, KeyFrameSet, TrackCreate};

/// Maximum number of key frames that are followed, all tracks together.
pub const MAX_KEY_FRAMES: usize = 200_000;

/// What a key frame shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFrame {
    /// Title.
    pub title: String,
    /// Id of the layer or group that it shows; 0 for none.
    pub layer: u32,
    /// Ids of layers in it and what is different about them, by `KeyFrameLayerAttributes`. No id twice, no flags 0.
    pub layers: Vec<(u32, u8)>,
}

impl KeyFrame {
    fn size(&self) -> usize {
        size_of::<KeyFrame>() + self.title.len() + self.layers.len() * size_of::<(u32, u8)>()
    }
}

/// A track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    /// Id, with the user id of who made it in the low byte.
    pub id: u16,
    /// Title.
    pub title: String,
    /// Key frames by the number of the frame.
    pub key_frames: BTreeMap<u16, KeyFrame>,
}

/// The tracks, from the bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    tracks: Vec<Track>,
}

impl Timeline {
    /// These tracks, from the bottom.
    pub fn from_tracks(tracks: Vec<Track>) -> Timeline {
        Timeline { tracks }
    }

    /// The tracks, from the bottom.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Number of key frames of all tracks.
    pub fn key_frames(&self) -> usize {
        self.tracks.iter().map(|track| track.key_frames.len()).sum()
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.tracks.iter().position(|track| track.id == id)
    }

    fn track_mut(&mut self, id: u16) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.id == id)
    }

    /// `TrackCreate`, whose ids are those of the state. Returns the bytes that were copied.
    pub(super) fn create(&mut self, create: &TrackCreate) -> usize {
        let TrackCreate { id, insert_id, source_id, ref title } = *create;
        let above = self.position(insert_id);
        let source = self.position(source_id);
        let fits = id != 0
            && self.position(id).is_none()
            && (insert_id == 0 || above.is_some())
            && (source_id == 0 || source.is_some());
        if !fits {
            return 0;
        }
        let key_frames = source.map(|at| self.tracks[at].key_frames.clone()).unwrap_or_default();
        let copied = key_frames.values().map(KeyFrame::size).sum();
        let track = Track { id, title: title.clone(), key_frames };
        self.tracks.insert(above.map_or(0, |at| at + 1), track);
        copied
    }

    pub(super) fn retitle(&mut self, id: u16, title: &str) {
        if let Some(track) = self.track_mut(id) {
            title.clone_into(&mut track.title);
        }
    }

    pub(super) fn delete(&mut self, id: u16) {
        self.tracks.retain(|track| track.id != id);
    }

    /// `TrackOrder`: tracks that are not named follow in their order.
    pub(super) fn order(&mut self, ids: &[u16]) {
        let mut left = std::mem::take(&mut self.tracks);
        for id in ids {
            if let Some(at) = left.iter().position(|track| track.id == *id) {
                self.tracks.push(left.remove(at));
            }
        }
        self.tracks.append(&mut left);
    }

    /// Drops key frames from this frame on.
    pub(super) fn truncate(&mut self, frames: i32) {
        for track in &mut self.tracks {
            track.key_frames.retain(|frame, _| i32::from(*frame) < frames);
        }
    }

    /// `KeyFrameSet` of a frame to a layer.
    pub(super) fn set_layer(&mut self, set: &KeyFrameSet, layer: u32) {
        if let Some(track) = self.track_mut(set.track_id) {
            track.key_frames.entry(set.frame_index).or_default().layer = layer;
        }
    }

    /// `KeyFrameSet` of a frame to a copy of another one. Returns the bytes that were copied.
    pub(super) fn copy_key_frame(&mut self, set: &KeyFrameSet, source: u16) -> usize {
        let is_same = set.track_id == source && set.frame_index == set.source_index;
        let source = self.position(source);
        let source = source.and_then(|at| self.tracks[at].key_frames.get(&set.source_index)).cloned();
        let (Some(key_frame), Some(track), false) = (source, self.track_mut(set.track_id), is_same) else {
            return 0;
        };
        let size = key_frame.size();
        track.key_frames.insert(set.frame_index, key_frame);
        size
    }

    /// A key frame.
    pub(super) fn key_frame_mut(&mut self, track: u16, frame: u16) -> Option<&mut KeyFrame> {
        self.track_mut(track)?.key_frames.get_mut(&frame)
    }

    /// `KeyFrameDelete`, which moves the key frame if the message names a track for that. `frames`: number of frames.
    pub(super) fn delete_key_frame(&mut self, delete: &KeyFrameDelete, frames: i32) {
        let KeyFrameDelete { track_id, frame_index, move_track_id, move_frame_index } = *delete;
        let is_same = track_id == move_track_id && frame_index == move_frame_index;
        let moves = move_track_id != 0;
        let fits = !is_same
            && (!moves || self.position(move_track_id).is_some() && i32::from(move_frame_index) < frames);
        let Some(track) = self.track_mut(track_id).filter(|_| fits) else { return };
        let Some(key_frame) = track.key_frames.remove(&frame_index) else { return };
        if let Some(target) = self.track_mut(move_track_id).filter(|_| moves) {
            target.key_frames.insert(move_frame_index, key_frame);
        }
    }

    /// Takes layers that are gone out of the key frames.
    pub(super) fn forget_layers(&mut self, is_there: impl Fn(u32) -> bool) {
        for key_frame in self.tracks.iter_mut().flat_map(|track| track.key_frames.values_mut()) {
            if !is_there(key_frame.layer) {
                key_frame.layer = 0;
            }
            key_frame.layers.retain(|(layer, _)| is_there(*layer));
        }
    }
}
