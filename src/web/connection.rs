//! Connections of HTTP servers, whoever accepts them: what was received before, limits, and a time limit for writing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep};

use super::REQUEST_TIME;
use crate::transport::Stream;

/// How long a client may read nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long a connection may take to close.
const DISCONNECT_TIME: Duration = Duration::from_secs(5);

/// Handlers find it at connections that speak TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encrypted;

/// Waits until the client of a request has closed the connection, or at least its half of it.
pub(crate) fn disconnected(request: &HttpRequest) -> impl Future<Output = ()> + use<> {
    let disconnect = request.conn_data::<Disconnect>().cloned();
    async {
        match disconnect {
            Some(disconnect) => disconnect.wait().await,
            None => std::future::pending().await,
        }
    }
}

/// Handlers find it at each connection: it tells when the client sends no more.
#[derive(Debug, Clone)]
struct Disconnect(watch::Receiver<bool>);

impl Disconnect {
    /// Waits until the client has closed the connection, or at least its half of it.
    async fn wait(mut self) {
        // An error is a connection that is gone already.
        let _ = self.0.wait_for(|is_closed| *is_closed).await;
    }
}

/// A connection as actix-web uses it: what was received before comes first. `I` is what handlers learn about it, `P`
/// what counts until it is closed.
pub(super) struct Connection<I, P> {
    stream: Stream,
    arrived: Vec<u8>,
    peer: Option<SocketAddr>,
    info: I,
    /// How long the client may read nothing.
    write_time: Duration,
    /// When writing fails; set while the client reads nothing.
    write_limit: Option<Pin<Box<Sleep>>>,
    /// Whether the client sends no more.
    is_closed: watch::Sender<bool>,
    _permits: P,
}

impl<I, P> Connection<I, P> {
    pub(super) fn new(
        stream: Stream,
        arrived: Vec<u8>,
        peer: Option<SocketAddr>,
        info: I,
        permits: P,
    ) -> Connection<I, P> {
        let (write_time, is_closed) = (WRITE_TIME, watch::Sender::new(false));
        Connection {
            stream,
            arrived,
            peer,
            info,
            write_time,
            write_limit: None,
            is_closed,
            _permits: permits,
        }
    }

    /// Fails when the client has read nothing for too long.
    fn limit_write<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_limit = None;
            return written;
        }
        let write_time = self.write_time;
        let limit = self.write_limit.get_or_insert_with(|| Box::pin(sleep(write_time)));
        limit.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: Unpin, P: Unpin> AsyncRead for Connection<I, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.arrived.is_empty() {
            let (before, has_room) = (buf.filled().len(), buf.remaining() > 0);
            let read = Pin::new(&mut self.stream).poll_read(cx, buf);
            if matches!(read, Poll::Ready(Err(_)))
                || read.is_ready() && has_room && buf.filled().len() == before
            {
                self.is_closed.send_replace(true);
            }
            return read;
        }
        let count = self.arrived.len().min(buf.remaining());
        buf.put_slice(&self.arrived[..count]);
        self.arrived.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<I: Unpin, P: Unpin> AsyncWrite for Connection<I, P> {
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

/// Serves connections until their sender is dropped. Runs on the thread of an arbiter.
pub(super) async fn serve<I, P>(
    mut connections: mpsc::Receiver<Connection<I, P>>,
    keep_alive: KeepAlive,
    configure: impl Fn(&mut ServiceConfig) + 'static,
) where
    I: Clone + Unpin + 'static,
    P: Unpin + 'static,
{
    let app = map_config(App::new().configure(configure), |()| AppConfig::default());
    let factory = HttpService::build()
        .keep_alive(keep_alive)
        .client_request_timeout(REQUEST_TIME)
        .client_disconnect_timeout(DISCONNECT_TIME)
        .on_connect_ext(|connection: &Connection<I, P>, data| {
            data.insert(connection.info.clone());
            data.insert(Disconnect(connection.is_closed.subscribe()));
            if connection.stream.is_tls() {
                data.insert(Encrypted);
            }
        })
        .h1(app);
    let Ok(service) = factory.new_service(()).await else {
        return tracing::error!("HTTP cannot be served");
    };
    while let Some(connection) = connections.recv().await {
        let peer = connection.peer;
        let served = service.call((connection, peer));
        actix_rt::spawn(async move {
            // An error means that the client has disconnected or has sent no HTTP.
            let _ = served.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[actix_rt::test]
    async fn a_client_that_reads_nothing_loses_the_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let connection = Connection::new(Stream::Tcp(accepted), Vec::new(), None, (), ());
        let mut connection = Connection { write_time: Duration::from_millis(20), ..connection };
        let failed = loop {
            if let Err(error) = connection.write_all(&[0; 65_536]).await {
                break error;
            }
        };
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
