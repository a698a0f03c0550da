//! Running a server: workers, listeners, and the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use tokio::net::TcpListener;

use super::{Server, Stop};
use crate::auth::Auth;
use crate::client::actor::{Client, ClientContext};
use crate::config::Rules;
use crate::session::ConnId;
use crate::transport::{ListenError, listen};

/// How long accepting rests after it failed, for example for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// Address to listen on, all interfaces without.
    pub listen: Option<IpAddr>,
    /// TCP port, 0 for any.
    pub port: u16,
    /// Worker threads.
    pub workers: usize,
}

/// A server that runs.
pub struct Running {
    server: Addr<Server>,
    workers: Vec<Arbiter>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Starts a server inside a running actix system.
///
/// # Errors
/// When it cannot listen.
pub fn start(options: &ServeOptions) -> Result<Running, ListenError> {
    let listener = listen(options.listen, options.port)?;
    let named = |source| ListenError { address: "the listener".into(), source };
    let address = listener.local_addr().map_err(named)?;
    let workers: Vec<Arbiter> = (0..options.workers.max(1)).map(|_| Arbiter::new()).collect();
    let handles: Vec<ArbiterHandle> = workers.iter().map(Arbiter::handle).collect();
    let rules = options.rules.clone();
    let server = Server::new(rules.clone(), handles.clone()).start();
    let auth = Auth::new(rules.clone()).start();
    let context = ClientContext { rules, server: server.clone(), auth };
    let accepting = actix_rt::spawn(accept(listener, handles, context));
    Ok(Running { server, workers, address, accepting })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: nobody else is let in, everybody is told, threads end.
    pub async fn stop(self) {
        self.accepting.abort();
        // If the actor is gone there is nobody left to tell.
        let _ = self.server.send(Stop).await;
        for worker in self.workers {
            worker.stop();
        }
    }
}

/// Accepts connections and spreads them over the workers.
async fn accept(listener: TcpListener, workers: Vec<ArbiterHandle>, context: ClientContext) {
    static NEXT_CONN: AtomicU64 = AtomicU64::new(1);
    for worker in workers.iter().cycle() {
        let (stream, peer) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        };
        let conn: ConnId = NEXT_CONN.fetch_add(1, Ordering::Relaxed);
        let context = context.clone();
        // The socket goes to the worker's own event loop.
        let Ok(stream) = stream.into_std() else { continue };
        worker.spawn_fn(move || {
            let moved = stream.set_nodelay(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
            match moved {
                Ok(stream) => drop(Client::start(stream, peer.ip().to_canonical(), conn, context)),
                Err(error) => tracing::warn!(%error, "cannot take a connection over"),
            }
        });
    }
}
