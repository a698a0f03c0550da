//! Where the session is announced.

use super::{ListedAt, ListingUpdate};
use crate::rules::journal::Entry;
use crate::rules::limits::{Bucket, Rate};

/// Rate limit of announcements for one session.
const ANNOUNCEMENTS_A_MINUTE: u32 = 5;
/// Maximum number of list servers to announce at.
const MAX_ANNOUNCEMENTS: usize = 10;

/// List servers: where the session is listed, and where it wants to be.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// URLs to announce at, also after a restart.
    wanted: Vec<String>,
    listed: Vec<ListedAt>,
    rate: Bucket,
}

impl Announcements {
    /// Of a stored session or a template.
    pub(super) fn restore(&mut self, urls: Vec<String>) {
        self.wanted = urls;
    }

    /// Current listings.
    pub(super) fn listed(&self) -> &[ListedAt] {
        &self.listed
    }

    /// URLs to announce at, also after a restart.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Counts an announcement; false if the rate limit is reached.
    pub(super) fn may_announce(&mut self, now_ms: u64) -> bool {
        self.rate.take(Rate::per_minute(ANNOUNCEMENTS_A_MINUTE), now_ms)
    }

    /// Applies news of the server. Announcements are persisted until they are withdrawn on purpose, so that they are
    /// made again after a restart. Returns what to persist, and whether the listings have changed.
    pub(super) fn update(&mut self, news: ListingUpdate) -> (Vec<Entry>, bool) {
        let ListingUpdate { listed, announced, withdrawn, .. } = news;
        let mut entries = Vec::new();
        if let Some(url) = announced.filter(|url| !self.wanted.contains(url)) {
            if self.wanted.len() >= MAX_ANNOUNCEMENTS {
                entries.push(Entry::Unannounce(self.wanted.remove(0)));
            }
            self.wanted.push(url.clone());
            entries.push(Entry::Announce(url));
        }
        if let Some(at) = self.wanted.iter().position(|url| Some(url) == withdrawn.as_ref()) {
            entries.push(Entry::Unannounce(self.wanted.remove(at)));
        }
        let changed = listed != self.listed;
        self.listed = listed;
        (entries, changed)
    }
}
