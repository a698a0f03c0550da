//! Who was in a session, as it is recorded for moderators.

use super::received_report::ReceivedReport;

/// Maximum length of a recorded title in characters.
const MAX_TITLE: usize = 100;

/// Somebody has joined or left a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// System id; empty if it is unknown.
    pub device: String,
    /// Account id, such as `internal:7`; empty without an account.
    pub account: String,
    /// User name.
    pub name: String,
    /// Address; empty if it is unknown.
    pub address: String,
    /// Session id.
    pub session: String,
    /// Title of the session, shortened.
    pub title: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Joined; otherwise left.
    pub joined: bool,
}

/// A title as it is recorded.
pub fn recorded_title(title: &str) -> String {
    title.chars().take(MAX_TITLE).collect()
}

/// What sessions tell moderators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationRecord {
    /// Somebody has joined or left.
    Seen(Box<Sighting>),
    /// An abuse report has come.
    Reported(Box<ReceivedReport>),
}

impl ModerationRecord {
    /// Size in bytes, for limits.
    pub fn size(&self) -> usize {
        const FIXED: usize = 200;
        match self {
            ModerationRecord::Reported(report) => {
                FIXED * (2 + report.users.len()) + report.reason.len() + report.title.len()
            }
            ModerationRecord::Seen(seen) => {
                let texts =
                    [&seen.device, &seen.account, &seen.name, &seen.address, &seen.session, &seen.title];
                FIXED + texts.iter().map(|text| text.len()).sum::<usize>()
            }
        }
    }
}
