//! Ids of layers, annotations and tracks, which hold the user id of who made them. Source:
//! docs/spec/wire.md#layer-and-annotation-ids.

use drawhall_protocol::message::Layout;

/// The flag of ids that are selections.
const SELECTION: u32 = 0x80_0000;
/// Bits of a selection's id that are 0.
const SELECTION_BLANK: u32 = 0x7f_0000;
/// The largest number of a layer, in dp:4.25.
const MAX_NUMBER_4_25: u32 = 0x7fff;
/// The largest number of a layer, in dp:4.24.
const MAX_NUMBER_4_24: u32 = 0xff;

/// How messages hold ids. In the state they always are as in dp:4.25, with the user id in the low byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids(pub Layout);

impl Ids {
    /// The id of a layer from a message, or for one: both ways are the same.
    pub fn layer(self, id: u32) -> u32 {
        match self.0 {
            Layout::V4_25 => id,
            Layout::V4_24 => u32::from((id as u16).swap_bytes()),
        }
    }

    /// The id of an annotation or track from a message, or for one.
    pub fn object(self, id: u16) -> u16 {
        match self.0 {
            Layout::V4_25 => id,
            Layout::V4_24 => id.swap_bytes(),
        }
    }

    /// User id of who made the annotation or track with this id in a message.
    pub fn owner_of_object(self, id: u16) -> u8 {
        self.object(id) as u8
    }

    /// Flags of a message without those that clients of the version do not have; `older` are the flags of dp:4.24.
    pub fn known_flags(self, flags: u8, older: u8) -> u8 {
        match self.0 {
            Layout::V4_25 => flags,
            Layout::V4_24 => flags & older,
        }
    }

    /// The largest number that a layer can have.
    pub fn max_number(self) -> u32 {
        match self.0 {
            Layout::V4_25 => MAX_NUMBER_4_25,
            Layout::V4_24 => MAX_NUMBER_4_24,
        }
    }
}

/// User id of who made a layer.
pub fn owner(layer: u32) -> u8 {
    layer as u8
}

/// A layer's number among those of its owner.
pub fn number(layer: u32) -> u32 {
    layer >> 8
}

/// The id of a layer.
pub fn layer(owner: u8, number: u32) -> u32 {
    number << 8 | u32::from(owner)
}

/// Whether it can be a layer.
pub fn is_layer(id: u32) -> bool {
    id > 0 && id & SELECTION == 0
}

/// Whether it is a selection.
pub fn is_selection(id: u32) -> bool {
    id & SELECTION != 0 && id & SELECTION_BLANK == 0
}
