//! `announce-session`: lists the session at a list server.

use drawhall_protocol::command::{AnnounceSession, UnlistSession};

use url::Url;

use super::{CommandResult, Cx, Effect, MemberKey, Perform, Right, SessionMachine};

/// Maximum length of a list server URL in bytes; it is persisted and broadcast.
const MAX_URL: usize = 1000;

impl Perform for AnnounceSession {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, _: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.announce_session(self.url, self.private, cx)
    }
}

impl Perform for UnlistSession {
    const RIGHT: Right = Right::Operator;

    fn perform(self, _: &mut SessionMachine, _: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        cx.push(Effect::Unlist { url: self.url });
        Ok(())
    }
}

impl SessionMachine {
    pub(super) fn announce_session(&mut self, url: String, private: bool, cx: &mut Cx<'_>) -> CommandResult {
        if private {
            return Err("Private listings are not available on this server".into());
        }
        if self.properties.flags().unlisted {
            return Err("This session is hidden from listings, it can't be listed".into());
        }
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        if url.len() > MAX_URL || url.contains(is_odd) || Url::parse(&url).is_err() {
            return Err("Invalid API URL".into());
        }
        if !self.announcements.may_announce(cx.now.monotonic_ms) {
            return Err("Too many announcements, try again in a minute".into());
        }
        cx.push(Effect::Announce { url });
        Ok(())
    }
}
