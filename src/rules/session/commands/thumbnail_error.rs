//! `thumbnail-error`: a client cannot make the thumbnail that it was asked for.

use drawhall_protocol::command::ThumbnailError;

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};

impl Perform for ThumbnailError {
    const RIGHT: Right = Right::Anybody;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.thumbnail_failed(sender, &self.correlator, &self.error, cx);
        Ok(())
    }
}
