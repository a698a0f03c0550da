//! The end of the actor: the Server and the members learn of it in any case.

use super::Session;
use crate::actors::messages::{ToClient, ToServer};
use crate::log::{Level, LogEntry, Topic};
use crate::rules::session::effects::{ClientOp, DisconnectReason};
use crate::rules::session::persistence::Suspended;
use crate::rules::time::Timestamp;

impl Session {
    /// Tells the server once that the session has ended, with the state to load it again from, if it can be.
    pub(super) fn tell_end(&mut self, rest: Option<Suspended>) {
        if !std::mem::replace(&mut self.end_told, true) {
            self.server.tell(ToServer::SessionEnded { id: self.machine.id().to_owned(), rest });
        }
    }
}

impl Drop for Session {
    /// A panic in one session ends only that session: its actor is dropped, the thread goes on, and members are told.
    /// Clients that wait to join are refused when their handles are dropped.
    fn drop(&mut self) {
        if self.ended {
            // The server must learn of the end in any case, or clients would wait for the session forever.
            return self.tell_end(None);
        }
        let now = Timestamp::now();
        if std::thread::panicking() {
            let text = "the session ended because of an internal error";
            LogEntry::new(now, Level::Error, Topic::Status, text).emit(self.machine.id());
        }
        for member in self.members.values_mut().filter(|member| !member.entry.waits()) {
            let reason = DisconnectReason::Shutdown;
            let message = "Session ended because of an internal error".to_owned();
            let ops = vec![ClientOp::Disconnect { reason, message }];
            member.entry.client().tell(ToClient::Deliver { ops, session: None });
        }
        // A stored session can be loaded again.
        let rest = self.machine.is_stored().then(|| self.machine.rest().after_accident(now));
        self.tell_end(rest);
    }
}
