//! systemd integration: socket activation, readiness, status and watchdog.
//!
//! Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use drawhall::actors::server::acceptor::Inherited;
use drawhall::actors::server::{GetLoad, Load, Server};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::Notify;

use crate::Failure;

/// How often the status is polled, at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum interval of watchdog notifications.
const MAX_WATCHDOG: Duration = Duration::from_secs(60);
/// Name (`FileDescriptorName=`) of WebSocket sockets.
const WEBSOCKET: &str = "websocket";

/// Listeners passed by socket activation; `None` if there are none.
///
/// # Errors
/// When a passed socket is not a TCP listener.
pub(crate) fn listeners() -> Result<Option<Inherited>, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    let mut inherited = Inherited::default();
    for index in 0..passed.len() {
        let result = passed.take_tcp_listener(index);
        let listener = result
            .map_err(|e| format!("socket {index} of the service manager is not a TCP listener: {e}"))?;
        let websocket = names.get(index).is_some_and(|name| *name == WEBSOCKET);
        if websocket { inherited.websocket.extend(listener) } else { inherited.tcp.extend(listener) }
    }
    Ok(Some(inherited))
}

/// Sends the server's state to systemd.
pub(crate) struct Manager {
    idle: Arc<Notify>,
}

impl Manager {
    /// Reports readiness, and starts to send status and watchdog notifications. With socket activation the server is
    /// to stop when it becomes empty (`ends_when_idle`): systemd starts it again on the next connection.
    pub(crate) fn start(server: Addr<Server>, ends_when_idle: bool) -> Manager {
        notify(&[NotifyState::Ready]);
        let idle = Arc::new(Notify::new());
        let watchdog = sd_notify::watchdog_enabled().map(|limit| (limit / 2).min(MAX_WATCHDOG));
        actix_rt::spawn(send_notifications(server, watchdog, ends_when_idle.then(|| idle.clone())));
        Manager { idle }
    }

    /// Waits until the server has become empty and is to stop.
    pub(crate) async fn idle(&self) {
        self.idle.notified().await;
    }

    /// Reports that the server is stopping.
    pub(crate) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

async fn send_notifications(server: Addr<Server>, watchdog: Option<Duration>, idle: Option<Arc<Notify>>) {
    let mut reported: Option<Load> = None;
    let mut last_watchdog = Instant::now();
    let mut interval = drawhall::clock::every(watchdog.map_or(STATUS_INTERVAL, |w| w.min(STATUS_INTERVAL)));
    loop {
        interval.tick().await;
        // A server actor that does not answer gets no watchdog notification, so systemd restarts it.
        let Ok(load) = server.send(GetLoad).await else { return };
        if reported != Some(load) {
            let status = format!("{} users and {} sessions", load.users, load.sessions);
            notify(&[NotifyState::Status(&status)]);
        }
        let empty = Load::default();
        if reported.is_some_and(|before| before != empty)
            && load == empty
            && let Some(idle) = &idle
        {
            idle.notify_one();
        }
        reported = Some(load);
        if watchdog.is_some_and(|every| last_watchdog.elapsed() >= every) {
            last_watchdog = Instant::now();
            notify(&[NotifyState::Watchdog]);
        }
    }
}
