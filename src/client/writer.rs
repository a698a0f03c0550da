//! Writing: as much as possible in each call, nothing copied.

use std::io::{self, IoSlice};
use std::rc::Rc;

use actix_rt::task::spawn_blocking;
use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;

use super::actor::Flushed;
use super::outbox::Next;
use super::worker::Link;
use crate::history::{Fetch, Fetched};
use crate::transport::WriteHalf;

/// Bytes of history that are gathered at a time.
const GATHER_BYTES: usize = 256 << 10;
/// Slices that are written at a time.
const MAX_SLICES: usize = 64;

/// Writes what the outbox holds until it says that this is the end, or the peer is gone.
pub(super) async fn write_all(mut half: WriteHalf, link: Rc<Link>) {
    let error = write_until_end(&mut half, &link).await.err();
    // The peer may be gone already.
    let _ = half.shutdown().await;
    link.actor.do_send(Flushed { error });
}

async fn write_until_end(half: &mut WriteHalf, link: &Link) -> io::Result<()> {
    let mut held: Option<Fetched> = None;
    loop {
        let mut batch = Vec::new();
        let next = link.outbox.borrow_mut().gather(GATHER_BYTES, &mut batch);
        // What was fetched is in the batch now, if it is needed at all.
        drop(held.take());
        if !batch.is_empty() {
            write_batch(half, &mut batch).await?;
            link.has_sent();
        }
        match next {
            Next::End => return Ok(()),
            Next::Fetch(fetch) => {
                let fetched = read_from_file(fetch).await?;
                link.outbox.borrow().fetched(&fetched);
                held = Some(fetched);
            }
            Next::Wait if batch.is_empty() => link.wake.notified().await,
            Next::Wait => {}
        }
    }
}

async fn read_from_file(fetch: Fetch) -> io::Result<Fetched> {
    let buffer = fetch.buffer();
    let read = spawn_blocking(move || fetch.run(buffer)).await.map_err(io::Error::other).flatten();
    read.map_err(|e| io::Error::new(e.kind(), format!("cannot read the history: {e}")))
}

async fn write_batch(half: &mut WriteHalf, batch: &mut [Bytes]) -> io::Result<()> {
    let mut at = 0;
    while at < batch.len() {
        let written = {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let pending = &batch[at..];
            let count = pending.len().min(MAX_SLICES);
            for (slice, bytes) in slices.iter_mut().zip(pending) {
                *slice = IoSlice::new(bytes);
            }
            half.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
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
    Ok(())
}
