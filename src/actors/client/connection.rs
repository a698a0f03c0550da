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
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use drawhall_protocol::message::{Disconnect, Layout, Message as Decoded};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::inbound::{Framing, Inbound, ProxyHeader, ReadEnd, ReadyForTls};
use super::worker::{self, ConnShared, TimeLimits};
use super::writer::{Outbound, Writer};
use crate::actors::auth::Auth;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ServerHandle, SessionHandle, ToServer, ToSession};
use crate::config::Rules;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::Metrics;
use crate::rules::limits::Bucket;
use crate::rules::login::{Arrival, LoginMachine, LoginSource};
use crate::rules::session::{ConnId, DisconnectReason};
use crate::rules::time::Timestamp;
use crate::trace::Trace;
use crate::transport::accept::{self, AcceptError, HttpConnection, WebSocket, WebSocketAccess};
use crate::transport::connection_limiter::ConnectionPermit;
use crate::transport::stream::{ReadHalf, Stream, reunite};
use crate::transport::tls::Certificate;
pub(super) use intake::FromConnection;

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

/// A connection that was accepted.
pub struct Accepted {
    /// Connection number, never reused.
    pub conn: ConnId,
    /// The socket.
    pub stream: TcpStream,
    /// What is spoken at the listener.
    pub protocol: Protocol,
    /// Counts against the connection limits until it is dropped.
    pub permit: ConnectionPermit,
    /// Counts against the limit of connections in set-up until it is dropped.
    pub setup_permit: Option<OwnedSemaphorePermit>,
    /// Takes HTTP requests that do not ask for WebSocket, if an HTTP server shares the port.
    pub http: Option<mpsc::Sender<HttpConnection>>,
}

/// A connection on which messages are read and written.
enum Opened {
    Tcp(TcpStream),
    /// Encrypted already, if it is at all.
    WebSocket(WebSocket),
}

/// Begins a connection on this worker thread.
pub fn begin(accepted: Accepted, context: ClientContext, access: Arc<WebSocketAccess>) {
    let Accepted { conn, stream, protocol, mut permit, setup_permit, http } = accepted;
    match protocol {
        Protocol::Tcp => {
            Client::start(Opened::Tcp(stream), conn, permit, context);
        }
        Protocol::WebSocket => {
            actix_rt::spawn(async move {
                match open_websocket(stream, &mut permit, &context, &access, http.is_some()).await {
                    Ok(accept::Opened::WebSocket(websocket)) => {
                        Client::start(Opened::WebSocket(websocket), conn, permit, context);
                    }
                    Ok(accept::Opened::Http(request)) => {
                        hand_over(HttpConnection { http: request, permit }, http, &context)
                    }
                    Err(error) => log_not_opened(permit.address(), &error),
                }
            });
        }
    }
    // It is being read from, or has the time-out of the handshake.
    drop(setup_permit);
}

async fn open_websocket(
    stream: TcpStream,
    permit: &mut ConnectionPermit,
    context: &ClientContext,
    access: &WebSocketAccess,
    shares_port: bool,
) -> Result<accept::Opened, AcceptError> {
    let settings = context.rules.settings();
    let certificate = context.certificate.as_ref().map(|c| c.borrow().clone());
    let opening = accept::websocket(stream, permit, certificate, access, settings, shares_port);
    accept::within(settings.handshake_time_limit.millis(), opening).await
}

/// Gives a connection to the HTTP server that shares the port. It is closed if too many wait there.
fn hand_over(
    connection: HttpConnection,
    http: Option<mpsc::Sender<HttpConnection>>,
    context: &ClientContext,
) {
    if http.is_none_or(|http| http.try_send(connection).is_err()) {
        context.metrics.limits_hit.count("httpConnections");
    }
}

fn log_not_opened(address: IpAddr, error: &AcceptError) {
    let user = LogUser { id: 0, address: Some(address), name: String::new() };
    let text = format!("No WebSocket connection: {error}");
    LogEntry::new(Timestamp::now(), Level::Debug, Topic::Status, text).about(user).emit("");
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
}

impl Client {
    /// Starts the actor, and with it reading and writing. The login begins.
    fn start(opened: Opened, conn: ConnId, permit: ConnectionPermit, context: ClientContext) -> Addr<Client> {
        let settings = context.rules.settings();
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
        let mut ctx = Context::new();
        let shared = ConnShared::new(conn, ctx.address(), TimeLimits::of(settings), context.metrics.clone());
        let tls = Tls {
            certificate: context.certificate.clone(),
            limit_ms: settings.handshake_time_limit.millis(),
        };
        let proxy_header = match opened {
            Opened::Tcp(_) if permit.may_speak_proxy() => ProxyHeader::Possible,
            Opened::Tcp(_) | Opened::WebSocket(_) => ProxyHeader::Ignored,
        };
        let for_tasks = shared.clone();
        let carrying = actix_rt::spawn(async move { carry(opened, proxy_header, tls, for_tasks).await });
        context.server.tell(ToServer::NewClient { conn, client: ctx.address().into() });
        let mut client = Client {
            conn,
            context,
            user: LogUser { id: 0, address: Some(arrival.address), name: String::new() },
            phase: Phase::Login(login),
            shared,
            carrying,
            permit,
            in_flight_budget: Arc::default(),
            pending: BytesMut::new(),
            messages: Bucket::default(),
            drawing: drawing::Drawing::default(),
            slowed_logged: None,
            budget_timer: None,
            since: arrival.utc_ms,
            was_cut: false,
        };
        client.perform_one(greeting, &mut ctx);
        ctx.run(client)
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
        let Phase::Login(Login { machine, entering: Entering::Entered(session), .. }) = &self.phase else {
            return;
        };
        self.shared.answered();
        self.shared.keep_alive.set(machine.client().capabilities.keep_alive);
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
            Phase::Session(session) | Phase::Login(Login { entering: Entering::Entered(session), .. }) => {
                session.tell(self.leaving());
            }
            Phase::Login(Login { entering: Entering::Asked(id), .. }) => {
                self.context.server.tell(ToServer::CancelEntering { id, conn: self.conn });
            }
            Phase::Login(_) | Phase::Quiet | Phase::Over => {}
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
