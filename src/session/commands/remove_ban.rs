//! `remove-ban`: lifts a ban.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, Topic};
use crate::session::lists::List;

impl SessionMachine {
    pub(super) fn remove_ban(
        &mut self,
        key: MemberKey,
        id: i64,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let by = self.sender(key)?.name().to_owned();
        if let Some(name) = self.bans.remove(id) {
            self.note(Level::Info, Topic::Unban, format!("{name} unbanned by {by}"), now, fx);
            self.send_list(List::Bans, now, fx);
        }
        Ok(())
    }
}
