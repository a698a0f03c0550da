//! Typed messages and the message table, generated from docs/spec/wire.md#message-groups.
//!
//! [`Message::decode`] and [`Message::encode_payload`] handle both payload layouts. A struct has the fields of
//! dp:4.25. A field that dp:4.24 lacks is 0, false or empty when decoded from that layout, and omitted when encoded
//! for it. The [`MESSAGES`] table describes the same layouts as data, for the text form and for tests.

mod codec;
mod page;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use codec::{DecodeError, EncodeError};
use codec::{Reader, Writer};
pub use generated::*;
pub use page::page;
pub use table::{FieldInfo, FieldKind, Group, ItemKind, MessageInfo, info_by_text, info_of};

use crate::frame::{Frame, FrameHeader, FrameRef, HEADER_LEN};

/// Payload layout of a session; depends on its protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// dp:4.24.0 and older (clients up to 2.2).
    V4_24,
    /// dp:4.25.0 and newer (clients since 2.3).
    V4_25,
}

#[allow(clippy::all, clippy::pedantic, missing_docs)]
mod generated {
    use super::{
        DecodeError, EncodeError, FieldInfo, FieldKind, Group, ItemKind, Layout, MessageInfo, Reader, Writer,
    };

    include!(concat!(env!("OUT_DIR"), "/messages.rs"));

    impl Message {
        /// Decodes a payload. Invalid UTF-8 becomes U+FFFD, as in clients.
        ///
        /// # Errors
        /// When the type is unknown, reserved or does not exist in `layout`, or the payload is invalid.
        pub fn decode(kind: u8, payload: &[u8], layout: Layout) -> Result<Self, DecodeError> {
            if layout == Layout::V4_24 && super::info_of(kind).is_some_and(|m| m.only_4_25) {
                return Err(DecodeError::NotInLayout(kind));
            }
            let mut r = Reader::new(payload);
            let message = Self::read(kind, &mut r, layout)?;
            r.finish()?;
            Ok(message)
        }

        /// Appends the encoded payload, without a header, to `out`.
        ///
        /// # Errors
        /// When a value is out of range in the layout; `out` may then hold a part of the payload.
        pub fn encode_payload(&self, layout: Layout, out: &mut Vec<u8>) -> Result<(), EncodeError> {
            if layout == Layout::V4_24 && super::info_of(self.message_type()).is_some_and(|m| m.only_4_25) {
                return Err(EncodeError::NotInLayout(self.message_type()));
            }
            self.write(&mut Writer::new(out), layout)
        }
    }
}

impl Message {
    /// Encodes the message as a frame from `user`.
    ///
    /// # Errors
    /// When a value is out of range in the layout, or the payload is too long for one message.
    pub fn to_frame(&self, user: u8, layout: Layout) -> Result<Frame, EncodeError> {
        let mut payload = Vec::new();
        self.encode_payload(layout, &mut payload)?;
        Frame::new(self.message_type(), user, &payload).map_err(|e| EncodeError::TooLong(e.len))
    }

    /// Decodes a frame.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn from_frame(frame: FrameRef<'_>, layout: Layout) -> Result<Message, DecodeError> {
        Message::decode(frame.header.kind, frame.payload(), layout)
    }

    /// Decodes exactly one frame, header included. Returns its user id and the message.
    ///
    /// # Errors
    /// As [`Message::decode`], and when `bytes` is not exactly one frame.
    pub fn from_bytes(bytes: &[u8], layout: Layout) -> Result<(u8, Message), DecodeError> {
        match FrameHeader::parse(bytes) {
            Some(h) if h.frame_len() == bytes.len() => {
                Ok((h.user, Message::decode(h.kind, &bytes[HEADER_LEN..], layout)?))
            }
            _ => Err(DecodeError::TooShort),
        }
    }
}
