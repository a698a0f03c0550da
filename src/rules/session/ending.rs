//! How a session ends: expiry, by somebody, or with the server.

use super::timers::{Expired, LoneStep, Occupancy};
use super::{ClientOp, Cx, DisconnectReason, Effect, FileDisposition, Member, MemberKey, SessionMachine};
use crate::log::{Level, LogEntry, Topic};

impl SessionMachine {
    /// Session expiry: ends the session if it has been empty or idle for too long. Called every 15 s.
    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        if self.resets.has_ended() {
            return;
        }
        self.expire_chat(cx);
        self.expire_restrictions(cx);
        self.watch_space(cx);
        self.follow_history();
        self.make_due_thumbnail(cx);
        let occupancy = Occupancy::of(self.is_empty(), self.properties.flags().persistent);
        let settings = &self.shared.settings;
        match self.timers.expiry().verdict(settings, occupancy, self.properties.flags().idle_override, cx.now)
        {
            Some(Expired::Empty) => {
                self.note(Level::Info, Topic::Status, "Closing lingering non-persistent session.", cx);
                self.end("Session terminated due to being empty too long", cx);
            }
            Some(Expired::Idle) => {
                self.note(Level::Info, Topic::Status, "Idle session expired.", cx);
                self.end("Session terminated due to being idle too long", cx);
            }
            None => self.expire_lone(cx),
        }
    }

    /// Ends a session in which one user does nothing (`loneSessionTimeLimit`), after a warning.
    fn expire_lone(&mut self, cx: &mut Cx<'_>) {
        let settings = &self.shared.settings;
        let limit = settings.lone_session_time_limit.millis();
        let flags = self.properties.flags();
        let is_exempt = flags.persistent || (settings.allow_idle_override && flags.idle_override);
        let is_alone = self.members.iter().filter(|m| !m.is_ghost()).count() == 1;
        if limit == 0 || is_exempt || !is_alone || !self.resets.is_running() {
            return self.timers.forget_lone_warning();
        }
        match self.timers.lone_step(limit, cx.now) {
            LoneStep::Wait => {}
            LoneStep::Warn { left_ms } => {
                let minutes = left_ms.div_ceil(60_000);
                let text = format!(
                    "Nothing happens here, and you are alone: this session ends in {minutes} min unless somebody draws \
                     or writes. Save your picture if you want to keep it."
                );
                self.notice(true, "", text, &[], "", cx);
            }
            LoneStep::End => {
                self.note(Level::Info, Topic::Status, "Idle session of one user expired.", cx);
                self.end("Session terminated due to being idle too long", cx);
            }
        }
    }

    /// Ends the session and disconnects everybody.
    pub fn end(&mut self, message: &str, cx: &mut Cx<'_>) {
        if self.resets.has_ended() {
            return;
        }
        self.resets.end();
        for member in self.members.take() {
            let text = format!("{message} (terminate=true)");
            cx.log(LogEntry::new(cx.now, Level::Info, Topic::Leave, text).about(member.log_user()));
            let (reason, message) = (DisconnectReason::Shutdown, message.to_owned());
            cx.client(member.conn(), ClientOp::Disconnect { reason, message });
        }
        cx.push(Effect::End(self.ending()));
    }

    /// Ends the session silently: clients stay connected and are only echoed their own messages.
    pub fn end_quietly(&mut self, cx: &mut Cx<'_>) {
        if self.resets.has_ended() {
            return;
        }
        self.resets.end();
        for member in self.members.take() {
            let text = "Session terminated by the server administrator (quietly)";
            cx.log(LogEntry::new(cx.now, Level::Info, Topic::Leave, text).about(member.log_user()));
            cx.client(member.conn(), ClientOp::Quiet);
        }
        cx.push(Effect::End(self.ending()));
    }

    /// Shutdown of the server. A stored session is suspended; any other ends.
    pub fn shut_down(&mut self, message: &str, cx: &mut Cx<'_>) {
        if !self.persistence.is_stored() || self.resets.has_ended() {
            return self.end(message, cx);
        }
        self.timers.stop();
        let keys: Vec<MemberKey> = self.members.iter().map(Member::key).collect();
        for key in keys {
            self.disconnect(key, DisconnectReason::Shutdown, message, "", cx);
        }
        self.resets.end();
        cx.push(Effect::End(FileDisposition::Keep));
    }
}
