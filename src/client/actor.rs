//! The Client actor: one a connection, on the worker that accepted it.
//!
//! It carries what arrives to the login machine or to its session, and what they want done to the outbox. It decides
//! nothing about sessions.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::{FIRST_OPAQUE, FrameRef, frames};
use drawhall_protocol::message::{Disconnect, KeepAlive, Layout, Message as Decoded, Ping, ServerCommand};
use drawhall_protocol::reply::{ErrorReply, ServerReply};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::server::TlsStream;

use super::inbound::{self, Framing, Inbound};
use super::login::{Arrival, LoginEffect, LoginMachine, LoginState};
use super::worker::{self, Link, TimeLimits};
use super::writer::{self, Outbound};
use crate::auth::{AskExtAuth, Auth, CheckAccount};
use crate::clock::Now;
use crate::config::Rules;
use crate::limits::{Bucket, Rate};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::server::{
    CancelEntering, ClientGone, EnterLobby, EnterSession, FindSession, HostSession, LeaveLobby, LookUp,
    NewClient, ReportSession, Server,
};
use crate::session::actor::{Batch, LeaveSession, Session};
use crate::session::{ClientOp, ConnId, DisconnectReason};
use crate::transport::gate::{Limit, Pass};
use crate::transport::stream::{Stream, reunite};
use crate::transport::tls::Certificate;
use crate::transport::websocket::Violation;

/// Bytes that a session may not have handled yet before reading from the client waits.
const MAX_IN_FLIGHT: usize = 512 << 10;
/// What a batch costs at least of that, for what it takes besides its bytes.
const MIN_BATCH_COST: usize = 1 << 10;
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

/// Bytes on their way from a client to its session.
#[derive(Debug, Default)]
pub struct Credit {
    in_flight: AtomicUsize,
    waiting: AtomicBool,
}

impl Credit {
    /// What a batch costs.
    pub fn cost(batch: &[u8]) -> usize {
        batch.len().max(MIN_BATCH_COST)
    }

    /// Takes a batch on its way; returns whether the client has to wait.
    fn take(&self, cost: usize) -> bool {
        if self.in_flight.fetch_add(cost, Ordering::SeqCst) + cost < MAX_IN_FLIGHT {
            return false;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // The session may have handled everything between the two.
        self.in_flight.load(Ordering::SeqCst) >= MAX_IN_FLIGHT / 2
            || !self.waiting.swap(false, Ordering::SeqCst)
    }

    /// A batch was handled; returns whether the client waits and is to be told.
    pub fn give_back(&self, cost: usize) -> bool {
        let left = self.in_flight.fetch_sub(cost, Ordering::SeqCst) - cost;
        left < MAX_IN_FLIGHT / 2 && self.waiting.swap(false, Ordering::SeqCst)
    }
}

/// Where a connection stands.
enum Phase {
    Login(Box<LoginMachine>),
    Session(Addr<Session>),
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
        let address = pass.address();
        let arrival = Arrival {
            conn,
            address,
            browser: websocket.as_ref().is_some_and(|w| w.browser),
            // WebSocket connections are encrypted before they get here.
            must_encrypt: websocket.is_none() && context.certificate.is_some(),
            chance: u64::from_le_bytes(chance),
        };
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
        let cost = |f: FrameRef<'_>| if f.header.is_opaque() { 1 } else { TRANSPARENT_COST };
        self.slow_down(frames(&batch).map(cost).sum());
        match &self.phase {
            Phase::Over => {}
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
        let batch = if all_opaque {
            batch
        } else {
            let mut kept = Vec::with_capacity(batch.len());
            for frame in frames(&batch) {
                if self.below(frame, ctx) {
                    kept.extend_from_slice(frame.bytes);
                } else if matches!(self.phase, Phase::Over) {
                    break;
                }
            }
            kept
        };
        if batch.is_empty() {
            return;
        }
        let wait = self.credit.take(Credit::cost(&batch));
        session.do_send(Batch { conn: self.conn, bytes: batch });
        if let Some(link) = self.link.as_ref().filter(|_| wait) {
            link.paused.set(true);
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
                Phase::Over => return,
            }
        }
        let waits = self.credit.waiting.load(Ordering::SeqCst);
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
            let Phase::Login(login) = &mut self.phase else { return };
            let effects = login.command(&command);
            self.perform(effects, ctx);
        } else {
            let text = format!("Got non-login message (type={}) in login state", frame.header.kind);
            self.log(Level::Warn, Topic::RuleBreak, text);
        }
    }

    fn perform(&mut self, effects: Vec<LoginEffect>, ctx: &mut Context<Self>) {
        for effect in effects {
            self.perform_one(effect, ctx);
        }
    }

    fn perform_one(&mut self, effect: LoginEffect, ctx: &mut Context<Self>) {
        let conn = self.conn;
        match effect {
            LoginEffect::Send(reply) => match reply.to_frame() {
                Ok(frame) => self.send(frame.into_bytes(), ctx),
                Err(error) => self.log(Level::Error, Topic::Status, format!("Reply is too long: {error}")),
            },
            LoginEffect::Disconnect { message, details } => {
                self.log(Level::Info, Topic::Leave, format!("{message} ({details})"));
                self.disconnect(DisconnectReason::Error, &message, ctx);
            }
            LoginEffect::CutAfter(millis) => {
                ctx.run_later(Duration::from_millis(millis), |client, ctx| client.abort(ctx));
            }
            LoginEffect::Log(level, topic, text) => self.log(level, topic, text),
            LoginEffect::StartTls => {
                if let Some(link) = &self.link {
                    link.upgrading.set(true);
                    link.outbox.borrow_mut().upgrade();
                    link.wake.notify_one();
                }
            }
            LoginEffect::CheckAccount { name, password } => {
                if !password.is_empty() && !self.may(Limit::PasswordRate, ctx) {
                    return;
                }
                let asked = self.context.auth.send(CheckAccount { name, password });
                self.ask(asked, ctx, |login, answer| login.account_checked(answer));
            }
            LoginEffect::AskExtAuth { name } => {
                let asked = self.context.auth.send(AskExtAuth { name });
                self.ask(asked, ctx, |login, answer| login.extauth_answered(answer));
            }
            LoginEffect::LookUp { session, invite, sid } => {
                let asked = self.context.server.send(LookUp { session, invite, sid });
                self.ask(asked, ctx, |login, answer| login.looked_up(answer));
            }
            LoginEffect::EnterLobby { moderator, list_now, list_changes } => {
                if let Some(link) = &self.link {
                    link.identified.set(true);
                }
                if let Phase::Login(login) = &self.phase {
                    self.user.name.clone_from(&login.visitor().person.name);
                }
                self.context.server.do_send(EnterLobby { conn, moderator, list_now, list_changes });
            }
            LoginEffect::FindSession { session } => {
                let asked = self.context.server.send(FindSession { session });
                self.find_session(asked, ctx);
            }
            LoginEffect::Join(request) => {
                if !request.password.is_empty() && !self.may(Limit::PasswordRate, ctx) {
                    return;
                }
                if let Some(id) = self.found.clone() {
                    self.entering = Some(id.clone());
                    let (client, credit) = (ctx.address(), self.credit.clone());
                    self.context.server.do_send(EnterSession { id, request, client, credit });
                }
            }
            LoginEffect::Host { host, protocol, visitor } => {
                let (client, credit) = (ctx.address(), self.credit.clone());
                let asked = self.context.server.send(HostSession { host, protocol, visitor, client, credit });
                let asked = asked.into_actor(self).map(|answer, client, ctx| match answer {
                    Ok(Ok(session)) => client.session = Some(session),
                    Ok(Err(refusal)) => client.answered(ctx, |login| login.host_refused(refusal)),
                    Err(_) => client.abort(ctx),
                });
                ctx.wait(asked);
            }
            LoginEffect::Report { session, reason } => {
                let user = self.user.clone();
                self.context.server.do_send(ReportSession { session, user, reason });
            }
        }
    }

    /// Waits for another actor's answer and gives it to the login.
    fn ask<M, A, T>(
        &mut self,
        request: Request<A, M>,
        ctx: &mut Context<Self>,
        answer: impl FnOnce(&mut LoginMachine, T) -> Vec<LoginEffect> + 'static,
    ) where
        A: Actor + Handler<M>,
        A::Context: dev::ToEnvelope<A, M>,
        M: Message<Result = T> + Send + Unpin + 'static,
        T: Send + 'static,
    {
        ctx.spawn(request.into_actor(self).map(|result, client, ctx| match result {
            Ok(value) => client.answered(ctx, |login| answer(login, value)),
            // The other actor is gone: the server stops.
            Err(_) => client.abort(ctx),
        }));
    }

    fn answered(
        &mut self,
        ctx: &mut Context<Self>,
        answer: impl FnOnce(&mut LoginMachine) -> Vec<LoginEffect>,
    ) {
        let Phase::Login(login) = &mut self.phase else { return };
        let effects = answer(login);
        self.perform(effects, ctx);
        self.go_on(ctx);
    }

    fn find_session(&mut self, request: Request<Server, FindSession>, ctx: &mut Context<Self>) {
        ctx.spawn(request.into_actor(self).map(|result, client, ctx| {
            let Ok(found) = result else { return client.abort(ctx) };
            client.found = found.as_ref().map(|f| f.id.clone());
            let found: Option<(String, ProtocolVersion)> = found.map(|f| (f.id, f.protocol));
            client.answered(ctx, |login| login.session_found(found.as_ref().map(|(id, v)| (id.as_str(), v))));
        }));
    }

    fn apply(&mut self, op: ClientOp, ctx: &mut Context<Self>) {
        match op {
            ClientOp::Direct(bytes) => self.send(bytes, ctx),
            ClientOp::Joined { user } => self.joined(user),
            ClientOp::Refused(refusal) => {
                (self.session, self.entering) = (None, None);
                self.answered(ctx, |login| login.refused(refusal));
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

/// Speaks in clear until both sides have agreed to go on encrypted, then does so.
async fn encrypt(
    stream: TcpStream,
    by_proxy: bool,
    certificate: watch::Receiver<Certificate>,
    limit_ms: u64,
    link: Rc<Link>,
) {
    let (read, write) = Stream::Tcp(stream).into_split();
    let inbound = Inbound { half: read, framing: Framing::wire(by_proxy) };
    let outbound = Outbound { half: write, websocket: false };
    let reader = inbound::read_all(inbound, Vec::new(), link.clone());
    let (read, write) = tokio::join!(reader, writer::write_all(outbound, link.clone()));
    // Otherwise somebody has told the actor why not.
    let Some(stream) = read.zip(write).and_then(|(r, w)| reunite(r, w)) else { return };
    link.upgrading.set(false);
    let accepting = certificate.borrow().acceptor().accept(stream);
    let accepted = if limit_ms == 0 {
        accepting.await
    } else {
        let limited = tokio::time::timeout(Duration::from_millis(limit_ms), accepting).await;
        limited.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    match accepted {
        Ok(stream) => link.actor.do_send(Encrypted(Box::new(stream))),
        Err(error) => link.actor.do_send(Gone { error: Some(error) }),
    }
}

/// The connection is encrypted now.
#[derive(Message)]
#[rtype(result = "()")]
struct Encrypted(Box<TlsStream<TcpStream>>);

impl Handler<Encrypted> for Client {
    type Result = ();

    fn handle(&mut self, Encrypted(stream): Encrypted, _: &mut Self::Context) {
        if !matches!(self.phase, Phase::Over) {
            self.run(Stream::Tls(stream));
        }
    }
}

/// A proxy has said whom it speaks for.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Proxied {
    pub(super) address: IpAddr,
}

impl Handler<Proxied> for Client {
    type Result = ();

    fn handle(&mut self, Proxied { address }: Proxied, ctx: &mut Self::Context) {
        if let Err(limit) = self.pass.speaks_for(address, self.context.rules.settings()) {
            return self.disconnect(DisconnectReason::Error, limit.message(), ctx);
        }
        let address = self.pass.address();
        self.user.address = Some(address);
        if let Phase::Login(login) = &mut self.phase {
            login.set_address(address);
        }
    }
}

/// A WebSocket client has said goodbye, or broken the protocol.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct HungUp {
    pub(super) violation: Option<Violation>,
}

impl Handler<HungUp> for Client {
    type Result = ();

    fn handle(&mut self, HungUp { violation }: HungUp, ctx: &mut Self::Context) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        if let Some(violation) = violation {
            self.log(Level::Warn, Topic::RuleBreak, violation.to_string());
        }
        self.close(ctx);
    }
}

/// Whole frames have arrived.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Received(pub(super) Vec<u8>);

impl Handler<Received> for Client {
    type Result = ();

    fn handle(&mut self, Received(batch): Received, ctx: &mut Self::Context) {
        self.receive(batch, ctx);
    }
}

/// The way in has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Gone {
    pub(super) error: Option<io::Error>,
}

impl Handler<Gone> for Client {
    type Result = ();

    fn handle(&mut self, Gone { error }: Gone, ctx: &mut Self::Context) {
        let over = matches!(self.phase, Phase::Over);
        if let Some(error) = error.filter(|e| !over && e.kind() != io::ErrorKind::ConnectionReset) {
            self.log(Level::Warn, Topic::Status, format!("Socket read error: {error}"));
        }
        if !over {
            self.abort(ctx);
        }
    }
}

/// The way out has ended: everything is sent after a goodbye, or the peer is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Flushed {
    pub(super) error: Option<io::Error>,
}

impl Handler<Flushed> for Client {
    type Result = ();

    fn handle(&mut self, Flushed { error }: Flushed, ctx: &mut Self::Context) {
        if let Some(error) = error.filter(|_| !matches!(self.phase, Phase::Over)) {
            self.log(Level::Info, Topic::Status, format!("Socket write error: {error}"));
        }
        self.abort(ctx);
    }
}

/// The connection is ended because something takes too long.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TimedOut {
    pub(super) reason: String,
}

impl Handler<TimedOut> for Client {
    type Result = ();

    fn handle(&mut self, TimedOut { reason }: TimedOut, ctx: &mut Self::Context) {
        self.log(Level::Warn, Topic::Status, reason);
        self.abort(ctx);
    }
}

/// What a session has its client do, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// What to do.
    pub ops: Vec<ClientOp>,
    /// The session, if the client is let in with this.
    pub session: Option<Addr<Session>>,
}

impl Handler<Deliver> for Client {
    type Result = ();

    fn handle(&mut self, Deliver { ops, session }: Deliver, ctx: &mut Self::Context) {
        if session.is_some() && self.entering.take().is_some() {
            self.session = session;
        }
        for op in ops {
            self.apply(op, ctx);
        }
        // What was sent right behind a `join` waits for the session.
        if !self.pending.is_empty() || self.link.as_ref().is_some_and(|l| l.paused.get()) {
            self.go_on(ctx);
        }
    }
}

/// The session has handled enough: read on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReadOn;

impl Handler<ReadOn> for Client {
    type Result = ();

    fn handle(&mut self, _: ReadOn, _: &mut Self::Context) {
        if let Some(link) = &self.link {
            link.resume_reading();
        }
    }
}

/// A frame for somebody who waits in the lobby; dropped for everybody else.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LobbyFrame(pub Bytes);

impl Handler<LobbyFrame> for Client {
    type Result = ();

    fn handle(&mut self, LobbyFrame(bytes): LobbyFrame, ctx: &mut Self::Context) {
        if matches!(&self.phase, Phase::Login(login) if login.state() == LoginState::WaitForLogin) {
            self.send(bytes, ctx);
        }
    }
}

/// The server sends the client away.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SendAway {
    /// Why.
    pub reason: DisconnectReason,
    /// Shown to the user.
    pub message: String,
}

impl Handler<SendAway> for Client {
    type Result = ();

    fn handle(&mut self, SendAway { reason, message }: SendAway, ctx: &mut Self::Context) {
        if !matches!(self.phase, Phase::Over) {
            self.disconnect(reason, &message, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_while_too_much_is_in_flight() {
        let credit = Credit::default();
        assert!(!credit.take(Credit::cost(&[0; 4])));
        assert!(credit.take(MAX_IN_FLIGHT));
        assert!(credit.give_back(MAX_IN_FLIGHT), "it waits and is told");
        assert!(!credit.give_back(MIN_BATCH_COST), "it does not wait any more");
    }
}
