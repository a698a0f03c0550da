//! The Session actor: performs the machine's effects and runs its timers.
//!
//! It stays on one worker thread.

mod administer;
mod blocking;
mod persist;
mod rebuild;
mod restore;
mod sending;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::command::Host;

use rebuild::CancelOnDrop;

use crate::actors::messages::{
    PendingEntry, ServerHandle, SessionHandle, ToClient, ToServer, ToSession, notify,
};
use crate::blocking::BlockingPool;
use crate::history::total::HistoryShare;
use crate::log::{Level, LogEntry, Topic};
use crate::metrics::Metrics;
use crate::rules::login::LookupAnswer;
use crate::rules::rng::Rng;
use crate::rules::session::FileDisposition;
use crate::rules::session::admin::SessionAnswer;
use crate::rules::session::effects::{ClientOp, ConnId, Cx, DisconnectReason, Effect};
use crate::rules::session::input::Input;
use crate::rules::session::member::{AuthenticatedClient, JoinRequest};
use crate::rules::session::persistence::Suspended;
use crate::rules::session::{SessionMachine, SessionState};
use crate::rules::time::Timestamp;
use crate::storage::recorder::Recording;
use crate::storage::session_dir::SessionDir;
use crate::storage::session_files::SessionFiles;
use crate::trace::Trace;

/// Minimum interval of description updates to the server (numbers only), in milliseconds.
const STATS_MS: u64 = 100;
/// Interval of the session expiry check.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(15);

/// The actor's handle of a member's connection.
struct MemberHandle {
    /// The client, waiting until it has joined or is refused.
    entry: PendingEntry,
    /// In-flight cost of batches that the machine holds.
    held: usize,
    /// In-flight cost of batches that wait for a write.
    unstored: usize,
}

impl MemberHandle {
    fn new(entry: PendingEntry) -> MemberHandle {
        MemberHandle { entry, held: 0, unstored: 0 }
    }

    /// Releases in-flight cost, and resumes reading from the client if it was paused (back-pressure).
    fn release(&self, cost: usize) {
        if cost > 0 && self.entry.in_flight_budget().release(cost) {
            self.entry.client().tell(ToClient::ReadOn);
        }
    }
}

/// What a session's actor needs besides the machine.
#[allow(missing_docs, reason = "the names say it")]
pub struct SessionDeps {
    /// Random numbers for the rules.
    pub rng: Rng,
    pub server: ServerHandle,
    pub blocking_pool: BlockingPool,
    pub metrics: Arc<Metrics>,
    /// `None` for a session in memory only.
    pub store: Option<SessionFiles>,
    /// `None` if it is not recorded.
    pub recording: Option<Recording>,
    /// `None` if inputs are not traced.
    pub trace: Option<Trace>,
    /// Its part of `totalHistoryLimit`.
    pub share: HistoryShare,
}

/// The Session actor.
pub struct Session {
    machine: SessionMachine,
    rng: Rng,
    /// An empty list of effects, to be filled again.
    spare: Vec<Effect>,
    server: ServerHandle,
    blocking_pool: BlockingPool,
    metrics: Arc<Metrics>,
    address: Option<SessionHandle>,
    members: HashMap<ConnId, MemberHandle>,
    /// Running password verifications.
    checks: Vec<blocking::PasswordCheck>,
    /// Operations for clients that wait for the next send, in order.
    outgoing: Vec<(ConnId, ClientOp)>,
    /// Where it is stored; `None` for a session in memory only.
    dir: Option<Arc<SessionDir>>,
    /// `None` while the blocking pool is writing them.
    store: Option<SessionFiles>,
    /// The blocking pool is writing; nothing is sent until it is done (write-ahead).
    storing: bool,
    /// Storing has failed; time of the next retry.
    retry_ms: Option<u64>,
    recording: Option<Recording>,
    trace: Option<Trace>,
    share: HistoryShare,
    ending: Option<FileDisposition>,
    sent_ms: u64,
    /// Arrival of the first unsent message, monotonic milliseconds.
    unsent_since: Option<u64>,
    sending_soon: bool,
    /// The pool reads a whole history for an administrator; ends that when dropped.
    reading: Option<CancelOnDrop>,
    /// Requests that wait until the pool has followed the history.
    following: Vec<administer::WaitingRequest>,
    /// The description changed visibly; the server is told after the members.
    announce: bool,
    stats_pending: bool,
    deadline: Option<(u64, SpawnHandle)>,
    ended: bool,
    /// The server has been told of the end.
    end_told: bool,
}

impl Session {
    /// An actor for this machine. It records the session if `parts` has a recording.
    pub fn new(mut machine: SessionMachine, parts: SessionDeps) -> Self {
        let SessionDeps { rng, server, blocking_pool, metrics, store, recording, trace, mut share } = parts;
        share.set(machine.history().size());
        if recording.is_some() {
            machine.record();
        }
        Self {
            machine,
            rng,
            spare: Vec::new(),
            server,
            blocking_pool,
            metrics,
            address: None,
            members: HashMap::new(),
            checks: Vec::new(),
            outgoing: Vec::new(),
            dir: store.as_ref().map(SessionFiles::dir),
            store,
            storing: false,
            retry_ms: None,
            recording,
            trace,
            share,
            ending: None,
            sent_ms: 0,
            unsent_since: None,
            sending_soon: false,
            reading: None,
            following: Vec::new(),
            announce: false,
            stats_pending: false,
            deadline: None,
            ended: false,
            end_told: false,
        }
    }

    /// Performs the effects of an input, then sends what has gathered, or soon. Returns the answer to a request.
    fn perform(
        &mut self,
        effects: Vec<Effect>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Option<SessionAnswer> {
        let answer = self.interpret(effects, now, ctx);
        if self.ended {
            self.send(now, ctx);
        } else {
            self.send_soon(now, ctx);
            self.keep_deadline(now, ctx);
        }
        answer
    }

    /// Performs the effects of an input, but for sending. Returns the answer to a request.
    fn interpret(
        &mut self,
        mut effects: Vec<Effect>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Option<SessionAnswer> {
        let mut given = None;
        let announced_before = self.announce;
        for effect in effects.drain(..) {
            match effect {
                Effect::Client(conn, op) => self.outgoing.push((conn, op)),
                Effect::Log(entry) => entry.emit(self.machine.id()),
                Effect::Count(counted) => self.count(counted),
                Effect::DescriptionChanged => {
                    self.announce = true;
                    self.schedule_unload(now, ctx);
                }
                Effect::NumbersChanged => self.tell_numbers_soon(ctx),
                Effect::CheckOpword(check) => self.check_opword(check, ctx),
                Effect::ExchangeBans(exchange) => self.exchange_bans(exchange, ctx),
                Effect::Announce { url } => self.tell_server(|id| ToServer::Announce { id, url }),
                Effect::Unlist { url } => self.tell_server(|id| ToServer::Unlist { id, url }),
                Effect::ForwardReport { address, report } => {
                    self.tell_server(|id| ToServer::SendReport { id, address, report });
                }
                // `Self::batch` has accounted for it.
                Effect::Held => {}
                Effect::Answer(answer) => given = Some(answer),
                Effect::End(ending) => {
                    self.ended = true;
                    self.ending = Some(ending);
                    self.reading = None;
                    // The lobby is told of the end, and not of what has changed with it.
                    self.announce = announced_before;
                }
            }
        }
        self.spare = effects;
        given
    }

    fn tell_server(&self, message: impl FnOnce(String) -> ToServer) {
        self.server.tell(message(self.machine.id().to_owned()));
    }

    /// Tells the server of changed numbers, at most every [`STATS_MS`].
    fn tell_numbers_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.stats_pending, true) {
            ctx.run_later(Duration::from_millis(STATS_MS), |session, _| {
                if std::mem::take(&mut session.stats_pending) {
                    session.tell_changes(false);
                }
            });
        }
    }

    fn tell_changes(&mut self, announce: bool) {
        self.stats_pending = false;
        self.announce &= !announce;
        let description = self.machine.description(false, Timestamp::now());
        self.server.tell(ToServer::SessionChanged { description, announce });
    }

    fn keep_deadline(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let due = self.machine.next_deadline();
        if due == self.deadline.map(|(due, _)| due) {
            return;
        }
        if let Some((_, handle)) = self.deadline.take() {
            ctx.cancel_future(handle);
        }
        self.deadline = due.map(|due| {
            let wait = Duration::from_millis(due.saturating_sub(now.monotonic_ms));
            let handle = ctx.run_later(wait, |session, ctx| {
                session.deadline = None;
                session.handle(ctx, Input::Tick);
            });
            (due, handle)
        });
    }

    fn handle(&mut self, ctx: &mut Context<Self>, input: Input) {
        let now = Timestamp::now();
        let effects = self.effects_of(input, now);
        self.perform(effects, now, ctx);
    }

    /// Feeds an input to the machine.
    fn effects_of(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let full = self.share.is_server_full();
        if full != self.machine.history().is_server_full() {
            // No effects follow before something is appended.
            self.give(Input::ServerFull(full), now);
        }
        let effects = self.give(input, now);
        self.share.set(self.machine.history().size());
        effects
    }

    fn give(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let positions = self.machine.snapshot_reader_offsets(&input);
        let traced = self.trace.as_ref().map(|trace| trace.input(self.machine.id(), now, positions, &input));
        let effects = std::mem::take(&mut self.spare);
        let mut cx = Cx { now, rng: &mut self.rng, effects };
        self.machine.handle(input, &mut cx);
        let effects = cx.effects;
        if let (Some(trace), Some(number)) = (&self.trace, traced) {
            trace.effects(number, &mut self.machine, &effects);
        }
        effects
    }
}

impl Session {
    /// Tells the server once that the session has ended, with the state to load it again from, if it can be.
    fn tell_end(&mut self, rest: Option<Suspended>) {
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

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.address = Some(ctx.address().into());
        let now = Timestamp::now();
        self.send(now, ctx);
        ctx.run_interval(EXPIRY_INTERVAL, |session, ctx| {
            if session.ended {
                return;
            }
            session.handle(ctx, Input::Expire);
            // Users stop counting as active after a while without any input.
            if !session.ended {
                session.tell_changes(false);
                session.request_unload();
            }
        });
    }
}

impl Handler<ToSession> for Session {
    type Result = ();

    fn handle(&mut self, message: ToSession, ctx: &mut Self::Context) {
        match message {
            ToSession::Batch { conn, batch } => self.batch(conn, batch, ctx),
            ToSession::Leave(conn) => self.leave(conn, Input::Leave(conn), ctx),
            ToSession::Cut(conn) => self.leave(conn, Input::Cut(conn), ctx),
            ToSession::Host { client, host, entry } => self.enter_host(client, host, entry, ctx),
            ToSession::Join { request, entry } => self.join(request, entry, ctx),
            ToSession::LookUp { invite, sid, answer } => notify(answer, self.look_up(&invite, &sid)),
            ToSession::ReportFromOutside { user, reason } => {
                self.handle(ctx, Input::OutsideReport { user, reason });
            }
            ToSession::ReportSent { error } => self.handle(ctx, Input::ReportSent(error)),
            ToSession::Listing(news) => self.handle(ctx, Input::Listing(news)),
            ToSession::Settings(settings) => self.handle(ctx, Input::Shared(settings)),
            ToSession::Unload => self.unload(ctx),
            ToSession::Stop => self.handle(ctx, Input::Stop),
            ToSession::Administer(request, answer) => self.check_and_administer(request, answer, ctx),
            ToSession::Histories(request, answer) => self.histories(request, answer, ctx),
            ToSession::FindOperator { token, answer } => {
                notify(answer, self.machine.operator_by_link(&token, Timestamp::now()));
            }
            ToSession::DescribeUsers(answer) => notify(answer, self.machine.users()),
        }
    }
}

impl Session {
    fn enter_host(
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

    fn join(&mut self, request: Box<JoinRequest>, entry: PendingEntry, ctx: &mut Context<Self>) {
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

    fn look_up(&self, invite: &str, sid: &str) -> LookupAnswer {
        let invited = !invite.is_empty();
        let refusal = if invited { self.machine.check_invite(invite, sid).err() } else { None };
        match refusal {
            _ if self.machine.state() == SessionState::Shutdown => LookupAnswer::NotFound,
            Some(refusal) => LookupAnswer::Refused(refusal),
            None => LookupAnswer::Found(Box::new(self.machine.description(invited, Timestamp::now()))),
        }
    }

    fn leave(&mut self, conn: ConnId, input: Input, ctx: &mut Context<Self>) {
        self.members.remove(&conn);
        self.handle(ctx, input);
    }
}
