//! `remove-ban`: lifts a ban.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;
use crate::rules::time::Timestamp;

impl SessionMachine {
    pub(super) fn remove_ban(
        &mut self,
        key: MemberKey,
        id: i64,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let by = self.sender(key)?.name().to_owned();
        if let Some(name) = self.bans.remove(id) {
            self.note(Level::Info, Topic::Unban, format!("{name} unbanned by {by}"), now, effects);
            self.send_list(List::Bans, now, effects);
        }
        Ok(())
    }
}
