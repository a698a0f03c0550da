//! The Drawpile network protocol, without any I/O of its own.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`frame`] | headers on TCP and WebSocket, splitting a byte stream into frames, user ids in place |
//! | [`message`] | every message type, decoded and encoded in both layouts; the message table |
//! | [`canvas`] | the first messages of an empty canvas |
//! | [`command`] | what clients ask for in `ServerCommand` messages |
//! | [`reply`] | what the server answers in them |
//! | [`qt_base64`] | base64 as Qt reads it |
//! | [`version`] | protocol versions and what is compatible with what |
//! | [`text`] | one line of the text form, today's and that of before 2.2 |
//! | [`recording`] | binary (`.dprec`) and text (`.dptxt`) recordings, read and written as streams |
//!
//! Everything here works on bytes and [`std::io`] traits that the caller brings; nothing opens files or sockets,
//! looks at a clock or knows about sessions. No input makes it panic.

pub mod blend;
pub mod canvas;
pub mod command;
pub mod frame;
mod lenient;
pub mod message;
pub mod qt_base64;
pub mod recording;
pub mod reply;
pub mod text;
pub mod version;

pub use frame::{Frame, FrameDecoder, FrameHeader, HEADER_LEN, MAX_PAYLOAD};
pub use lenient::{from_json, whole_number};
pub use message::{Layout, Message};
pub use version::ProtocolVersion;
