//! `announce-session`: lists the session at a list server.

use url::Url;

use super::{CommandResult, Effects, SessionMachine};
use crate::rules::limits::Rate;
use crate::rules::time::Timestamp;

/// Rate limit of announcements for one session.
const ANNOUNCEMENTS_A_MINUTE: u32 = 5;
/// Maximum length of a list server URL in bytes; it is persisted and broadcast.
const MAX_URL: usize = 1000;

impl SessionMachine {
    pub(super) fn announce_session(
        &mut self,
        url: String,
        private: bool,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if private {
            return Err("Private listings are not available on this server".into());
        }
        if self.flags.unlisted {
            return Err("This session is hidden from listings, it can't be listed".into());
        }
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        if url.len() > MAX_URL || url.contains(is_odd) || Url::parse(&url).is_err() {
            return Err("Invalid API URL".into());
        }
        if !self.announcing.take(Rate::per_minute(ANNOUNCEMENTS_A_MINUTE), now.monotonic_ms) {
            return Err("Too many announcements, try again in a minute".into());
        }
        effects.listing.push((url, true));
        Ok(())
    }
}
