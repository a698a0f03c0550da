//! `stream-reset-start`, `stream-reset-abort`, `stream-reset-finish`: a reset image that is streamed while the others
//! draw on.

use drawhall_protocol::command::{StreamResetAbort, StreamResetFinish, StreamResetStart};

use super::{CommandResult, Cx, MemberKey, Perform, Refused, Right, SessionMachine};

impl Perform for StreamResetStart {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.start_stream(sender, &self.correlator, cx).map_err(Refused::from)
    }
}

impl Perform for StreamResetAbort {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.abort_stream(sender, cx).map_err(Refused::from)
    }
}

impl Perform for StreamResetFinish {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.finish_stream(sender, self.count, cx).map_err(Refused::from)
    }
}
