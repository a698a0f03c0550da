//! What the limits of the client's address allow it, and its lines in the log.

use actix::prelude::*;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::ServerCommand;
use drawhall_protocol::reply::{ErrorReply, ServerReply};

use super::Client;
use crate::log::{Level, LogEntry, Topic};
use crate::rules::session::DisconnectReason;
use crate::rules::session::commands::gain_op;
use crate::rules::time::Timestamp;
use crate::transport::connection_limiter::Limit;

impl Client {
    /// Whether a rate limit of the client's address allows this; otherwise the client is disconnected.
    pub(super) fn may(&mut self, limit: Limit, ctx: &mut Context<Self>) -> bool {
        let Err(hit) = self.permit.try_acquire(limit, self.context.rules.settings()) else { return true };
        let error = ErrorReply { message: hit.message().into(), code: "tooManyAttempts".into() };
        if let Ok(frame) = ServerReply::Error(error).to_frame() {
            self.send(frame.into_bytes(), ctx);
        }
        self.disconnect(DisconnectReason::Error, hit.message(), ctx);
        false
    }

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

    /// Logs about the client, unless the log rate limit of its connection or address is used up.
    pub(super) fn log(&mut self, level: Level, topic: Topic, text: impl Into<String>) {
        let Some(left_out) = self.permit.log_line(self.context.rules.settings()) else { return };
        self.log_left_out(left_out);
        LogEntry::new(Timestamp::now(), level, topic, text).about(self.user.clone()).emit("");
    }

    pub(super) fn log_left_out(&self, count: u64) {
        if count > 0 {
            let text = format!("{count} lines of the log were left out");
            LogEntry::new(Timestamp::now(), Level::Warn, Topic::Status, text)
                .about(self.user.clone())
                .emit("");
        }
    }
}
