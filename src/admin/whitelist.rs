//! Endpoint `listserverwhitelist`.

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Operation, bool, texts};
use super::request::{Method, Request, bad, unsupported};
use super::schemas::WHITE_LIST;
use crate::config::white_list::PUBLIC_LIST_SERVER;
use crate::rules::session::admin::AdminAnswer;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("listserverwhitelist", "Allowed list servers.", Answer::One(&WHITE_LIST)),
    Operation::put("listserverwhitelist", "Changes the allowed list servers.", Answer::One(&WHITE_LIST))
        .locked_by("listserverwhitelist")
        .body(Body::Fields(&[
            bool("enabled", "Only these list servers are allowed."),
            texts("whitelist", "Regular expressions that their URLs match from the beginning."),
        ])),
];

impl AdminState {
    pub(super) async fn white_list(&self, request: &Request) -> AdminAnswer {
        match request.method {
            Method::Get => {}
            Method::Put => {
                self.change_white_list(request).await?;
            }
            _ => return Err(unsupported()),
        }
        let mut patterns = self.query_db(|db| Ok(db.snapshot(0)?.listing_servers)).await?;
        if self.rules().white_list.is_by_default() && !patterns.iter().any(|p| p == PUBLIC_LIST_SERVER) {
            patterns.push(PUBLIC_LIST_SERVER.to_owned());
        }
        Ok(json!({
            "enabled": self.rules().settings().announce_whitelist,
            "whitelist": patterns,
            "_locked": self.is_locked("listserverwhitelist"),
        }))
    }

    async fn change_white_list(
        &self,
        request: &Request,
    ) -> Result<(), crate::rules::session::admin::AdminError> {
        if let Some(list) = request.body.get("whitelist") {
            let list = list.as_array().ok_or_else(|| bad("whitelist must be a list"))?;
            let texts: Option<Vec<String>> = list.iter().map(|p| p.as_str().map(str::to_owned)).collect();
            let mut patterns = texts.ok_or_else(|| bad("whitelist must be a list of texts"))?;
            // An empty expression would match every URL.
            patterns.retain(|pattern| !pattern.is_empty());
            for pattern in &patterns {
                regex::Regex::new(pattern).map_err(|error| bad(format!("{pattern}: {error}")))?;
            }
            self.query_db(move |db| db.set_listing_servers(&patterns)).await?;
        }
        let enabled = request.body.get("enabled").and_then(Value::as_bool);
        // A given list replaces the default one.
        let given = request.body.get("whitelist").is_some() && self.rules().white_list.is_by_default();
        let enabled = enabled.or_else(|| given.then(|| self.rules().settings().announce_whitelist));
        let settings = enabled.map(|on| ("announceWhitelist".to_owned(), on.to_string()));
        self.change_settings(settings.into_iter().collect()).await
    }
}
