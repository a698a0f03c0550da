//! Structure of the message table.

use super::Layout;
use super::generated::MESSAGES;

/// Group of a message type: who may send it, and who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// 0-31: between client and server, never recorded.
    Control,
    /// 32-63: part of the session history, read by the server as well.
    ServerMeta,
    /// 64-127: part of the session history, opaque to the server.
    ClientMeta,
    /// 128-255: changes the canvas, opaque to the server.
    Command,
}

/// One row of the message table.
#[derive(Debug)]
pub struct MessageInfo {
    /// Message type on the wire.
    pub id: u8,
    /// Name of the Rust type.
    pub name: &'static str,
    /// Name in the text form.
    pub text: &'static str,
    /// Group that the type's number belongs to.
    pub group: Group,
    /// The number is not in use: messages of this type are invalid.
    pub reserved: bool,
    /// The type does not exist in dp:4.24 sessions.
    pub only_4_25: bool,
    /// Payload fields in wire order.
    pub fields: &'static [FieldInfo],
    /// Payload fields in dp:4.24 sessions, if they differ.
    pub fields_4_24: Option<&'static [FieldInfo]>,
}

impl MessageInfo {
    /// The payload fields in a layout.
    pub fn layout(&self, layout: Layout) -> &'static [FieldInfo] {
        match layout {
            Layout::V4_24 => self.fields_4_24.unwrap_or(self.fields),
            Layout::V4_25 => self.fields,
        }
    }

    /// Whether the type exists in sessions of a layout.
    pub fn exists_in(&self, layout: Layout) -> bool {
        !self.reserved && (layout == Layout::V4_25 || !self.only_4_25)
    }
}

/// One field of a payload.
#[derive(Debug)]
pub struct FieldInfo {
    /// Name in the text form.
    pub name: &'static str,
    /// Type on the wire.
    pub kind: FieldKind,
    /// The wire value is the value of the text form times this.
    pub scale: u32,
}

/// Type of a field. Integers are big-endian.
#[derive(Debug)]
pub enum FieldKind {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 24 bits.
    U24,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 8 bits.
    I8,
    /// Signed, 32 bits.
    I32,
    /// One byte, 0 is false.
    Bool,
    /// 0xAARRGGBB.
    Argb32,
    /// One byte, see [`crate::blend`].
    BlendMode,
    /// One byte of flags; names from the lowest bit.
    Flags8(&'static [&'static str]),
    /// One byte; names of the values from 0.
    Enum8(&'static [&'static str]),
    /// UTF-8 to the end of the payload, or with a length byte before it.
    Utf8 {
        /// A length byte precedes it.
        length_prefix: bool,
    },
    /// Bytes to the end of the payload, or with a length byte before them.
    Bytes {
        /// A length byte precedes them.
        length_prefix: bool,
    },
    /// Integers to the end of the payload.
    List {
        /// Type of the items.
        item: ItemKind,
        /// Minimum number of items.
        min: usize,
        /// Maximum number of items.
        max: usize,
    },
    /// Fixed-size records to the end of the payload.
    StructList {
        /// Fields of a record.
        fields: &'static [FieldInfo],
        /// Minimum number of records.
        min: usize,
    },
}

/// Type of list items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
}

impl ItemKind {
    /// Size of an item in bytes.
    pub fn width(self) -> usize {
        match self {
            ItemKind::U8 => 1,
            ItemKind::U16 => 2,
            ItemKind::U32 | ItemKind::I32 => 4,
        }
    }
}

impl FieldKind {
    /// Size of the field in bytes; `None` if it varies.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool | Self::BlendMode | Self::Flags8(_) | Self::Enum8(_) => Some(1),
            Self::U16 => Some(2),
            Self::U24 => Some(3),
            Self::U32 | Self::I32 | Self::Argb32 => Some(4),
            Self::Utf8 { .. } | Self::Bytes { .. } | Self::List { .. } | Self::StructList { .. } => None,
        }
    }
}

/// The row of a message type, reserved types included; `None` if it is unknown.
pub fn info_of(kind: u8) -> Option<&'static MessageInfo> {
    MESSAGES.binary_search_by_key(&kind, |m| m.id).ok().map(|at| &MESSAGES[at])
}

/// The row of a name in the text form.
pub fn info_by_text(name: &str) -> Option<&'static MessageInfo> {
    MESSAGES.iter().find(|m| m.text == name && !m.reserved)
}
