//! The service manager: sockets that it has opened, and what it is told.
//!
//! Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use drawhall::server::acceptor::Inherited;
use drawhall::server::{GetLoad, Load, Server};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::Notify;

use crate::Failure;

/// How often it is looked whether there is something to tell.
const INTERVAL: Duration = Duration::from_millis(250);
/// Longest time between two signs of life.
const MAX_WATCHDOG: Duration = Duration::from_secs(60);
/// Name (`FileDescriptorName=`) of sockets for WebSocket.
const WEBSOCKET: &str = "websocket";

/// Listeners that the service manager has opened, if it has.
///
/// # Errors
/// When it has passed something else.
pub(crate) fn listeners() -> Result<Option<Inherited>, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    let mut inherited = Inherited::default();
    for at in 0..passed.len() {
        let taken = passed.take_tcp_listener(at);
        let listener =
            taken.map_err(|e| format!("socket {at} of the service manager is no TCP listener: {e}"))?;
        let websocket = names.get(at).is_some_and(|name| *name == WEBSOCKET);
        if websocket { inherited.websocket.extend(listener) } else { inherited.tcp.extend(listener) }
    }
    Ok(Some(inherited))
}

/// Tells the service manager how the server is.
pub(crate) struct Manager {
    idle: Arc<Notify>,
}

impl Manager {
    /// Says that the server is ready, and goes on telling. With sockets of the manager, the server is over when nobody
    /// is there any more: it will be started again.
    pub(crate) fn start(server: Addr<Server>, ends_when_idle: bool) -> Manager {
        tell(&[NotifyState::Ready]);
        let idle = Arc::new(Notify::new());
        let watchdog = sd_notify::watchdog_enabled().map(|limit| (limit / 2).min(MAX_WATCHDOG));
        actix_rt::spawn(keep_telling(server, watchdog, ends_when_idle.then(|| idle.clone())));
        Manager { idle }
    }

    /// Waits until the server is over because nobody is there any more.
    pub(crate) async fn idle(&self) {
        self.idle.notified().await;
    }

    /// Says that the server stops.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

async fn keep_telling(server: Addr<Server>, watchdog: Option<Duration>, idle: Option<Arc<Notify>>) {
    let mut told: Option<Load> = None;
    let mut alive = Instant::now();
    let mut interval = drawhall::clock::every(watchdog.map_or(INTERVAL, |w| w.min(INTERVAL)));
    loop {
        interval.tick().await;
        // A server that does not answer is not alive.
        let Ok(load) = server.send(GetLoad).await else { return };
        if told != Some(load) {
            let status = format!("{} users and {} sessions", load.users, load.sessions);
            tell(&[NotifyState::Status(&status)]);
        }
        let empty = Load::default();
        if told.is_some_and(|before| before != empty)
            && load == empty
            && let Some(idle) = &idle
        {
            idle.notify_one();
        }
        told = Some(load);
        if watchdog.is_some_and(|every| alive.elapsed() >= every) {
            alive = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }
}
