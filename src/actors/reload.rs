//! Reload at run time: rules, external bans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use reqwest::Method;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::messages::{NewRules, notify};
use super::server::Server;
use crate::actors::auth::Auth;
use crate::clock;
use crate::config::{FetchedBans, GivenSetting, OpenSource, Rules, extbans};
use crate::http::Http;
use crate::metrics::Metrics;
use crate::rules::time::Timestamp;

/// Minimum interval of fetching external bans, in seconds.
pub const MIN_BANS_INTERVAL: u64 = 60;
/// Maximum interval of fetching external bans, in seconds: drawpile-srv's limit.
const MAX_BANS_INTERVAL: u64 = 2_147_483;

/// State of fetching external bans.
#[derive(Debug, Default)]
pub struct Fetching {
    /// Fetch now.
    pub refresh: Notify,
    /// Next fetch, monotonic milliseconds; 0 before the first.
    pub due_ms: AtomicU64,
}

/// A change of the rules.
pub enum Change {
    /// External bans were fetched.
    Fetched(FetchedBans),
    /// New settings; answered when they are in force. An empty list polls the source at once.
    Set(Vec<GivenSetting>, oneshot::Sender<Result<(), String>>),
    /// Read the source even if it has not changed.
    ReadAgain,
}

/// Reloads the rules whenever their source changes. It is polled every `interval`, if it can change by itself.
pub(crate) async fn reload(
    mut source: OpenSource,
    interval: Option<Duration>,
    mut to_make: mpsc::Receiver<Change>,
    server: Addr<Server>,
    auth: Addr<Auth>,
    changes: watch::Sender<Arc<Rules>>,
    metrics: Arc<Metrics>,
) {
    let mut interval = interval.map(clock::every);
    let mut tick = async move || match &mut interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    };
    // An error is logged once, not at each poll.
    let mut logged = String::new();
    loop {
        let change = tokio::select! {
            () = tick() => None,
            Some(change) = to_make.recv() => Some(change),
        };
        let (change, tell) = match change {
            Some(Change::Fetched(bans)) => (Some(Ok(bans)), None),
            Some(Change::Set(settings, tell)) => (Some(Err(settings)), Some(tell)),
            Some(Change::ReadAgain) => {
                source.read_at_next_look();
                (None, None)
            }
            None => (None, None),
        };
        // File access can block.
        let looked = actix_rt::task::spawn_blocking(move || {
            let kept = match change {
                Some(Ok(bans)) => source.keep_fetched(bans),
                Some(Err(settings)) => source.keep_settings(settings),
                None => Ok(()),
            };
            let read = kept.and_then(|()| source.read_if_changed());
            (source, read)
        });
        let Ok((same, read)) = looked.await else {
            return tracing::error!("looking for changed settings failed, they are not looked at any more");
        };
        source = same;
        if read.is_ok() && !logged.is_empty() {
            logged.clear();
            tracing::info!("the settings can be read again");
        }
        match read {
            Ok(Some(rules)) => {
                let rules = Arc::new(rules);
                tracing::info!("settings were read again");
                server.do_send(NewRules(rules.clone()));
                auth.do_send(NewRules(rules.clone()));
                changes.send_replace(rules);
                if let Some(tell) = tell {
                    notify(tell, Ok(()));
                }
            }
            Ok(None) => {
                if let Some(tell) = tell {
                    notify(tell, Ok(()));
                }
            }
            Err(error) => {
                metrics.configuration_errors.count();
                let text = error.to_string();
                if let Some(tell) = tell {
                    notify(tell, Err(text.clone()));
                }
                if text != logged {
                    tracing::warn!("cannot read the settings again, those in force stay: {text}");
                }
                logged = text;
            }
        }
    }
}

/// Fetches external bans at intervals, and when their URL changes.
pub(crate) async fn fetch_bans(
    http: Http,
    mut rules: watch::Receiver<Arc<Rules>>,
    change: mpsc::Sender<Change>,
    fetching: Arc<Fetching>,
) {
    // An error is logged once, not at each attempt.
    let mut logged = String::new();
    loop {
        let (url, cached, etag, every) = {
            let rules = rules.borrow_and_update();
            let s = rules.settings();
            (
                s.ext_bans_url.0.clone(),
                s.ext_bans_cache_url.0.clone(),
                s.ext_bans_cache_key.clone(),
                s.ext_bans_check_interval,
            )
        };
        let mut failure = String::new();
        if !url.is_empty() {
            let known = if cached == url { etag } else { String::new() };
            match fetch(&http, &url, &known).await {
                Ok(Some(bans)) => {
                    tracing::info!(topic = %"ExtBan", "external bans were fetched");
                    if change.send(Change::Fetched(bans)).await.is_err() {
                        return;
                    }
                }
                Ok(None) if !logged.is_empty() => {
                    tracing::info!(topic = %"ExtBan", "external bans can be fetched again")
                }
                Ok(None) => {}
                Err(error) => failure = error,
            }
        }
        if !failure.is_empty() && failure != logged {
            tracing::warn!(topic = %"ExtBan", "cannot fetch the external bans: {failure}");
        }
        let pause = pause_of(every.0, !failure.is_empty());
        logged = failure;
        let changed = rules.wait_for(|r| {
            let s = r.settings();
            s.ext_bans_url.0 != url || s.ext_bans_check_interval != every
        });
        fetching.due_ms.store(Timestamp::now().monotonic_ms + pause * 1000, Ordering::Relaxed);
        // Reasons for the next fetch.
        tokio::select! {
            _ = tokio::time::sleep(Duration::from_secs(pause)) => {}
            _ = changed => {}
            () = fetching.refresh.notified() => {}
        }
    }
}

/// Seconds until the next fetch; shorter after a failure, as the banned can enter meanwhile.
fn pause_of(every: u64, failed: bool) -> u64 {
    if failed { MIN_BANS_INTERVAL } else { every.clamp(MIN_BANS_INTERVAL, MAX_BANS_INTERVAL) }
}

/// Fetches the bans; `None` if they have not changed.
async fn fetch(http: &Http, url: &str, known: &str) -> Result<Option<FetchedBans>, String> {
    let headers = if known.is_empty() { Vec::new() } else { vec![("if-none-match", known.to_owned())] };
    let answer = http.request(Method::GET, url, &headers, None).await.map_err(|e| e.to_string())?;
    match answer.status {
        304 => Ok(None),
        200 => {
            // Invalid bans do not replace valid ones.
            extbans::parse(&answer.text)?;
            Ok(Some(FetchedBans { url: url.to_owned(), etag: answer.etag, answer: answer.text }))
        }
        status => Err(format!("the answer has status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_are_fetched_again_soon_after_a_failure() {
        for (every, failed, expected) in [
            (900, false, 900),
            (900, true, MIN_BANS_INTERVAL),
            (10, false, MIN_BANS_INTERVAL),
            (86_400, true, MIN_BANS_INTERVAL),
            (u64::MAX, false, MAX_BANS_INTERVAL),
        ] {
            assert_eq!(pause_of(every, failed), expected, "{every} {failed}");
        }
    }
}
