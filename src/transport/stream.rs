//! TCP and TLS connections behind one type.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The way in of a connection.
#[derive(Debug)]
pub enum ReadHalf {
    /// In clear.
    Tcp(OwnedReadHalf),
    /// Encrypted.
    Tls(tokio::io::ReadHalf<Box<TlsStream<TcpStream>>>),
}

/// The way out of a connection.
#[derive(Debug)]
pub enum WriteHalf {
    /// In clear.
    Tcp(OwnedWriteHalf),
    /// Encrypted.
    Tls(tokio::io::WriteHalf<Box<TlsStream<TcpStream>>>),
}

impl Stream {
    /// Divides the connection.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadHalf::Tls(read), WriteHalf::Tls(write))
            }
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Puts the halves of a connection in clear together again.
pub fn reunite(read: ReadHalf, write: WriteHalf) -> Option<TcpStream> {
    match (read, write) {
        (ReadHalf::Tcp(read), WriteHalf::Tcp(write)) => read.reunite(write).ok(),
        _ => None,
    }
}

macro_rules! either {
    ($self:expr, $half:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($half) => $call,
            Self::Tls($half) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, half => Pin::new(half).poll_read(cx, buf))
    }
}

macro_rules! writes {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                either!(self, half => Pin::new(half).poll_write(cx, buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                either!(self, half => Pin::new(half).poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!(self, half => Pin::new(half).poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!(self, half => Pin::new(half).poll_shutdown(cx))
            }
        }
    };
}

writes!(Stream);
writes!(WriteHalf);
