//! The WebSocket side of the client: tungstenite.

use std::collections::VecDeque;
use std::io;

use tungstenite::client::IntoClientRequest as _;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::OpCode;
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Error, Message};

use super::client::Received;
use super::tls::Stream;

/// A WebSocket connection to a server.
pub struct WebSocket {
    inner: tungstenite::WebSocket<Stream>,
    /// Pings, pongs and closes that were received.
    pub control: VecDeque<Message>,
}

impl WebSocket {
    /// Asks for WebSocket with further headers, a line each. The error is the status of the answer, or 0 if the
    /// connection ended before one.
    pub fn upgrade(url: &str, stream: Stream, headers: &str) -> Result<WebSocket, u16> {
        let mut request = url.into_client_request().unwrap();
        for line in headers.lines() {
            let (name, value) = line.split_once(':').unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((inner, _)) => Ok(WebSocket { inner, control: VecDeque::new() }),
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(HandshakeError::Failure(
                Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete),
            )) => Err(0),
            Err(error) => panic!("the server does not upgrade: {error}"),
        }
    }

    /// The stream below.
    pub fn stream(&self) -> &Stream {
        self.inner.get_ref()
    }

    /// The stream below, for frames in parts and frames that are wrong.
    pub fn stream_mut(&mut self) -> &mut Stream {
        self.inner.get_mut()
    }

    /// Sends a message of the protocol.
    pub fn send(&mut self, kind: u8, user: u8, payload: &[u8]) {
        self.inner.send(Message::binary([&[kind, user], payload].concat())).unwrap();
    }

    /// Sends a frame, whose first byte has the flags and the opcode.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.inner.send(Message::Frame(frame(first, payload))).unwrap();
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: u16) {
        let close = CloseFrame { code: code.into(), reason: "".into() };
        self.inner.close(Some(close)).unwrap();
        self.inner.flush().unwrap();
    }

    /// The code of the next close frame that was received.
    pub fn close_code(&mut self) -> Option<u16> {
        std::iter::from_fn(|| self.control.pop_front()).find_map(|message| match message {
            Message::Close(close) => close.map(|close| close.code.into()),
            _ => None,
        })
    }

    /// The next message of the protocol; nothing when the connection has ended.
    pub(super) fn next(&mut self) -> io::Result<Option<Received>> {
        loop {
            match self.inner.read() {
                Ok(Message::Binary(bytes)) => {
                    let (&[kind, user], payload) = bytes.split_first_chunk().expect("a message has a header");
                    return Ok(Some(Received { kind, user, payload: payload.to_vec() }));
                }
                Ok(Message::Text(text)) => panic!("the server has sent text: {text}"),
                Ok(control) => self.control.push_back(control),
                Err(Error::Io(error)) => return Err(error),
                Err(
                    Error::ConnectionClosed
                    | Error::AlreadyClosed
                    | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                ) => return Ok(None),
                Err(error) => panic!("the server breaks the protocol: {error}"),
            }
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Frame {
    let bit = |n: u8| first & n != 0;
    let header = FrameHeader {
        is_final: bit(0x80),
        rsv1: bit(0x40),
        rsv2: bit(0x20),
        rsv3: bit(0x10),
        opcode: OpCode::from(first & 0x0f),
        mask: Some([0x37, 0xfa, 0x21, 0x3d]),
    };
    Frame::from_payload(header, payload.to_vec().into())
}

/// A frame of a client in wire form, for those that are cut or changed before they are sent.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(first, payload).format(&mut bytes).unwrap();
    bytes
}
