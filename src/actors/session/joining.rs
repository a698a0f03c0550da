//! Clients that come into the session, and that go.

use actix::prelude::*;
use drawhall_protocol::command::Host;

use super::{MemberHandle, Session};
use crate::actors::messages::PendingEntry;
use crate::rules::login::LookupAnswer;
use crate::rules::session::input::Input;
use crate::rules::session::{AuthenticatedClient, ConnId, JoinRequest, Refusal, SessionState};
use crate::rules::time::Timestamp;

impl Session {
    pub(super) fn enter_host(
        &mut self,
        client: Box<AuthenticatedClient>,
        host: Box<Host>,
        entry: PendingEntry,
        ctx: &mut Context<Self>,
    ) {
        if self.ended {
            // Dropping the entry refuses it.
            return;
        }
        self.members.insert(client.conn, MemberHandle::new(entry));
        self.handle(ctx, Input::Host { client, host });
    }

    pub(super) fn join(&mut self, request: Box<JoinRequest>, entry: PendingEntry, ctx: &mut Context<Self>) {
        if self.handing_over.is_some() {
            return entry.refuse(Refusal::moves());
        }
        if self.ended {
            // Dropping the entry refuses it.
            return;
        }
        self.members.insert(request.client.conn, MemberHandle::new(entry));
        match self.machine.needs_slow_verify(&request).map(str::to_owned) {
            Some(hash) => self.check_and_join(hash, request, ctx),
            None => self.handle(ctx, Input::Join(request)),
        }
    }

    pub(super) fn look_up(&self, invite: &str, sid: &str) -> LookupAnswer {
        let invited = !invite.is_empty();
        let refusal = if invited { self.machine.check_invite(invite, sid).err() } else { None };
        match refusal {
            _ if self.machine.state() == SessionState::Shutdown => LookupAnswer::NotFound,
            Some(refusal) => LookupAnswer::Refused(refusal),
            None => LookupAnswer::Found(Box::new(self.machine.description(invited, Timestamp::now()))),
        }
    }

    pub(super) fn leave(&mut self, conn: ConnId, input: Input, ctx: &mut Context<Self>) {
        if self.leaves_meanwhile(conn) {
            return;
        }
        self.awaited.remove(&conn);
        self.forget_member(conn);
        self.handle(ctx, input);
    }
}
