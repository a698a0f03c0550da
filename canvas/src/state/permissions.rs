//! Which messages clients execute: each client checks permissions itself and drops what is not allowed.
//! Source: docs/spec/session.md#permissions-in-clients.

use std::collections::{BTreeMap, BTreeSet};

use drawhall_protocol::message::{AnnotationEdit, Join, LayerACL, Message, SetMetadataInt};

use super::ids::{self, Ids};

/// Number of access tiers: operator, trusted, authenticated, guest; the lower, the more rights.
pub const TIERS: usize = 4;
/// Number of features of `FeatureAccessLevels`.
pub const FEATURES: usize = 12;
/// Number of limits of `FeatureLimits`, each of which has a value for each tier.
pub const LIMITS: usize = 2;
/// Maximum number of layers with permissions of their own. Those of further layers are not known, which
/// [`Permissions::are_complete`] tells.
pub const MAX_LAYER_ACLS: usize = 65_536;

/// Flags of `LayerACL` besides the tier.
const CONTENT_LOCKED: u8 = 0x80;
const MOVE_LOCKED: u8 = 0x40;
const PROPERTIES_LOCKED: u8 = 0x20;
/// The flag that locks the canvas, in a `LayerACL` for layer 0.
const CANVAS_LOCKED: u8 = 0x80;
/// Bits of the tier in the flags of `LayerACL`.
const TIER_MASK: u8 = 0x03;
/// Flags of `LayerACL` in dp:4.24.
const FLAGS_4_24: u8 = CONTENT_LOCKED | TIER_MASK;
/// A tier of `FeatureAccessLevels` that leaves the feature as it is.
const KEEP_TIER: u8 = 255;

const OPERATOR: u8 = 0;
const TRUSTED: u8 = 1;
const AUTHENTICATED: u8 = 2;
const GUEST: u8 = 3;

/// What `FeatureAccessLevels` has a tier for, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `PutImage` and `FillRect`.
    PutImage,
    /// `MoveRect` and `TransformRegion`.
    RegionMove,
    /// `CanvasResize` and the resolution.
    Resize,
    /// The background.
    Background,
    /// Layers of others.
    EditLayers,
    /// Own layers.
    OwnLayers,
    /// New annotations.
    CreateAnnotation,
    /// Laser pointer.
    Laser,
    /// Undo and redo.
    Undo,
    /// Brushes with pigment.
    SlowBrush,
    /// Tracks, key frames, frame rate.
    Timeline,
    /// MyPaint brushes.
    MyPaint,
}

/// Tiers that may use each feature in a new session.
const DEFAULT_TIERS: [u8; FEATURES] =
    [GUEST, GUEST, OPERATOR, OPERATOR, OPERATOR, GUEST, GUEST, GUEST, GUEST, OPERATOR, GUEST, GUEST];
/// Limits in a new session by tier: size of brushes in pixels, number of layers. -1: none.
const DEFAULT_LIMITS: [[i32; TIERS]; LIMITS] = [[-1, 255, 255, 255], [-1, 1000, 1000, 1000]];
const BRUSH_SIZE: usize = 0;
const LAYER_COUNT: usize = 1;
/// Blend modes of brushes that count as slow.
const PIGMENT_BLENDS: [u8; 3] = [43, 81, 82];
/// The flag of `DrawDabsMyPaint` for pigment.
const MYPAINT_PIGMENT: u8 = 1;
/// A blend mode of `PutImage` that means no drawing, but a local change.
const LOCAL_MATCH_BLEND: u8 = 252;
/// Parts of a pixel in the sizes of round and MyPaint dabs.
const SUBPIXELS: u32 = 256;

/// Permissions of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAcl {
    /// Tier and locks, as in `LayerACL`; bits that mean nothing are 0.
    pub flags: u8,
    /// The only users that may draw on it; empty for everybody.
    pub exclusive: BTreeSet<u8>,
}

/// What clients know about permissions at a place in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    operators: BTreeSet<u8>,
    trusted: BTreeSet<u8>,
    authenticated: BTreeSet<u8>,
    locked: BTreeSet<u8>,
    canvas_locked: bool,
    layers: BTreeMap<u32, LayerAcl>,
    lost_layers: bool,
    protected: BTreeSet<u16>,
    tiers: [u8; FEATURES],
    limits: [[i32; TIERS]; LIMITS],
}

impl Default for Permissions {
    fn default() -> Self {
        Permissions {
            operators: BTreeSet::new(),
            trusted: BTreeSet::new(),
            authenticated: BTreeSet::new(),
            locked: BTreeSet::new(),
            canvas_locked: false,
            layers: BTreeMap::new(),
            lost_layers: false,
            protected: BTreeSet::new(),
            tiers: DEFAULT_TIERS,
            limits: DEFAULT_LIMITS,
        }
    }
}

impl Permissions {
    /// Layers with permissions of their own, by id.
    pub fn layers(&self) -> &BTreeMap<u32, LayerAcl> {
        &self.layers
    }

    /// Whether the permissions of all layers are known: [`MAX_LAYER_ACLS`] was never exceeded.
    pub fn are_complete(&self) -> bool {
        !self.lost_layers
    }

    /// Users that may not draw.
    pub fn locked(&self) -> &BTreeSet<u8> {
        &self.locked
    }

    /// Tier that may use each feature.
    pub fn tiers(&self) -> [u8; FEATURES] {
        self.tiers
    }

    /// Limits by tier.
    pub fn limits(&self) -> [[i32; TIERS]; LIMITS] {
        self.limits
    }

    /// Whether nobody may draw.
    pub fn canvas_locked(&self) -> bool {
        self.canvas_locked
    }

    /// Whether clients take this user for an operator. The server (0) always is one.
    pub fn is_operator(&self, user: u8) -> bool {
        user == 0 || self.operators.contains(&user)
    }

    fn tier(&self, user: u8) -> u8 {
        if self.is_operator(user) {
            OPERATOR
        } else if self.trusted.contains(&user) {
            TRUSTED
        } else if self.authenticated.contains(&user) {
            AUTHENTICATED
        } else {
            GUEST
        }
    }

    /// Whether the user may use the feature.
    pub fn may_use(&self, feature: Feature, user: u8) -> bool {
        self.tier(user) <= self.tiers[feature as usize]
    }

    fn limit(&self, limit: usize, user: u8) -> i32 {
        self.limits[limit][usize::from(self.tier(user))]
    }

    /// Whether the user may not draw on the layer.
    fn is_layer_locked(&self, user: u8, layer: u32) -> bool {
        if ids::is_selection(layer) {
            return true;
        }
        self.layers.get(&layer).is_some_and(|acl| {
            acl.flags & CONTENT_LOCKED != 0
                || !acl.exclusive.is_empty() && !acl.exclusive.contains(&user)
                || acl.flags & TIER_MASK < self.tier(user)
        })
    }

    fn has_layer_flag(&self, layer: u32, flag: u8) -> bool {
        self.layers.get(&layer).is_some_and(|acl| acl.flags & flag != 0)
    }

    fn may_edit_layer(&self, user: u8, layer: u32) -> bool {
        self.may_use(Feature::EditLayers, user)
            || self.may_use(Feature::OwnLayers, user) && ids::owner(layer) == user
    }

    fn may_edit_any_layer(&self, user: u8) -> bool {
        self.may_use(Feature::EditLayers, user) || self.may_use(Feature::OwnLayers, user)
    }

    /// Takes the next message and says whether clients execute it. Ids of layers, annotations and tracks in it are in
    /// the form of `ids`.
    pub fn accept(&mut self, user: u8, message: &Message, ids: Ids) -> bool {
        if message.message_type() >= 128 {
            let may_draw = !self.canvas_locked && (user == 0 || !self.locked.contains(&user));
            return may_draw && self.accept_command(user, message, ids);
        }
        match message {
            Message::Join(join) if join.flags & Join::FLAGS_AUTH != 0 => {
                self.authenticated.insert(user);
            }
            Message::Leave(_) => self.leave(user),
            Message::SessionOwner(owners) => self.operators = owners.users.iter().copied().collect(),
            Message::TrustedUsers(trusted) => self.trusted = trusted.users.iter().copied().collect(),
            Message::LaserTrail(_) => return self.may_use(Feature::Laser, user),
            Message::LocalChange(_) => return user == 0,
            Message::LayerACL(acl) => return self.accept_layer_acl(user, acl, ids),
            Message::UserACL(_)
            | Message::FeatureAccessLevels(_)
            | Message::FeatureLimits(_)
            | Message::DefaultLayer(_)
            | Message::UndoDepth(_) => return self.accept_of_operator(user, message),
            _ => {}
        }
        true
    }

    fn leave(&mut self, user: u8) {
        for set in [&mut self.operators, &mut self.trusted, &mut self.authenticated, &mut self.locked] {
            set.remove(&user);
        }
    }

    fn accept_of_operator(&mut self, user: u8, message: &Message) -> bool {
        if !self.is_operator(user) {
            return false;
        }
        match message {
            Message::UserACL(acl) => self.locked = acl.users.iter().copied().collect(),
            Message::FeatureAccessLevels(levels) => {
                for (tier, new) in self.tiers.iter_mut().zip(&levels.feature_tiers) {
                    *tier = if *new == KEEP_TIER { *tier } else { (*new).min(GUEST) };
                }
            }
            Message::FeatureLimits(limits) => {
                let all = self.limits.as_flattened_mut().iter_mut();
                all.zip(&limits.limits).for_each(|(limit, new)| *limit = *new);
            }
            _ => {}
        }
        true
    }

    fn accept_layer_acl(&mut self, user: u8, acl: &LayerACL, ids: Ids) -> bool {
        let layer = ids.layer(acl.id);
        if layer == 0 {
            let allowed = self.is_operator(user);
            if allowed {
                self.canvas_locked = acl.flags & CANVAS_LOCKED != 0;
            }
            return allowed;
        }
        if !ids::is_layer(layer) || !self.may_edit_layer(user, layer) {
            return false;
        }
        let flags = ids.known_flags(acl.flags, FLAGS_4_24);
        if flags == GUEST && acl.exclusive.is_empty() {
            self.layers.remove(&layer);
        } else if self.layers.len() < MAX_LAYER_ACLS || self.layers.contains_key(&layer) {
            let tier = flags & TIER_MASK;
            let flags = flags & (CONTENT_LOCKED | MOVE_LOCKED | PROPERTIES_LOCKED) | tier;
            self.layers.insert(layer, LayerAcl { flags, exclusive: acl.exclusive.iter().copied().collect() });
        } else {
            self.lost_layers = true;
        }
        true
    }

    fn accept_command(&mut self, user: u8, message: &Message, ids: Ids) -> bool {
        match message {
            Message::CanvasResize(_) => self.may_use(Feature::Resize, user),
            Message::PutTile(_) | Message::PutTileZstd(_) => self.is_operator(user),
            Message::CanvasBackground(_) | Message::CanvasBackgroundZstd(_) => {
                self.may_use(Feature::Background, user)
            }
            Message::SetMetadataInt(set) => self.may_set_metadata(user, set.field),
            Message::TrackCreate(create) => {
                (ids.owner_of_object(create.id) == user || self.is_operator(user))
                    && self.may_use(Feature::Timeline, user)
            }
            Message::TrackRetitle(_)
            | Message::TrackDelete(_)
            | Message::TrackOrder(_)
            | Message::KeyFrameSet(_)
            | Message::KeyFrameRetitle(_)
            | Message::KeyFrameLayerAttributes(_)
            | Message::KeyFrameDelete(_) => self.may_use(Feature::Timeline, user),
            // Clients only send these to themselves.
            Message::SelectionPut(_) | Message::SelectionClear(_) => false,
            Message::SyncSelectionTile(tile) => tile.user == user || self.is_operator(user),
            Message::Undo(_) => self.may_use(Feature::Undo, user),
            Message::AnnotationCreate(_)
            | Message::AnnotationReshape(_)
            | Message::AnnotationEdit(_)
            | Message::AnnotationDelete(_) => self.accept_annotation(user, message, ids),
            Message::LayerAttributes(_)
            | Message::LayerRetitle(_)
            | Message::LayerTreeCreate(_)
            | Message::LayerTreeMove(_)
            | Message::LayerTreeDelete(_) => self.accept_layer(user, message, ids),
            _ => self.may_draw(user, message, ids),
        }
    }

    fn may_set_metadata(&self, user: u8, field: u8) -> bool {
        match field {
            SetMetadataInt::FIELD_FRAMERATE
            | SetMetadataInt::FIELD_FRAME_COUNT
            | SetMetadataInt::FIELD_FRAMERATE_FRACTION
            | SetMetadataInt::FIELD_FRAME_RANGE_FIRST
            | SetMetadataInt::FIELD_FRAME_RANGE_LAST => self.may_use(Feature::Timeline, user),
            SetMetadataInt::FIELD_OFFSET_X | SetMetadataInt::FIELD_OFFSET_Y => self.is_operator(user),
            _ => self.may_use(Feature::Resize, user),
        }
    }

    fn accept_layer(&mut self, user: u8, message: &Message, ids: Ids) -> bool {
        match message {
            Message::LayerAttributes(attributes) => self.may_edit_properties(user, ids.layer(attributes.id)),
            Message::LayerRetitle(retitle) => self.may_edit_properties(user, ids.layer(retitle.id)),
            Message::LayerTreeCreate(create) => self.may_create_layer(user, ids.layer(create.id)),
            Message::LayerTreeMove(moved) => {
                let layer = ids.layer(moved.layer);
                self.may_edit_layer(user, layer) && !self.has_layer_flag(layer, MOVE_LOCKED)
            }
            Message::LayerTreeDelete(delete) => {
                let (layer, target) = (ids.layer(delete.id), ids.layer(delete.merge_to));
                let allowed =
                    self.may_edit_layer(user, layer) && (target == 0 || !self.is_layer_locked(user, target));
                if allowed {
                    // Not even undo brings it back.
                    self.layers.remove(&layer);
                }
                allowed
            }
            _ => true,
        }
    }

    fn may_edit_properties(&self, user: u8, layer: u32) -> bool {
        self.may_edit_layer(user, layer) && !self.has_layer_flag(layer, PROPERTIES_LOCKED)
    }

    fn may_create_layer(&self, user: u8, layer: u32) -> bool {
        let is_operator = self.is_operator(user);
        let limit = self.limit(LAYER_COUNT, user);
        let exceeds = limit == 0 || limit > 0 && i64::from(ids::number(layer)) >= i64::from(limit);
        (is_operator || !exceeds && ids::owner(layer) == user) && self.may_edit_any_layer(user)
    }

    fn accept_annotation(&mut self, user: u8, message: &Message, ids: Ids) -> bool {
        let is_theirs = |id: u16| ids.owner_of_object(id) == user || self.is_operator(user);
        match message {
            Message::AnnotationCreate(create) => {
                self.may_use(Feature::CreateAnnotation, user) && is_theirs(create.id)
            }
            Message::AnnotationReshape(reshape) => {
                is_theirs(reshape.id) || !self.protected.contains(&reshape.id)
            }
            Message::AnnotationEdit(edit) => {
                let allowed = is_theirs(edit.id);
                if allowed && edit.flags & AnnotationEdit::FLAGS_PROTECT != 0 {
                    self.protected.insert(edit.id);
                } else if allowed {
                    self.protected.remove(&edit.id);
                }
                allowed
            }
            Message::AnnotationDelete(delete) => {
                let allowed = is_theirs(delete.id) || !self.protected.contains(&delete.id);
                if allowed {
                    self.protected.remove(&delete.id);
                }
                allowed
            }
            _ => true,
        }
    }

    /// Whether the user may draw what the message says.
    fn may_draw(&self, user: u8, message: &Message, ids: Ids) -> bool {
        let is_open = |layer: u32| !self.is_layer_locked(user, ids.layer(layer));
        let may_put = |layer: u32, mode: u8| {
            mode == LOCAL_MATCH_BLEND || self.may_use(Feature::PutImage, user) && is_open(layer)
        };
        let may_move = |layer: u32, source: u32| {
            self.may_use(Feature::RegionMove, user) && is_open(source) && is_open(layer)
        };
        let may_brush = |layer: u32, is_pigment: bool, size: u32| {
            let limit = self.limit(BRUSH_SIZE, user);
            (!is_pigment || self.may_use(Feature::SlowBrush, user))
                && is_open(layer)
                && limit != 0
                && (limit < 0 || i64::from(size) <= i64::from(limit))
        };
        let pigment = |mode: u8| PIGMENT_BLENDS.contains(&mode);
        match message {
            Message::PutImage(put) => may_put(put.layer, put.mode),
            Message::PutImageZstd(put) => may_put(put.layer, put.mode),
            Message::FillRect(fill) => self.may_use(Feature::PutImage, user) && is_open(fill.layer),
            Message::MoveRect(m) => may_move(m.layer, m.source),
            Message::MoveRectZstd(m) => may_move(m.layer, m.source),
            Message::TransformRegion(t) => may_move(t.layer, t.source),
            Message::TransformRegionZstd(t) => may_move(t.layer, t.source),
            Message::DrawDabsClassic(d) => {
                may_brush(d.layer, pigment(d.mode), largest(d.dabs.iter().map(|dab| dab.size)) / SUBPIXELS)
            }
            Message::DrawDabsPixel(d) => {
                may_brush(d.layer, pigment(d.mode), largest(d.dabs.iter().map(|dab| dab.size.into())))
            }
            Message::DrawDabsPixelSquare(d) => {
                may_brush(d.layer, pigment(d.mode), largest(d.dabs.iter().map(|dab| dab.size.into())))
            }
            Message::DrawDabsMyPaint(d) => {
                let size = largest(d.dabs.iter().map(|dab| dab.size)) / SUBPIXELS;
                self.may_use(Feature::MyPaint, user)
                    && may_brush(d.layer, d.flags & MYPAINT_PIGMENT != 0, size)
            }
            Message::DrawDabsMyPaintBlend(d) => {
                let size = largest(d.dabs.iter().map(|dab| dab.size)) / SUBPIXELS;
                self.may_use(Feature::MyPaint, user) && may_brush(d.layer, pigment(d.mode), size)
            }
            _ => true,
        }
    }
}

fn largest(sizes: impl Iterator<Item = u32>) -> u32 {
    sizes.max().unwrap_or_default()
}
