//! Encoder of messages to WebSocket frames of a server: not fragmented, not masked.

use bytes::{BufMut, Bytes, BytesMut};
use drawhall_protocol::frame::{FrameRef, frames};

use super::{BINARY, CLOSE, MAX_CONTROL};

/// Length prefix of a message in wire format; WebSocket messages have none.
const LENGTH_BYTES: usize = 2;
/// Maximum length of a frame header without a mask.
const MAX_HEAD: usize = 10;

/// Appends the header of a frame with a payload of `len` bytes.
fn head(opcode: u8, len: usize, out: &mut impl BufMut) {
    out.put_u8(0x80 | opcode);
    match len {
        0..=125 => out.put_u8(len as u8),
        126..=65535 => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

/// A whole frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_HEAD + payload.len());
    head(opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

/// A close frame; the reason is cut to fit.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let len = reason.floor_char_boundary(MAX_CONTROL - payload.len());
    payload.extend_from_slice(&reason.as_bytes()[..len]);
    frame(CLOSE, &payload)
}

/// Messages from this length on, in bytes, are written from where they are. Shorter ones are copied behind their frame
/// header: two more slices in a write cost the system about 60 ns, more than to copy a kilobyte.
const MIN_UNCOPIED: usize = 1 << 10;

/// Encodes messages in wire format, each as one binary frame. Appends slices to `out`, to be written in this order:
/// long messages are slices of `batch`, with their frame headers and short messages between them.
pub fn encode_wire(batch: &[Bytes], out: &mut Vec<Bytes>) {
    let all = || batch.iter().flat_map(|bytes| frames(bytes).map(move |frame| (bytes, frame)));
    let is_copied = |frame: FrameRef<'_>| frame.bytes.len() < MIN_UNCOPIED;
    let copied_len = |frame: FrameRef<'_>| if is_copied(frame) { frame.bytes.len() } else { 0 };
    let mut buffer = BytesMut::with_capacity(all().map(|(_, frame)| MAX_HEAD + copied_len(frame)).sum());
    for (bytes, frame) in all() {
        let message = &frame.bytes[LENGTH_BYTES..];
        head(BINARY, message.len(), &mut buffer);
        if is_copied(frame) {
            buffer.extend_from_slice(message);
        } else {
            out.push(buffer.split().freeze());
            out.push(bytes.slice_ref(message));
        }
    }
    if !buffer.is_empty() {
        out.push(buffer.freeze());
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    fn encoded(batch: &[Bytes]) -> Vec<Bytes> {
        let mut out = Vec::new();
        encode_wire(batch, &mut out);
        out
    }

    #[test]
    fn the_length_prefix_is_replaced_by_a_frame_header() {
        let batch: Vec<Bytes> =
            [0, 123, 124, 65533, 65534].map(|n| Frame::new(140, 7, &vec![1; n]).unwrap().into_bytes()).into();
        let out = encoded(&batch).concat();
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
        assert_eq!(encoded(&[together]).concat(), out);
    }

    #[test]
    fn long_messages_are_written_from_where_they_are() {
        let sizes = [10, 50_000, 20, 30, 1024 - 4, 60_000];
        let wire: Vec<u8> = sizes
            .iter()
            .flat_map(|n| Frame::new(140, 7, &vec![1; *n]).unwrap().as_bytes().to_vec())
            .collect();
        let wire = Bytes::from(wire);
        let out = encoded(std::slice::from_ref(&wire));
        let is_shared = |slice: &Bytes| wire.as_ptr_range().contains(&slice.as_ptr());
        let shared: Vec<(bool, usize)> = out.iter().map(|slice| (is_shared(slice), slice.len())).collect();
        let copied = [12 + 2 + 4, 2 + 22 + 2 + 32 + 4, 4];
        let expected = [
            (false, copied[0]),
            (true, 50_002),
            (false, copied[1]),
            (true, 1022),
            (false, copied[2]),
            (true, 60_002),
        ];
        assert_eq!(shared, expected);
    }

    #[test]
    fn a_long_close_reason_is_truncated() {
        assert_eq!(close(1000, "bye"), [0x88, 5, 3, 232, b'b', b'y', b'e']);
        let long = close(1002, &"é".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
