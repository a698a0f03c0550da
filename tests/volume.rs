//! Much at once: nothing is lost, the order is the same everywhere, memory is that of the history.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Read as _;
use std::net::TcpStream;

use common::TestServer;
use drawhall_protocol::FrameDecoder;

const RECEIVERS: usize = 20;
/// Bytes of a message with its header.
const MESSAGE: usize = 104;
/// Memory besides the history, for server, clients and this test together, in bytes.
const MARGIN: u64 = 30 << 20;

/// Messages to send: a million, or as many as `DRAWHALL_VOLUME` says.
fn count() -> u64 {
    std::env::var("DRAWHALL_VOLUME").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// Memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Reads strokes until all have come, and checks that none is missing or out of order.
fn receive(mut stream: TcpStream, mut pending: Vec<u8>, total: u64) {
    let mut decoder = FrameDecoder::default();
    let mut buffer = vec![0; 1 << 16];
    let mut expected = 0u64;
    while expected < total {
        decoder.buffer_mut().extend_from_slice(&std::mem::take(&mut pending));
        while let Some(frame) = decoder.next_frame() {
            if frame.header().kind == 148 {
                let number = u64::from_be_bytes(frame.payload()[..8].try_into().unwrap());
                assert_eq!(number, expected, "in order, none missing");
                expected += 1;
            }
        }
        if expected < total {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the connection is open");
            pending.extend_from_slice(&buffer[..n]);
        }
    }
}

#[test]
fn a_million_messages_reach_twenty_receivers() {
    let server = TestServer::start("autoResetThreshold=0\nsessionSizeLimit=0");
    let total = count();
    let mut host = server.connect();
    let id = host.host_running("host");
    let receivers: Vec<_> = (0..RECEIVERS)
        .map(|n| {
            let mut client = server.connect();
            client.join(&format!("r{n}"), &id);
            let pending = client.pending().to_vec();
            let stream = client.socket().try_clone().unwrap();
            std::thread::spawn(move || receive(stream, pending, total))
        })
        .collect();
    let before = resident();
    let mut own = host.socket().try_clone().unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut left = total as usize * MESSAGE;
        while left > 0 {
            let n = own.read(&mut buffer).unwrap();
            assert!(n > 0);
            left = left.saturating_sub(n);
        }
    });
    let mut batch = Vec::new();
    for number in 0..total {
        batch.extend_from_slice(&[0, 100, 148, 1]);
        batch.extend_from_slice(&number.to_be_bytes());
        batch.resize(batch.len() + MESSAGE - 12, 7);
        if batch.len() > 60_000 || number + 1 == total {
            host.send_bytes(&batch).unwrap();
            batch.clear();
        }
    }
    for receiver in receivers {
        receiver.join().unwrap();
    }
    echo.join().unwrap();
    let grown = resident().saturating_sub(before);
    let history = total * MESSAGE as u64;
    println!("history {history} bytes, memory grew by {grown} bytes");
    assert!(grown < history + MARGIN, "memory grew by {grown} bytes for a history of {history}");
}
