//! The webhook that is told of abuse reports.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use crate::config::Rules;
use crate::db::Database;
use crate::db::reports::StoredReport;
use crate::http::{Http, HttpError, RequestLimits};
use crate::rules::received_report::ReportedUser;

/// Limits of requests to the webhook.
const LIMITS: RequestLimits = RequestLimits { parallel: 1, per_host: 1, queued: 4, response_bytes: 1 << 16 };
/// Times to wait before each further attempt.
const BACK_OFF: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];
/// Maximum length of a message to Discord in characters.
const MAX_DISCORD: usize = 2000;
/// The flag of messages to Discord whose links are not shown as pictures or previews.
const SUPPRESS_EMBEDS: u32 = 4;
/// Characters that Discord may take as formatting, such as links with another text.
const DISCORD_FORMATTING: &str = r"\[]()<>*_~|`#-";

/// Tells the webhook of each report that is stored, one after another. While one is retried, as many wait as the
/// database keeps for its followers; further ones are left out.
pub(super) async fn tell_webhook(database: Database, rules: watch::Receiver<Arc<Rules>>) {
    let mut reports = database.follow_reports();
    let (public, private) = (Http::new(true, LIMITS), Http::new(false, LIMITS));
    loop {
        let report = match reports.recv().await {
            Ok(report) => report,
            Err(broadcast::error::RecvError::Lagged(count)) => {
                tracing::warn!("the webhook was not told of {count} abuse reports");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        for wait in BACK_OFF.into_iter().map(Some).chain([None]) {
            // Read at each attempt: the setting may have been mended meanwhile.
            let (url, body, may_be_private) = {
                let rules = rules.borrow();
                let settings = rules.settings();
                let body = body_of(&report, settings.report_webhook_discord);
                (settings.report_webhook.trim().to_owned(), body, settings.report_webhook_private)
            };
            if url.is_empty() {
                break;
            }
            let http = if may_be_private { &private } else { &public };
            let Err(error) = post(http, &url, &body).await else { break };
            let Some(wait) = wait else {
                tracing::error!("the webhook was not told of abuse report {}: {error}", report.id);
                break;
            };
            tracing::warn!("webhook: {error}; next attempt in {} s", wait.as_secs());
            tokio::time::sleep(wait).await;
        }
    }
}

/// Sends one request. Errors do not have the URL, which is a secret of Discord's.
async fn post(http: &Http, url: &str, body: &Value) -> Result<(), String> {
    match http.request(Method::POST, url, &[], Some(body)).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("HTTP status {}", answer.status)),
        Err(HttpError::Address(host)) => {
            Err(format!("no request is made to {host}; reportWebhookPrivate allows private networks"))
        }
        Err(HttpError::Url(_)) => Err("reportWebhook is no http or https URL".to_owned()),
        Err(HttpError::Timeout(_)) => Err("no answer".to_owned()),
        Err(_) => Err("the request failed".to_owned()),
    }
}

/// A text that Discord shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if DISCORD_FORMATTING.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The body of the request. It has names but no addresses and devices: it goes to somebody else.
fn body_of(report: &StoredReport, discord: bool) -> Value {
    let about = report.about.as_ref().map(|about: &ReportedUser| about.name.as_str());
    if !discord {
        return json!({
            "event": "report", "id": report.id, "at": report.at, "session": report.session,
            "title": report.title, "reporter": report.reporter.name, "about": about, "reason": report.reason,
        });
    }
    let about = about.map_or_else(String::new, |name| format!(" about {name}"));
    let text = format!("{} reports{about} in {}: {}", report.reporter.name, report.title, report.reason);
    let content: String = escaped(&text).chars().take(MAX_DISCORD).collect();
    // Nobody can have the moderators' channel notified of more than a message.
    json!({"content": content, "allowed_mentions": {"parse": []}, "flags": SUPPRESS_EMBEDS})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::reports::ReportState;

    #[test]
    fn the_webhook_gets_names_but_no_addresses_and_cannot_be_made_to_mention_anybody() {
        let user = |name: &str| ReportedUser {
            name: name.into(),
            address: "192.0.2.7".into(),
            device: "secret-device".into(),
            ..ReportedUser::default()
        };
        let report = StoredReport {
            id: 7,
            at: "2026-11-27 12:00:00".into(),
            session: "s".into(),
            title: "Doodles".into(),
            reason: format!("@everyone [Log in](https://evil.example) {}", "x".repeat(3000)),
            reporter: user("Bao"),
            about: Some(user("inkfox")),
            users: vec![user("Bao")],
            state: ReportState::Open,
            handler: String::new(),
            handled_at: String::new(),
            outcome: String::new(),
        };
        let (own, discord) = (body_of(&report, false), body_of(&report, true));
        assert_eq!(
            (&own["reporter"], &own["about"], &own["id"]),
            (&json!("Bao"), &json!("inkfox"), &json!(7))
        );
        let content = discord["content"].as_str().unwrap();
        assert!(
            content.starts_with(
                r"Bao reports about inkfox in Doodles: @everyone \[Log in\]\(https://evil.example\) x"
            ),
            "{content}"
        );
        assert_eq!(discord["flags"], json!(SUPPRESS_EMBEDS));
        assert_eq!(
            (content.chars().count(), &discord["allowed_mentions"]["parse"]),
            (MAX_DISCORD, &json!([]))
        );
        for body in [own, discord] {
            let text = body.to_string();
            assert!(!text.contains("192.0.2.7") && !text.contains("secret-device"), "{text}");
        }
    }
}
