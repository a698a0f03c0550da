//! The Session actor: performs what the rules want done, and keeps their time.
//!
//! It lives on one worker for life. What clients are to be sent, directly or from the history, goes out at once when
//! little happens, and is gathered for a few milliseconds when much does.

mod entry;
mod persist;

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::command::Host;
use drawhall_protocol::reply::ServerReply;
use serde::{Deserialize, Serialize};

use super::admin::{AdminAnswer, AdminError, AdminRequest};
use super::commands::gain_op;
use super::effects::{ClientOp, ConnId, DisconnectReason, Effects, Refusal};
use super::input::Input;
use super::member::{AuthenticatedClient, JoinRequest};
use super::persistence::Suspended;
use super::{BanExchange, OpwordCheck, ServerSettings, SessionMachine, SessionState};
use crate::auth::BUSY_TEXT;
use crate::blocking::{BlockingPool, Job};
use crate::client::actor::{Deliver, ReadOn};
use crate::client::in_flight::InFlightBudget;
use crate::client::login::LookupAnswer;
use crate::clock::Timestamp;
use crate::history::total::HistoryShare;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::server::{ListSession, SendReport, Server, SessionChanged, SessionEnded};
use crate::storage::recorder::Recording;
use crate::storage::session_files::{FileDisposition, PasswordKind, SessionFiles};
use crate::trace::Trace;
pub use entry::PendingEntry;
pub use persist::Unload;

/// Greatest value of `gatherTime` in milliseconds that counts.
const MAX_GATHER_MS: u64 = 50;
/// How long in milliseconds others that draw at the same time are waited for in a busy session.
const SETTLE_MS: u64 = 1;
/// Bytes that are gathered at most before they are stored.
const MAX_UNSTORED: u64 = 1 << 20;
/// A session that has sent nothing for so many milliseconds is not busy: it sends at once.
const QUIET_MS: u64 = 100;
/// How often numbers of the description are told to the server at most, in milliseconds.
const STATS_MS: u64 = 100;
/// How often an empty or idle session is looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(15);

/// What the session knows of a client besides the rules.
struct MemberHandle {
    /// The client, which waits until it is in or was refused.
    entry: PendingEntry,
    /// Cost of batches that the rules hold.
    held: usize,
    /// Cost of batches that came while the files were away.
    unstored: usize,
}

/// A password that is checked against a hash, and who joins if it fits.
struct PasswordCheck {
    hash: String,
    password: String,
    waiting: Vec<JoinRequest>,
}

impl MemberHandle {
    fn new(entry: PendingEntry) -> MemberHandle {
        MemberHandle { entry, held: 0, unstored: 0 }
    }

    /// Gives back what a client's messages have cost, and lets it send more if it had to wait for that.
    fn release(&self, cost: usize) {
        if cost > 0 && self.entry.in_flight_budget().release(cost) {
            self.entry.client().do_send(ReadOn);
        }
    }
}

/// What a session works with besides its rules.
pub struct SessionDeps {
    /// The server.
    pub server: Addr<Server>,
    /// Where hashes are computed.
    pub blocking_pool: BlockingPool,
    /// Its files, if it is stored.
    pub store: Option<SessionFiles>,
    /// Its recording, if it is recorded.
    pub recording: Option<Recording>,
    /// Where its inputs are recorded, if they are.
    pub trace: Option<Trace>,
    /// What its history holds of what all may hold.
    pub share: HistoryShare,
}

/// The Session actor.
pub struct Session {
    machine: SessionMachine,
    server: Addr<Server>,
    blocking_pool: BlockingPool,
    address: Option<Addr<Session>>,
    members: HashMap<ConnId, MemberHandle>,
    /// Passwords that are being checked.
    checks: Vec<PasswordCheck>,
    /// What clients are to do, in order, not yet sent.
    outgoing: Vec<(ConnId, ClientOp)>,
    /// The session's files, unless a thread is at work on them.
    store: Option<SessionFiles>,
    /// A thread is at work on the files; until it is back, nothing is sent.
    storing: bool,
    send_again: bool,
    /// Storing has failed; when it is tried again.
    retry_ms: Option<u64>,
    recording: Option<Recording>,
    trace: Option<Trace>,
    share: HistoryShare,
    ending: Option<FileDisposition>,
    sent_ms: u64,
    /// When the first of what is not sent yet has come, on the forward clock.
    unsent_since: Option<u64>,
    sending_soon: bool,
    /// The description changed in a way that lists show; told once those in the session have been told.
    announce: bool,
    stats_pending: bool,
    deadline: Option<(u64, SpawnHandle)>,
    ended: bool,
    /// The server knows that it has ended.
    end_told: bool,
}

impl Session {
    /// An actor for these rules.
    pub fn new(mut machine: SessionMachine, parts: SessionDeps) -> Self {
        let SessionDeps { server, blocking_pool, store, recording, trace, mut share } = parts;
        share.set(machine.history().size());
        if recording.is_some() {
            machine.record();
        }
        Self {
            machine,
            server,
            blocking_pool,
            address: None,
            members: HashMap::new(),
            checks: Vec::new(),
            outgoing: Vec::new(),
            store,
            storing: false,
            send_again: false,
            retry_ms: None,
            recording,
            trace,
            share,
            ending: None,
            sent_ms: 0,
            unsent_since: None,
            sending_soon: false,
            announce: false,
            stats_pending: false,
            deadline: None,
            ended: false,
            end_told: false,
        }
    }

    fn perform(&mut self, effects: Effects, now: Timestamp, ctx: &mut Context<Self>) {
        for entry in &effects.log {
            entry.emit(self.machine.id());
        }
        self.outgoing.extend(effects.sends);
        if let Some(check) = effects.check {
            self.check_opword(check, ctx);
        }
        for exchange in effects.exchanges {
            self.exchange_bans(exchange, ctx);
        }
        for (url, listed) in effects.listing {
            self.server.do_send(ListSession { id: self.machine.id().to_owned(), url, listed });
        }
        for (address, report) in effects.reports {
            self.server.do_send(SendReport { id: self.machine.id().to_owned(), address, report });
        }
        if let Some(ending) = effects.ended {
            self.ended = true;
            self.ending = Some(ending);
            return self.send(now, ctx);
        }
        if effects.changed {
            self.schedule_unload(now, ctx);
        }
        self.announce |= effects.changed;
        if effects.stats && !self.stats_pending {
            self.stats_pending = true;
            ctx.run_later(Duration::from_millis(STATS_MS), |session, _| {
                if std::mem::take(&mut session.stats_pending) {
                    session.tell_changes(false);
                }
            });
        }
        self.send_soon(now, ctx);
        self.keep_deadline(now, ctx);
    }

    /// Has clients do what waits for them: one message a client.
    fn deliver(&mut self, sends: Vec<(ConnId, ClientOp)>) {
        let mut by_client: Vec<(ConnId, Vec<ClientOp>)> = Vec::new();
        for (conn, op) in sends {
            match by_client.iter_mut().rev().find(|(c, _)| *c == conn) {
                Some((_, ops)) => ops.push(op),
                None => by_client.push((conn, vec![op])),
            }
        }
        for (conn, ops) in by_client {
            let goes = |op: &ClientOp| {
                matches!(op, ClientOp::Refused(_) | ClientOp::Disconnect { .. } | ClientOp::Quiet)
            };
            let gone = ops.iter().any(goes);
            let released = ops.iter().any(|op| matches!(op, ClientOp::Released));
            let joined = ops.iter().any(|op| matches!(op, ClientOp::Joined { .. }));
            let Some(member) = self.members.get_mut(&conn) else { continue };
            let held = if released { std::mem::take(&mut member.held) } else { 0 };
            let session = self.address.clone().filter(|_| joined);
            member.entry.client().do_send(Deliver { ops, session });
            if gone || joined {
                member.entry.answered();
            }
            member.release(held);
            if gone {
                self.members.remove(&conn);
            }
        }
    }

    fn tell_changes(&mut self, announce: bool) {
        self.stats_pending = false;
        self.announce &= !announce;
        let description = self.machine.description(false, Timestamp::now());
        self.server.do_send(SessionChanged { description, announce });
    }

    /// Sends at once, or when the time for gathering is over.
    fn send_soon(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let unstored = if self.retry_ms.is_none() { self.machine.history().unstored_bytes() } else { 0 };
        let unpublished = self.machine.history().has_unpublished();
        if self.outgoing.is_empty() && !self.announce && !unpublished && unstored == 0 {
            return;
        }
        if now.monotonic_ms >= self.sent_ms + QUIET_MS || unstored > MAX_UNSTORED {
            return self.send(now, ctx);
        }
        if std::mem::replace(&mut self.sending_soon, true) {
            return;
        }
        let gather = self.machine.settings().gather_time.0.min(MAX_GATHER_MS);
        let due = (self.sent_ms + gather).max(now.monotonic_ms + SETTLE_MS.min(gather));
        ctx.run_later(Duration::from_millis(due - now.monotonic_ms), |session, ctx| {
            session.sending_soon = false;
            session.send(Timestamp::now(), ctx);
        });
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

    /// Gives the rules an input.
    fn effects_of(&mut self, input: Input, now: Timestamp) -> Effects {
        let full = self.share.is_server_full();
        if full != self.machine.history().is_server_full() {
            // Nothing comes of it before something is to be appended.
            self.give(Input::ServerFull(full), now);
        }
        let effects = self.give(input, now);
        self.share.set(self.machine.history().size());
        effects
    }

    fn give(&mut self, input: Input, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let positions = self.machine.snapshot_reader_offsets();
        let Some(trace) = self.trace.clone() else {
            self.machine.handle(input, now, &mut effects);
            return effects;
        };
        let number = trace.input(self.machine.id(), now, positions, &input);
        self.machine.handle(input, now, &mut effects);
        trace.effects(number, &mut self.machine, &effects);
        effects
    }

    /// Has a password checked that takes long, then lets somebody join.
    fn check_and_join(&mut self, hash: String, request: Box<JoinRequest>, ctx: &mut Context<Self>) {
        let password = request.password.clone();
        // Many come back at once after a restart: one check will do for all who say the same.
        let same = |check: &&mut PasswordCheck| check.hash == hash && check.password == password;
        if let Some(check) = self.checks.iter_mut().find(same) {
            return check.waiting.push(*request);
        }
        let checked =
            self.blocking_pool.verify(request.client.identity.address, password.clone(), hash.clone());
        let waiting = vec![*request];
        self.checks.push(PasswordCheck { hash: hash.clone(), password: password.clone(), waiting });
        ctx.spawn(checked.into_actor(self).map(move |fits, session, ctx| {
            session.join_checked(&hash, &password, fits, ctx);
        }));
    }

    /// Has a ban list read or written, which anybody can make take long: the whole server does one at a time.
    fn exchange_bans(&mut self, exchange: BanExchange, ctx: &mut Context<Self>) {
        let (key, failed) = (self.machine.crypt_key(), exchange.failed());
        let done = self.blocking_pool.run(Job::BanExchange, move || exchange.perform(key.as_ref()));
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            session.handle(ctx, Input::BansExchanged(done.unwrap_or(failed)));
        }));
    }

    /// It is known whether those who wait have said the right password, or that it cannot be checked now.
    fn join_checked(&mut self, hash: &str, password: &str, fits: Option<bool>, ctx: &mut Context<Self>) {
        let same = |check: &PasswordCheck| check.hash == hash && check.password == password;
        let Some(at) = self.checks.iter().position(same) else { return };
        let PasswordCheck { hash, password, waiting } = self.checks.swap_remove(at);
        if fits == Some(true) {
            self.handle(ctx, Input::Learn { kind: PasswordKind::Session, hash, password });
        }
        for request in waiting {
            let conn = request.client.conn;
            if self.ended {
                // It is refused with this.
                self.members.remove(&conn);
            }
            if !self.members.contains_key(&conn) {
                continue;
            }
            if fits.is_some() {
                self.handle(ctx, Input::Join(Box::new(request)));
            } else if let Some(member) = self.members.remove(&conn) {
                let refusal = ClientOp::Refused(Refusal::error("tooManyAttempts", BUSY_TEXT));
                member.entry.client().do_send(Deliver { ops: vec![refusal], session: None });
            }
        }
    }

    fn check_opword(&mut self, check: OpwordCheck, ctx: &mut Context<Self>) {
        let OpwordCheck { hash, opword, address, .. } = check.clone();
        let checked = self.blocking_pool.verify(address, opword, hash);
        ctx.spawn(checked.into_actor(self).map(move |fits, session, ctx| match fits {
            Some(fits) => session.handle(ctx, Input::OpwordChecked(check, fits)),
            None => session.refuse_opword(check.conn),
        }));
    }

    /// The opword cannot be checked now.
    fn refuse_opword(&mut self, conn: ConnId) {
        let refusal = ServerReply::command_error(gain_op::COMMAND, BUSY_TEXT);
        if let (Some(member), Ok(frame)) = (self.members.get(&conn), refusal.to_frame()) {
            let ops = vec![ClientOp::Direct(frame.into_bytes())];
            member.entry.client().do_send(Deliver { ops, session: None });
        }
    }
}

impl Session {
    /// Tells the server, once, that the session has ended; what is remembered of it if it can be loaded again.
    fn tell_end(&mut self, rest: Option<Suspended>) {
        if !std::mem::replace(&mut self.end_told, true) {
            self.server.do_send(SessionEnded { id: self.machine.id().to_owned(), rest });
        }
    }
}

impl Drop for Session {
    /// A fault in the rules of one session ends that session and no other: its actor is dropped while the thread goes
    /// on, and whoever was in it is told. Those who wait to be let in are refused with their links.
    fn drop(&mut self) {
        if self.ended {
            // Whoever waits for the session at the server must not wait for ever, whatever came between.
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
            member.entry.client().do_send(Deliver { ops, session: None });
        }
        // What is stored can be loaded again.
        let rest = self.machine.is_stored().then(|| self.machine.rest().after_accident(now));
        self.tell_end(rest);
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.address = Some(ctx.address());
        let now = Timestamp::now();
        self.send(now, ctx);
        ctx.run_interval(EXPIRY_INTERVAL, |session, ctx| {
            if session.ended {
                return;
            }
            session.handle(ctx, Input::Expire);
            // Who drew a while ago is not active any more.
            if !session.ended {
                session.tell_changes(false);
                session.request_unload();
            }
        });
    }
}

/// The host enters its new session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EnterHost {
    /// Who hosts.
    pub client: Box<AuthenticatedClient>,
    /// What was asked for.
    pub host: Box<Host>,
    /// The client.
    pub entry: PendingEntry,
}

impl Handler<EnterHost> for Session {
    type Result = ();

    fn handle(&mut self, enter: EnterHost, ctx: &mut Self::Context) {
        let EnterHost { client, host, entry } = enter;
        if self.ended {
            // It is refused with this.
            return;
        }
        self.members.insert(client.conn, MemberHandle::new(entry));
        self.handle(ctx, Input::Host { client, host });
    }
}

/// Somebody wants to join.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JoinSession {
    /// Who, and how.
    pub request: Box<JoinRequest>,
    /// The client.
    pub entry: PendingEntry,
}

impl Handler<JoinSession> for Session {
    type Result = ();

    fn handle(&mut self, join: JoinSession, ctx: &mut Self::Context) {
        let JoinSession { request, entry } = join;
        if self.ended {
            // It is refused with this.
            return;
        }
        self.members.insert(request.client.conn, MemberHandle::new(entry));
        match self.machine.needs_slow_verify(&request).map(str::to_owned) {
            Some(hash) => self.check_and_join(hash, request, ctx),
            None => self.handle(ctx, Input::Join(request)),
        }
    }
}

/// A client is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LeaveSession {
    /// The connection.
    pub conn: ConnId,
    /// The server has cut it off: it did not want to go.
    pub cut: bool,
}

impl Handler<LeaveSession> for Session {
    type Result = ();

    fn handle(&mut self, leave: LeaveSession, ctx: &mut Self::Context) {
        let LeaveSession { conn, cut } = leave;
        self.members.remove(&conn);
        self.handle(ctx, if cut { Input::Cut(conn) } else { Input::Leave(conn) });
    }
}

/// Whole frames from a client.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Batch {
    /// The connection.
    pub conn: ConnId,
    /// The frames.
    pub bytes: Vec<u8>,
}

impl Handler<Batch> for Session {
    type Result = ();

    fn handle(&mut self, Batch { conn, bytes }: Batch, ctx: &mut Self::Context) {
        let cost = InFlightBudget::cost(&bytes);
        let now = Timestamp::now();
        let effects = self.effects_of(Input::Batch { conn, bytes }, now);
        self.unsent_since.get_or_insert(now.monotonic_ms);
        if let Some(member) = self.members.get_mut(&conn) {
            if effects.held {
                member.held += cost;
            } else if self.storing {
                member.unstored += cost;
            } else {
                member.release(cost);
            }
        }
        self.perform(effects, now, ctx);
    }
}

/// A look-up that names an invite.
#[derive(Message)]
#[rtype(result = "LookupAnswer")]
pub struct LookUpSession {
    /// Invite secret, empty without.
    pub invite: String,
    /// System id of the client, empty if it is not known yet.
    pub sid: String,
}

impl Handler<LookUpSession> for Session {
    type Result = MessageResult<LookUpSession>;

    fn handle(&mut self, lookup: LookUpSession, _: &mut Self::Context) -> Self::Result {
        let invited = !lookup.invite.is_empty();
        let refusal =
            if invited { self.machine.check_invite(&lookup.invite, &lookup.sid).err() } else { None };
        MessageResult(match refusal {
            _ if self.machine.state() == SessionState::Shutdown => LookupAnswer::NotFound,
            Some(refusal) => LookupAnswer::Refused(refusal),
            None => LookupAnswer::Found(Box::new(self.machine.description(invited, Timestamp::now()))),
        })
    }
}

/// An abuse report from somebody who is not in the session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReportFromOutside {
    /// Who reports.
    pub user: LogUser,
    /// What is wrong.
    pub reason: String,
}

impl Handler<ReportFromOutside> for Session {
    type Result = ();

    fn handle(&mut self, report: ReportFromOutside, ctx: &mut Self::Context) {
        let ReportFromOutside { user, reason } = report;
        self.handle(ctx, Input::OutsideReport { user, reason });
    }
}

/// Where a session is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAt {
    /// Number of the listing, the same for as long as it is there.
    pub id: u64,
    /// The list server.
    pub url: String,
}

/// What has become of the session's listings.
#[derive(Debug, Clone, Default, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub struct ListingUpdate {
    /// A text for everybody in the session.
    pub text: Option<String>,
    /// Where the session is listed now.
    pub listed: Vec<ListedAt>,
    /// It has been announced here.
    #[serde(alias = "made")]
    pub announced: Option<String>,
    /// It was withdrawn here on purpose.
    pub withdrawn: Option<String>,
}

impl Handler<ListingUpdate> for Session {
    type Result = ();

    fn handle(&mut self, news: ListingUpdate, ctx: &mut Self::Context) {
        self.handle(ctx, Input::Listing(news));
    }
}

/// An abuse report was passed on, or could not be.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReportSent {
    /// Why not.
    pub error: Option<String>,
}

impl Handler<ReportSent> for Session {
    type Result = ();

    fn handle(&mut self, ReportSent { error }: ReportSent, ctx: &mut Self::Context) {
        self.handle(ctx, Input::ReportSent(error));
    }
}

/// Settings of the server are others from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetServerSettings(pub ServerSettings);

impl Handler<SetServerSettings> for Session {
    type Result = ();

    fn handle(&mut self, SetServerSettings(shared): SetServerSettings, ctx: &mut Self::Context) {
        self.handle(ctx, Input::Shared(shared));
    }
}

/// The server stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopSession;

impl Handler<StopSession> for Session {
    type Result = ();

    fn handle(&mut self, _: StopSession, ctx: &mut Self::Context) {
        self.handle(ctx, Input::Stop);
    }
}

/// An administrator wants something.
#[derive(Message)]
#[rtype(result = "AdminAnswer")]
pub struct Administer(pub AdminRequest);

impl Handler<Administer> for Session {
    type Result = ActorResponse<Self, AdminAnswer>;

    fn handle(&mut self, Administer(request): Administer, ctx: &mut Self::Context) -> Self::Result {
        if self.ended {
            return ActorResponse::reply(Err(AdminError::not_found()));
        }
        let slow = match &request {
            AdminRequest::CheckPassword { opword, password } => {
                let kind = if *opword { PasswordKind::Operator } else { PasswordKind::Session };
                self.machine.slow_hash(kind, password).map(|hash| (kind, hash.to_owned(), password.clone()))
            }
            _ => None,
        };
        let Some((kind, hash, password)) = slow else {
            return ActorResponse::reply(self.administer(request, ctx));
        };
        let checked = self.blocking_pool.verify(None, password.clone(), hash.clone());
        ActorResponse::r#async(checked.into_actor(self).map(move |fits, session, ctx| {
            if fits == Some(true) {
                session.handle(ctx, Input::Learn { kind, hash, password });
            }
            session.administer(request, ctx)
        }))
    }
}

impl Session {
    fn administer(&mut self, request: AdminRequest, ctx: &mut Context<Self>) -> AdminAnswer {
        let now = Timestamp::now();
        let mut effects = self.effects_of(Input::Administer(request), now);
        let answer = effects.answer.take();
        self.perform(effects, now, ctx);
        answer.unwrap_or_else(|| Err(AdminError::not_found()))
    }
}

/// Who is in the session, for the list of all users.
#[derive(Message)]
#[rtype(result = "Vec<serde_json::Value>")]
pub struct DescribeUsers;

impl Handler<DescribeUsers> for Session {
    type Result = Vec<serde_json::Value>;

    fn handle(&mut self, _: DescribeUsers, _: &mut Self::Context) -> Self::Result {
        self.machine.users()
    }
}
