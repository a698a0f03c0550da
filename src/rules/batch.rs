//! Whole frames from a client, measured once.
//!
//! The reader makes a [`Batch`] when it splits what was received into frames. Rate limit, in-flight budget and session
//! use its numbers and do not look at the frames for them again.

use drawhall_protocol::frame::{FIRST_COMMAND, FIRST_OPAQUE, FrameRef, HEADER_LEN, WS_HEADER_LEN, frames};
use drawhall_protocol::message::UserACL;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::serde_base64;

/// Cost of a message that the server decodes, where an opaque one costs 1.
const TRANSPARENT_COST: u64 = 20;

/// Whole frames from a client. Serialized as base64 of the frames; the numbers are counted when it is read.
///
/// **Invariants**
/// * The bytes end where a frame ends.
/// * The numbers are those of the frames, whatever user ids stand in their headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    measure: Measure,
}

/// The numbers of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Measure {
    messages: u64,
    /// Messages that the server decodes.
    transparent: u64,
    /// Bytes of messages that the server does not decode, with their headers.
    opaque_bytes: u64,
    /// There is a message that changes the canvas.
    draws: bool,
    /// There is a list of locked users.
    locks_users: bool,
}

impl Measure {
    #[inline]
    fn count(&mut self, kind: u8, len: usize) {
        self.messages += 1;
        if kind < FIRST_OPAQUE {
            self.transparent += 1;
        } else {
            self.opaque_bytes += len as u64;
        }
        self.draws |= kind >= FIRST_COMMAND;
        self.locks_users |= kind == UserACL::TYPE;
    }

    /// Counts the whole frames at the start of `bytes`; returns their length, too.
    fn of(bytes: &[u8]) -> (usize, Measure) {
        let mut measure = Measure::default();
        let mut frames = frames(bytes);
        for frame in &mut frames {
            measure.count(frame.header.kind, frame.bytes.len());
        }
        (bytes.len() - frames.rest().len(), measure)
    }
}

/// A WebSocket message that is too short or too long for a message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAMessage;

impl Batch {
    /// The whole frames at the start of `bytes`; what follows them is dropped.
    pub fn new(mut bytes: Vec<u8>) -> Batch {
        let (len, measure) = Measure::of(&bytes);
        bytes.truncate(len);
        Batch { bytes, measure }
    }

    /// The whole frames of `partial` and `received` together; the beginning of an incomplete one stays in `partial`.
    pub fn split_off(partial: &mut Vec<u8>, received: &[u8]) -> Batch {
        if partial.is_empty() {
            let (len, measure) = Measure::of(received);
            let (whole, rest) = received.split_at(len);
            *partial = rest.to_vec();
            return Batch { bytes: whole.to_vec(), measure };
        }
        partial.extend_from_slice(received);
        let (len, measure) = Measure::of(partial);
        let rest = partial.split_off(len);
        Batch { bytes: std::mem::replace(partial, rest), measure }
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: FrameRef<'_>) {
        self.measure.count(frame.header.kind, frame.bytes.len());
        self.bytes.extend_from_slice(frame.bytes);
    }

    /// Appends a message in its WebSocket form: type, user id and payload.
    ///
    /// # Errors
    /// When it has no type and user id, or its payload is too long.
    pub fn push_websocket(&mut self, message: &[u8]) -> Result<(), NotAMessage> {
        let [kind, _, payload @ ..] = message else { return Err(NotAMessage) };
        let len = u16::try_from(payload.len()).map_err(|_| NotAMessage)?;
        self.measure.count(*kind, HEADER_LEN + payload.len());
        self.bytes.reserve(HEADER_LEN - WS_HEADER_LEN + message.len());
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Appends another batch.
    pub fn append(&mut self, other: Batch) {
        if self.bytes.is_empty() {
            *self = other;
            return;
        }
        self.bytes.extend_from_slice(&other.bytes);
        self.measure.messages += other.measure.messages;
        self.measure.transparent += other.measure.transparent;
        self.measure.opaque_bytes += other.measure.opaque_bytes;
        self.measure.draws |= other.measure.draws;
        self.measure.locks_users |= other.measure.locks_users;
    }

    /// The frames.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frames.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of messages.
    pub fn messages(&self) -> u64 {
        self.measure.messages
    }

    /// Cost for `messageRateLimit`: an opaque message costs 1, one that the server decodes costs more.
    pub fn cost(&self) -> u64 {
        self.measure.messages + (TRANSPARENT_COST - 1) * self.measure.transparent
    }

    /// Messages that the server does not decode: what is drawn.
    pub fn opaque_messages(&self) -> u64 {
        self.measure.messages - self.measure.transparent
    }

    /// Bytes of these messages, with their headers.
    pub fn opaque_bytes(&self) -> u64 {
        self.measure.opaque_bytes
    }

    /// Whether the server decodes none of the messages.
    pub fn is_opaque(&self) -> bool {
        self.measure.transparent == 0
    }

    /// Whether there is a list of locked users.
    pub fn locks_users(&self) -> bool {
        self.measure.locks_users
    }

    /// Whether a message changes the canvas.
    pub fn draws(&self) -> bool {
        self.measure.draws
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_base64::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch, D::Error> {
        serde_base64::deserialize(deserializer).map(Batch::new)
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, len: usize) -> Vec<u8> {
        Frame::new(kind, 1, &vec![7; len]).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn a_message_that_the_server_decodes_costs_as_much_as_twenty_others() {
        for (kinds, cost, is_opaque, draws) in [
            (&[][..], 0, true, false),
            (&[64, 127], 2, true, false),
            (&[148, 255], 2, true, true),
            (&[148, 63, 0], 41, false, true),
        ] {
            let batch = Batch::new(kinds.iter().flat_map(|kind| frame(*kind, 3)).collect());
            assert_eq!(batch.messages(), kinds.len() as u64);
            assert_eq!(
                (batch.cost(), batch.is_opaque(), batch.draws()),
                (cost, is_opaque, draws),
                "{kinds:?}"
            );
        }
    }

    #[test]
    fn what_is_drawn_is_counted_apart_from_what_the_server_decodes() {
        let mut batch = Batch::new([frame(148, 6), frame(0, 50), frame(64, 0)].concat());
        assert_eq!((batch.opaque_messages(), batch.opaque_bytes()), (2, 14));
        batch.push_websocket(&frame(200, 6)[2..]).unwrap();
        batch.append(Batch::new(frame(148, 6)));
        assert_eq!((batch.opaque_messages(), batch.opaque_bytes()), (4, 34));
    }

    #[test]
    fn what_follows_the_last_whole_frame_does_not_count() {
        let whole = frame(148, 5);
        let batch = Batch::new([whole.clone(), frame(0, 5)[..6].to_vec()].concat());
        assert_eq!((batch.bytes(), batch.messages(), batch.is_opaque()), (&whole[..], 1, true));
    }

    #[test]
    fn a_websocket_message_gets_its_length_back() {
        let mut batch = Batch::default();
        let wire = [frame(148, 0), frame(0, 65535)].concat();
        batch.push_websocket(&frame(148, 0)[2..]).unwrap();
        batch.push_websocket(&frame(0, 65535)[2..]).unwrap();
        assert_eq!(batch, Batch::new(wire));
        assert_eq!(batch.push_websocket(&[148]), Err(NotAMessage));
        assert_eq!(batch.push_websocket(&vec![148; 2 + 65536]), Err(NotAMessage));
        assert_eq!(batch.messages(), 2);
    }

    #[test]
    fn in_a_trace_a_batch_is_the_base64_of_its_frames() {
        let batch = Batch::new([frame(148, 2), frame(0, 1)].concat());
        let json = serde_json::to_string(&batch).unwrap();
        assert_eq!(json, "\"AAKUAQcHAAEAAQc=\"");
        assert_eq!(serde_json::from_str::<Batch>(&json).unwrap(), batch);
    }

    proptest! {
        #[test]
        fn frames_are_split_at_any_boundary(
            sizes in prop::collection::vec((0u8..=255, 0usize..500), 1..20),
            chunk in 1usize..700,
        ) {
            let bytes: Vec<u8> = sizes.iter().flat_map(|(kind, len)| frame(*kind, *len)).collect();
            let (mut partial, mut got, mut pushed) = (Vec::new(), Batch::default(), Batch::default());
            for received in bytes.chunks(chunk) {
                let batch = Batch::split_off(&mut partial, received);
                prop_assert_eq!(&batch, &Batch::new(batch.bytes().to_vec()));
                frames(batch.bytes()).for_each(|frame| pushed.push(frame));
                got.append(batch);
            }
            prop_assert!(partial.is_empty());
            prop_assert_eq!(&got, &Batch::new(bytes));
            prop_assert_eq!(got, pushed);
        }
    }
}
