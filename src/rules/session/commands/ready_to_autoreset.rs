//! `ready-to-autoreset`: a client offers to reset the session.

use drawhall_protocol::command::ReadyToAutoReset;

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};

impl Perform for ReadyToAutoReset {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        if session.sender(sender)?.oldv {
            return Err("Incompatible client".into());
        }
        session.ready_to_autoreset(sender, &self, cx);
        Ok(())
    }
}
