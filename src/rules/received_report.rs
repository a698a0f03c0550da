//! An abuse report, with everybody as they were at that moment.

use serde::{Deserialize, Serialize};

/// Maximum number of users who are listed in a report.
pub const MAX_USERS: usize = 100;

/// Somebody in a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReportedUser {
    /// User id in the session; 0 outside.
    pub id: u8,
    pub name: String,
    /// Address; empty if it is unknown.
    pub address: String,
    /// System id; empty if it is unknown.
    pub device: String,
    /// Account id; empty without an account.
    pub account: String,
    /// Operator of the session.
    pub operator: bool,
}

/// A report that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReceivedReport {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Session id.
    pub session: String,
    /// Title of the session.
    pub title: String,
    pub reason: String,
    pub reporter: ReportedUser,
    /// Whom it is about; `None`: the session.
    pub about: Option<ReportedUser>,
    /// Who was there, at most [`MAX_USERS`].
    pub users: Vec<ReportedUser>,
}
