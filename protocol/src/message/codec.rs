//! Encoding and decoding of payload fields.

/// An invalid payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The type is unknown or reserved.
    #[error("message type {0} is not in use")]
    UnknownType(u8),
    /// The type exists since dp:4.25 only.
    #[error("message type {0} does not exist before dp:4.25")]
    NotInLayout(u8),
    /// The payload ends inside a field.
    #[error("payload ends inside a field")]
    TooShort,
    /// There are bytes after the last field.
    #[error("payload has {0} bytes too many")]
    TooLong(usize),
    /// The length of a list is not a multiple of the item size, or the number of items is out of range.
    #[error("list of {bytes} bytes is not {min} to {max} items")]
    BadList {
        /// Length of the list in bytes.
        bytes: usize,
        /// Minimum number of items.
        min: usize,
        /// Maximum number of items.
        max: usize,
    },
}

impl DecodeError {
    /// Whether nothing is known of the type, which a later version may have given a meaning. Other messages that do not
    /// decode are damaged: clients ignore them.
    pub fn is_unknown_type(&self) -> bool {
        matches!(self, DecodeError::UnknownType(_) | DecodeError::NotInLayout(_))
    }
}

/// A message that cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A number is out of range for the field in this layout.
    #[error("{value} does not fit field '{field}'")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// The number.
        value: u32,
    },
    /// The length of a list or length-prefixed field is out of range.
    #[error("field '{field}' cannot have {len} items")]
    BadLength {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// The payload is too long for one message.
    #[error("payload of {0} bytes does not fit into one message")]
    TooLong(usize),
    /// The type exists since dp:4.25 only.
    #[error("message type {0} does not exist before dp:4.25")]
    NotInLayout(u8),
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (now, later) = self.rest.split_at_checked(n).ok_or(DecodeError::TooShort)?;
        self.rest = later;
        Ok(now)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::TooShort)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u24(&mut self) -> Result<u32, DecodeError> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    pub(super) fn bytes(&mut self, prefixed: bool) -> Result<Vec<u8>, DecodeError> {
        let len = if prefixed { usize::from(self.u8()?) } else { self.rest.len() };
        Ok(self.take(len)?.to_vec())
    }

    pub(super) fn utf8(&mut self, prefixed: bool) -> Result<String, DecodeError> {
        let bytes = self.bytes(prefixed)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// Reads a list of items of `width` bytes, up to the end of the payload.
    pub(super) fn list<T>(
        &mut self,
        width: usize,
        min: usize,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let bytes = self.rest.len();
        let count = bytes / width;
        if !bytes.is_multiple_of(width) || count < min || count > max {
            return Err(DecodeError::BadList { bytes, min, max });
        }
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TooLong(self.rest.len())) }
    }
}

pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes the `N` low bytes of `value`; the others must be 0.
    fn fit<const N: usize>(&mut self, value: u32, field: &'static str) -> Result<(), EncodeError> {
        let bytes = value.to_be_bytes();
        let (high, low) = bytes.split_at(4 - N);
        if high.iter().any(|b| *b != 0) {
            return Err(EncodeError::OutOfRange { field, value });
        }
        self.out.extend_from_slice(low);
        Ok(())
    }

    pub(super) fn fit_u8(&mut self, value: impl Into<u32>, field: &'static str) -> Result<(), EncodeError> {
        self.fit::<1>(value.into(), field)
    }

    pub(super) fn fit_u16(&mut self, value: impl Into<u32>, field: &'static str) -> Result<(), EncodeError> {
        self.fit::<2>(value.into(), field)
    }

    pub(super) fn fit_u24(&mut self, value: impl Into<u32>, field: &'static str) -> Result<(), EncodeError> {
        self.fit::<3>(value.into(), field)
    }

    pub(super) fn bytes(
        &mut self,
        value: &[u8],
        prefixed: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if prefixed {
            let len =
                u8::try_from(value.len()).map_err(|_| EncodeError::BadLength { field, len: value.len() })?;
            self.out.push(len);
        }
        self.out.extend_from_slice(value);
        Ok(())
    }

    pub(super) fn count(
        &mut self,
        len: usize,
        min: usize,
        max: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if (min..=max).contains(&len) { Ok(()) } else { Err(EncodeError::BadLength { field, len }) }
    }
}
