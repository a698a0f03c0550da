//! Memory: what an idle session takes, and that drawing allocates nothing. Both are counted by the allocator, so they
//! do not depend on the machine or its load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::client::{open, wire};
use common::{SID, TestServer};
use drawhall::config::ServerSettings;
use drawhall::rules::batch::Batch;
use drawhall::rules::rng::Rng;
use drawhall::rules::session::effects::{Cx, Effect};
use drawhall::rules::session::input::Input;
use drawhall::rules::session::{AuthenticatedClient, SessionMachine};
use drawhall::rules::time::Timestamp;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use drawhall_protocol::message::Ping;
use serde_json::json;

/// Counts bytes that are in use, and allocations of each thread.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it passes everything on to the system's allocator, and counts without allocating.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// All threads share the number of bytes in use: one test after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A session with its host takes at most so many bytes.
const IDLE_SESSION: usize = 18_500;

#[test]
fn an_idle_session_takes_little_memory() {
    let _turn = ONE_AT_A_TIME.lock();
    let limits = ["connectionsPerAddress", "connectionRateLimit", "sessionsPerAddress", "hostRateLimit"];
    let config: String = limits.iter().map(|name| format!("{name}=0\n")).collect();
    let server = TestServer::start(&format!("[config]\nsessionCountLimit=1000\nloginRateLimit=0\n{config}"));
    // The first ones fill what the server keeps for all of them.
    let first: Vec<TcpStream> = (0..50).map(|n| host(server.address, n)).collect();
    let before = IN_USE.load(Ordering::Relaxed);
    let second: Vec<TcpStream> = (50..100).map(|n| host(server.address, n)).collect();
    let each = (IN_USE.load(Ordering::Relaxed) - before) / second.len();
    println!("{each} bytes for a session with its host");
    assert!(each <= IDLE_SESSION, "{each} bytes");
    drop((first, second));
}

/// A client that hosts a session, and has got everything that belongs to that.
fn host(address: SocketAddr, number: usize) -> TcpStream {
    let mut stream = open(address);
    let host = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID});
    for command in [
        json!({"cmd": "ident", "args": [format!("host{number}")]}),
        json!({"cmd": "host", "args": [], "kwargs": host}),
        json!({"cmd": "init-complete"}),
    ] {
        stream.write_all(&wire(0, command.to_string().as_bytes())).unwrap();
    }
    read_until(&mut stream, b"\"state\":\"host\"");
    stream.write_all(&wire(Ping::TYPE, &[0])).unwrap();
    // The pong.
    read_until(&mut stream, &wire(Ping::TYPE, &[1]));
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.windows(end.len()).any(|bytes| bytes == end) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection has ended");
        received.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn drawing_allocates_nothing() {
    const BATCHES: usize = 1000;
    let _turn = ONE_AT_A_TIME.lock();
    let (mut machine, mut rng) = (running_session(), Rng::unseeded());
    let stroke = wire(148, &[7; 60]);
    let batches: Vec<Batch> = (0..BATCHES).map(|_| Batch::new(stroke.repeat(10))).collect();
    let now = Timestamp::now();
    let mut effects = Vec::with_capacity(4);
    let before = ALLOCATIONS.get();
    for batch in batches {
        machine.snapshot_reader_offsets(&Input::Tick);
        let mut cx = Cx { now, rng: &mut rng, effects };
        machine.handle(Input::Batch { conn: 1, batch }, &mut cx);
        effects = cx.effects;
        assert!(matches!(effects[..], [Effect::NumbersChanged]), "{effects:?}");
        effects.clear();
    }
    let allocations = ALLOCATIONS.get() - before;
    // The history grows in few steps until it is published.
    assert!(allocations <= 20, "{allocations} allocations for {BATCHES} batches");
}

fn running_session() -> SessionMachine {
    let now = Timestamp::now();
    let version = ProtocolVersion::current();
    let mut machine =
        SessionMachine::new(ServerSettings::default(), "id".into(), String::new(), version, "A".into(), now);
    let client = Box::new(AuthenticatedClient { conn: 1, ..AuthenticatedClient::default() });
    let mut rng = Rng::unseeded();
    let mut cx = Cx::new(now, &mut rng);
    machine.handle(Input::Host { client, host: Box::new(Host::default()) }, &mut cx);
    let complete = Batch::new(wire(0, br#"{"cmd":"init-complete"}"#));
    machine.handle(Input::Batch { conn: 1, batch: complete }, &mut cx);
    machine
}
