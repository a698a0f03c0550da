//! Encoder of messages to WebSocket frames of a server: not fragmented, not masked.

use bytes::Bytes;
use drawhall_protocol::frame::frames;

use super::{BINARY, CLOSE, MAX_CONTROL};

/// Length prefix of a message in wire format; WebSocket messages have none.
const LENGTH_BYTES: usize = 2;

/// Appends a frame to `out`.
pub fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ ..=125 => out.push(len as u8),
        len @ ..=65535 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A close frame; the reason is cut to fit.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let len = reason.floor_char_boundary(MAX_CONTROL - payload.len());
    payload.extend_from_slice(&reason.as_bytes()[..len]);
    let mut out = Vec::with_capacity(2 + payload.len());
    frame(CLOSE, &payload, &mut out);
    out
}

/// Encodes messages in wire format, each as one binary frame.
pub fn encode_wire(batch: &[Bytes]) -> Vec<u8> {
    let wire: usize = batch.iter().map(Bytes::len).sum();
    // Most messages are short: the length prefix takes as much space as a frame header.
    let mut out = Vec::with_capacity(wire + wire / 16);
    for bytes in batch {
        for message in frames(bytes) {
            frame(BINARY, &message.bytes[LENGTH_BYTES..], &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    #[test]
    fn the_length_prefix_is_replaced_by_a_frame_header() {
        let batch: Vec<Bytes> =
            [0, 123, 124, 65533, 65534].map(|n| Frame::new(140, 7, &vec![1; n]).unwrap().into_bytes()).into();
        let out = encode_wire(&batch);
        let heads: [&[u8]; 5] = [
            &[0x82, 2],
            &[0x82, 125],
            &[0x82, 126, 0, 126],
            &[0x82, 126, 0xff, 0xff],
            &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0],
        ];
        let mut rest = out.as_slice();
        for (head, message) in heads.iter().zip(&batch) {
            rest = rest.strip_prefix(*head).unwrap().strip_prefix(&message[2..]).unwrap();
        }
        assert!(rest.is_empty());
        let together = Bytes::from(batch.concat());
        assert_eq!(encode_wire(&[together]), out);
    }

    #[test]
    fn a_long_close_reason_is_truncated() {
        assert_eq!(close(1000, "bye"), [0x88, 5, 3, 232, b'b', b'y', b'e']);
        let long = close(1002, &"é".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
