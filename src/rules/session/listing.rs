//! Listings of the session at list servers, as the server reports them.

use serde::{Deserialize, Serialize};

/// A listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ListedAt {
    /// Stays the same for the lifetime of the listing.
    pub id: u64,
    pub url: String,
}

/// State of the session's listings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListingUpdate {
    /// Shown to everybody in the session.
    pub text: Option<String>,
    /// All current listings.
    pub listed: Vec<ListedAt>,
    /// List server that has just been added.
    #[serde(alias = "made")]
    pub announced: Option<String>,
    /// List server from which it was unlisted on purpose.
    pub withdrawn: Option<String>,
}
