//! Accepts connections and spreads them over the worker threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::message::{Disconnect, Layout, Message};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

pub use crate::actors::client::connection::Protocol;
use crate::actors::client::connection::{self, Accepted, ClientContext};
use crate::config::Rules;
use crate::rules::session::{ConnId, DisconnectReason};
use crate::transport::ListenError;
use crate::transport::accept::{HttpConnection, WebSocketAccess};
use crate::transport::connection_limiter::{ConnectionLimiter, ConnectionPermit, Limit};

/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Maximum number of connections in set-up, for each listener; others wait in the system's accept queue.
const MAX_SETUPS: usize = 64;

/// Open listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For TCP.
    pub tcp: Vec<TcpListener>,
    /// For WebSocket.
    pub websocket: Vec<TcpListener>,
}

/// Listeners opened by the service manager (socket activation).
#[derive(Debug, Default)]
pub struct Inherited {
    /// For TCP.
    pub tcp: Vec<std::net::TcpListener>,
    /// For WebSocket.
    pub websocket: Vec<std::net::TcpListener>,
}

impl Inherited {
    /// Opens them inside a running system.
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

/// Accepts connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) workers: Vec<ArbiterHandle>,
    pub(crate) context: ClientContext,
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) websocket_access: Arc<WebSocketAccess>,
    /// Takes HTTP requests at the WebSocket listeners that do not ask for WebSocket, if the admin page shares the port.
    pub(crate) http: Option<mpsc::Sender<HttpConnection>>,
    /// Number of the next connection, of all listeners.
    pub(crate) next_conn: Arc<AtomicU64>,
}

impl Acceptor {
    /// Accepts connections of a listener forever.
    pub(crate) async fn accept(mut self, listener: TcpListener, protocol: Protocol) {
        let setups = Arc::new(Semaphore::new(MAX_SETUPS));
        for worker in self.workers.clone().iter().cycle() {
            // The semaphore is never closed.
            let setup_permit = setups.clone().acquire_owned().await.ok();
            let (stream, permit) = self.next(&listener, protocol).await;
            let conn: ConnId = self.next_conn.fetch_add(1, Ordering::Relaxed);
            self.context.rules = self.rules.borrow().clone();
            // The worker registers the socket with its own event loop.
            let Ok(stream) = stream.into_std() else { continue };
            let (context, access) = (self.context.clone(), self.websocket_access.clone());
            let http = self.http.clone();
            worker.spawn_fn(move || {
                let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
                    Ok(stream) => stream,
                    Err(error) => return tracing::warn!(%error, "cannot take a connection over"),
                };
                let accepted = Accepted { conn, stream, protocol, permit, setup_permit, http };
                connection::begin(accepted, context, access);
            });
        }
    }

    /// The next connection within the limits.
    async fn next(&self, listener: &TcpListener, protocol: Protocol) -> (TcpStream, ConnectionPermit) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let rules = self.rules.borrow().clone();
                    match self.limiter.enter(peer.ip(), rules.settings()) {
                        Ok(permit) => return (stream, permit),
                        Err(limit) => turn_away(&stream, limit, protocol),
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

/// Tells a peer why it is refused, as far as that is possible without waiting.
fn turn_away(stream: &TcpStream, limit: Limit, protocol: Protocol) {
    let text = match protocol {
        Protocol::Tcp => {
            let reason = DisconnectReason::Error as u8;
            let goodbye = Message::from(Disconnect { reason, message: limit.message().into() });
            goodbye.to_frame(0, Layout::V4_25).map(|f| f.as_bytes().to_vec()).unwrap_or_default()
        }
        Protocol::WebSocket => {
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
    };
    // A peer whose buffer is full sees the connection close.
    let _ = stream.try_write(&text);
}
