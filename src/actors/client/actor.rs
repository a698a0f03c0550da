//! The Client actor: one per connection, on the worker thread that accepted it.
//!
//! It carries messages to the login machine or to the session, and their effects to the outbox. It decides nothing
//! about sessions.

mod encrypt;
mod handlers;
mod intake;
mod opword;
mod perform;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use drawhall_protocol::message::{Disconnect, Layout, Message as Decoded};
use drawhall_protocol::reply::{ErrorReply, ServerReply};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::inbound::{self, Framing, Inbound};
use super::worker::{self, ConnShared, TimeLimits};
use super::writer::{self, Outbound};
use crate::actors::auth::Auth;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ServerHandle, SessionHandle, ToServer, ToSession};
use crate::config::Rules;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;
use crate::rules::limits::Bucket;
use crate::rules::login::{Arrival, LoginEffect, LoginInput, LoginMachine};
use crate::rules::session::{ClientOp, ConnId, DisconnectReason};
use crate::rules::time::Timestamp;
use crate::trace::Trace;
use crate::transport::connection_limiter::{ConnectionPermit, Limit};
use crate::transport::stream::Stream;
use crate::transport::tls::Certificate;
use encrypt::encrypt;
pub(super) use handlers::{CloseReceived, Flushed, Proxied, ReadClosed, Received, SpeaksHttp, TimedOut};

/// Time-out for answers of other actors to a login. They have time-outs of their own; this is the last resort.
const ANSWER_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How long a disconnected client may take to read the rest of the outbox.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// What all Client actors share.
#[derive(Clone)]
pub struct ClientContext {
    /// Rules in force.
    pub rules: Arc<Rules>,
    /// The Server actor.
    pub server: ServerHandle,
    /// The Auth actor.
    pub auth: Addr<Auth>,
    /// Certificate, if TLS is enabled; replaced on reload.
    pub certificate: Option<watch::Receiver<Certificate>>,
    /// Trace of inputs, if enabled.
    pub trace: Option<Trace>,
    /// WebSocket port, if there is one.
    pub websocket_port: Option<u16>,
}

/// A connection for which a Client actor is started.
pub struct Connection {
    /// Connection number, never reused.
    pub conn: ConnId,
    /// The stream, encrypted or not.
    pub stream: Stream,
    /// Counts against the connection limits until it is dropped.
    pub permit: ConnectionPermit,
    /// Set for a WebSocket connection.
    pub websocket: Option<FromWebSocket>,
    /// Counts against the limit of connections in set-up until it is dropped.
    pub setup_permit: Option<OwnedSemaphorePermit>,
}

/// A WebSocket connection after its handshake.
pub struct FromWebSocket {
    /// Bytes that arrived behind the handshake.
    pub arrived: Vec<u8>,
    /// It comes from a browser.
    pub browser: bool,
}

/// Phase of a connection.
enum Phase {
    Login(Box<LoginMachine>),
    Session(SessionHandle),
    /// The session has ended silently: the client is echoed its own messages.
    Quiet,
    /// Disconnecting; only the outbox is still flushed.
    Over,
}

/// The Client actor.
pub struct Client {
    conn: ConnId,
    context: ClientContext,
    user: LogUser,
    phase: Phase,
    /// The session that the client is in, or hosts.
    session: Option<SessionHandle>,
    /// Id of the session that was found and that the client is about to join.
    found: Option<String>,
    entering: Option<String>,
    in_flight_budget: Arc<InFlightBudget>,
    shared: Option<Rc<ConnShared>>,
    /// Frames that wait for an answer to an earlier one, or for the rate limit.
    pending: BytesMut,
    stream: Option<Stream>,
    /// For WebSocket: bytes that arrived behind the handshake.
    websocket: Option<Vec<u8>>,
    permit: ConnectionPermit,
    setup_permit: Option<OwnedSemaphorePermit>,
    /// Rate limit for messages (`messageRateLimit`).
    messages: Bucket,
    slowed_logged: Option<u64>,
    /// Session messages received during the login.
    strays: u8,
    /// Timer of pending frames: the client has used up a rate limit.
    budget_timer: Option<SpawnHandle>,
    /// Time-out of the answer that the login waits for.
    answer_timer: Option<SpawnHandle>,
    /// Time of connecting, milliseconds since 1970.
    since: i64,
    tasks: Vec<JoinHandle<()>>,
    /// The server closes the connection, not the peer.
    was_cut: bool,
    greeting: Option<LoginEffect>,
}

impl Client {
    /// Starts the actor on this worker.
    pub fn start(connection: Connection, context: ClientContext) -> Addr<Client> {
        let Connection { conn, stream, permit, websocket, setup_permit } = connection;
        let mut rng_seed = [0; 8];
        // Without randomness, bans that look like network trouble are merely easier to recognize.
        let _ = getrandom::fill(&mut rng_seed);
        let (address, since) = (permit.address(), Timestamp::now().utc_ms);
        let arrival = Arrival {
            conn,
            address,
            browser: websocket.as_ref().is_some_and(|w| w.browser),
            encrypted: stream.is_tls(),
            // WebSocket connections are already encrypted here.
            must_encrypt: websocket.is_none() && context.certificate.is_some(),
            proxied: permit.is_proxied(),
            rng_seed: u64::from_le_bytes(rng_seed),
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
            in_flight_budget: Arc::default(),
            shared: None,
            pending: BytesMut::new(),
            stream: Some(stream),
            websocket: websocket.map(|w| w.arrived),
            permit,
            setup_permit,
            messages: Bucket::default(),
            slowed_logged: None,
            strays: 0,
            budget_timer: None,
            answer_timer: None,
            since,
            tasks: Vec::new(),
            was_cut: false,
            greeting: Some(greeting),
        };
        Actor::start(client)
    }

    /// Starts reading and writing.
    fn run(&mut self, stream: Stream) {
        let Some(shared) = self.shared.clone() else { return };
        // In a TLS connection the PROXY header has been read before.
        let stream_is_tls = stream.is_tls();
        let (read, write) = stream.into_split();
        let (framing, arrived, websocket) = match self.websocket.take() {
            Some(arrived) => (Framing::websocket(), arrived, true),
            None => (Framing::wire(self.permit.may_speak_proxy() && !stream_is_tls), Vec::new(), false),
        };
        let inbound = Inbound { half: read, framing };
        let outbound = Outbound { half: write, websocket };
        let reader_link = shared.clone();
        // Each task creates its future inside, as a future moved into another would be stored twice.
        self.tasks.push(actix_rt::spawn(async move {
            inbound::read_all(inbound, arrived, reader_link).await;
        }));
        self.tasks.push(actix_rt::spawn(async move {
            writer::write_all(outbound, shared).await;
        }));
    }

    /// Logs about the client, unless the log rate limit of its connection or address is used up.
    fn log(&mut self, level: Level, topic: Topic, text: impl Into<String>) {
        let Some(left_out) = self.permit.log_line(self.context.rules.settings()) else { return };
        self.log_left_out(left_out);
        LogEntry::new(Timestamp::now(), level, topic, text).about(self.user.clone()).emit("");
    }

    fn log_left_out(&self, count: u64) {
        if count > 0 {
            let text = format!("{count} lines of the log were left out");
            LogEntry::new(Timestamp::now(), Level::Warn, Topic::Status, text)
                .about(self.user.clone())
                .emit("");
        }
    }

    fn send(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        let Some(shared) = self.shared.as_ref().filter(|_| !matches!(self.phase, Phase::Over)) else {
            return;
        };
        if shared.send(bytes).is_err() {
            METRICS.lagging.count();
            self.log(Level::Warn, Topic::Status, "Client does not read: too much waits to be sent");
            self.cut(ctx);
        }
    }

    /// How the session is told that the connection is closed.
    fn leaving(&self) -> ToSession {
        if self.was_cut { ToSession::Cut(self.conn) } else { ToSession::Leave(self.conn) }
    }

    /// Closes the connection at once, against the peer's will; the session is told so.
    fn cut(&mut self, ctx: &mut Context<Self>) {
        self.was_cut = true;
        self.abort(ctx);
    }

    /// Closes the connection at once.
    fn abort(&mut self, ctx: &mut Context<Self>) {
        self.phase_over();
        ctx.stop();
    }

    /// Stops reading and sending; the outbox is still flushed, and the session is told that the client has left.
    fn phase_over(&mut self) {
        if let Some(session) = self.session.take() {
            session.tell(self.leaving());
        }
        if let Some(id) = self.entering.take() {
            self.context.server.tell(ToServer::CancelEntering { id, conn: self.conn });
        }
        self.phase = Phase::Over;
        self.pending = BytesMut::new();
        // Further input is read and discarded: closing a socket with unread input makes the system reset the
        // connection, and the peer would lose what was sent.
        if let Some(shared) = &self.shared {
            shared.resume_reading();
        }
    }

    /// Sends a `Disconnect`, then closes the connection.
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
        if let Some(shared) = &self.shared {
            shared.outbox.borrow_mut().close();
            shared.wake.notify_one();
        }
        ctx.run_later(FLUSH_LIMIT, |_, ctx| ctx.stop());
    }

    /// Whether a rate limit of the client's address allows this; otherwise the client is disconnected.
    fn may(&mut self, limit: Limit, ctx: &mut Context<Self>) -> bool {
        let Err(hit) = self.permit.try_acquire(limit, self.context.rules.settings()) else { return true };
        let error = ErrorReply { message: hit.message().into(), code: "tooManyAttempts".into() };
        if let Ok(frame) = ServerReply::Error(error).to_frame() {
            self.send(frame.into_bytes(), ctx);
        }
        self.disconnect(DisconnectReason::Error, hit.message(), ctx);
        false
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
                if let Some(shared) = &self.shared {
                    worker::attach(shared, &cursor);
                    shared.outbox.borrow_mut().attach(cursor);
                    shared.wake.notify_one();
                }
            }
            ClientOp::FollowReset { epoch } => {
                if let Some(shared) = &self.shared {
                    shared.outbox.borrow_mut().follow_reset(epoch);
                    shared.wake.notify_one();
                }
            }
            ClientOp::Disconnect { reason, message } => {
                self.session = None;
                self.disconnect(reason, &message, ctx);
            }
            ClientOp::Quiet => {
                self.session = None;
                self.phase = Phase::Quiet;
                // Reading may be paused for an ended session, which will release nothing more.
                self.in_flight_budget = Arc::default();
            }
            // The session does the accounting of what it holds.
            ClientOp::Released => {}
        }
    }

    fn joined(&mut self, user: u8) {
        let Phase::Login(login) = &self.phase else { return };
        let Some(session) = self.session.clone() else { return };
        if let Some(shared) = &self.shared {
            shared.keep_alive.set(login.client().capabilities.keep_alive);
        }
        self.user.id = user;
        self.answer_timer = None;
        self.phase = Phase::Session(session);
        self.context.server.tell(ToServer::LeaveLobby(self.conn));
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return ctx.stop() };
        let limits = TimeLimits::of(self.context.rules.settings());
        let shared = ConnShared::new(self.conn, ctx.address(), limits);
        let client = ctx.address().into();
        self.context.server.tell(ToServer::NewClient { conn: self.conn, client });
        self.shared = Some(shared.clone());
        if let Some(greeting) = self.greeting.take() {
            self.perform_one(greeting, ctx);
        }
        match (stream, &self.context.certificate) {
            (Stream::Tcp(stream), Some(certificate)) if self.websocket.is_none() => {
                let limit = self.context.rules.settings().handshake_time_limit.millis();
                let (certificate, by_proxy) = (certificate.clone(), self.permit.may_speak_proxy());
                let secured = encrypt(stream, by_proxy, certificate, limit, shared);
                self.tasks.push(actix_rt::spawn(secured));
            }
            (stream, _) => self.run(stream),
        }
        self.setup_permit = None;
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.phase_over();
        let left_out = self.permit.take_suppressed(self.context.rules.settings());
        self.log_left_out(left_out);
        for task in self.tasks.drain(..) {
            task.abort();
        }
        if let Some(shared) = self.shared.take() {
            worker::forget(&shared);
        }
        self.context.server.tell(ToServer::ClientGone(self.conn));
    }
}
