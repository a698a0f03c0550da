//! The Client actor: one a connection, on the worker that accepted it.
//!
//! It carries what arrives to the login machine or to its session, and what they want done to the outbox. It decides
//! nothing about sessions.

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

use super::in_flight::InFlightBudget;
use super::inbound::{self, Framing, Inbound};
use super::login::{Arrival, LoginEffect, LoginInput, LoginMachine};
use super::worker::{self, ConnShared, TimeLimits};
use super::writer::{self, Outbound};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::limits::Bucket;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;
use crate::server::{CancelEntering, ClientGone, LeaveLobby, NewClient, Server};
use crate::session::actor::{LeaveSession, Session};
use crate::session::{ClientOp, ConnId, DisconnectReason};
use crate::trace::Trace;
use crate::transport::connection_limiter::{ConnectionPermit, Limit};
use crate::transport::stream::Stream;
use crate::transport::tls::Certificate;
use encrypt::encrypt;
pub(super) use handlers::{CloseReceived, Flushed, Proxied, ReadClosed, Received, SpeaksHttp, TimedOut};
pub use handlers::{Deliver, DescribeUser, LobbyFrame, ReadOn, SendAway, UserSummary};

/// How long a login may wait for an answer of an account, a session or another server. All of them are bounded by
/// themselves: this is the net below.
const ANSWER_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
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
    /// The port for WebSocket, if there is one.
    pub websocket_port: Option<u16>,
}

/// A connection over which messages come.
pub struct Connection {
    /// Its number.
    pub conn: ConnId,
    /// The connection itself.
    pub stream: Stream,
    /// It counts as long as this is there.
    pub permit: ConnectionPermit,
    /// It is a WebSocket connection.
    pub websocket: Option<FromWebSocket>,
    /// Its turn to be set up, which ends with this.
    pub setup_permit: Option<OwnedSemaphorePermit>,
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
    in_flight_budget: Arc<InFlightBudget>,
    shared: Option<Rc<ConnShared>>,
    /// Frames that wait for an answer to an earlier one, or until the client may have more done.
    pending: BytesMut,
    stream: Option<Stream>,
    /// It is a WebSocket connection; what has arrived already.
    websocket: Option<Vec<u8>>,
    permit: ConnectionPermit,
    setup_permit: Option<OwnedSemaphorePermit>,
    /// Messages that came in the last seconds.
    messages: Bucket,
    slowed_logged: Option<u64>,
    /// Messages of the login that belong into sessions.
    strays: u8,
    /// Pending frames wait for this: the client has used up what it may have the server do.
    budget_timer: Option<SpawnHandle>,
    /// The login waits for an answer, until this at the latest.
    answer_timer: Option<SpawnHandle>,
    /// When it has connected, milliseconds since 1970.
    since: i64,
    tasks: Vec<JoinHandle<()>>,
    /// It is ended by the server, not by its peer.
    was_cut: bool,
    greeting: Option<LoginEffect>,
}

impl Client {
    /// Starts the actor of a connection on this worker.
    pub fn start(connection: Connection, context: ClientContext) -> Addr<Client> {
        let Connection { conn, stream, permit, websocket, setup_permit } = connection;
        let mut rng_seed = [0; 8];
        // Without randomness bans are only easier to tell from trouble.
        let _ = getrandom::fill(&mut rng_seed);
        let (address, since) = (permit.address(), Timestamp::now().utc_ms);
        let arrival = Arrival {
            conn,
            address,
            browser: websocket.as_ref().is_some_and(|w| w.browser),
            encrypted: stream.is_tls(),
            // WebSocket connections are encrypted before they get here.
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

    /// Reads and writes from now on.
    fn run(&mut self, stream: Stream) {
        let Some(shared) = self.shared.clone() else { return };
        // In an encrypted connection the proxy has spoken before.
        let stream_is_tls = stream.is_tls();
        let (read, write) = stream.into_split();
        let (framing, arrived, websocket) = match self.websocket.take() {
            Some(arrived) => (Framing::websocket(), arrived, true),
            None => (Framing::wire(self.permit.may_speak_proxy() && !stream_is_tls), Vec::new(), false),
        };
        let inbound = Inbound { half: read, framing };
        let outbound = Outbound { half: write, websocket };
        let reader_link = shared.clone();
        // A future that is given to another is there twice: each of these makes its own.
        self.tasks.push(actix_rt::spawn(async move {
            inbound::read_all(inbound, arrived, reader_link).await;
        }));
        self.tasks.push(actix_rt::spawn(async move {
            writer::write_all(outbound, shared).await;
        }));
    }

    /// Logs something about the client, unless too much was logged about it or its address already.
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

    /// Cuts the connection at once, which its peer did not want: its session is told so.
    fn cut(&mut self, ctx: &mut Context<Self>) {
        self.was_cut = true;
        self.abort(ctx);
    }

    /// Ends the connection at once.
    fn abort(&mut self, ctx: &mut Context<Self>) {
        self.phase_over();
        ctx.stop();
    }

    /// Nothing is read or sent any more after what is queued; the session is told that the client is gone.
    fn phase_over(&mut self) {
        if let Some(session) = self.session.take() {
            session.do_send(LeaveSession { conn: self.conn, cut: self.was_cut });
        }
        if let Some(id) = self.entering.take() {
            self.context.server.do_send(CancelEntering { id, conn: self.conn });
        }
        self.phase = Phase::Over;
        self.pending = BytesMut::new();
        // What still comes is read and thrown away, or the system would take back what was said.
        if let Some(shared) = &self.shared {
            shared.resume_reading();
        }
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
        if let Some(shared) = &self.shared {
            shared.outbox.borrow_mut().close();
            shared.wake.notify_one();
        }
        ctx.run_later(FLUSH_LIMIT, |_, ctx| ctx.stop());
    }

    /// Whether a limit of the client's address lets it go on; else it is sent away.
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
                // Reading may have waited for the session, which has nothing to give back any more.
                self.in_flight_budget = Arc::default();
            }
            // The session keeps account of what it holds.
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
        self.context.server.do_send(LeaveLobby { conn: self.conn });
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return ctx.stop() };
        let limits = TimeLimits::of(self.context.rules.settings());
        let shared = ConnShared::new(self.conn, ctx.address(), limits);
        self.context.server.do_send(NewClient { conn: self.conn, client: ctx.address() });
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
        self.context.server.do_send(ClientGone { conn: self.conn });
    }
}
