//! `drawhall ctl stop`: warns everybody, waits, and stops the server.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::Api;
use super::time::shown_span;
use crate::Failure;

/// How long before the end everybody is warned again.
const REMINDERS: [Duration; 4] =
    [Duration::from_secs(600), Duration::from_secs(300), Duration::from_secs(60), Duration::from_secs(10)];

impl Api {
    /// Stops the server after a delay, with alerts before. Until then an interrupt cancels it.
    pub(super) async fn stop(&self, delay: Duration, text: &str) -> Result<(), Failure> {
        for (left, pause) in warnings(delay) {
            self.warn(&format!("The server stops in {}. {text}", shown_span(left))).await?;
            self.note(&format!("the server stops in {}; Ctrl-C cancels", shown_span(left)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    self.warn("The server does not stop after all.").await?;
                    return Err("cancelled; everybody was told".into());
                }
            }
        }
        let answer = self.request(Method::POST, "stop", Some(&json!({}))).await?;
        self.print_result(&answer, "stopping");
        Ok(())
    }

    async fn warn(&self, text: &str) -> Result<(), Failure> {
        self.request(Method::PUT, "sessions", Some(&json!({"alert": text.trim_end()}))).await.map(drop)
    }
}

/// When to warn before a stop: what is left then, and how long to wait afterwards.
fn warnings(delay: Duration) -> Vec<(Duration, Duration)> {
    let later = REMINDERS.into_iter().filter(|reminder| *reminder < delay);
    let times: Vec<Duration> = std::iter::once(delay).filter(|d| !d.is_zero()).chain(later).collect();
    let next = times.iter().skip(1).copied().chain([Duration::ZERO]);
    times.iter().copied().zip(next).map(|(left, next)| (left, left - next)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_warned_at_once_and_again_before_the_end() {
        let seconds = |delay| -> Vec<(u64, u64)> {
            let warnings = warnings(Duration::from_secs(delay));
            warnings.iter().map(|(left, pause)| (left.as_secs(), pause.as_secs())).collect()
        };
        assert_eq!(seconds(0), []);
        assert_eq!(seconds(5), [(5, 5)]);
        assert_eq!(seconds(60), [(60, 50), (10, 10)]);
        assert_eq!(seconds(900), [(900, 300), (600, 300), (300, 240), (60, 50), (10, 10)]);
    }
}
