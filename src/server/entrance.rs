//! Where connections come in: accepting them, and spreading them over the workers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::message::{Disconnect, Layout, Message};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::client::actor::{Client, ClientContext, Connection, FromWebSocket};
use crate::clock::Now;
use crate::config::Rules;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::session::{ConnId, DisconnectReason};
use crate::transport::ListenError;
use crate::transport::accept::{AcceptError, WebSocketRules, websocket};
use crate::transport::gate::{Gate, Limit, Pass};
use crate::transport::stream::Stream;

/// How long accepting rests after it failed, for example for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Connections that are being set up at once: others wait in the system's queue, and those that are there go on.
const MAX_TURNS: usize = 64;

/// What a listener's connections speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages as they are.
    Wire,
    /// WebSocket.
    WebSocket,
}

/// Listeners that are open.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For messages as they are.
    pub tcp: Vec<TcpListener>,
    /// For WebSocket.
    pub websocket: Vec<TcpListener>,
}

/// Listeners that the service manager has opened.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For messages as they are.
    pub tcp: Vec<std::net::TcpListener>,
    /// For WebSocket.
    pub websocket: Vec<std::net::TcpListener>,
}

impl Inherited {
    /// Puts them to use inside a running system.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn open(&self) -> Result<Listeners, ListenError> {
        let open = |listener: &std::net::TcpListener| {
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let open_all = |listeners: &[std::net::TcpListener]| {
            let opened: std::io::Result<Vec<_>> = listeners.iter().map(open).collect();
            opened.map_err(|source| ListenError { address: "a socket of the service manager".into(), source })
        };
        Ok(Listeners { tcp: open_all(&self.tcp)?, websocket: open_all(&self.websocket)? })
    }
}

/// Lets connections in.
#[derive(Clone)]
pub(super) struct Entrance {
    pub(super) workers: Vec<ArbiterHandle>,
    pub(super) context: ClientContext,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) gate: Gate,
    pub(super) websocket_rules: Arc<WebSocketRules>,
}

impl Entrance {
    /// Accepts connections and spreads them over the workers.
    pub(super) async fn accept(mut self, listener: TcpListener, kind: Kind) {
        static NEXT_CONN: AtomicU64 = AtomicU64::new(1);
        let turns = Arc::new(Semaphore::new(MAX_TURNS));
        for worker in self.workers.clone().iter().cycle() {
            // The semaphore is never closed.
            let turn = turns.clone().acquire_owned().await.ok();
            let (stream, pass) = self.next(&listener, kind).await;
            let conn: ConnId = NEXT_CONN.fetch_add(1, Ordering::Relaxed);
            self.context.rules = self.rules.borrow().clone();
            // The socket goes to the worker's own event loop.
            let Ok(stream) = stream.into_std() else { continue };
            let (context, rules) = (self.context.clone(), self.websocket_rules.clone());
            worker.spawn_fn(move || {
                let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
                    Ok(stream) => stream,
                    Err(error) => return tracing::warn!(%error, "cannot take a connection over"),
                };
                match kind {
                    Kind::Wire => {
                        let stream = Stream::Tcp(stream);
                        let connection = Connection { conn, stream, pass, websocket: None, turn };
                        Client::start(connection, context);
                    }
                    Kind::WebSocket => {
                        // The rest is up to the client.
                        drop(turn);
                        actix_rt::spawn(upgrade(stream, conn, pass, context, rules));
                    }
                }
            });
        }
    }

    /// The next connection that is let in.
    async fn next(&self, listener: &TcpListener, kind: Kind) -> (TcpStream, Pass) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let rules = self.rules.borrow().clone();
                    match self.gate.enter(peer.ip(), rules.settings()) {
                        Ok(pass) => return (stream, pass),
                        Err(limit) => turn_away(&stream, limit, kind),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
}

/// Tells somebody why there is no connection, as far as that can be said at once.
fn turn_away(stream: &TcpStream, limit: Limit, kind: Kind) {
    let text = match kind {
        Kind::Wire => {
            let reason = DisconnectReason::Error as u8;
            let goodbye = Message::from(Disconnect { reason, message: limit.message().into() });
            goodbye.to_frame(0, Layout::V4_25).map(|f| f.as_bytes().to_vec()).unwrap_or_default()
        }
        Kind::WebSocket => {
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
    };
    // Whoever is not told sees it anyway.
    let _ = stream.try_write(&text);
}

/// Lets a connection become one of WebSocket, in the time that it has.
async fn upgrade(
    stream: TcpStream,
    conn: ConnId,
    mut pass: Pass,
    context: ClientContext,
    rules: Arc<WebSocketRules>,
) {
    let settings = context.rules.shared.settings.clone();
    let certificate = context.certificate.as_ref().map(|c| c.borrow().clone());
    let upgrading = websocket(stream, &mut pass, certificate, &rules, &settings);
    let upgraded = match settings.handshake_time_limit.millis() {
        0 => upgrading.await,
        limit => tokio::time::timeout(Duration::from_millis(limit), upgrading)
            .await
            .unwrap_or_else(|_| Err(AcceptError::Io(std::io::ErrorKind::TimedOut.into()))),
    };
    match upgraded {
        Ok(upgraded) => {
            let websocket = Some(FromWebSocket { arrived: upgraded.arrived, browser: upgraded.browser });
            let stream = upgraded.stream;
            Client::start(Connection { conn, stream, pass, websocket, turn: None }, context);
        }
        Err(error) => log(pass.address(), &error),
    }
}

fn log(address: IpAddr, error: &AcceptError) {
    let user = LogUser { id: 0, address: Some(address), name: String::new() };
    let text = format!("No WebSocket connection: {error}");
    LogEntry::new(Now::get(), Level::Debug, Topic::Status, text).about(user).emit("");
}
