//! HTTP connections that a WebSocket listener has accepted: the admin page shares its port.

use std::sync::Arc;

use actix_http::KeepAlive;
use actix_rt::Arbiter;
use actix_web::web::ServiceConfig;
use tokio::sync::mpsc;

use super::connection::{Connection, serve};
use super::{HttpConnectionLimiter, HttpConnectionPermit};
use crate::metrics::Metrics;
use crate::transport::accept::HttpConnection;
use crate::transport::connection_limiter::ConnectionPermit;
use crate::transport::trust::{ClientAddr, Trusted};

/// Connections that wait for the HTTP server; further ones are closed.
const MAX_WAITING: usize = 64;

/// What handlers learn about a connection at a shared port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedPort {
    /// The peer, or the client that its PROXY protocol header names.
    pub(crate) peer: ClientAddr,
}

/// An HTTP server for connections that others accept.
#[derive(Debug)]
pub(crate) struct SharedPortServer {
    /// Takes the connections.
    pub(crate) connections: mpsc::Sender<HttpConnection>,
    thread: Arbiter,
}

impl SharedPortServer {
    /// Starts it on a thread of its own.
    pub(crate) fn start(
        trusted: Trusted,
        metrics: Arc<Metrics>,
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> SharedPortServer {
        let (connections, receiver) = mpsc::channel(MAX_WAITING);
        let limiter = HttpConnectionLimiter::new(trusted, metrics);
        let thread = Arbiter::new();
        thread.spawn_fn(move || {
            let (admitted, to_serve) = mpsc::channel(1);
            // One request a connection: a proxy that uses connections again would send WebSocket upgrades here.
            actix_rt::spawn(serve(to_serve, KeepAlive::Disabled, configure));
            actix_rt::spawn(admit(receiver, limiter, admitted));
        });
        SharedPortServer { connections, thread }
    }

    /// Closes all connections.
    pub(crate) fn stop(&self) {
        self.thread.stop();
    }
}

/// What counts for a connection until it is closed: at this server, and among drawing clients.
type Permits = (HttpConnectionPermit, ConnectionPermit);

/// Passes connections on to the HTTP server, as far as its limits allow.
async fn admit(
    mut receiver: mpsc::Receiver<HttpConnection>,
    limiter: HttpConnectionLimiter,
    connections: mpsc::Sender<Connection<SharedPort, Permits>>,
) {
    while let Some(HttpConnection { http, permit }) = receiver.recv().await {
        // Strangers reach this port, perhaps by a tunnel that makes them look like programs on this machine.
        let peer = permit.client_addr().at_shared_port();
        let Some(http_permit) = limiter.enter(peer) else {
            limiter.metrics.limits_hit.count("httpConnections");
            continue;
        };
        let permits = (http_permit, permit);
        let connection = Connection::new(http.stream, http.arrived, None, SharedPort { peer }, permits);
        if connections.send(connection).await.is_err() {
            return;
        }
    }
}
