//! HTTP connections that a WebSocket listener has accepted: the admin page shares its port.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_rt::Arbiter;
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::{HttpConnectionLimiter, HttpConnectionPermit, REQUEST_TIME};
use crate::metrics::Metrics;
use crate::transport::Stream;
use crate::transport::accept::HttpConnection;
use crate::transport::connection_limiter::ConnectionPermit;
use crate::transport::trust::{ClientAddr, Trusted};

/// Connections that wait for the HTTP server; further ones are closed.
const MAX_WAITING: usize = 64;

/// How long a client may read nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long a connection may take to close.
const DISCONNECT_TIME: Duration = Duration::from_secs(5);

/// What handlers learn about a connection at a shared port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedPort {
    /// The peer, or the client that its PROXY protocol header names.
    pub(crate) peer: ClientAddr,
    /// It speaks TLS.
    pub(crate) is_encrypted: bool,
}

/// A connection as actix-web uses it: what was received before comes first.
struct Connection {
    stream: Stream,
    arrived: Vec<u8>,
    shared: SharedPort,
    /// When writing fails; set while the client reads nothing.
    write_limit: Option<Pin<Box<Sleep>>>,
    /// Of this server, and of the limits that it shares with drawing clients.
    _permits: (HttpConnectionPermit, ConnectionPermit),
}

impl Connection {
    /// Fails when the client has read nothing for too long.
    fn limit_write<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_limit = None;
            return written;
        }
        let limit = self.write_limit.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        limit.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.arrived.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.arrived.len().min(buf.remaining());
        buf.put_slice(&self.arrived[..count]);
        self.arrived.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit_write(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit_write(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
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
        let thread = Arbiter::new();
        thread.spawn_fn(move || {
            actix_rt::spawn(serve(receiver, trusted, metrics, configure));
        });
        SharedPortServer { connections, thread }
    }

    /// Closes all connections.
    pub(crate) fn stop(&self) {
        self.thread.stop();
    }
}

async fn serve(
    mut receiver: mpsc::Receiver<HttpConnection>,
    trusted: Trusted,
    metrics: Arc<Metrics>,
    configure: impl Fn(&mut ServiceConfig) + 'static,
) {
    let limiter = HttpConnectionLimiter::new(trusted, metrics.clone());
    let app = map_config(App::new().configure(configure), |()| AppConfig::default());
    let factory = HttpService::build()
        // One request a connection: a proxy that uses connections again would send WebSocket upgrades here.
        .keep_alive(KeepAlive::Disabled)
        .client_request_timeout(REQUEST_TIME)
        .client_disconnect_timeout(DISCONNECT_TIME)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.shared);
        })
        .h1(app);
    let Ok(service) = factory.new_service(()).await else {
        return tracing::error!("the admin API cannot be served at the WebSocket port");
    };
    while let Some(HttpConnection { http, permit }) = receiver.recv().await {
        let peer = permit.client_addr();
        let Some(http_permit) = limiter.enter(peer) else {
            metrics.limits_hit.count("httpConnections");
            continue;
        };
        let shared = SharedPort { peer, is_encrypted: http.stream.is_tls() };
        let permits = (http_permit, permit);
        let (stream, arrived) = (http.stream, http.arrived);
        let connection = Connection { stream, arrived, shared, write_limit: None, _permits: permits };
        let served = service.call((connection, None));
        actix_rt::spawn(async move {
            // An error means that the client has disconnected or has sent no HTTP.
            let _ = served.await;
        });
    }
}
