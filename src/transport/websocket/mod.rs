//! WebSocket, RFC 6455: upgrade request, frame decoder and encoder. No I/O here.

mod decoder;
mod encoder;
mod upgrade;

pub use decoder::{Accepts, Decoder, Event, Violation};
pub use encoder::{close, encode_wire, frame};
pub use upgrade::{MAX_HEAD, Refused, Upgrade, read_other_request};

/// Opcodes of frames.
pub const CONTINUATION: u8 = 0;
/// RFC 6455, 5.2.
pub const TEXT: u8 = 1;
/// RFC 6455, 5.2.
pub const BINARY: u8 = 2;
/// RFC 6455, 5.5.1.
pub const CLOSE: u8 = 8;
/// RFC 6455, 5.5.2.
pub const PING: u8 = 9;
/// RFC 6455, 5.5.3.
pub const PONG: u8 = 10;

/// Maximum payload of a control frame in bytes.
pub const MAX_CONTROL: usize = 125;

/// Close codes. Source: RFC 6455, 7.4.1.
pub mod code {
    /// RFC 6455, 7.4.1.
    pub const NORMAL: u16 = 1000;
    /// The peer violated the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// A text message, where only binary ones are accepted.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is not UTF-8, or a message without its two-byte header.
    pub const INVALID: u16 = 1007;
    /// RFC 6455, 7.4.1.
    pub const TOO_BIG: u16 = 1009;
}
