//! The Drawpile network protocol, without any I/O of its own.
//!
//! | module | content |
//! | --- | --- |
//! | [`frame`] | headers on TCP and WebSocket, splitting a byte stream into frames, user ids |
//! | [`message`] | encoding and decoding of all message types in both layouts; the message table |
//! | [`canvas`] | the first messages of an empty canvas |
//! | [`command`] | commands of clients: the JSON of `ServerCommand` messages |
//! | [`reply`] | replies of the server: the JSON of `ServerCommand` messages |
//! | [`qt_base64`] | base64 as Qt reads it |
//! | [`version`] | protocol versions and their compatibility |
//! | [`text`] | the text form of messages, the current one and the one before 2.2 |
//! | [`recording`] | readers and writers of binary (`.dprec`) and text (`.dptxt`) recordings |
//!
//! Everything works on bytes and [`std::io`] traits. Nothing opens files or sockets, reads a clock or knows about
//! sessions. No input makes it panic.

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
