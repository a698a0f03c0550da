//! `remove-ban`: lifts a ban.

use drawhall_protocol::command::RemoveBan;

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;

impl Perform for RemoveBan {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.remove_ban(sender, self.id, cx)
    }
}

impl SessionMachine {
    pub(super) fn remove_ban(&mut self, key: MemberKey, id: i64, cx: &mut Cx<'_>) -> CommandResult {
        let by = self.sender(key)?.name().to_owned();
        if let Some(name) = self.moderation.bans.remove(id) {
            self.note(Level::Info, Topic::Unban, format!("{name} unbanned by {by}"), cx);
            self.send_list(List::Bans, cx);
        }
        Ok(())
    }
}
