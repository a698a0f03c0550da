//! TCP and TLS connections behind one type.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// A TCP or TLS connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The read half of a connection.
#[derive(Debug)]
pub enum ReadHalf {
    Tcp(OwnedReadHalf),
    Tls(TlsHalf),
}

/// The write half of a connection.
#[derive(Debug)]
pub enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Tls(TlsHalf),
}

/// The halves of a TLS connection share it. Both stay on one thread.
type TlsHalf = Rc<RefCell<Box<TlsStream<TcpStream>>>>;

impl Stream {
    /// Splits the connection.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Tls(stream) => {
                let stream = Rc::new(RefCell::new(stream));
                (ReadHalf::Tls(stream.clone()), WriteHalf::Tls(stream))
            }
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl ReadHalf {
    /// Whether the peer has closed its side, even if there are unread bytes before that.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(half) => is_closed(half.as_ref()),
            Self::Tls(stream) => is_closed(stream.borrow().get_ref().0),
        }
    }
}

/// Checks the readiness that the runtime knows now, without waiting.
fn is_closed(stream: &TcpStream) -> bool {
    let ready = pin!(stream.ready(Interest::READABLE));
    match ready.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready.map_or(true, Ready::is_read_closed),
        Poll::Pending => false,
    }
}

/// Joins the halves of a TCP connection; `None` for TLS, or if they do not belong together.
pub fn reunite(read: ReadHalf, write: WriteHalf) -> Option<TcpStream> {
    match (read, write) {
        (ReadHalf::Tcp(read), WriteHalf::Tcp(write)) => read.reunite(write).ok(),
        _ => None,
    }
}

macro_rules! either {
    ($self:expr, $half:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($half) => {
                let $half = Pin::new($half);
                $call
            }
            Self::Tls($half) => {
                let $half = Pin::new($half);
                $call
            }
        }
    };
}

macro_rules! either_half {
    ($self:expr, $half:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($half) => {
                let $half = Pin::new($half);
                $call
            }
            Self::Tls(stream) => {
                let mut stream = stream.borrow_mut();
                let $half = Pin::new(&mut *stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either_half!(self, half => half.poll_read(cx, buf))
    }
}

macro_rules! writes {
    ($type:ty, $either:ident) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                $either!(self, half => half.poll_write(cx, buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                $either!(self, half => half.poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                $either!(self, half => half.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                $either!(self, half => half.poll_shutdown(cx))
            }
        }
    };
}

writes!(Stream, either);
writes!(WriteHalf, either_half);
