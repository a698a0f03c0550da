//! Recordings: a header of members and the messages of a session.
//!
//! [`dprec`] is the binary form (`.dprec`, also that of stored session history), [`dptxt`] the text form. Readers and
//! writers are streams over the caller's [`std::io`] objects; a file of any size needs the memory of one message.

pub mod dprec;
pub mod dptxt;
#[cfg(test)]
mod tests;

use crate::message::Layout;
use crate::version::ProtocolVersion;

/// Header members of a recording, as text, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    members: Vec<(String, String)>,
}

impl Header {
    /// A header that says `version`.
    pub fn of_version(version: &ProtocolVersion) -> Self {
        Self { members: vec![("version".into(), version.to_string())] }
    }

    /// The members in their order.
    pub fn members(&self) -> &[(String, String)] {
        &self.members
    }

    /// A member's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Sets a member; an earlier one of that name keeps its place.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.members.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.members.push((key.into(), value.into())),
        }
    }

    /// The protocol version that the header names, if it is one.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.get("version")?.parse().ok()
    }

    /// The payload layout of the recording; today's if the header names no version.
    pub fn layout(&self) -> Layout {
        self.version().map_or(Layout::V4_25, |v| v.layout())
    }
}
