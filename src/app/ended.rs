//! Limits of ended sessions that can be restored, from the settings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::every;
use crate::config::{Rules, Settings};
use crate::storage::session_dir::SessionDir;
use crate::storage::session_dir::ended::EndedLimits;

/// How often sessions that are too old are removed.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Seconds of a day.
const DAY: u64 = 86_400;

/// The limits that settings name.
pub(super) fn limits(settings: &Settings) -> EndedLimits {
    let days = u64::from(settings.ended_session_days.0);
    EndedLimits { age: Duration::from_secs(days * DAY), bytes: settings.ended_session_size.0 }
}

/// Keeps ended sessions as the settings say; ends with the server.
pub(super) async fn keep_ended(dir: Arc<SessionDir>, mut rules: watch::Receiver<Arc<Rules>>) {
    let mut interval = every(INTERVAL);
    let mut applied = None;
    loop {
        // A change of settings that are none of these is no reason to look at the disk.
        tokio::select! {
            _ = interval.tick() => applied = None,
            changed = rules.changed() => if changed.is_err() { return },
        }
        let limits = limits(rules.borrow_and_update().settings());
        if applied == Some(limits) {
            continue;
        }
        applied = Some(limits);
        let dir = dir.clone();
        match actix_rt::task::spawn_blocking(move || dir.keep_ended(limits)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove files of ended sessions"),
            Err(error) => tracing::error!(%error, "removing files of ended sessions failed"),
        }
    }
}
