//! Retention: what is deleted when its time is over, as the settings say. The log and its addresses, records of people and
//! abuse reports, chat and events, and ended sessions that can be restored.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::every;
use crate::config::{Rules, Settings};
use crate::db::Database;
use crate::rules::time::Timestamp;
use crate::storage::event_store::EventStore;
use crate::storage::session_dir::SessionDir;
use crate::storage::session_dir::ended::EndedLimits;

/// How often the database is gone through.
const DATABASE_INTERVAL: Duration = Duration::from_secs(86_400);
/// How often ended sessions that are too old are removed.
const ENDED_INTERVAL: Duration = Duration::from_secs(3600);
/// How often chat and events that are too old are removed.
const EVENTS_INTERVAL: Duration = Duration::from_secs(300);
/// Seconds of a day.
const DAY: u64 = 86_400;
/// How many days handled reports are kept at least.
const MIN_REPORT_DAYS: u32 = 30;

/// Runs a job on a blocking thread. `None` if it fails, which is logged as "cannot" with what it does.
async fn in_background<T: Send + 'static, E: Display + Send + 'static>(
    what: &'static str,
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Option<T> {
    match actix_rt::task::spawn_blocking(job).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot {what}");
            None
        }
        Err(error) => {
            tracing::error!(%error, "cannot {what}: the job has failed");
            None
        }
    }
}

/// Deletes old log entries, and shortens addresses in others, now and daily.
pub(super) async fn purge_log(database: Database, rules: watch::Receiver<Arc<Rules>>) {
    let mut interval = every(DATABASE_INTERVAL);
    // Row id up to which addresses are short.
    let mut short_to = 0;
    loop {
        interval.tick().await;
        let (days, address_days) = {
            let rules = rules.borrow();
            (rules.settings().log_purge_days.0, rules.settings().log_address_days.0)
        };
        if address_days > 0 {
            let (database, now) = (database.clone(), Timestamp::now().utc_ms);
            let shorten = move || database.shorten_log_addresses(short_to, address_days, now);
            if let Some((next, count)) = in_background("shorten addresses in the log", shorten).await {
                short_to = next;
                if count > 0 {
                    tracing::info!("shortened {count} addresses in the log, older than {address_days} days");
                }
            }
        }
        if days > 0 {
            let (database, now) = (database.clone(), Timestamp::now().utc_ms);
            let purge = move || database.purge_log(days, now);
            if let Some(count) = in_background("delete old lines of the log", purge).await {
                tracing::info!("deleted {count} lines of the log, older than {days} days");
            }
        }
    }
}

/// Deletes old records of who was in a session, and old reports, now and daily.
pub(super) async fn purge_people(database: Database, rules: watch::Receiver<Arc<Rules>>) {
    let mut interval = every(DATABASE_INTERVAL);
    loop {
        interval.tick().await;
        let (days, now) = (rules.borrow().settings().people_days.0, Timestamp::now().utc_ms);
        let sightings = database.clone();
        in_background("delete old records of people", move || sightings.purge_sightings(days, now)).await;
        let reports = database.clone();
        // Without records of people a handled report is still kept for a while.
        let purge = move || reports.purge_reports(days.max(MIN_REPORT_DAYS), now);
        in_background("delete old abuse reports", purge).await;
    }
}

/// The limits of ended sessions that settings name.
pub(super) fn ended_limits(settings: &Settings) -> EndedLimits {
    let days = u64::from(settings.ended_session_days.0);
    EndedLimits { age: Duration::from_secs(days * DAY), bytes: settings.ended_session_size.0 }
}

/// Waits for the interval or a change of settings. `None` when the server has ended; otherwise whether it is a change.
async fn next_look(
    interval: &mut tokio::time::Interval,
    rules: &mut watch::Receiver<Arc<Rules>>,
) -> Option<bool> {
    tokio::select! {
        _ = interval.tick() => Some(false),
        changed = rules.changed() => changed.ok().map(|()| true),
    }
}

/// Keeps ended sessions as the settings say; ends with the server.
pub(super) async fn keep_ended(dir: Arc<SessionDir>, mut rules: watch::Receiver<Arc<Rules>>) {
    let (mut interval, mut applied) = (every(ENDED_INTERVAL), None);
    while let Some(is_change) = next_look(&mut interval, &mut rules).await {
        let limits = ended_limits(rules.borrow_and_update().settings());
        // A change of settings that are none of these is no reason to look at the disk.
        if is_change && applied == Some(limits) {
            continue;
        }
        applied = Some(limits);
        let dir = dir.clone();
        in_background("remove files of ended sessions", move || dir.keep_ended(limits)).await;
    }
}

/// Keeps chat and events as long as the settings say; ends with the server.
pub(super) async fn purge_events(events: Arc<EventStore>, mut rules: watch::Receiver<Arc<Rules>>) {
    let (mut interval, mut applied) = (every(EVENTS_INTERVAL), None);
    while let Some(is_change) = next_look(&mut interval, &mut rules).await {
        let keep_ms = rules.borrow_and_update().settings().event_keep_time.millis();
        if is_change && applied == Some(keep_ms) {
            continue;
        }
        applied = Some(keep_ms);
        let (events, now_ms) = (events.clone(), Timestamp::now().utc_ms);
        in_background("remove old chat and events of sessions", move || events.purge(keep_ms, now_ms)).await;
    }
}
