//! What the database tells of: changes of the rules.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::result::QueryResult;
use diesel_async::SimpleAsyncConnection as _;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::blocking::Background;
use super::connect::Connector;

/// How often the version is read even without a notification: a connection may be dead without anybody knowing.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before connecting again.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// A connection that listens for changes of the rules, from the first question on. It is closed with this.
pub(super) struct Notices {
    background: Background,
    connector: Arc<Connector>,
    notified: Arc<AtomicBool>,
    looked: Mutex<Option<Instant>>,
    listener: OnceLock<JoinHandle<()>>,
}

impl Notices {
    pub(super) fn new(background: Background, connector: Arc<Connector>) -> Notices {
        Notices {
            background,
            connector,
            notified: Arc::default(),
            looked: Mutex::new(None),
            listener: OnceLock::new(),
        }
    }

    /// Whether the rules may have changed since the last time that this was asked.
    pub(super) fn may_have_changed(&self) -> bool {
        self.listener.get_or_init(|| {
            let listener = listen(self.connector.clone(), self.notified.clone());
            self.background.enter(|| tokio::spawn(listener))
        });
        let now = Instant::now();
        let mut looked = self.looked.lock();
        let is_due = looked.is_none_or(|looked| now.duration_since(looked) >= POLL_INTERVAL);
        let may_have = self.notified.swap(false, Ordering::AcqRel) || is_due;
        if may_have {
            *looked = Some(now);
        }
        may_have
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// Listens, and connects again whenever the connection ends.
async fn listen(connector: Arc<Connector>, notified: Arc<AtomicBool>) {
    loop {
        // The queries tell whoever cannot connect; this goes on trying.
        let _ = listen_once(&connector, &notified).await;
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn listen_once(connector: &Connector, notified: &AtomicBool) -> QueryResult<()> {
    let Ok(mut connection) = connector.connect().await else { return Ok(()) };
    connection.batch_execute("LISTEN drawhall_rules").await?;
    // Notifications meanwhile are lost.
    notified.store(true, Ordering::Release);
    let mut notices = pin!(connection.notifications_stream());
    while let Some(notice) = notices.next().await {
        notice?;
        notified.store(true, Ordering::Release);
    }
    Ok(())
}
