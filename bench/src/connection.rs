//! Connections: whatever messages travel over, they are read and written in their TCP form.

use std::io;

use clap::ValueEnum;
use drawhall_protocol::frame::{FrameRef, frames};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Target, tls, websocket};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS, which begins with the command `startTls`.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// Bytes that are read at once: few until there is more to read.
const LEAST_BUFFER: usize = 4 << 10;
const MOST_BUFFER: usize = 256 << 10;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// User id of who sent it.
    pub user: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The half that reads.
pub struct Reader {
    inner: Box<dyn AsyncRead + Unpin>,
    /// WebSocket frames that are not complete; `None` over TCP.
    partial: Option<Vec<u8>>,
    /// Received bytes are from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// The half that writes.
pub struct Writer {
    inner: Box<dyn AsyncWrite + Unpin>,
    websocket: bool,
}

/// Connects.
///
/// # Errors
/// When nobody listens, or the server does not speak this transport.
pub async fn connect(target: &Target) -> io::Result<(Reader, Writer)> {
    let mut stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    match target.transport {
        Transport::Tcp => {
            let (read, write) = stream.into_split();
            Ok(halves(read, write, None))
        }
        Transport::Tls => {
            // The server's greeting, and its answer to `startTls`; who logs in gets the greeting again.
            let greeting = clear_frame(&mut stream).await?;
            stream.write_all(b"\0\x12\0\0{\"cmd\":\"startTls\"}").await?;
            clear_frame(&mut stream).await?;
            let (read, write) = tokio::io::split(tls::connect(stream).await?);
            Ok(halves(io::Cursor::new(greeting).chain(read), write, None))
        }
        Transport::Ws => {
            let rest = websocket::open(&mut stream, &target.address).await?;
            let (read, write) = stream.into_split();
            Ok(halves(read, write, Some(rest)))
        }
        Transport::Wss => {
            let mut stream = tls::connect(stream).await?;
            let rest = websocket::open(&mut stream, &target.address).await?;
            let (read, write) = tokio::io::split(stream);
            Ok(halves(read, write, Some(rest)))
        }
    }
}

fn halves(
    read: impl AsyncRead + Unpin + 'static,
    write: impl AsyncWrite + Unpin + 'static,
    partial: Option<Vec<u8>>,
) -> (Reader, Writer) {
    let websocket = partial.is_some();
    let (buffer, start, end) = (Vec::new(), 0, 0);
    let reader = Reader { inner: Box::new(read), partial, buffer, start, end };
    (reader, Writer { inner: Box::new(write), websocket })
}

async fn clear_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).await?;
    frame.resize(4 + usize::from(u16::from_be_bytes([frame[0], frame[1]])), 0);
    stream.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

impl Reader {
    /// The next whole message that was received.
    pub fn take_frame(&mut self) -> Option<FrameRef<'_>> {
        let frame = frames(&self.buffer[self.start..self.end]).next()?;
        self.start += frame.bytes.len();
        Some(frame)
    }

    /// Waits for more bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if let Some(partial) = &mut self.partial {
            return Self::fill_from_websocket(&mut self.inner, partial, &mut self.buffer, &mut self.end)
                .await;
        }
        if self.end == self.buffer.len() {
            let len = (self.buffer.len() * 4).clamp(LEAST_BUFFER, MOST_BUFFER);
            self.buffer.resize(len, 0);
        }
        let read = self.inner.read(&mut self.buffer[self.end..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += read;
        Ok(())
    }

    async fn fill_from_websocket(
        inner: &mut (dyn AsyncRead + Unpin),
        partial: &mut Vec<u8>,
        buffer: &mut Vec<u8>,
        end: &mut usize,
    ) -> io::Result<()> {
        buffer.truncate(*end);
        loop {
            let is_open = websocket::decode(partial, buffer);
            if buffer.len() > *end {
                *end = buffer.len();
                return Ok(());
            }
            if partial.capacity() - partial.len() < LEAST_BUFFER / 2 {
                partial.reserve((partial.len() * 3).clamp(LEAST_BUFFER, MOST_BUFFER));
            }
            if !is_open || inner.read_buf(partial).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(frame) = self.take_frame() {
                let payload = frame.payload().to_vec();
                return Ok(Message { kind: frame.header.kind, user: frame.header.user, payload });
            }
            self.fill().await?;
        }
    }

    /// Gives memory back that is not needed while nothing comes.
    pub fn shrink(&mut self) {
        self.buffer = self.buffer[self.start..self.end].to_vec();
        (self.start, self.end) = (0, self.buffer.len());
        if let Some(partial) = &mut self.partial {
            partial.shrink_to_fit();
        }
    }
}

impl Writer {
    /// Writes messages.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, messages: &[u8]) -> io::Result<()> {
        if self.websocket {
            let mut framed = Vec::with_capacity(messages.len() + messages.len() / 8 + 64);
            websocket::encode(messages, &mut framed);
            self.inner.write_all(&framed).await?;
        } else {
            self.inner.write_all(messages).await?;
        }
        self.inner.flush().await
    }
}
