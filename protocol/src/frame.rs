//! Frames: messages as a header and an opaque payload.
//!
//! On TCP and in recordings a header is 4 bytes: payload length (u16, big-endian, 0-65535, without the header),
//! message type, user id. A WebSocket frame carries one message and leaves the length out. Source:
//! docs/spec/wire.md#framing.

use bytes::{Bytes, BytesMut};

/// Bytes of a frame's header on TCP and in recordings.
pub const HEADER_LEN: usize = 4;
/// Bytes of a message's header in a WebSocket frame.
pub const WS_HEADER_LEN: usize = 2;
/// Largest payload of one message in bytes.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;

/// First message type whose payload the server does not read.
pub const FIRST_OPAQUE: u8 = 64;
/// First message type that changes the canvas.
pub const FIRST_COMMAND: u8 = 128;

/// The header of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Payload length in bytes, without the header.
    pub len: u16,
    /// Message type.
    pub kind: u8,
    /// User id ("context id"): 0 the server, 1-254 users, 255 unused.
    pub user: u8,
}

impl FrameHeader {
    /// Parses the header at the start of `bytes`; `None` if there are fewer than [`HEADER_LEN`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let [a, b, kind, user, ..] = *bytes else { return None };
        Some(FrameHeader { len: u16::from_be_bytes([a, b]), kind, user })
    }

    /// The header in TCP form.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [a, b] = self.len.to_be_bytes();
        [a, b, self.kind, self.user]
    }

    /// The header in WebSocket form, without the length.
    pub fn to_ws_bytes(self) -> [u8; WS_HEADER_LEN] {
        [self.kind, self.user]
    }

    /// Length of header and payload together, in bytes.
    #[inline]
    pub fn frame_len(self) -> usize {
        HEADER_LEN + usize::from(self.len)
    }

    /// Whether the server relays the payload without reading it (types 64-255).
    #[inline]
    pub fn is_opaque(self) -> bool {
        self.kind >= FIRST_OPAQUE
    }
}

/// A frame that borrows from a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// The header.
    pub header: FrameHeader,
    /// Header and payload.
    pub bytes: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// The payload alone.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// Iterator over the complete frames at the start of a buffer. What follows them is [`Frames::rest`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

/// Iterates over the complete frames at the start of `bytes`.
pub fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { rest: bytes }
}

impl<'a> Frames<'a> {
    /// The bytes not returned yet. After the last frame: an incomplete frame, or nothing.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = FrameRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<FrameRef<'a>> {
        let header = FrameHeader::parse(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(header.frame_len())?;
        self.rest = rest;
        Some(FrameRef { header, bytes })
    }
}

/// Total length of the complete frames at the start of `bytes`.
pub fn whole_frames_len(bytes: &[u8]) -> usize {
    let mut iter = frames(bytes);
    while iter.next().is_some() {}
    bytes.len() - iter.rest().len()
}

/// Overwrites the user id in the header of each complete frame, in place.
pub fn set_user_of_all(bytes: &mut [u8], user: u8) {
    let mut at = 0;
    while let Some(header) = FrameHeader::parse(&bytes[at..]) {
        let end = at + header.frame_len();
        if end > bytes.len() {
            return;
        }
        bytes[at + 3] = user;
        at = end;
    }
}

/// A frame that owns its bytes. They are a slice of the buffer it was split from, not a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

/// A payload that is too long for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payload of {len} bytes exceeds the {MAX_PAYLOAD} that one message can hold")]
pub struct PayloadTooLong {
    /// The payload's length in bytes.
    pub len: usize,
}

impl Frame {
    /// Creates a frame with a copy of the payload.
    ///
    /// # Errors
    /// When the payload is longer than [`MAX_PAYLOAD`].
    pub fn new(kind: u8, user: u8, payload: &[u8]) -> Result<Frame, PayloadTooLong> {
        let len = u16::try_from(payload.len()).map_err(|_| PayloadTooLong { len: payload.len() })?;
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload.len());
        bytes.extend_from_slice(&FrameHeader { len, kind, user }.to_bytes());
        bytes.extend_from_slice(payload);
        Ok(Frame { bytes: bytes.freeze() })
    }

    /// The header.
    pub fn header(&self) -> FrameHeader {
        FrameHeader { len: (self.bytes.len() - HEADER_LEN) as u16, kind: self.bytes[2], user: self.bytes[3] }
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Header and payload in TCP form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Header and payload in TCP form.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Splits a byte stream into frames without copying payloads.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// The buffer that received bytes are to be appended to.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that are not returned as frames yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// The next frame, if it is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let header = FrameHeader::parse(&self.buffer)?;
        if self.buffer.len() < header.frame_len() {
            return None;
        }
        Some(Frame { bytes: self.buffer.split_to(header.frame_len()).freeze() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, user, payload) in frames {
            out.extend_from_slice(Frame::new(*kind, *user, payload).unwrap().as_bytes());
        }
        out
    }

    #[test]
    fn length_is_big_endian_and_does_not_count_the_header() {
        let frame = Frame::new(148, 7, &[1; 258]).unwrap();
        assert_eq!(&frame.as_bytes()[..4], &[1, 2, 148, 7]);
        assert_eq!(frame.header().frame_len(), 262);
        assert_eq!(frame.header().to_ws_bytes(), [148, 7]);
    }

    #[test]
    fn a_payload_of_65535_bytes_fits_and_one_more_does_not() {
        assert!(Frame::new(64, 1, &vec![0; MAX_PAYLOAD]).is_ok());
        assert_eq!(
            Frame::new(64, 1, &vec![0; MAX_PAYLOAD + 1]),
            Err(PayloadTooLong { len: MAX_PAYLOAD + 1 })
        );
    }

    #[test]
    fn types_from_64_on_are_opaque() {
        let header = |kind| FrameHeader { len: 0, kind, user: 0 };
        assert!(!header(63).is_opaque());
        assert!(header(64).is_opaque());
    }

    #[test]
    fn user_ids_are_overwritten_in_complete_frames_only() {
        let mut bytes = bytes_of(&[(64, 1, vec![9, 9]), (65, 2, vec![])]);
        bytes.extend_from_slice(&[0, 5, 66, 3, 1]);
        set_user_of_all(&mut bytes, 200);
        assert_eq!(bytes, [0, 2, 64, 200, 9, 9, 0, 0, 65, 200, 0, 5, 66, 3, 1]);
    }

    fn any_frames() -> impl Strategy<Value = Vec<(u8, u8, Vec<u8>)>> {
        prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20)
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_change_the_frames(
            sent in any_frames(),
            cuts in prop::collection::vec(1usize..200, 1..50),
            tail in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let mut bytes = bytes_of(&sent);
            bytes.extend_from_slice(&tail);
            let mut decoder = FrameDecoder::default();
            let mut got = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.buffer_mut().extend_from_slice(now);
                while let Some(frame) = decoder.next_frame() {
                    got.push((frame.header().kind, frame.header().user, frame.payload().to_vec()));
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&got, &sent);
            prop_assert_eq!(decoder.pending(), tail.as_slice());
        }

        #[test]
        fn bytes_are_split_into_frames_and_a_rest(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut iter = frames(&bytes);
            let total: usize = iter.by_ref().map(|f| f.bytes.len()).sum();
            prop_assert_eq!(total + iter.rest().len(), bytes.len());
            prop_assert_eq!(whole_frames_len(&bytes), total);
        }
    }
}
