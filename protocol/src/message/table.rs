//! The message table as data.

use super::Layout;
use super::generated::MESSAGES;

/// What kind of message it is: who may send it and who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// 0-31: between client and server, never recorded.
    Control,
    /// 32-63: part of a session, read by the server too.
    ServerMeta,
    /// 64-127: part of a session, opaque to the server.
    ClientMeta,
    /// 128-255: changes the canvas, opaque to the server.
    Command,
}

/// One row of the message table.
#[derive(Debug)]
pub struct MessageInfo {
    /// Message type on the wire.
    pub id: u8,
    /// Canonical name.
    pub name: &'static str,
    /// Name in the text form.
    pub text: &'static str,
    /// Its group.
    pub group: Group,
    /// The id is not in use; no payload with it is valid.
    pub reserved: bool,
    /// It does not exist in dp:4.24 sessions.
    pub only_4_25: bool,
    /// Payload in wire order.
    pub fields: &'static [FieldInfo],
    /// Payload in dp:4.24 sessions, where it differs.
    pub fields_4_24: Option<&'static [FieldInfo]>,
}

impl MessageInfo {
    /// The payload's fields in `layout`.
    pub fn layout(&self, layout: Layout) -> &'static [FieldInfo] {
        match layout {
            Layout::V4_24 => self.fields_4_24.unwrap_or(self.fields),
            Layout::V4_25 => self.fields,
        }
    }

    /// Whether messages of this type exist in sessions of `layout`.
    pub fn exists_in(&self, layout: Layout) -> bool {
        !self.reserved && (layout == Layout::V4_25 || !self.only_4_25)
    }
}

/// One field of a payload.
#[derive(Debug)]
pub struct FieldInfo {
    /// Name in the text form.
    pub name: &'static str,
    /// Its type on the wire.
    pub kind: FieldKind,
    /// The text form writes the integer divided by this.
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
    /// One byte of bits, named lowest first.
    Flags8(&'static [&'static str]),
    /// One byte, named from 0.
    Enum8(&'static [&'static str]),
    /// Text to the end of the payload, or with a length byte before it.
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
        /// Least number of items.
        min: usize,
        /// Greatest number of items.
        max: usize,
    },
    /// Records of fixed size to the end of the payload.
    StructList {
        /// Fields of a record.
        fields: &'static [FieldInfo],
        /// Least number of records.
        min: usize,
    },
}

/// Type of a list's items.
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
    /// Bytes of an item.
    pub fn width(self) -> usize {
        match self {
            ItemKind::U8 => 1,
            ItemKind::U16 => 2,
            ItemKind::U32 | ItemKind::I32 => 4,
        }
    }
}

impl FieldKind {
    /// Bytes of the field, if that is always the same.
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

/// The row of a message type; reserved ids have one too.
pub fn info_of(kind: u8) -> Option<&'static MessageInfo> {
    MESSAGES.binary_search_by_key(&kind, |m| m.id).ok().map(|at| &MESSAGES[at])
}

/// The row of a name in the text form.
pub fn info_by_text(name: &str) -> Option<&'static MessageInfo> {
    MESSAGES.iter().find(|m| m.text == name && !m.reserved)
}
