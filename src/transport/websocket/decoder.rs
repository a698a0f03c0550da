//! Decoder of WebSocket frames of clients to messages.

use super::{BINARY, CLOSE, CONTINUATION, MAX_CONTROL, PING, PONG, TEXT, code};

/// Capacity that a buffer keeps after a message.
const KEEP_BYTES: usize = 4 << 10;
/// Maximum frame header: two bytes, eight of length, four of mask.
const MAX_FRAME_HEAD: usize = 14;

/// What the decoder accepts.
#[derive(Debug, Clone, Copy)]
pub struct Accepts {
    /// Maximum length of a message in bytes.
    pub message: usize,
    /// Accept text messages as well as binary ones.
    pub text: bool,
}

/// A complete message or control frame; [`Decoder::payload`] is its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Text,
    Binary,
    /// To be answered with a pong of the same payload.
    Ping,
    Pong,
    /// With the close code, if there is one.
    Close(Option<u16>),
}

/// The peer violated the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WebSocket: {reason}")]
pub struct Violation {
    /// Close code to send.
    pub code: u16,
    /// Text for the log.
    pub reason: &'static str,
}

fn violation(reason: &'static str) -> Violation {
    Violation { code: code::PROTOCOL, reason }
}

/// A frame whose payload is being received.
#[derive(Debug, Clone, Copy)]
struct Payload {
    opcode: u8,
    fin: bool,
    remaining_len: usize,
    mask: [u8; 4],
}

/// Incremental decoder of WebSocket frames: takes bytes in chunks of any size.
#[derive(Debug)]
pub struct Decoder {
    accepts: Accepts,
    head: [u8; MAX_FRAME_HEAD],
    head_len: u8,
    payload: Option<Payload>,
    /// Opcode of the fragmented message that is being received.
    fragmented: Option<u8>,
    message: Vec<u8>,
    control: Vec<u8>,
    /// Whether the payload of the last event is in `control`, else in `message`.
    in_control: bool,
    delivered: bool,
}

impl Decoder {
    pub fn new(accepts: Accepts) -> Self {
        Self {
            accepts,
            head: [0; MAX_FRAME_HEAD],
            head_len: 0,
            payload: None,
            fragmented: None,
            message: Vec::new(),
            control: Vec::new(),
            in_control: false,
            delivered: false,
        }
    }

    /// Payload of the event that [`Self::next`] returned last.
    pub fn payload(&self) -> &[u8] {
        if self.in_control { &self.control } else { &self.message }
    }

    /// Whether a frame or message is incomplete.
    pub fn is_partial(&self) -> bool {
        self.head_len > 0 || self.payload.is_some() || self.fragmented.is_some()
    }

    /// Consumes `input` up to the next event; all of it if there is none (`None`).
    ///
    /// # Errors
    /// When the peer violates the protocol. The decoder must not be used after that.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        if std::mem::take(&mut self.delivered) {
            let buffer = if self.in_control { &mut self.control } else { &mut self.message };
            buffer.clear();
            buffer.shrink_to(KEEP_BYTES);
        }
        loop {
            let mut frame = match self.payload.take() {
                Some(frame) => frame,
                None => match self.take_head(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let (chunk, remaining) = input.split_at(frame.remaining_len.min(input.len()));
            *input = remaining;
            let is_control = frame.opcode >= CLOSE;
            let target = if is_control { &mut self.control } else { &mut self.message };
            let start = target.len();
            target.extend_from_slice(chunk);
            unmask(&mut target[start..], frame.mask);
            frame.mask.rotate_left(chunk.len() % 4);
            frame.remaining_len -= chunk.len();
            if frame.remaining_len > 0 {
                self.payload = Some(frame);
                return Ok(None);
            }
            if let Some(event) = self.complete(frame)? {
                (self.in_control, self.delivered) = (is_control, true);
                return Ok(Some(event));
            }
        }
    }

    /// The header of the next frame, once it is complete.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<Payload>, Violation> {
        while let Some((first, rest)) = input.split_first() {
            self.head[usize::from(self.head_len)] = *first;
            self.head_len += 1;
            *input = rest;
            if self.head_len == 2 {
                self.check_head()?;
            }
            let needed = head_len(self.head[1]);
            if usize::from(self.head_len) < 2 || usize::from(self.head_len) < needed {
                continue;
            }
            self.head_len = 0;
            return self.begin(needed).map(Some);
        }
        Ok(None)
    }

    /// Checks the first two bytes of a frame header.
    fn check_head(&self) -> Result<(), Violation> {
        let [first, second, ..] = self.head;
        let (opcode, fin) = (first & 0x0f, first & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(violation("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(violation("a frame is not masked"));
        }
        match opcode {
            CONTINUATION if self.fragmented.is_none() => Err(violation("nothing to continue")),
            TEXT if !self.accepts.text => {
                Err(Violation { code: code::UNSUPPORTED, reason: "text instead of bytes" })
            }
            TEXT | BINARY if self.fragmented.is_some() => Err(violation("a message within a message")),
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE | PING | PONG if !fin => Err(violation("a control frame in parts")),
            CLOSE | PING | PONG if usize::from(second & 0x7f) > MAX_CONTROL => {
                Err(violation("a control frame is too long"))
            }
            CLOSE | PING | PONG => Ok(()),
            _ => Err(violation("unknown kind of frame")),
        }
    }

    /// Starts a frame whose header is complete.
    fn begin(&mut self, head_len: usize) -> Result<Payload, Violation> {
        let [first, second, ..] = self.head;
        let len = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..10].iter().fold(0, |len, b| len << 8 | u64::from(*b)),
            len => len.into(),
        };
        if len >> 63 != 0 {
            return Err(violation("a length is negative"));
        }
        let opcode = first & 0x0f;
        let too_big = Violation { code: code::TOO_BIG, reason: "a message is too long" };
        let remaining_len = usize::try_from(len).map_err(|_| too_big)?;
        if opcode < CLOSE && remaining_len > self.accepts.message - self.message.len() {
            return Err(too_big);
        }
        let fin = first & 0x80 != 0;
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.head[head_len - 4..head_len]);
        if matches!(opcode, TEXT | BINARY) {
            self.fragmented = Some(opcode);
        }
        Ok(Payload { opcode, fin, remaining_len, mask })
    }

    /// Handles a complete frame; returns the event that it completes.
    fn complete(&mut self, frame: Payload) -> Result<Option<Event>, Violation> {
        match frame.opcode {
            PING => return Ok(Some(Event::Ping)),
            PONG => return Ok(Some(Event::Pong)),
            CLOSE => return close_code(&self.control).map(|code| Some(Event::Close(code))),
            _ => {}
        }
        if !frame.fin {
            return Ok(None);
        }
        if self.fragmented.take() == Some(BINARY) {
            return Ok(Some(Event::Binary));
        }
        match std::str::from_utf8(&self.message) {
            Ok(_) => Ok(Some(Event::Text)),
            Err(_) => Err(Violation { code: code::INVALID, reason: "text is no UTF-8" }),
        }
    }
}

/// Length of a frame header with the mask, from its second byte.
fn head_len(second: u8) -> usize {
    match second & 0x7f {
        126 => 8,
        127 => MAX_FRAME_HEAD,
        _ => 6,
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(violation("half a close code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(violation("a close code that may not be sent")),
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation { code: code::INVALID, reason: "the reason is no UTF-8" });
    }
    Ok(Some(code))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCEPTS: Accepts = Accepts { message: 1000, text: false };

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            len @ ..126 => frame.push(0x80 | len as u8),
            len @ ..=65535 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    fn decode_with(accepts: Accepts, bytes: &[u8], chunk: usize) -> Result<Vec<(Event, Vec<u8>)>, Violation> {
        let mut decoder = Decoder::new(accepts);
        let mut events = Vec::new();
        for mut part in bytes.chunks(chunk.max(1)) {
            while let Some(event) = decoder.next(&mut part)? {
                events.push((event, decoder.payload().to_vec()));
            }
            assert!(part.is_empty());
        }
        Ok(events)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<(Event, Vec<u8>)>, Violation> {
        decode_with(ACCEPTS, bytes, usize::MAX)
    }

    #[test]
    fn control_frames_may_come_between_fragments_of_a_message() {
        let bytes = [
            masked(2, b"one "),
            masked(0x89, b"ping"),
            masked(0, b""),
            masked(0x80, b"two"),
            masked(0x8a, b""),
            masked(0x88, &[3, 232, b'x']),
        ]
        .concat();
        let expected = vec![
            (Event::Ping, b"ping".to_vec()),
            (Event::Binary, b"one two".to_vec()),
            (Event::Pong, Vec::new()),
            (Event::Close(Some(1000)), vec![3, 232, b'x']),
        ];
        for chunk in [1, 2, 7, 1000] {
            assert_eq!(decode_with(ACCEPTS, &bytes, chunk).unwrap(), expected);
        }
    }

    #[test]
    fn protocol_violations_have_their_close_code() {
        let unmasked = vec![0x82, 1, 0];
        let negative = [vec![0x82, 0xff, 0x80], vec![0; 11]].concat();
        for (bytes, expected) in [
            (unmasked, 1002),
            (masked(0xc2, b"reserved"), 1002),
            (masked(0x83, b"unknown opcode"), 1002),
            (masked(0x8b, b"unknown control"), 1002),
            (masked(0x80, b"nothing begun"), 1002),
            ([masked(2, b"a"), masked(0x82, b"b")].concat(), 1002),
            (masked(0x09, b"in parts"), 1002),
            (masked(0x89, &[0; 126]), 1002),
            (masked(0x88, &[3]), 1002),
            (masked(0x88, &999u16.to_be_bytes()), 1002),
            (masked(0x88, &1005u16.to_be_bytes()), 1002),
            (masked(0x88, &[3, 232, 0xff]), 1007),
            (masked(0x81, b"text"), 1003),
            (masked(0x82, &[0; 1001]), 1009),
            ([masked(2, &[0; 600]), masked(0x80, &[0; 401])].concat(), 1009),
            (negative, 1002),
        ] {
            assert_eq!(decode(&bytes).unwrap_err().code, expected, "{bytes:?}");
        }
    }

    #[test]
    fn text_messages_are_decoded_if_accepted_and_must_be_utf_8() {
        let accepts = Accepts { text: true, ..ACCEPTS };
        let split = [masked(1, &[0xc3]), masked(0x80, &[0xa9])].concat();
        let complete = (Event::Text, "é".as_bytes().to_vec());
        assert_eq!(decode_with(accepts, &split, 3), Ok(vec![complete]));
        assert_eq!(decode_with(accepts, &masked(0x81, &[0xc3]), 99).unwrap_err().code, 1007);
    }

    #[test]
    fn the_buffer_of_a_large_message_is_freed() {
        let mut decoder = Decoder::new(Accepts { message: 65537, text: false });
        let bytes = [masked(0x82, &[7; 65537]), masked(0x82, b"x")].concat();
        let mut input = bytes.as_slice();
        assert_eq!(decoder.next(&mut input), Ok(Some(Event::Binary)));
        assert_eq!(decoder.payload().len(), 65537);
        assert_eq!(decoder.next(&mut input), Ok(Some(Event::Binary)));
        assert!(decoder.message.capacity() <= KEEP_BYTES);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_decode_the_same_in_chunks_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            chunk in 1usize..40,
        ) {
            let complete = decode(&bytes);
            let parts = decode_with(ACCEPTS, &bytes, chunk);
            prop_assert_eq!(complete, parts);
        }

        #[test]
        fn encoded_messages_are_decoded_to_themselves(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..10),
            chunk in 1usize..500,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|m| masked(0x82, m)).collect();
            let got = decode_with(ACCEPTS, &bytes, chunk).unwrap();
            let expected: Vec<_> = messages.into_iter().map(|m| (Event::Binary, m)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
