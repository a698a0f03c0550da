//! The outbound half of a connection: gathers what the outbox has and writes it in vectored writes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use actix_rt::task::{JoinHandle, spawn_blocking};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};

use super::connection::FromConnection;
use super::outbox::Next;
use super::worker::ConnShared;
use crate::history::{Fetch, Fetched};
use crate::transport::{WriteHalf, websocket};

/// Bytes of history to gather at a time.
const GATHER_BYTES: usize = 256 << 10;
/// Maximum number of slices in a write.
const MAX_SLICES: usize = 64;

/// The outbound half of a connection.
pub(super) struct Outbound {
    pub(super) half: WriteHalf,
    /// Messages are WebSocket frames.
    pub(super) websocket: bool,
}

/// Why writing ends.
enum End {
    /// Everything has been sent.
    Over,
    /// TLS starts.
    Upgrade,
}

/// The task that writes the outbox until it ends or the peer is gone. Dropping this ends it.
pub(super) struct Writer(JoinHandle<Option<WriteHalf>>);

impl Writer {
    /// Starts to write.
    pub(super) fn start(outbound: Outbound, shared: &Rc<ConnShared>) -> Writer {
        let shared = shared.clone();
        // The task creates its future inside, as a future moved into another would be stored twice.
        Writer(actix_rt::spawn(async move { write_all(outbound, &shared).await }))
    }

    /// Waits for the end. Returns the half for the TLS handshake, if TLS starts.
    pub(super) async fn ended(mut self) -> Option<WriteHalf> {
        // One that panicked has lost the half.
        (&mut self.0).await.ok().flatten()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write_all(mut outbound: Outbound, shared: &ConnShared) -> Option<WriteHalf> {
    let error = match outbound.write_until_end(shared).await {
        Ok(End::Upgrade) => return Some(outbound.half),
        Ok(End::Over) => None,
        Err(error) => Some(error),
    };
    // The peer may be gone already.
    let _ = outbound.half.shutdown().await;
    shared.report(FromConnection::Written { error });
    None
}

impl Outbound {
    async fn write_until_end(&mut self, shared: &ConnShared) -> io::Result<End> {
        let mut held: Option<Fetched> = None;
        loop {
            let mut batch = Vec::new();
            let next = shared.outbox.borrow_mut().gather(GATHER_BYTES, &mut batch);
            if self.websocket {
                self.to_frames(&mut batch, matches!(next, Next::End), shared);
            }
            // The batch holds its own references.
            drop(held.take());
            let empty = batch.is_empty();
            if !empty {
                shared.is_writing();
                let spent = write_batch(&mut self.half, &mut batch, shared).await?;
                shared.has_written();
                shared.outbox.borrow().has_spent(spent);
            }
            match next {
                Next::End => return Ok(End::Over),
                Next::Upgrade => return Ok(End::Upgrade),
                Next::Lost => return Err(io::Error::other("the history has no message where the client is")),
                Next::Fetch(fetch) => {
                    let fetched = read_from_file(fetch).await?;
                    shared.outbox.borrow().fetched(&fetched);
                    held = Some(fetched);
                }
                Next::Wait if empty => shared.wake.notified().await,
                Next::Wait => {}
            }
        }
    }

    /// Wraps messages into WebSocket frames, after waiting control frames and before the close frame.
    fn to_frames(&self, batch: &mut Vec<Bytes>, is_end: bool, shared: &ConnShared) {
        let messages = std::mem::take(batch);
        let control = shared.control.take();
        let last = match shared.close_frame.take() {
            _ if !is_end => Vec::new(),
            usual if usual.is_empty() => websocket::close(websocket::code::NORMAL, ""),
            words => words,
        };
        batch.extend(Some(control).filter(|f| !f.is_empty()).map(Bytes::from));
        websocket::encode_wire(&messages, batch);
        batch.extend(Some(last).filter(|f| !f.is_empty()).map(Bytes::from));
    }
}

async fn read_from_file(fetch: Fetch) -> io::Result<Fetched> {
    let buffer = fetch.buffer();
    let read = spawn_blocking(move || fetch.run(buffer)).await.map_err(io::Error::other).flatten();
    read.map_err(|e| io::Error::new(e.kind(), format!("cannot read the history: {e}")))
}

/// Writes a batch. Returns how long that took, without the time that it waited for the peer.
async fn write_batch(half: &mut WriteHalf, batch: &mut [Bytes], shared: &ConnShared) -> io::Result<Duration> {
    let (mut at, mut spent) = (0, Duration::ZERO);
    while at < batch.len() {
        // The slices are made anew when the socket takes more, so that the task does not hold them meanwhile.
        let write = |cx: &mut Context<'_>| {
            let begun = Instant::now();
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let pending = &batch[at..];
            let count = pending.len().min(MAX_SLICES);
            for (slice, bytes) in slices.iter_mut().zip(pending) {
                *slice = IoSlice::new(bytes);
            }
            let written = Pin::new(&mut *half).poll_write_vectored(cx, &slices[..count]);
            spent += begun.elapsed();
            written
        };
        let written = poll_fn(write).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        shared.is_writing();
        shared.metrics.bytes_out.add(written as u64);
        let mut left = written;
        while left > 0 {
            let step = left.min(batch[at].len());
            batch[at].advance(step);
            left -= step;
            at += usize::from(batch[at].is_empty());
        }
        while at < batch.len() && batch[at].is_empty() {
            at += 1;
        }
    }
    // TLS buffers what the socket did not take.
    half.flush().await?;
    Ok(spent)
}
