//! Recordings: header metadata and the messages of a session.
//!
//! [`dprec`] is the binary form (`.dprec`, also the format of stored session histories), [`dptxt`] the text form.
//! Readers and writers stream over the caller's [`std::io`] objects and hold one message in memory at a time.

pub mod dprec;
pub mod dptxt;
#[cfg(test)]
mod tests;

use crate::message::Layout;
use crate::version::ProtocolVersion;

/// Header metadata of a recording: keys and values as text, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    members: Vec<(String, String)>,
}

impl Header {
    /// A header with nothing but a version.
    pub fn of_version(version: &ProtocolVersion) -> Self {
        Self { members: vec![("version".into(), version.to_string())] }
    }

    /// Keys and values in file order.
    pub fn members(&self) -> &[(String, String)] {
        &self.members
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Sets the value of a key; an existing key keeps its position.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.members.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.members.push((key.into(), value.into())),
        }
    }

    /// The protocol version, if there is a valid one.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.get("version")?.parse().ok()
    }

    /// The payload layout; the current one if there is no version.
    pub fn layout(&self) -> Layout {
        self.version().map_or(Layout::V4_25, |v| v.layout())
    }
}
