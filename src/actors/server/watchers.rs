//! Other servers of the cluster that follow the sessions here.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use super::Server;
use super::directory::SessionEntry;
use crate::cluster::link::{NEWS_SESSIONS, SessionNews};
use crate::rules::time::Timestamp;

/// How often it is looked for new, changed and ended sessions.
const TICK: Duration = Duration::from_millis(200);
/// Minimum interval of news about one session, in milliseconds.
const CHANGE_INTERVAL: u64 = 1000;
/// Maximum time without news, in milliseconds: empty ones are a sign of life.
const SIGN_OF_LIFE: u64 = 1000;
/// Pieces of news that may wait for a server; one that is further behind is cut off, and asks again.
const MAX_UNREAD: usize = 64;

/// Servers that follow the sessions here, and what they are to be told.
#[derive(Default)]
pub(super) struct Watchers {
    channels: Vec<mpsc::Sender<Arc<SessionNews>>>,
    ended: Vec<String>,
    /// When something was sent last, monotonic milliseconds.
    sent_ms: u64,
    is_ticking: bool,
}

impl Watchers {
    /// A session has ended.
    pub(super) fn ended(&mut self, id: &str) {
        if !self.channels.is_empty() {
            self.ended.push(id.to_owned());
        }
    }

    fn tell(&mut self, news: SessionNews, now_ms: u64) {
        let news = Arc::new(news);
        self.channels.retain(|channel| channel.try_send(news.clone()).is_ok());
        self.sent_ms = now_ms;
    }
}

impl Server {
    /// News for another server from now on; the first have all sessions.
    pub(super) fn watch_sessions(&mut self, ctx: &mut Context<Self>) -> mpsc::Receiver<Arc<SessionNews>> {
        let descriptions: Vec<_> =
            self.directory.entries().filter(|e| e.is_local()).map(|e| e.description.clone()).collect();
        let pieces = descriptions.chunks(NEWS_SESSIONS);
        let (channel, news) = mpsc::channel(pieces.len() + 1 + MAX_UNREAD);
        let pieces =
            pieces.map(|sessions| SessionNews { sessions: sessions.to_vec(), ..SessionNews::default() });
        let last = SessionNews { complete: true, ..SessionNews::default() };
        for piece in pieces.chain([last]) {
            // There is room for all of them.
            let _ = channel.try_send(Arc::new(piece));
        }
        self.watchers.channels.push(channel);
        if !std::mem::replace(&mut self.watchers.is_ticking, true) {
            ctx.run_interval(TICK, |server, _| server.tell_watchers());
        }
        news
    }

    /// Tells other servers what has changed, and each second that this one is alive.
    fn tell_watchers(&mut self) {
        if self.watchers.channels.is_empty() {
            return self.watchers.ended.clear();
        }
        let now_ms = Timestamp::now().monotonic_ms;
        let is_due = |e: &SessionEntry| e.told.at_ms.is_none_or(|at| now_ms >= at + CHANGE_INTERVAL);
        let mut sessions = Vec::new();
        for entry in self.directory.entries_mut().filter(|e| e.is_local()) {
            if entry.told.is_outdated && is_due(entry) {
                entry.told.is_outdated = false;
                entry.told.at_ms = Some(now_ms);
                sessions.push(entry.description.clone());
            }
        }
        let mut ended = std::mem::take(&mut self.watchers.ended);
        if sessions.is_empty() && ended.is_empty() {
            if now_ms >= self.watchers.sent_ms + SIGN_OF_LIFE {
                self.watchers.tell(SessionNews { complete: true, ..SessionNews::default() }, now_ms);
            }
            return;
        }
        while !sessions.is_empty() || !ended.is_empty() {
            let rest = sessions.split_off(sessions.len().min(NEWS_SESSIONS));
            let sessions_now = std::mem::replace(&mut sessions, rest);
            let ended_now = std::mem::take(&mut ended);
            let news = SessionNews { sessions: sessions_now, ended: ended_now, complete: true };
            self.watchers.tell(news, now_ms);
        }
    }
}
