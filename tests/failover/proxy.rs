//! A TCP proxy in front of PostgreSQL, one for each server, so that a server can be cut off from it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// What it does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    /// Connections stay, and nothing gets through. When it is cut then, what was on its way is lost.
    Held,
    /// Connections end, and new ones end at once.
    Cut,
}

struct State {
    passage: Passage,
    target: SocketAddr,
    connections: Vec<TcpStream>,
    ended: bool,
}

#[derive(Clone)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits while it is held; whether it is open then.
    fn may_pass(&self) -> bool {
        let held = |state: &mut State| state.passage == Passage::Held && !state.ended;
        let state = self.0.1.wait_while(self.0.0.lock().unwrap(), held).unwrap();
        state.passage == Passage::Open && !state.ended
    }
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { passage: Passage::Open, target, connections: Vec::new(), ended: false };
        let shared = Shared(Arc::new((Mutex::new(state), Condvar::new())));
        let accepting = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &accepting));
        Proxy { address, shared, thread: Some(thread) }
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.shared.change(|state| {
            state.passage = passage;
            if passage == Passage::Cut {
                close(state);
            }
        });
    }

    /// Leads new connections elsewhere; others end.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.shared.change(|state| {
            state.target = target;
            close(state);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.ended = true;
            close(state);
        });
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn close(state: &mut State) {
    for connection in state.connections.drain(..) {
        let _ = connection.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        if shared.0.0.lock().unwrap().ended {
            return;
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            let _ = pass(client, &shared);
        });
    }
}

fn pass(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    if !shared.may_pass() {
        return Ok(());
    }
    let target = shared.0.0.lock().unwrap().target;
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    let mut is_late = false;
    shared.change(|state| {
        // It was cut or led elsewhere meanwhile.
        is_late = state.passage == Passage::Cut || state.target != target || state.ended;
        if !is_late {
            state.connections.retain(|connection| connection.peer_addr().is_ok());
            state.connections.extend(ends);
        }
    });
    if is_late {
        return Ok(());
    }
    let (mut from, mut to, other) = (server.try_clone()?, client.try_clone()?, shared.clone());
    std::thread::spawn(move || copy(&mut from, &mut to, &other));
    let (mut from, mut to) = (client, server);
    copy(&mut from, &mut to, shared);
    Ok(())
}

/// Copies until an end closes, then closes both.
fn copy(from: &mut TcpStream, to: &mut TcpStream, shared: &Shared) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
        && shared.may_pass()
        && to.write_all(&bytes[..count]).is_ok()
    {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
