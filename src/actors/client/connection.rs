//! The life of a connection, from top to bottom. One actor, the `Client`, owns it.
//!
//! 1. `begin`: it was accepted. A WebSocket connection is opened first: PROXY header, TLS, HTTP upgrade.
//! 2. `Client::start`: the login begins, with the greeting.
//! 3. `carry`: one task reads, one writes. On TCP a PROXY header may come first, and TLS may start. What happens on
//!    the connection is told to the Client (`FromConnection`).
//! 4. `Phase`: the Client gives what was received (`intake`) to the login (`login`), then to the session, and
//!    performs what they decide (`login`, `handlers`).
//! 5. `Client::disconnect`: the goodbye. What waits in the outbox is still written, then the connection is closed.

mod drawing;
mod handlers;
mod intake;
mod limits;
mod login;
mod opening;
pub(crate) mod relayed;
#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use drawhall_protocol::message::{Disconnect, Layout, Message as Decoded};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::inbound::{Framing, Inbound, ProxyHeader, ReadEnd, ReadyForTls};
use super::worker::{self, ConnShared, TimeLimits};
use super::writer::{Outbound, Writer};
use crate::actors::auth::Auth;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ServerHandle, SessionHandle, ToServer, ToSession};
use crate::config::Rules;
use crate::log::{Level, LogUser, Topic};
use crate::metrics::Metrics;
use crate::rules::limits::Bucket;
use crate::rules::login::{Arrival, LoginMachine, LoginSource};
use crate::rules::session::{ConnId, DisconnectReason};
use crate::rules::time::Timestamp;
use crate::trace::Trace;
use crate::transport::accept::{self, WebSocket};
use crate::transport::connection_limiter::ConnectionPermit;
use crate::transport::stream::{ReadHalf, Stream, reunite};
use crate::transport::tls::Certificate;
pub(super) use intake::FromConnection;
pub use opening::{Accepted, begin};

/// Time-out for answers of other actors to a login. They have time-outs of their own; this is the last resort.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How long a disconnected client may take to read the rest of the outbox.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// Protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The drawing protocol over TCP, with STARTTLS.
    Tcp,
    /// The drawing protocol over WebSocket.
    WebSocket,
}

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
    /// What the server counts.
    pub metrics: Arc<Metrics>,
}

/// A connection on which messages are read and written.
enum Opened {
    Tcp(TcpStream),
    /// Encrypted already, if it is at all.
    WebSocket(WebSocket),
    /// From another server, which has the client's connection.
    Link(Box<TlsStream<TcpStream>>),
}

/// How the connection can be encrypted when the client asks for it.
struct Tls {
    /// `None` without TLS.
    certificate: Option<watch::Receiver<Certificate>>,
    /// Time limit of the handshake in milliseconds, 0 for none.
    limit_ms: u64,
}

/// Carries messages between the socket and the Client until the connection ends. This task reads; the one that it
/// starts writes, at once, because no greeting waits for a PROXY header.
async fn carry(opened: Opened, mut proxy_header: ProxyHeader, tls: Tls, shared: Rc<ConnShared>) {
    let (stream, framing, received) = match opened {
        Opened::Tcp(stream) => (Stream::Tcp(stream), Framing::wire(), Vec::new()),
        Opened::WebSocket(WebSocket { stream, arrived, .. }) => (stream, Framing::websocket(), arrived),
        Opened::Link(stream) => (Stream::Tls(stream), Framing::link(), Vec::new()),
    };
    let websocket = framing.is_websocket();
    let (read, write) = stream.into_split();
    let mut writer = Writer::start(Outbound { half: write, websocket }, &shared);
    let mut inbound = Inbound { half: read, framing, received };
    let end = loop {
        match inbound.read_all(proxy_header, &shared).await {
            Err(end) => break end,
            // The client has asked for TLS, and has sent nothing since.
            Ok(ReadyForTls) => match Box::pin(start_tls(inbound.half, writer, &tls)).await {
                Ok(stream) => {
                    shared.upgrading.set(false);
                    let (read, write) = stream.into_split();
                    inbound = Inbound { half: read, framing: Framing::wire(), received: Vec::new() };
                    writer = Writer::start(Outbound { half: write, websocket }, &shared);
                    // It would have come before the handshake.
                    proxy_header = ProxyHeader::Ignored;
                }
                Err(error) => return shared.report(FromConnection::ReadEnded(ReadEnd::Failed(error))),
            },
        }
    };
    shared.report(FromConnection::ReadEnded(end));
    // A goodbye may still be on its way out. The Client ends this task when it has been written, or at once.
    writer.ended().await;
}

/// Takes the connection back from its halves, once what waits has been written, and encrypts it.
async fn start_tls(read: ReadHalf, writer: Writer, tls: &Tls) -> io::Result<Stream> {
    let write = writer.ended().await.ok_or(io::ErrorKind::BrokenPipe)?;
    let (Some(stream), Some(certificate)) = (reunite(read, write), &tls.certificate) else {
        return Err(io::Error::other("TLS cannot start"));
    };
    let acceptor = certificate.borrow().acceptor();
    let stream = accept::within(tls.limit_ms, acceptor.accept(stream)).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Phase of a connection.
enum Phase {
    Login(Login),
    /// Logged in at another server, and waits for the session to let it in.
    Relayed(Entering),
    /// In this session.
    Session(SessionHandle),
    /// The session has let the client go silently: it is echoed its own messages.
    Quiet,
    /// Disconnecting; only the outbox is still flushed.
    Over,
}

/// A login.
struct Login {
    machine: Box<LoginMachine>,
    /// Time and randomness for the machine's inputs.
    source: LoginSource,
    entering: Entering,
    /// Session messages received during the login.
    strays: u8,
}

/// A client's way from its login into a session.
enum Entering {
    Nothing,
    /// The session with this id was found.
    Found(String),
    /// The session with this id was asked to let the client in.
    Asked(String),
    /// The session has the client, which does not know yet.
    Entered(SessionHandle),
}

/// The actor of a connection, on the worker thread that accepted it. It carries messages to the login machine or to
/// the session, and their effects to the outbox. It decides nothing about sessions.
pub struct Client {
    conn: ConnId,
    context: ClientContext,
    user: LogUser,
    phase: Phase,
    /// State that the halves of the connection use, too.
    shared: Rc<ConnShared>,
    /// Task of [`carry`].
    carrying: JoinHandle<()>,
    permit: ConnectionPermit,
    in_flight_budget: Arc<InFlightBudget>,
    /// Frames that wait for an answer to an earlier one, or for the rate limit.
    pending: BytesMut,
    /// Rate limit for messages (`messageRateLimit`).
    messages: Bucket,
    drawing: drawing::Drawing,
    slowed_logged: Option<u64>,
    /// Timer of pending frames: the client has used up a rate limit.
    budget_timer: Option<SpawnHandle>,
    /// Time of connecting, milliseconds since 1970.
    since: i64,
    /// The server closes the connection, not the peer.
    was_cut: bool,
    /// How far it is that the server which has the connection sends nothing more.
    pausing: relayed::Pausing,
}

impl Client {
    /// Starts the actor, and with it reading and writing. The login begins.
    fn start(opened: Opened, conn: ConnId, permit: ConnectionPermit, context: ClientContext) -> Addr<Client> {
        let arrival = arrival(&opened, conn, &permit, &context);
        if let Some(trace) = &context.trace {
            trace.login(arrival, &context.rules);
        }
        let (machine, greeting) = LoginMachine::new(context.rules.clone(), &arrival);
        let login = Login {
            machine: Box::new(machine),
            source: LoginSource::new(&arrival),
            entering: Entering::Nothing,
            strays: 0,
        };
        let user = LogUser { id: 0, address: Some(arrival.address), name: String::new() };
        let mut ctx = Context::new();
        let mut client = Self::new(opened, Phase::Login(login), user, (conn, permit, context), &ctx);
        client.since = arrival.utc_ms;
        client.perform_one(greeting, &mut ctx);
        ctx.run(client)
    }

    /// An actor in this phase. Reading and writing begin.
    fn new(
        opened: Opened,
        phase: Phase,
        user: LogUser,
        (conn, permit, context): (ConnId, ConnectionPermit, ClientContext),
        ctx: &Context<Self>,
    ) -> Client {
        let settings = context.rules.settings();
        let limits = TimeLimits::of(settings);
        let (proxy_header, limits) = match opened {
            Opened::Tcp(_) if permit.may_speak_proxy() => (ProxyHeader::Possible, limits),
            Opened::Tcp(_) | Opened::WebSocket(_) => (ProxyHeader::Ignored, limits),
            // The other server has these time-outs.
            Opened::Link(_) => (ProxyHeader::Ignored, TimeLimits { silence: 0, login: 0, ..limits }),
        };
        let shared = ConnShared::new(conn, ctx.address(), limits, context.metrics.clone());
        let tls = Tls {
            certificate: context.certificate.clone(),
            limit_ms: settings.handshake_time_limit.millis(),
        };
        let for_tasks = shared.clone();
        let carrying = actix_rt::spawn(async move { carry(opened, proxy_header, tls, for_tasks).await });
        context.server.tell(ToServer::NewClient { conn, client: ctx.address().into() });
        Client {
            conn,
            context,
            user,
            phase,
            shared,
            carrying,
            permit,
            in_flight_budget: Arc::default(),
            pending: BytesMut::new(),
            messages: Bucket::default(),
            drawing: drawing::Drawing::default(),
            slowed_logged: None,
            budget_timer: None,
            since: Timestamp::now().utc_ms,
            was_cut: false,
            pausing: relayed::Pausing::default(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn send(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        if !self.is_over() && self.shared.send(bytes).is_err() {
            self.context.metrics.lagging.count();
            self.log(Level::Warn, Topic::Status, "Client does not read: too much waits to be sent");
            self.cut(ctx);
        }
    }

    /// The session has let the client in, under this user id.
    fn joined(&mut self, user: u8) {
        let session = match &self.phase {
            Phase::Login(Login { machine, entering: Entering::Entered(session), .. }) => {
                self.shared.keep_alive.set(machine.client().capabilities.keep_alive);
                session
            }
            // The server that has the connection keeps it alive.
            Phase::Relayed(Entering::Entered(session)) => session,
            _ => return,
        };
        self.shared.answered();
        self.user.id = user;
        self.phase = Phase::Session(session.clone());
        self.context.server.tell(ToServer::LeaveLobby(self.conn));
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

    /// Closes the connection when the outbox has been written.
    fn close(&mut self, ctx: &mut Context<Self>) {
        self.phase_over();
        self.shared.outbox.borrow_mut().close();
        self.shared.wake.notify_one();
        ctx.run_later(FLUSH_LIMIT, |_, ctx| ctx.stop());
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
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Session(session)
            | Phase::Relayed(Entering::Entered(session))
            | Phase::Login(Login { entering: Entering::Entered(session), .. }) => {
                session.tell(self.leaving());
            }
            Phase::Relayed(Entering::Asked(id))
            | Phase::Login(Login { entering: Entering::Asked(id), .. }) => {
                self.context.server.tell(ToServer::CancelEntering { id, conn: self.conn });
            }
            Phase::Login(_) | Phase::Relayed(_) | Phase::Quiet | Phase::Over => {}
        }
        self.pending = BytesMut::new();
        // Further input is read and discarded: closing a socket with unread input makes the system reset the
        // connection, and the peer would lose what was sent.
        self.shared.resume_reading();
    }

    /// How the session is told that the connection is closed.
    fn leaving(&self) -> ToSession {
        if self.was_cut { ToSession::Cut(self.conn) } else { ToSession::Leave(self.conn) }
    }
}

/// What the login is told about a new connection.
fn arrival(opened: &Opened, conn: ConnId, permit: &ConnectionPermit, context: &ClientContext) -> Arrival {
    let (browser, encrypted, must_encrypt) = match opened {
        Opened::Tcp(_) => (false, false, context.certificate.is_some()),
        Opened::WebSocket(websocket) => (websocket.browser, websocket.stream.is_tls(), false),
        Opened::Link(_) => (false, true, false),
    };
    let mut rng_seed = [0; 8];
    // Without randomness, bans that look like network trouble are merely easier to recognize.
    let _ = getrandom::fill(&mut rng_seed);
    Arrival {
        conn,
        address: permit.address(),
        browser,
        encrypted,
        must_encrypt,
        proxied: permit.is_proxied(),
        rng_seed: u64::from_le_bytes(rng_seed),
        utc_ms: Timestamp::now().utc_ms,
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.phase_over();
        let left_out = self.permit.take_suppressed(self.context.rules.settings());
        self.log_left_out(left_out);
        self.keep_drawn();
        self.carrying.abort();
        worker::forget(&self.shared);
        self.context.server.tell(ToServer::ClientGone(self.conn));
    }
}
