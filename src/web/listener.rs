//! HTTP at a listener of its own, in clear or over TLS: the admin API, the auth server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::KeepAlive;
use actix_rt::Arbiter;
use actix_web::web::ServiceConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, serve};
use super::{HttpConnectionLimiter, HttpConnectionPermit, MAX_CONNECTIONS, REQUEST_TIME};
use crate::metrics::Metrics;
use crate::transport::Stream;
use crate::transport::tls::Certificate;
use crate::transport::trust::Trusted;

/// How long a connection waits for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a stop waits for the thread. Jobs such as a check of all files may take longer.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificates of a server that speaks TLS, the current one at each moment.
pub(crate) type Certificates = Option<watch::Receiver<Certificate>>;

/// What counts for a connection until it is closed.
type Permits = (HttpConnectionPermit, tokio::sync::OwnedSemaphorePermit);

/// A running HTTP server.
#[derive(Debug)]
pub struct HttpServerHandle(Arbiter);

impl HttpServerHandle {
    /// Closes the listener and all connections, and waits for that. The thread ends after its blocking jobs, such as
    /// reading a history; [`STOP_TIME`] at most.
    pub async fn stop(self) {
        if let Err(problem) = self.stop_within(STOP_TIME).await {
            tracing::error!("the thread of an HTTP server {problem}");
        }
    }

    async fn stop_within(self, limit: Duration) -> Result<(), &'static str> {
        self.0.stop();
        let (sender, ended) = oneshot::channel();
        // Not on the blocking pool of the runtime, which would wait for it at the end of the process.
        let spawned = std::thread::Builder::new().name("http-stop".to_owned()).spawn(move || {
            // Nobody listens if it took too long.
            let _ = sender.send(self.0.join());
        });
        match timeout(limit, ended).await {
            _ if spawned.is_err() => Err("cannot be waited for"),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(_) => Err("has failed"),
            Err(_) => Err("is still busy: its jobs are not waited for"),
        }
    }
}

/// Starts an HTTP server on a thread of its own, inside a running actix system. `configure` adds state and services.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn start(
    listener: std::net::TcpListener,
    certificates: Certificates,
    trusted: Trusted,
    metrics: Arc<Metrics>,
    configure: impl Fn(&mut ServiceConfig) + Send + 'static,
) -> io::Result<HttpServerHandle> {
    listener.set_nonblocking(true)?;
    let limiter = HttpConnectionLimiter::new(trusted, metrics);
    let thread = Arbiter::new();
    thread.spawn_fn(move || {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "an HTTP server cannot use its listener"),
        };
        let (connections, receiver) = mpsc::channel(1);
        actix_rt::spawn(serve(receiver, KeepAlive::Timeout(KEEP_ALIVE), configure));
        actix_rt::spawn(accept(listener, certificates, limiter, connections));
    });
    Ok(HttpServerHandle(thread))
}

/// Accepts connections, [`MAX_CONNECTIONS`] at once; further ones wait in the listen backlog.
async fn accept(
    listener: TcpListener,
    certificates: Certificates,
    limiter: HttpConnectionLimiter,
    connections: mpsc::Sender<Connection<(), Permits>>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = limiter.enter(limiter.trusted.peer(peer.ip())) else {
            limiter.metrics.limits_hit.count("httpConnections");
            continue;
        };
        let certificate = certificates.as_ref().map(|current| current.borrow().clone());
        actix_rt::spawn(open(stream, peer, certificate, (permit, place), connections.clone()));
    }
}

/// Performs the TLS handshake, if the server speaks TLS, and passes the connection on.
async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    certificate: Option<Certificate>,
    permits: Permits,
    connections: mpsc::Sender<Connection<(), Permits>>,
) {
    // Without it small answers wait; a connection that has ended already is noticed later.
    let _ = stream.set_nodelay(true);
    let stream = match certificate {
        None => Stream::Tcp(stream),
        Some(certificate) => match timeout(REQUEST_TIME, certificate.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(%error, %peer, "no TLS handshake"),
            Err(_) => return tracing::debug!(%peer, "the TLS handshake takes too long"),
        },
    };
    let connection = Connection::new(stream, Vec::new(), Some(peer), (), permits);
    // It fails at shutdown.
    let _ = connections.send(connection).await;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv4Addr;
    use std::sync::{Mutex, mpsc};

    use actix_web::{HttpResponse, web};

    use super::*;

    #[actix_rt::test]
    async fn a_stop_does_not_wait_for_a_job_without_end() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (begins, begun) = mpsc::channel();
        let (ends, end) = mpsc::channel::<()>();
        let end = Arc::new(Mutex::new(end));
        let server = start(listener, None, Trusted::default(), Arc::default(), move |config| {
            let (begins, end) = (begins.clone(), end.clone());
            let works = move || {
                let (begins, end) = (begins.clone(), end.clone());
                async move {
                    let job = web::block(move || {
                        begins.send(()).unwrap();
                        end.lock().unwrap().recv()
                    });
                    let _ = job.await;
                    HttpResponse::Ok().finish()
                }
            };
            config.route("/", web::get().to(works));
        });
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        begun.recv().unwrap();
        let stopped = server.unwrap().stop_within(Duration::from_millis(1)).await;
        assert!(stopped.is_err_and(|problem| problem.contains("busy")));
        ends.send(()).unwrap();

        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let idle = start(listener, None, Trusted::default(), Arc::default(), |_| ()).unwrap();
        assert_eq!(idle.stop_within(Duration::from_secs(600)).await, Ok(()));
    }
}
