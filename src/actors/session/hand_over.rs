//! Handing the session over to another server when this one stops or is draining: members whose connections other
//! servers have stay.
//!
//! 1. The servers of those members are asked to send nothing more; everybody else is disconnected.
//! 2. When all that came from them is committed and sent, another server is asked to take the session over.
//! 3. The servers of the members are told which one has it now, behind the rest of the history.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use actix::prelude::*;

use super::shared::MOVED;
use super::{ClientOp, ConnId, MemberHandle, Session};
use crate::actors::messages::{Answer, PendingEntry, ToServer, ToSession, notify};
use crate::rules::session::DisconnectReason;
use crate::rules::session::effects::Refusal;
use crate::rules::session::hand_over::RESUME_LIMIT;
use crate::rules::session::input::Input;
use crate::rules::time::Timestamp;
use crate::storage::shared::CommitOutcome;

/// How long the servers of the members may take to pause.
const PAUSE_LIMIT: Duration = Duration::from_secs(3);
/// How long it may take until all is committed.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// Interval of the check whether all have paused and all is committed.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Messages that are kept for a member who is not there yet, at most; further ones are lost.
const MAX_KEPT: usize = 1000;
/// What members are told who cannot stay, when the server stops.
const STOPS: &str = "This server is about to stop, please reconnect";
/// The same while the server is draining.
const MOVES: &str = "This session moves to another server, please reconnect";

/// The session is being handed over.
pub(super) struct HandingOver {
    /// Members whose servers still send.
    sending: HashSet<ConnId>,
    /// Members who will stay.
    staying: HashSet<ConnId>,
    /// Another server has been asked; nothing changes any more.
    is_asked: bool,
    /// Who is told whether it was: a server may be stopped while it is draining.
    done: Vec<Answer<bool>>,
    /// What members are told who cannot stay.
    goodbye: &'static str,
}

/// Members who stay, at the server that has taken the session over, until they are there: what they are to be sent.
pub(super) type Awaited = HashMap<ConnId, Vec<ClientOp>>;

impl Session {
    /// The server stops: hands the session over, if somebody is there who can stay.
    pub(super) fn hand_over(&mut self, done: Answer<bool>, ctx: &mut Context<Self>) {
        if let Some(handing_over) = &mut self.handing_over {
            return handing_over.done.push(done);
        }
        // Who has not come over from another server yet does not go on with this one to a third.
        self.awaited_have_left(ctx);
        self.begin_hand_over(done, STOPS, ctx);
    }

    fn begin_hand_over(&mut self, done: Answer<bool>, goodbye: &'static str, ctx: &mut Context<Self>) {
        let is_in = |conn: &&ConnId| self.members.get(conn).is_some_and(|member| !member.entry.waits());
        let (relayed, others): (HashSet<ConnId>, HashSet<ConnId>) =
            self.members.keys().filter(is_in).partition(|conn| self.members[*conn].entry.is_relayed());
        let is_able = self.shared.is_some() && !self.ended && !self.is_held && self.awaited.is_empty();
        if relayed.is_empty() || !is_able || !self.machine.may_be_handed_over() {
            return notify(done, false);
        }
        let mut ops: Vec<(ConnId, ClientOp)> = relayed.iter().map(|conn| (*conn, ClientOp::Pause)).collect();
        let disconnect = |conn: &ConnId| {
            let message = goodbye.to_owned();
            (*conn, ClientOp::Disconnect { reason: DisconnectReason::Shutdown, message })
        };
        ops.extend(others.iter().map(disconnect));
        self.outgoing.extend(ops);
        let (staying, done) = (HashSet::new(), vec![done]);
        self.handing_over = Some(HandingOver { sending: relayed, staying, is_asked: false, done, goodbye });
        let now = Timestamp::now();
        self.send(now, ctx);
        self.wait_until_ready(now, ctx);
    }

    /// The server is draining: unloads the session if nobody is in it, and hands it over if all who are can stay.
    pub(super) fn drain(&mut self, done: Answer<bool>, ctx: &mut Context<Self>) {
        if let Some(handing_over) = &mut self.handing_over {
            return handing_over.done.push(done);
        }
        if self.members.is_empty() {
            if self.is_unused() {
                self.server.tell(ToServer::RequestUnload { id: self.machine.id().to_owned() });
            }
            return notify(done, false);
        }
        let can_stay = |member: &MemberHandle| !member.entry.waits() && member.entry.is_relayed();
        if !self.awaited.is_empty() || !self.members.values().all(can_stay) {
            return notify(done, false);
        }
        self.begin_hand_over(done, MOVES, ctx);
    }

    /// Whether nothing that this connection sends counts any more.
    pub(super) fn is_out(&self, conn: ConnId) -> bool {
        self.handing_over.as_ref().is_some_and(|handing_over| !handing_over.sending.contains(&conn))
    }

    /// Whether the session is, or is about to be, another server's: nothing may change it.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handing_over.as_ref().is_some_and(|handing_over| handing_over.is_asked)
    }

    /// What comes while another server is asked. Whoever asks something is answered that there is no such session, by
    /// dropping the message. That the session is another server's by now is known from the answer of that one.
    pub(super) fn handle_meanwhile(&mut self, message: ToSession, ctx: &mut Context<Self>) {
        match message {
            ToSession::Leave(conn) | ToSession::Cut(conn) => {
                self.leaves_meanwhile(conn);
            }
            ToSession::HandOver(done) => self.hand_over(done, ctx),
            ToSession::Stop => self.not_handed_over("the server stops", ctx),
            ToSession::Join { entry, .. } => entry.refuse(Refusal::moves()),
            _ => {}
        }
    }

    /// All that a member has sent is here.
    pub(super) fn paused(&mut self, conn: ConnId) {
        if let Some(handing_over) = &mut self.handing_over
            && handing_over.sending.remove(&conn)
        {
            handing_over.staying.insert(conn);
        }
    }

    /// A connection has ended. While the session is handed over, that is not told to the others here: the other server
    /// does. Returns whether it is.
    pub(super) fn leaves_meanwhile(&mut self, conn: ConnId) -> bool {
        self.does_not_stay(conn);
        let is_moving = self.handing_over.is_some();
        if is_moving {
            self.forget_member(conn);
        }
        is_moving
    }

    /// Somebody is no member any more.
    pub(super) fn does_not_stay(&mut self, conn: ConnId) {
        if let Some(handing_over) = &mut self.handing_over {
            handing_over.sending.remove(&conn);
            handing_over.staying.remove(&conn);
        }
    }

    /// Waits until all have paused, and all that came from them is committed; then asks another server.
    fn wait_until_ready(&mut self, since: Timestamp, ctx: &mut Context<Self>) {
        let Some(handing_over) = self.handing_over.as_mut().filter(|_| !self.ended) else { return };
        let waited = Duration::from_millis(Timestamp::now().monotonic_ms.saturating_sub(since.monotonic_ms));
        if waited > PAUSE_LIMIT {
            handing_over.sending.clear();
        }
        if handing_over.sending.is_empty() {
            self.send(Timestamp::now(), ctx);
            let history = self.machine.history();
            let is_sent = !self.storing && self.outgoing.is_empty() && !history.has_unpublished();
            if is_sent && history.unstored_bytes() == 0 && self.store.is_some() {
                return self.ask_for_take_over(ctx);
            }
        }
        if waited > PAUSE_LIMIT + COMMIT_LIMIT {
            return self.lost(CommitOutcome::GivenUp, ctx);
        }
        ctx.run_later(CHECK_INTERVAL, move |session, ctx| session.wait_until_ready(since, ctx));
    }

    fn ask_for_take_over(&mut self, ctx: &mut Context<Self>) {
        let Some(handing_over) = &mut self.handing_over else { return };
        if handing_over.staying.is_empty() || !self.machine.may_be_handed_over() {
            // Everybody has left, or a reset has begun.
            return self.not_handed_over("everybody has left, or a reset has begun", ctx);
        }
        handing_over.is_asked = true;
        let staying = self.machine.staying(&handing_over.staying);
        let conns: Vec<ConnId> = staying.members.iter().map(|member| member.client.conn).collect();
        let (id, staying) = (self.machine.id().to_owned(), Box::new(staying));
        let asked = self.server.ask(|answer| ToServer::HandOver { id, staying, answer });
        ctx.spawn(asked.into_actor(self).map(move |goodbyes, session, ctx| {
            let Some(goodbyes) = goodbyes.flatten() else {
                return session.not_handed_over("no other server takes it", ctx);
            };
            let moved = conns.into_iter().zip(goodbyes);
            session.deliver(moved.map(|(conn, text)| (conn, ClientOp::Moved(text))).collect());
            session.tell_handed_over(true);
            tracing::info!("session {}: another server goes on with it", session.machine.id());
            session.end_here(MOVED, ctx);
        }));
    }

    /// No other server has the session: its members are told to reconnect.
    fn not_handed_over(&mut self, why: &str, ctx: &mut Context<Self>) {
        let goodbye = self.handing_over.as_ref().map_or(STOPS, |handing_over| handing_over.goodbye);
        self.tell_handed_over(false);
        tracing::warn!("session {}: it is not handed over, and ends here: {why}", self.machine.id());
        self.end_here(goodbye, ctx);
    }

    /// Tells the Server whether another one has the session.
    pub(super) fn tell_handed_over(&mut self, is_elsewhere: bool) {
        let done = self.handing_over.iter_mut().flat_map(|handing_over| handing_over.done.drain(..));
        done.for_each(|done| notify(done, is_elsewhere));
    }
}

impl Session {
    /// Waits for the members who stay, at the server that has taken the session over.
    pub(super) fn await_members(&self, ctx: &mut Context<Self>) {
        if self.awaited.is_empty() {
            return;
        }
        ctx.run_later(RESUME_LIMIT, |session, ctx| session.awaited_have_left(ctx));
    }

    fn awaited_have_left(&mut self, ctx: &mut Context<Self>) {
        let is_gone = |conn: &&ConnId| !self.members.contains_key(*conn);
        let mut gone: Vec<ConnId> = self.awaited.keys().filter(is_gone).copied().collect();
        gone.sort_unstable();
        for conn in gone {
            self.leave(conn, Input::Cut(conn), ctx);
        }
    }

    /// A member who stays is there.
    pub(super) fn resume(&mut self, conn: ConnId, entry: PendingEntry, ctx: &mut Context<Self>) {
        if self.ended || !self.awaited.contains_key(&conn) || self.members.contains_key(&conn) {
            // Dropping the entry refuses it.
            return;
        }
        self.members.insert(conn, MemberHandle::new(entry));
        self.answers = true;
        self.handle(ctx, Input::Resume(conn));
    }
}

/// Keeps operations for a member who is not there yet. Those that let it in come back, with what was kept behind them,
/// as do all of somebody else.
pub(super) fn keep_until_joined(
    awaited: &mut Awaited,
    conn: ConnId,
    mut ops: Vec<ClientOp>,
) -> Vec<ClientOp> {
    let Some(kept) = awaited.get_mut(&conn) else { return ops };
    if !ops.iter().any(|op| matches!(op, ClientOp::Joined { .. } | ClientOp::Refused(_))) {
        let is_kept = |count: usize, op: &ClientOp| count < MAX_KEPT || !matches!(op, ClientOp::Direct(_));
        for op in ops.drain(..) {
            if is_kept(kept.len(), &op) {
                kept.push(op);
            }
        }
        return ops;
    }
    let is_first = |op: &ClientOp| matches!(op, ClientOp::Joined { .. } | ClientOp::Attach(_));
    let at = ops.iter().rposition(is_first).map_or(0, |last| last + 1);
    ops.splice(at..at, kept.drain(..));
    awaited.remove(&conn);
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    fn names(ops: &[ClientOp]) -> Vec<String> {
        let name = |op: &ClientOp| match op {
            ClientOp::Direct(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            ClientOp::Joined { .. } => "joined".to_owned(),
            ClientOp::Attach(_) => "history".to_owned(),
            other => format!("{other:?}"),
        };
        ops.iter().map(name).collect()
    }

    #[test]
    fn what_was_kept_comes_behind_the_answer_and_its_amount_is_bounded() {
        let mut awaited = Awaited::from([(1, Vec::new())]);
        let direct = |text: &'static str| ClientOp::Direct(text.into());
        assert_eq!(names(&keep_until_joined(&mut awaited, 2, vec![direct("for another")])), ["for another"]);
        assert!(keep_until_joined(&mut awaited, 1, vec![direct("first")]).is_empty());
        assert!(keep_until_joined(&mut awaited, 1, vec![direct("second")]).is_empty());
        let attach = ClientOp::Attach(History::default().cursor(i64::MIN));
        let ops = vec![direct("early"), ClientOp::Joined { user: 1 }, attach, direct("late")];
        let expected = ["early", "joined", "history", "first", "second", "late"];
        assert_eq!(names(&keep_until_joined(&mut awaited, 1, ops)), expected);
        assert_eq!(names(&keep_until_joined(&mut awaited, 1, vec![direct("then")])), ["then"]);

        awaited.insert(1, Vec::new());
        for _ in 0..2 * MAX_KEPT {
            keep_until_joined(&mut awaited, 1, vec![direct("much")]);
        }
        assert_eq!(awaited[&1].len(), MAX_KEPT);
    }
}
