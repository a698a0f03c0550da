//! The tree of layers and groups, without pixels.

use std::collections::{BTreeMap, BTreeSet};

use drawhall_protocol::message::{LayerAttributes, LayerTreeCreate, LayerTreeMove};

use super::StateError;
use super::ids::{self, Ids};

/// Maximum number of layers and groups that are followed.
pub const MAX_LAYERS: usize = 20_000;
/// Maximum number of nested groups that are followed; clients draw groups recursively and would not get far either.
const MAX_DEPTH: usize = 256;

/// Flags of `LayerAttributes` in dp:4.24: no clipping.
const FLAGS_4_24: u8 = 0x07;

/// Attributes of a layer, a group, or the sublayer of an open stroke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Opacity, 0 to 255.
    pub opacity: u8,
    /// Blend mode by its id.
    pub blend: u8,
    /// Shown as censored to those who want that.
    pub censored: bool,
    /// A group that is put together on its own first. Means nothing for layers.
    pub isolated: bool,
    /// Clipped to the layer below.
    pub clip: bool,
}

impl Attributes {
    const NEW: Attributes = Attributes {
        opacity: 255,
        blend: drawhall_protocol::blend::NORMAL,
        censored: false,
        isolated: false,
        clip: false,
    };

    fn of(message: &LayerAttributes, ids: Ids) -> Attributes {
        let flags = ids.known_flags(message.flags, FLAGS_4_24);
        let has = |flag: u8| flags & flag != 0;
        Attributes {
            opacity: message.opacity,
            blend: message.blend,
            censored: has(LayerAttributes::FLAGS_CENSOR),
            isolated: has(LayerAttributes::FLAGS_ISOLATED),
            clip: has(LayerAttributes::FLAGS_CLIP),
        }
    }
}

/// A layer or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Title.
    pub title: String,
    /// Attributes.
    pub attributes: Attributes,
    /// Ids of what is in a group, from the bottom; `None` if this is no group.
    pub children: Option<Vec<u32>>,
    /// Id of the group that it is in; 0 for none.
    pub parent: u32,
    /// Users with an open stroke on a sublayer of this layer.
    pub open_strokes: BTreeSet<u8>,
}

/// Layers and groups by id, and their order. Each id is in the children of its parent, or in `roots`, exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerTree {
    nodes: BTreeMap<u32, Node>,
    roots: Vec<u32>,
}

impl LayerTree {
    /// A tree of layers and groups from the bottom, each group before what is in it, by id and without `children`
    /// but for those that make a group of it. `None` if an id is twice there or a parent is no group before it.
    pub fn from_nodes(nodes: impl IntoIterator<Item = (u32, Node)>) -> Option<LayerTree> {
        let mut tree = LayerTree::default();
        for (id, node) in nodes {
            let parent = node.parent;
            let is_new = ids::is_layer(id) && !tree.nodes.contains_key(&id);
            let list = tree
                .list_mut(parent)
                .filter(|_| is_new && node.children.as_ref().is_none_or(Vec::is_empty))?;
            list.push(id);
            tree.nodes.insert(id, node);
            if tree.nodes.len() > MAX_LAYERS || tree.depth(id) > MAX_DEPTH {
                return None;
            }
        }
        Some(tree)
    }

    /// Ids of what is in no group, from the bottom.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// A layer or group.
    pub fn get(&self, id: u32) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Number of layers and groups.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All ids, from the bottom, each group before what is in it.
    pub fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut ahead: Vec<u32> = self.roots.iter().rev().copied().collect();
        while let Some(id) = ahead.pop() {
            order.push(id);
            ahead.extend(self.children(id).iter().rev());
        }
        order
    }

    fn children(&self, id: u32) -> &[u32] {
        self.nodes.get(&id).and_then(|node| node.children.as_deref()).unwrap_or_default()
    }

    fn is_group(&self, id: u32) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.children.is_some())
    }

    /// The list that has the children of a group; of group 0 the roots.
    fn list_mut(&mut self, group: u32) -> Option<&mut Vec<u32>> {
        if group == 0 {
            return Some(&mut self.roots);
        }
        self.nodes.get_mut(&group)?.children.as_mut()
    }

    /// Place of a layer in the list that it is in.
    fn position(&self, id: u32) -> Option<usize> {
        let parent = self.nodes.get(&id)?.parent;
        let list = if parent == 0 { &self.roots } else { self.children(parent) };
        list.iter().position(|other| *other == id)
    }

    fn depth(&self, mut id: u32) -> usize {
        let mut depth = 0;
        while let Some(node) = self.nodes.get(&id) {
            depth += 1;
            id = node.parent;
        }
        depth
    }

    /// `LayerTreeCreate`, whose ids are already those of the state. `max_number`: the largest number of a layer.
    /// Returns the bytes of titles that were copied besides the message's own.
    pub(super) fn create(&mut self, create: &LayerTreeCreate, max_number: u32) -> Result<usize, StateError> {
        let LayerTreeCreate { id, source, target, flags, .. } = *create;
        let into = flags & LayerTreeCreate::FLAGS_INTO != 0;
        let fits = ids::is_layer(id)
            && !self.nodes.contains_key(&id)
            && (source == 0 || self.nodes.contains_key(&source))
            && (target == 0 || self.nodes.contains_key(&target))
            && (target == 0 || !into || self.is_group(target));
        if !fits {
            return Ok(0);
        }
        let (parent, place) = match (target, into) {
            (0, _) => (0, self.roots.len()),
            (group, true) => (group, self.children(group).len()),
            (below, false) => {
                let parent = self.nodes.get(&below).map_or(0, |node| node.parent);
                (parent, self.position(below).map_or(0, |at| at + 1))
            }
        };
        let copied = self.copy(create, parent, max_number)?;
        self.list_mut(parent).into_iter().for_each(|list| list.insert(place, id));
        Ok(copied)
    }

    /// Adds the new layer, with what is copied, to the nodes, but not to its parent.
    fn copy(&mut self, create: &LayerTreeCreate, parent: u32, max_number: u32) -> Result<usize, StateError> {
        let LayerTreeCreate { id, source, flags, ref title, .. } = *create;
        let mut copied = 0;
        let node = match self.nodes.get(&source).cloned() {
            Some(mut node) => {
                if node.children.is_some() {
                    let mut numbers = Numbers::after(self, id, max_number);
                    node.children = Some(self.copy_children(source, id, &mut numbers, &mut copied)?);
                }
                node
            }
            None => {
                let is_group = flags & LayerTreeCreate::FLAGS_GROUP != 0;
                Node {
                    title: String::new(),
                    attributes: Attributes { isolated: is_group, ..Attributes::NEW },
                    children: is_group.then(Vec::new),
                    parent: 0,
                    open_strokes: BTreeSet::new(),
                }
            }
        };
        self.nodes.insert(id, Node { title: title.clone(), parent, ..node });
        if self.nodes.len() > MAX_LAYERS || self.depth(id) > MAX_DEPTH {
            return Err(StateError::TooManyLayers);
        }
        Ok(copied)
    }

    /// Copies what is in a group under new ids. The last gets the first new number, before what is in it.
    fn copy_children(
        &mut self,
        group: u32,
        copy: u32,
        numbers: &mut Numbers,
        copied: &mut usize,
    ) -> Result<Vec<u32>, StateError> {
        let mut children = Vec::new();
        for child in self.children(group).to_vec().into_iter().rev() {
            let id = numbers.next().ok_or(StateError::NoLayerIds)?;
            let Some(mut node) = self.nodes.get(&child).cloned() else { continue };
            if self.nodes.len() >= MAX_LAYERS {
                return Err(StateError::TooManyLayers);
            }
            *copied += node.title.len();
            if node.children.is_some() {
                node.children = Some(self.copy_children(child, id, numbers, copied)?);
            }
            self.nodes.insert(id, Node { parent: copy, ..node });
            children.push(id);
        }
        children.reverse();
        Ok(children)
    }

    /// `LayerTreeMove`, whose ids are those of the state.
    pub(super) fn move_to(&mut self, to: &LayerTreeMove) -> Result<(), StateError> {
        let LayerTreeMove { layer, parent, sibling } = *to;
        let overlaps = layer == parent || layer == sibling || parent == sibling && parent != 0;
        let fits = !overlaps
            && self.nodes.contains_key(&layer)
            && (parent == 0 || self.is_group(parent) && !self.is_inside(parent, layer))
            && (sibling == 0 || self.nodes.get(&sibling).is_some_and(|node| node.parent == parent));
        if !fits {
            return Ok(());
        }
        self.take_out(layer);
        let place = self.position(sibling);
        let list = self.list_mut(parent).into_iter().next();
        if let Some(list) = list {
            list.insert(place.unwrap_or(list.len()), layer);
        }
        if let Some(node) = self.nodes.get_mut(&layer) {
            node.parent = parent;
        }
        let deepest = self.subtree(layer).into_iter().map(|id| self.depth(id)).max();
        if deepest.is_some_and(|depth| depth > MAX_DEPTH) { Err(StateError::TooManyLayers) } else { Ok(()) }
    }

    /// Whether `id` is in the group.
    fn is_inside(&self, mut id: u32, group: u32) -> bool {
        while let Some(node) = self.nodes.get(&id) {
            if node.parent == group {
                return true;
            }
            id = node.parent;
        }
        false
    }

    /// Takes a layer out of the list that it is in.
    fn take_out(&mut self, layer: u32) {
        let parent = self.nodes.get(&layer).map_or(0, |node| node.parent);
        if let Some(list) = self.list_mut(parent) {
            list.retain(|id| *id != layer);
        }
    }

    /// The layer and all that is in it.
    fn subtree(&self, layer: u32) -> Vec<u32> {
        let mut found = vec![layer];
        let mut at = 0;
        while let Some(id) = found.get(at) {
            found.extend(self.children(*id).to_vec());
            at += 1;
        }
        found
    }

    /// `LayerTreeDelete` of `layer`, merged into `target` unless that is 0. A group that is merged into itself becomes
    /// a layer.
    pub(super) fn delete(&mut self, layer: u32, target: u32) -> bool {
        let merges_itself = layer == target;
        let fits = self.nodes.contains_key(&layer)
            && (target == 0 || self.nodes.contains_key(&target))
            && self.is_group(target) == (merges_itself && target != 0);
        if !fits || !ids::is_layer(layer) {
            return false;
        }
        let all = self.subtree(layer);
        if merges_itself {
            all.iter().skip(1).for_each(|id| drop(self.nodes.remove(id)));
            if let Some(node) = self.nodes.get_mut(&layer) {
                node.children = None;
                node.attributes.isolated = false;
            }
        } else {
            self.take_out(layer);
            all.iter().for_each(|id| drop(self.nodes.remove(id)));
        }
        true
    }

    /// `LayerAttributes`.
    pub(super) fn set_attributes(&mut self, message: &LayerAttributes, ids: Ids) {
        let layer = ids.layer(message.id);
        let Some(node) = self.nodes.get_mut(&layer) else { return };
        if message.sublayer == 0 {
            node.attributes = Attributes::of(message, ids);
        } else if node.children.is_none() {
            node.open_strokes.insert(message.sublayer);
        }
    }

    /// `LayerRetitle`.
    pub(super) fn retitle(&mut self, layer: u32, title: &str) {
        if let Some(node) = self.nodes.get_mut(&layer) {
            title.clone_into(&mut node.title);
        }
    }

    /// A user has begun a stroke on a sublayer.
    pub(super) fn begin_stroke(&mut self, layer: u32, user: u8) {
        if let Some(node) = self.nodes.get_mut(&layer)
            && node.children.is_none()
        {
            node.open_strokes.insert(user);
        }
    }

    /// Ends strokes of a user, on all layers if `layer` is 0.
    pub(super) fn end_stroke(&mut self, layer: u32, user: u8) {
        if layer == 0 {
            for node in self.nodes.values_mut() {
                node.open_strokes.remove(&user);
            }
        } else if let Some(node) = self.nodes.get_mut(&layer) {
            node.open_strokes.remove(&user);
        }
    }

    /// Whether somebody's stroke is open.
    pub fn has_open_strokes(&self) -> bool {
        self.nodes.values().any(|node| !node.open_strokes.is_empty())
    }
}

/// New numbers for layers of an owner, counting up from a layer's own.
struct Numbers {
    owner: u8,
    used: BTreeSet<u32>,
    last: u32,
    max: u32,
}

impl Numbers {
    fn after(tree: &LayerTree, layer: u32, max: u32) -> Numbers {
        let owner = ids::owner(layer);
        let mut used: BTreeSet<u32> =
            tree.nodes.keys().filter(|id| ids::owner(**id) == owner).map(|id| ids::number(*id)).collect();
        used.insert(ids::number(layer));
        Numbers { owner, used, last: ids::number(layer), max }
    }

    /// The next id. Beyond the largest number clients of different versions do different things, so there is none.
    fn next(&mut self) -> Option<u32> {
        let free = (self.last + 1..=self.max).find(|number| !self.used.contains(number))?;
        self.used.insert(free);
        self.last = free;
        Some(ids::layer(self.owner, free))
    }
}
