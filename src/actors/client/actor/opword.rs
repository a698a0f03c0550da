//! Attempts at a session's operator password count against the password rate limit of the client's address.

use actix::prelude::*;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::ServerCommand;
use drawhall_protocol::reply::ServerReply;

use super::Client;
use crate::rules::session::commands::gain_op;
use crate::transport::connection_limiter::Limit;

impl Client {
    /// Whether a message may be passed to the session: everything but a password attempt beyond the rate limit.
    pub(super) fn may_guess(&mut self, frame: FrameRef<'_>, ctx: &mut Context<Self>) -> bool {
        let is_command = frame.header.kind == ServerCommand::TYPE;
        if !is_command || RawCommand::parse(frame.payload()).cmd != gain_op::COMMAND {
            return true;
        }
        let allowed = self.permit.try_acquire(Limit::PasswordRate, self.context.rules.settings()).is_ok();
        if !allowed {
            let refusal = ServerReply::command_error(gain_op::COMMAND, gain_op::TOO_MANY_OPWORDS);
            if let Ok(frame) = refusal.to_frame() {
                self.send(frame.into_bytes(), ctx);
            }
        }
        allowed
    }
}
