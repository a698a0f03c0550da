//! Reading: from the socket to whole frames.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use drawhall_protocol::frame::whole_frames_len;
use tokio::io::{AsyncRead, ReadBuf};

use super::actor::{Gone, Received};
use super::worker::{Link, with_buffer};
use crate::transport::ReadHalf;

/// Reads until the connection ends, and gives the client's actor what has arrived, a batch at a time.
pub(super) async fn read_all(mut half: ReadHalf, link: Rc<Link>) {
    let mut partial = Vec::new();
    let error = loop {
        while link.paused.get() {
            link.resume.notified().await;
        }
        match poll_fn(|cx| poll_batch(&mut half, &mut partial, cx)).await {
            Ok(Some(batch)) => {
                link.has_received();
                if !batch.is_empty() && link.actor.send(Received(batch)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    link.actor.do_send(Gone { error });
}

/// Whole frames that have arrived (perhaps none yet), `None` at the end of the stream.
fn poll_batch(
    half: &mut ReadHalf,
    partial: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<Vec<u8>>>> {
    with_buffer(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(half).poll_read(context, &mut buffer))?;
        let arrived = buffer.filled();
        Poll::Ready(Ok((!arrived.is_empty()).then(|| split(partial, arrived))))
    })
}

/// Takes the whole frames out of `partial` and `arrived`; what is left over stays in `partial`.
fn split(partial: &mut Vec<u8>, arrived: &[u8]) -> Vec<u8> {
    if partial.is_empty() {
        let (whole, rest) = arrived.split_at(whole_frames_len(arrived));
        *partial = rest.to_vec();
        return whole.to_vec();
    }
    partial.extend_from_slice(arrived);
    let rest = partial.split_off(whole_frames_len(partial));
    std::mem::replace(partial, rest)
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use proptest::prelude::*;

    use super::split;

    proptest! {
        #[test]
        fn whole_frames_come_out_whatever_arrives_together(
            sizes in prop::collection::vec(0usize..500, 1..20),
            chunk in 1usize..700,
        ) {
            let bytes: Vec<u8> = sizes
                .iter()
                .flat_map(|n| Frame::new(64, 1, &vec![7; *n]).unwrap().as_bytes().to_vec())
                .collect();
            let mut partial = Vec::new();
            let mut got = Vec::new();
            for arrived in bytes.chunks(chunk) {
                let batch = split(&mut partial, arrived);
                prop_assert_eq!(drawhall_protocol::frame::whole_frames_len(&batch), batch.len());
                got.extend(batch);
            }
            prop_assert_eq!(got, bytes);
            prop_assert!(partial.is_empty());
        }
    }
}
