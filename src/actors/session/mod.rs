//! The Session actor: performs the machine's effects and runs its timers.
//!
//! It stays on one worker thread.

mod administer;
mod blocking;
mod compact;
mod cut;
mod ended;
mod events;
mod everybody;
mod hand_over;
mod joining;
mod member_handle;
mod persist;
mod rebuild;
mod remove;
mod restore;
mod sending;
mod shared;
mod sightings;
mod thumbnail;
mod times;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use hand_over::{Awaited, HandingOver};
use member_handle::MemberHandle;

use crate::actors::messages::{
    Answer, HistoryRequest, ServerHandle, SessionHandle, ToServer, ToSession, notify,
};
use crate::background::Queue;
use crate::blocking::{BlockingPool, CancelOnDrop};
use crate::history::total::HistoryShare;
use crate::metrics::Metrics;
use crate::renderer::Renderer;
use crate::rules::gathering::Gathering;
use crate::rules::rng::Rng;
use crate::rules::session::admin::SessionAnswer;
use crate::rules::session::effects::{ClientOp, ConnId, Cx, Effect};
use crate::rules::session::input::Input;
use crate::rules::session::{FileDisposition, SessionMachine};
use crate::rules::sighting::ModerationRecord;
use crate::rules::time::Timestamp;
use crate::storage::event_store::{CHAT, EventStore};
use crate::storage::recorder::Recording;
use crate::storage::session_dir::SessionDir;
use crate::storage::session_files::SessionFiles;
use crate::storage::shared::{CommitOutcome, SharedSessions};
use crate::trace::Trace;

/// Capacity of the list of effects that a session keeps for the next input: enough for one that draws, while that of a
/// join takes some KiB.
const KEPT_EFFECTS: usize = 4;
/// Interval of the session expiry check.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(15);

/// A timer that ends gathering.
#[derive(Clone, Copy)]
struct GatherTimer {
    /// When, monotonic microseconds.
    due_us: u64,
    handle: SpawnHandle,
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
    /// Where servers share it, if they do.
    pub shared: Option<Arc<dyn SharedSessions>>,
    /// `None` if it is not recorded.
    pub recording: Option<Recording>,
    /// `None` if inputs are not traced.
    pub trace: Option<Trace>,
    /// Where chat and events are kept for a while, if they are.
    pub events: Option<Arc<EventStore>>,
    /// What makes images of canvases.
    pub renderer: Renderer,
    /// Records for moderators; `None`: nothing is recorded.
    pub records: Option<Queue<ModerationRecord>>,
    /// Its part of `totalHistoryLimit`.
    pub share: HistoryShare,
    /// Number of threads that sessions and clients share.
    pub threads: usize,
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
    /// Where servers share it, if they do.
    shared: Option<Arc<dyn SharedSessions>>,
    /// The blocking pool is writing; nothing is sent until it is done (write-ahead).
    storing: bool,
    /// Nothing is sent because a shared session cannot be stored.
    is_held: bool,
    /// Storing has failed; time of the next retry.
    retry_ms: Option<u64>,
    recording: Option<Recording>,
    trace: Option<Trace>,
    events: Option<Arc<EventStore>>,
    renderer: Renderer,
    records: Option<Queue<ModerationRecord>>,
    share: HistoryShare,
    ending: Option<FileDisposition>,
    gathering: Gathering,
    /// What this thread has spent on sending since `gathering` was told, in nanoseconds.
    sending_ns: u64,
    /// Among what waits to be sent is an answer to a client that has just asked.
    answers: bool,
    /// Arrival of the first unsent message, monotonic milliseconds.
    unsent_since: Option<u64>,
    /// Ends the gathering of what waits to be sent.
    gather_timer: Option<GatherTimer>,
    /// The pool reads a whole history for an administrator; ends that when dropped.
    reading: Option<CancelOnDrop>,
    /// A program makes an image of the canvas; ends that when dropped.
    compaction: Option<CancelOnDrop>,
    /// A program makes a thumbnail; ends that when dropped.
    rendering: Option<CancelOnDrop>,
    /// Requests that wait until the pool has read the history for another.
    waiting_for_reading: VecDeque<(HistoryRequest, Answer<SessionAnswer>)>,
    /// Requests that wait until the pool has followed the history.
    following: Vec<administer::WaitingRequest>,
    /// The description changed visibly; the server is told after the members.
    announce: bool,
    stats_pending: bool,
    /// A timer runs that tells the server of changed numbers.
    stats_timer: bool,
    /// When the timer ends that asks to be unloaded, if one runs; monotonic milliseconds.
    unload_timer: Option<u64>,
    deadline: Option<(u64, SpawnHandle)>,
    ended: bool,
    /// The server has been told of the end.
    end_told: bool,
    handing_over: Option<HandingOver>,
    awaited: Awaited,
}

impl Session {
    /// An actor for this machine. It records the session if `parts` has a recording.
    pub fn new(mut machine: SessionMachine, parts: SessionDeps) -> Self {
        let SessionDeps {
            rng,
            server,
            blocking_pool,
            metrics,
            store,
            shared,
            recording,
            trace,
            events,
            renderer,
            records,
            mut share,
            threads,
        } = parts;
        share.set(machine.history().size());
        let gathering = Gathering::new(threads, Timestamp::monotonic_us(), metrics.sending_ns.get());
        if recording.is_some() {
            machine.record();
        }
        let awaited = machine.awaited().map(|conn| (conn, Vec::new())).collect();
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
            shared,
            storing: false,
            is_held: false,
            retry_ms: None,
            recording,
            trace,
            events,
            renderer,
            records,
            share,
            ending: None,
            gathering,
            sending_ns: 0,
            answers: false,
            unsent_since: None,
            gather_timer: None,
            reading: None,
            compaction: None,
            rendering: None,
            waiting_for_reading: VecDeque::new(),
            following: Vec::new(),
            announce: false,
            stats_pending: false,
            stats_timer: false,
            unload_timer: None,
            deadline: None,
            ended: false,
            end_told: false,
            handing_over: None,
            awaited,
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
        self.outgoing.reserve(effects.len());
        for effect in effects.drain(..) {
            match effect {
                Effect::Client(conn, op) => {
                    if matches!(op, ClientOp::Joined { .. }) {
                        self.somebody_joined(conn, now);
                    }
                    self.answers |= matches!(op, ClientOp::Joined { .. } | ClientOp::Refused(_));
                    self.outgoing.push((conn, op));
                }
                Effect::Log(entry) => self.log(&entry),
                Effect::KeepChat { user, text } => self.keep_event(now.utc_ms, CHAT, Some(user), text),
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
                Effect::Compact => self.compact_by_itself(ctx),
                Effect::MakeThumbnail => self.make_thumbnail(ctx),
                Effect::Reported(report) => self.server.tell(ToServer::Reported(report)),
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
                    self.compaction = None;
                    self.rendering = None;
                    // The lobby is told of the end, and not of what has changed with it.
                    self.announce = announced_before;
                }
            }
        }
        if effects.capacity() <= KEPT_EFFECTS {
            self.spare = effects;
        }
        given
    }

    fn tell_server(&self, message: impl FnOnce(String) -> ToServer) {
        self.server.tell(message(self.machine.id().to_owned()));
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
        if self.is_handed_over() {
            return;
        }
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

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.address = Some(ctx.address().into());
        self.await_members(ctx);
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
        if self.is_handed_over() {
            return self.handle_meanwhile(message, ctx);
        }
        match message {
            ToSession::Paused(conn) => self.paused(conn),
            ToSession::Resume { conn, entry } => self.resume(conn, entry, ctx),
            ToSession::HandOver(done) => self.hand_over(done, ctx),
            ToSession::Drain(done) => self.drain(done, ctx),
            ToSession::Batch { conn, .. } if self.is_out(conn) => {}
            ToSession::Batch { conn, batch } => self.batch(conn, batch, ctx),
            ToSession::DrawsTooFast { conn, slowed } => {
                self.handle(ctx, Input::DrawsTooFast { conn, slowed });
            }
            ToSession::Leave(conn) => self.leave(conn, Input::Leave(conn), ctx),
            ToSession::Cut(conn) => self.leave(conn, Input::Cut(conn), ctx),
            ToSession::Host { client, host, entry } => self.enter_host(client, host, entry, ctx),
            ToSession::Join { request, entry } => self.join(request, entry, ctx),
            ToSession::LookUp { invite, sid, answer } => notify(answer, self.look_up(&invite, &sid)),
            ToSession::ReportFromOutside { user, reason } => {
                self.handle(ctx, Input::OutsideReport { user, reason });
            }
            ToSession::ReportSent { error } => self.handle(ctx, Input::ReportSent(error)),
            ToSession::ReportStored { user, name, stored } => {
                self.handle(ctx, Input::ReportStored { user, name, stored });
            }
            ToSession::Listing(news) => self.handle(ctx, Input::Listing(news)),
            ToSession::Settings(settings) => self.handle(ctx, Input::Shared(settings)),
            ToSession::Unload => self.unload(ctx),
            ToSession::Lost => self.lost(CommitOutcome::Lost, ctx),
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
