//! Answers about what people may not do for a time, and about the space of a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::session::restrictions::RestrictionKind;

/// The space of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpaceDetails {
    /// Size of the history in bytes.
    pub size: u64,
    /// Its limit in bytes, 0 for none.
    pub limit: u64,
    /// Seconds until it is full at the present rate; `None` if that is not known, or it is not filling up.
    pub seconds_left: Option<u64>,
    /// What each user has sent since the last reset, the most first.
    pub shares: Vec<SpaceShare>,
}

/// What a user has sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SpaceShare {
    /// User id.
    pub id: u8,
    /// Name, empty if it is not known any more.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// What people may not do for a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestrictionList {
    /// In the order in which they were made.
    pub restrictions: Vec<RestrictionDetails>,
    /// Until when the session is closed to newcomers.
    pub closed_until: Option<String>,
}

/// A restriction of a person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestrictionDetails {
    /// Id of the restriction.
    pub id: u64,
    /// What the person may not do.
    pub kind: RestrictionKind,
    /// Name of the person.
    pub name: String,
    /// User id, if the person is there.
    pub user: Option<u8>,
    /// When it ends.
    pub until: String,
    /// Told to the person, may be empty.
    pub reason: String,
}

/// A user was warned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WarningCount {
    /// ok.
    pub status: String,
    /// How often the person was warned in this session.
    pub warnings: u32,
}
