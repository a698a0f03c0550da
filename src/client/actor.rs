//! The Client actor: one a connection, on the worker that accepted it.
//!
//! It carries what arrives to the login machine or to its session, and what they want done to the outbox. It decides
//! nothing about sessions.

mod encrypt;
mod guess;
mod handlers;
mod perform;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::{FIRST_OPAQUE, FrameRef, frames};
use drawhall_protocol::message::{Disconnect, KeepAlive, Layout, Message as Decoded, Ping, ServerCommand};
use drawhall_protocol::reply::{ErrorReply, ServerReply};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::credit::Credit;
use super::inbound::{self, Framing, Inbound};
use super::login::{Arrival, LoginEffect, LoginInput, LoginMachine};
use super::worker::{self, Link, TimeLimits};
use super::writer::{self, Outbound};
use crate::auth::Auth;
use crate::clock::Now;
use crate::config::Rules;
use crate::limits::{Bucket, Rate};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;
use crate::server::{CancelEntering, ClientGone, LeaveLobby, NewClient, Server};
use crate::session::actor::{Batch, LeaveSession, Session};
use crate::session::{ClientOp, ConnId, DisconnectReason};
use crate::trace::Trace;
use crate::transport::gate::{Limit, Pass};
use crate::transport::stream::Stream;
use crate::transport::tls::Certificate;
use encrypt::encrypt;
pub use handlers::{Deliver, DescribeUser, LobbyFrame, ReadOn, SendAway, UserSummary};
pub(super) use handlers::{Flushed, Gone, HungUp, Proxied, Received, TimedOut};

/// Seconds of `messageRateLimit` that may come at once.
const MESSAGE_BURST: u32 = 20;
/// What a message that the server reads counts of `messageRateLimit`.
const TRANSPARENT_COST: u64 = 20;
/// How often it is logged that a client is slowed down, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;
/// How long a client that was said goodbye to may take to read it.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// What all clients need.
#[derive(Clone)]
pub struct ClientContext {
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// Knows the sessions.
    pub server: Addr<Server>,
    /// Knows the accounts.
    pub auth: Addr<Auth>,
    /// What connections are encrypted with, if they are.
    pub certificate: Option<watch::Receiver<Certificate>>,
    /// Where inputs are recorded, if they are.
    pub trace: Option<Trace>,
}

/// A connection over which messages come.
pub struct Connection {
    /// Its number.
    pub conn: ConnId,
    /// The connection itself.
    pub stream: Stream,
    /// It counts as long as this is there.
    pub pass: Pass,
    /// It is a WebSocket connection.
    pub websocket: Option<FromWebSocket>,
    /// Its turn to be set up, which ends with this.
    pub turn: Option<OwnedSemaphorePermit>,
}

/// What is special about a WebSocket connection.
pub struct FromWebSocket {
    /// What has arrived already.
    pub arrived: Vec<u8>,
    /// It comes from a browser.
    pub browser: bool,
}

/// Where a connection stands.
enum Phase {
    Login(Box<LoginMachine>),
    Session(Addr<Session>),
    /// The session has ended and the client does not know: it is sent back what it sends.
    Quiet,
    /// Goodbye was said; only the outbox is emptied.
    Over,
}

/// The Client actor.
pub struct Client {
    conn: ConnId,
    context: ClientContext,
    user: LogUser,
    phase: Phase,
    /// The session that the client is in, or hosts.
    session: Option<Addr<Session>>,
    /// The session that was found, and that the client is to be let into.
    found: Option<String>,
    entering: Option<String>,
    credit: Arc<Credit>,
    link: Option<Rc<Link>>,
    /// Frames that wait for an answer to an earlier one.
    pending: BytesMut,
    stream: Option<Stream>,
    /// It is a WebSocket connection; what has arrived already.
    websocket: Option<Vec<u8>>,
    pass: Pass,
    turn: Option<OwnedSemaphorePermit>,
    /// Messages that came in the last seconds.
    messages: Bucket,
    slowed_logged: Option<u64>,
    /// When it has connected, milliseconds since 1970.
    since: i64,
    tasks: Vec<JoinHandle<()>>,
    greeting: Option<LoginEffect>,
}

impl Client {
    /// Starts the actor of a connection on this worker.
    pub fn start(connection: Connection, context: ClientContext) -> Addr<Client> {
        let Connection { conn, stream, pass, websocket, turn } = connection;
        let mut chance = [0; 8];
        // Without randomness bans are only easier to tell from trouble.
        let _ = getrandom::fill(&mut chance);
        let (address, since) = (pass.address(), Now::get().utc_ms);
        let arrival = Arrival {
            conn,
            address,
            browser: websocket.as_ref().is_some_and(|w| w.browser),
            encrypted: stream.is_tls(),
            // WebSocket connections are encrypted before they get here.
            must_encrypt: websocket.is_none() && context.certificate.is_some(),
            chance: u64::from_le_bytes(chance),
            utc_ms: since,
        };
        if let Some(trace) = &context.trace {
            trace.login(arrival, &context.rules);
        }
        let (login, greeting) = LoginMachine::new(context.rules.clone(), &arrival);
        let client = Client {
            conn,
            context,
            user: LogUser { id: 0, address: Some(address), name: String::new() },
            phase: Phase::Login(Box::new(login)),
            session: None,
            found: None,
            entering: None,
            credit: Arc::default(),
            link: None,
            pending: BytesMut::new(),
            stream: Some(stream),
            websocket: websocket.map(|w| w.arrived),
            pass,
            turn,
            messages: Bucket::default(),
            slowed_logged: None,
            since,
            tasks: Vec::new(),
            greeting: Some(greeting),
        };
        Actor::start(client)
    }

    /// Reads and writes from now on.
    fn run(&mut self, stream: Stream) {
        let Some(link) = self.link.clone() else { return };
        // In an encrypted connection the proxy has spoken before.
        let stream_is_tls = stream.is_tls();
        let (read, write) = stream.into_split();
        let (framing, arrived, websocket) = match self.websocket.take() {
            Some(arrived) => (Framing::websocket(), arrived, true),
            None => (Framing::wire(self.pass.is_proxy() && !stream_is_tls), Vec::new(), false),
        };
        let inbound = Inbound { half: read, framing };
        let outbound = Outbound { half: write, websocket };
        let reader_link = link.clone();
        // A future that is given to another is there twice: each of these makes its own.
        self.tasks.push(actix_rt::spawn(async move {
            inbound::read_all(inbound, arrived, reader_link).await;
        }));
        self.tasks.push(actix_rt::spawn(async move {
            writer::write_all(outbound, link).await;
        }));
    }

    fn log(&self, level: Level, topic: Topic, text: impl Into<String>) {
        LogEntry::new(Now::get(), level, topic, text).about(self.user.clone()).emit("");
    }

    fn send(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        let Some(link) = &self.link else { return };
        let pushed = link.outbox.borrow_mut().push(bytes);
        link.wake.notify_one();
        if pushed.is_err() {
            self.log(Level::Warn, Topic::Status, "Client does not read: too much waits to be sent");
            self.abort(ctx);
        }
    }

    /// Cuts the connection at once.
    fn abort(&mut self, ctx: &mut Context<Self>) {
        self.phase_over();
        ctx.stop();
    }

    /// Nothing is read or sent any more after what is queued; the session is told that the client is gone.
    fn phase_over(&mut self) {
        if let Some(session) = self.session.take() {
            session.do_send(LeaveSession { conn: self.conn });
        }
        if let Some(id) = self.entering.take() {
            self.context.server.do_send(CancelEntering { id, conn: self.conn });
        }
        self.phase = Phase::Over;
        self.pending = BytesMut::new();
    }

    /// Says goodbye, then closes.
    fn disconnect(&mut self, reason: DisconnectReason, message: &str, ctx: &mut Context<Self>) {
        let mut message = message.to_owned();
        message.truncate(message.floor_char_boundary(1000));
        let goodbye = Decoded::from(Disconnect { reason: reason as u8, message });
        if let Ok(frame) = goodbye.to_frame(0, Layout::V4_25) {
            self.send(frame.into_bytes(), ctx);
        }
        self.close(ctx);
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        self.phase_over();
        if let Some(link) = &self.link {
            link.outbox.borrow_mut().close();
            link.wake.notify_one();
        }
        ctx.run_later(FLUSH_LIMIT, |_, ctx| ctx.stop());
    }

    /// Handles what is below login and session; returns whether the frame is for them.
    fn below(&mut self, frame: FrameRef<'_>, ctx: &mut Context<Self>) -> bool {
        let kind = frame.header.kind;
        if kind >= FIRST_OPAQUE {
            return true;
        }
        let decoded = match kind {
            // The text of a goodbye does not matter, but there must be a reason.
            Disconnect::TYPE if !frame.payload().is_empty() => {
                self.close(ctx);
                return false;
            }
            KeepAlive::TYPE => return false,
            _ => Decoded::from_frame(frame, Layout::V4_25),
        };
        match decoded {
            Ok(Decoded::Ping(Ping { is_pong: false })) => {
                let pong = Decoded::from(Ping { is_pong: true }).to_frame(0, Layout::V4_25);
                if let (Some(link), Ok(pong)) = (&self.link, pong) {
                    link.outbox.borrow_mut().push_first(pong.into_bytes());
                    link.wake.notify_one();
                }
                false
            }
            Ok(Decoded::Ping(_)) => false,
            Ok(_) => true,
            Err(error) => {
                let len = frame.header.len;
                let text = format!("Received bad message of type {kind} and length {len}: {error}");
                self.log(Level::Warn, Topic::RuleBreak, text);
                self.abort(ctx);
                false
            }
        }
    }

    /// Handles whole frames.
    fn receive(&mut self, batch: Vec<u8>, ctx: &mut Context<Self>) {
        let (mut count, mut cost) = (0, 0);
        for frame in frames(&batch) {
            count += 1;
            cost += if frame.header.is_opaque() { 1 } else { TRANSPARENT_COST };
        }
        METRICS.messages_in.add(count);
        METRICS.bytes_in.add(batch.len() as u64);
        self.slow_down(cost);
        match &self.phase {
            Phase::Over => {}
            Phase::Quiet => self.echo(&batch, ctx),
            Phase::Session(_) => self.receive_in_session(batch, ctx),
            Phase::Login(_) => {
                self.pending.extend_from_slice(&batch);
                self.go_on(ctx);
            }
        }
    }

    fn receive_in_session(&mut self, batch: Vec<u8>, ctx: &mut Context<Self>) {
        let Phase::Session(session) = &self.phase else { return };
        let session = session.clone();
        let all_opaque = frames(&batch).all(|f| f.header.is_opaque());
        if all_opaque {
            return self.pass_on(&session, batch);
        }
        let mut kept = Vec::with_capacity(batch.len());
        for frame in frames(&batch) {
            if frame.header.kind == Disconnect::TYPE {
                // What came before the goodbye must be in the session before the client leaves it.
                self.pass_on(&session, std::mem::take(&mut kept));
            }
            if self.below(frame, ctx) {
                if self.may_guess(frame, ctx) {
                    kept.extend_from_slice(frame.bytes);
                }
            } else if matches!(self.phase, Phase::Over) {
                break;
            }
        }
        self.pass_on(&session, kept);
    }

    fn pass_on(&mut self, session: &Addr<Session>, batch: Vec<u8>) {
        if batch.is_empty() {
            return;
        }
        let wait = self.credit.take(Credit::cost(&batch));
        session.do_send(Batch { conn: self.conn, bytes: batch });
        if let Some(link) = self.link.as_ref().filter(|_| wait) {
            link.paused.set(true);
        }
    }

    /// Sends back what the client has sent, as if it had entered the history. Commands are not answered.
    fn echo(&mut self, batch: &[u8], ctx: &mut Context<Self>) {
        let mut kept = Vec::with_capacity(batch.len());
        for frame in frames(batch) {
            if self.below(frame, ctx) && frame.header.kind != ServerCommand::TYPE {
                let start = kept.len();
                kept.extend_from_slice(frame.bytes);
                kept[start + 3] = self.user.id;
            } else if matches!(self.phase, Phase::Over) {
                return;
            }
        }
        if !kept.is_empty() {
            self.send(kept.into(), ctx);
        }
    }

    /// Lets reading rest if the client sends more messages than it may.
    fn slow_down(&mut self, count: u64) {
        let limit = self.context.rules.settings().message_rate_limit.0;
        let Some(link) = self.link.as_ref().filter(|_| limit > 0) else { return };
        let now = Now::get().ms;
        let wait = self.messages.overdraw(Rate::per_second(limit, MESSAGE_BURST), now, count);
        if wait == 0 {
            return;
        }
        link.rest_for(wait);
        METRICS.slowed.count();
        if self.slowed_logged.is_none_or(|at| now >= at + LOG_INTERVAL) {
            self.slowed_logged = Some(now);
            let text = "Too many messages: reading is slowed down (messageRateLimit); told once a minute";
            self.log(Level::Warn, Topic::RuleBreak, text);
        }
    }

    /// Whether a limit of the client's address lets it go on; else it is sent away.
    fn may(&mut self, limit: Limit, ctx: &mut Context<Self>) -> bool {
        let Err(hit) = self.pass.take(limit, self.context.rules.settings()) else { return true };
        let error = ErrorReply { message: hit.message().into(), code: "tooManyAttempts".into() };
        if let Ok(frame) = ServerReply::Error(error).to_frame() {
            self.send(frame.into_bytes(), ctx);
        }
        self.disconnect(DisconnectReason::Error, hit.message(), ctx);
        false
    }

    /// Handles pending frames until an answer is needed, the client is in a session, or there are none left.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        loop {
            match &self.phase {
                Phase::Login(_) if self.link.as_ref().is_some_and(|l| l.upgrading.get()) => {
                    if !self.pending.is_empty() {
                        let text = "Something in clear came after startTls";
                        self.log(Level::Warn, Topic::RuleBreak, text);
                        self.abort(ctx);
                    }
                    return;
                }
                Phase::Login(login) if login.is_waiting() => {
                    if let Some(link) = &self.link {
                        link.paused.set(true);
                    }
                    return;
                }
                Phase::Login(_) => {
                    let Some(len) = frames(&self.pending).next().map(|f| f.bytes.len()) else { break };
                    let first = self.pending.split_to(len);
                    for frame in frames(&first) {
                        self.receive_in_login(frame, ctx);
                    }
                }
                Phase::Session(_) => {
                    let pending = std::mem::take(&mut self.pending);
                    if !pending.is_empty() {
                        self.receive_in_session(pending.into(), ctx);
                    }
                    break;
                }
                Phase::Over | Phase::Quiet => return,
            }
        }
        let waits = self.credit.is_waiting();
        if let Some(link) = self.link.as_ref().filter(|_| !waits) {
            link.resume_reading();
        }
    }

    fn receive_in_login(&mut self, frame: FrameRef<'_>, ctx: &mut Context<Self>) {
        if !self.below(frame, ctx) {
            return;
        }
        if frame.header.kind == ServerCommand::TYPE {
            let command = RawCommand::parse(frame.payload());
            if command.cmd == "ident" && !self.may(Limit::LoginRate, ctx) {
                return;
            }
            self.log_in(LoginInput::Command(command), ctx);
        } else {
            let text = format!("Got non-login message (type={}) in login state", frame.header.kind);
            self.log(Level::Warn, Topic::RuleBreak, text);
        }
    }

    fn apply(&mut self, op: ClientOp, ctx: &mut Context<Self>) {
        match op {
            ClientOp::Direct(bytes) => self.send(bytes, ctx),
            ClientOp::Joined { user } => self.joined(user),
            ClientOp::Refused(refusal) => {
                (self.session, self.entering) = (None, None);
                self.answered(LoginInput::Refused(refusal), ctx);
            }
            ClientOp::Attach(cursor) => {
                if let Some(link) = &self.link {
                    worker::attach(link, &cursor);
                    link.outbox.borrow_mut().attach(cursor);
                    link.wake.notify_one();
                }
            }
            ClientOp::FollowReset { epoch } => {
                if let Some(link) = &self.link {
                    link.outbox.borrow_mut().follow_reset(epoch);
                    link.wake.notify_one();
                }
            }
            ClientOp::Disconnect { reason, message } => {
                self.session = None;
                self.disconnect(reason, &message, ctx);
            }
            ClientOp::Quiet => {
                self.session = None;
                self.phase = Phase::Quiet;
                // Reading may have waited for the session.
                if let Some(link) = &self.link {
                    link.resume_reading();
                }
            }
            // The session keeps account of what it holds.
            ClientOp::Released => {}
        }
    }

    fn joined(&mut self, user: u8) {
        let Phase::Login(login) = &self.phase else { return };
        let Some(session) = self.session.clone() else { return };
        if let Some(link) = &self.link {
            link.keep_alive.set(login.visitor().capabilities.keep_alive);
        }
        self.user.id = user;
        self.phase = Phase::Session(session);
        self.context.server.do_send(LeaveLobby { conn: self.conn });
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return ctx.stop() };
        let limits = TimeLimits::of(self.context.rules.settings());
        let link = Link::new(self.conn, ctx.address(), limits);
        self.context.server.do_send(NewClient { conn: self.conn, client: ctx.address() });
        self.link = Some(link.clone());
        if let Some(greeting) = self.greeting.take() {
            self.perform_one(greeting, ctx);
        }
        match (stream, &self.context.certificate) {
            (Stream::Tcp(stream), Some(certificate)) if self.websocket.is_none() => {
                let limit = self.context.rules.settings().handshake_time_limit.millis();
                let (certificate, by_proxy) = (certificate.clone(), self.pass.is_proxy());
                let secured = encrypt(stream, by_proxy, certificate, limit, link);
                self.tasks.push(actix_rt::spawn(secured));
            }
            (stream, _) => self.run(stream),
        }
        self.turn = None;
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.phase_over();
        for task in self.tasks.drain(..) {
            task.abort();
        }
        if let Some(link) = self.link.take() {
            worker::forget(&link);
        }
        self.context.server.do_send(ClientGone { conn: self.conn });
    }
}
