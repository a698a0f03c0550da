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

/// Bytes of input from one answer to the next above which a connection counts as disconnected for those who ask. actix-web
/// stops reading at 128 KiB behind a request that is being answered, and learns no more of the connection's end.
const MAX_INPUT: usize = 64 << 10;

/// Waits until the client of a request has closed the connection, or at least its half of it, or has sent more than
/// [`MAX_INPUT`] with the request and behind it.
pub(crate) fn disconnected(request: &HttpRequest) -> impl Future<Output = ()> + use<> {
    let disconnect = request.conn_data::<Disconnect>().cloned();
    async {
        match disconnect {
            Some(disconnect) => disconnect.wait().await,
            None => std::future::pending().await,
        }
    }
}

/// What the client of a connection has done, beside its requests.
#[derive(Debug, Clone, Copy, Default)]
struct Input {
    /// It sends no more.
    is_closed: bool,
    /// It has sent more than [`MAX_INPUT`] since the last answer.
    is_too_much: bool,
}

/// Handlers find it at each connection: it tells when the client sends no more, or too much.
#[derive(Debug, Clone)]
struct Disconnect(watch::Receiver<Input>);

impl Disconnect {
    async fn wait(mut self) {
        // An error is a connection that is gone already.
        let _ = self.0.wait_for(|input| input.is_closed || input.is_too_much).await;
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
    /// Bytes that were received since the last answer.
    received: usize,
    input: watch::Sender<Input>,
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
        let (write_time, input) = (WRITE_TIME, watch::Sender::default());
        Connection {
            stream,
            arrived,
            peer,
            info,
            write_time,
            write_limit: None,
            received: 0,
            input,
            _permits: permits,
        }
    }

    /// So many bytes were received.
    fn count_input(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes);
        if self.received > MAX_INPUT {
            self.input.send_if_modified(|input| !std::mem::replace(&mut input.is_too_much, true));
        }
    }

    /// An answer is being sent: the next request begins to count.
    fn begin_answer(&mut self) {
        self.received = 0;
        self.input.send_if_modified(|input| std::mem::take(&mut input.is_too_much));
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
                self.input.send_modify(|input| input.is_closed = true);
            }
            let count = buf.filled().len() - before;
            self.count_input(count);
            return read;
        }
        let count = self.arrived.len().min(buf.remaining());
        buf.put_slice(&self.arrived[..count]);
        self.arrived.drain(..count);
        self.count_input(count);
        Poll::Ready(Ok(()))
    }
}

impl<I: Unpin, P: Unpin> AsyncWrite for Connection<I, P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.begin_answer();
        }
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
            data.insert(Disconnect(connection.input.subscribe()));
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

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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

    #[actix_rt::test]
    async fn too_much_behind_a_request_counts_as_a_disconnect_until_the_next_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // What was received before counts, too.
        let mut connection = Connection::new(Stream::Tcp(accepted), vec![0; 1000], None, (), ());
        let disconnect = || Disconnect(connection.input.subscribe());
        let (first, second, third) = (disconnect(), disconnect(), disconnect());
        let is_pending = |disconnect: Disconnect| {
            let mut waiting = std::pin::pin!(disconnect.wait());
            waiting.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
        };
        client.write_all(&[0; MAX_INPUT - 1000 + 1]).await.unwrap();
        let mut request = vec![0; MAX_INPUT];
        connection.read_exact(&mut request).await.unwrap();
        assert!(is_pending(first.clone()), "it is a large request");
        connection.read_exact(&mut [0]).await.unwrap();
        assert!(!is_pending(first));
        connection.write_all(b"answer").await.unwrap();
        assert!(is_pending(second), "the next request");
        drop(client);
        while connection.read(&mut [0]).await.is_ok_and(|count| count > 0) {}
        assert!(!is_pending(third));
    }
}
