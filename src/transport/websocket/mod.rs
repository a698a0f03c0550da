//! WebSocket, RFC 6455: the upgrade, and frames to messages and back. Nothing here does I/O.

mod decoder;
mod encoder;
mod upgrade;

pub use decoder::{Accepts, Decoder, Event, Violation};
pub use encoder::{close, encode_wire, frame};
pub use upgrade::{MAX_HEAD, Refused, Upgrade};

/// A frame that continues a message.
pub const CONTINUATION: u8 = 0;
/// A message of UTF-8 text.
pub const TEXT: u8 = 1;
/// A message of bytes.
pub const BINARY: u8 = 2;
/// Goodbye.
pub const CLOSE: u8 = 8;
/// To be answered with the same content.
pub const PING: u8 = 9;
/// The answer to a ping.
pub const PONG: u8 = 10;

/// Greatest payload of a control frame in bytes.
pub const MAX_CONTROL: usize = 125;

/// Why a connection is closed. Source: RFC 6455, 7.4.1.
pub mod code {
    /// It has served its purpose.
    pub const NORMAL: u16 = 1000;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// A kind of message that is not understood: text.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is no UTF-8, or a message without its first two bytes.
    pub const INVALID: u16 = 1007;
    /// A message that is too long.
    pub const TOO_BIG: u16 = 1009;
}
