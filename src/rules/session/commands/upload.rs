//! `init-begin`, `init-complete`, `init-cancel`: upload by the host or resetter.

use drawhall_protocol::command::{InitBegin, InitCancel, InitComplete};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::Member;

impl Perform for InitBegin {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.init_begin(sender, cx)
    }
}

impl Perform for InitComplete {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.init_complete(sender, cx)
    }
}

impl Perform for InitCancel {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.init_cancel(sender, cx)
    }
}

impl SessionMachine {
    /// Whether the member is uploading; logs if not.
    fn uploads(&mut self, key: MemberKey, command: &str, cx: &mut Cx<'_>) -> bool {
        let Some(user) = self.members.get(key).map(Member::log_user) else { return false };
        if self.is_uploader(key) {
            self.note_about(user, Level::Debug, Topic::Status, command, cx);
            return true;
        }
        let text =
            format!("Sent {command}, but init user is #{}", self.resets.uploader().map_or(-1, i32::from));
        self.rule_break(key, text, cx);
        false
    }

    pub(super) fn init_begin(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        if self.uploads(key, "init-begin", cx) {
            let dropped = self.resets.clear_image();
            if dropped > 0 {
                let text = format!("{dropped} extra messages cleared by init-begin");
                self.note(Level::Debug, Topic::Status, text, cx);
            }
        }
        Ok(())
    }

    pub(super) fn init_complete(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        if self.uploads(key, "init-complete", cx) {
            self.complete_upload(cx);
        }
        Ok(())
    }

    pub(super) fn init_cancel(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        if !self.uploads(key, "init-cancel", cx) {
            return Ok(());
        }
        self.abort_upload(cx);
        Ok(())
    }
}
