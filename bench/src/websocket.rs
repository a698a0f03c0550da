//! The client's side of WebSocket, as far as the protocol needs it: binary messages of one frame each.

use std::io;

use drawhall_protocol::frame::{HEADER_LEN, WS_HEADER_LEN, frames};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Most that an answer to the request may have, in bytes.
const MAX_ANSWER: usize = 16 << 10;

/// Opens a WebSocket connection. Returns what the server has sent behind its answer.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    address: &str,
) -> io::Result<Vec<u8>> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > MAX_ANSWER {
            return Err(io::Error::other("no answer to the WebSocket request"));
        }
    };
    let rest = answer.split_off(end);
    if answer.starts_with(b"HTTP/1.1 101 ") { Ok(rest) } else { Err(io::Error::other("no WebSocket here")) }
}

/// Appends messages (in their TCP form) as masked frames. The mask is 0: it protects proxies, of which there is none.
pub(crate) fn encode(messages: &[u8], out: &mut Vec<u8>) {
    for frame in frames(messages) {
        let message = &frame.bytes[HEADER_LEN - WS_HEADER_LEN..];
        out.push(FINAL | BINARY);
        match message.len() {
            len @ 0..=125 => out.push(MASKED | len as u8),
            len @ 126..=65535 => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(message);
    }
}

/// Moves the messages of whole frames from `received` to the end of `out`, in their TCP form. `false` after a close
/// frame.
pub(crate) fn decode(received: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let mut taken = 0;
    let mut is_open = true;
    while let Some((kind, begin, len)) = header(&received[taken..]) {
        let Some(payload) = received.get(taken + begin..taken + begin + len) else { break };
        if kind == BINARY && len >= WS_HEADER_LEN {
            out.extend_from_slice(&((len - WS_HEADER_LEN) as u16).to_be_bytes());
            out.extend_from_slice(payload);
        }
        is_open &= kind != CLOSE;
        taken += begin + len;
    }
    received.drain(..taken);
    is_open
}

/// Kind of a frame, where its payload begins, and its length.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let kind = bytes.first()? & 15;
    match *bytes.get(1)? & 127 {
        126 => Some((kind, 4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))),
        127 => {
            let len: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            Some((kind, 10, usize::try_from(u64::from_be_bytes(len)).ok()?))
        }
        len => Some((kind, 2, usize::from(len))),
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    /// As a server sends it: without a mask.
    fn unmasked(messages: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames(messages) {
            let mut one = Vec::new();
            encode(frame.bytes, &mut one);
            let (_, begin, _) = header(&one).unwrap();
            one[1] &= 127;
            one.drain(begin..begin + 4);
            bytes.extend(one);
        }
        bytes
    }

    #[test]
    fn messages_of_all_lengths_arrive_in_any_pieces() {
        let payloads = [0, 1, 122, 123, 124, 65533, 65534, 65535];
        let messages: Vec<u8> = payloads
            .iter()
            .flat_map(|len| Frame::new(148, 3, &vec![7; *len]).unwrap().into_bytes())
            .collect();
        for step in [1, 3, 1000, usize::MAX] {
            let (mut received, mut out) = (Vec::new(), Vec::new());
            for piece in unmasked(&messages).chunks(step) {
                received.extend_from_slice(piece);
                assert!(decode(&mut received, &mut out));
            }
            assert!(out == messages && received.is_empty(), "in pieces of {step}");
        }
    }

    #[test]
    fn a_close_frame_ends_it() {
        let mut received = vec![FINAL | CLOSE, 2, 3, 232];
        assert!(!decode(&mut received, &mut Vec::new()));
    }
}
