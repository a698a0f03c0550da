//! What differs between two canvases.

use super::layers::Node;
use super::timeline::Track;
use super::{CanvasState, FIELDS};

impl CanvasState {
    /// What differs between a canvas and one that was read from a file, which holds neither shared selections nor open
    /// strokes, nor the order of what a key frame says of layers. `None` if they are the same.
    pub fn difference(&self, file: &CanvasState) -> Option<&'static str> {
        if (self.width, self.height) != (file.width, file.height) {
            return Some("the size");
        }
        if (0..FIELDS).any(|field| self.metadata.fields[field] != file.metadata.fields[field]) {
            return Some("the metadata");
        }
        let order = self.layers.in_order();
        if order != file.layers.in_order() {
            return Some("the layers");
        }
        let node = |canvas: &CanvasState, id: u32| canvas.layers.get(id).map(comparable_node);
        if order.iter().any(|id| node(self, *id) != node(file, *id)) {
            return Some("the properties of a layer");
        }
        if self.annotations != file.annotations {
            return Some("the annotations");
        }
        let tracks = |canvas: &CanvasState| -> Vec<Track> {
            canvas.timeline.tracks().iter().map(comparable_track).collect()
        };
        (tracks(self) != tracks(file)).then_some("the tracks")
    }
}

fn comparable_node(node: &Node) -> Node {
    let mut node = node.clone();
    node.open_strokes.clear();
    node.attributes.isolated &= node.children.is_some();
    node
}

fn comparable_track(track: &Track) -> Track {
    let mut track = track.clone();
    track.key_frames.values_mut().for_each(|frame| frame.layers.sort_unstable());
    track
}
