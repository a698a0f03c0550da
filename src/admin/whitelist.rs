//! Endpoint `listserverwhitelist`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad};
use super::value::Flag;
use crate::config::white_list::PUBLIC_LIST_SERVER;

pub(super) fn endpoints(api: &mut Api) {
    api.get("listserverwhitelist", "Allowed list servers.", AdminState::white_list);
    api.put("listserverwhitelist", "Changes the allowed list servers.", AdminState::change_white_list)
        .locked_by("listserverwhitelist");
}

/// Allowed list servers.
#[derive(Debug, Serialize, JsonSchema)]
struct WhiteList {
    /// Only these list servers may be used.
    enabled: bool,
    /// Regular expressions that their URLs match from the beginning.
    whitelist: Vec<String>,
    /// It is locked against changes.
    #[serde(rename = "_locked")]
    locked: bool,
}

/// Changes of the allowed list servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ChangeWhiteList {
    /// Only these list servers are allowed.
    enabled: Option<Flag>,
    /// Regular expressions that their URLs match from the beginning.
    #[schemars(with = "Option<Vec<Pattern>>")]
    whitelist: Option<Vec<String>>,
}

/// The schema of a regular expression.
#[derive(JsonSchema)]
#[schemars(inline, transparent, extend("format" = "regex"))]
#[allow(dead_code, reason = "its schema is used")]
struct Pattern(String);

impl AdminState {
    async fn white_list(self: Arc<Self>, _: Call) -> Result<Json<WhiteList>, ApiError> {
        let mut patterns = self.query_db(|db| Ok(db.snapshot(0)?.listing_servers)).await?;
        if self.rules().white_list.is_by_default() && !patterns.iter().any(|p| p == PUBLIC_LIST_SERVER) {
            patterns.push(PUBLIC_LIST_SERVER.to_owned());
        }
        Ok(Json(WhiteList {
            enabled: self.rules().settings().announce_whitelist,
            whitelist: patterns,
            locked: self.is_locked("listserverwhitelist"),
        }))
    }

    async fn change_white_list(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, ChangeWhiteList>,
    ) -> Result<Json<WhiteList>, ApiError> {
        let Call {
            path,
            query,
            body: ChangeWhiteList { enabled, whitelist },
            member_count,
            picture,
            who,
            http,
        } = call;
        let is_list_given = whitelist.is_some();
        if let Some(list) = whitelist {
            // An empty expression would match every URL.
            let patterns: Vec<String> = list.into_iter().filter(|p| !p.is_empty()).collect();
            for pattern in &patterns {
                regex::Regex::new(pattern).map_err(|error| bad(format!("{pattern}: {error}")))?;
            }
            self.query_db(move |db| db.set_listing_servers(&patterns)).await?;
        }
        // A given list replaces the default one.
        let replaces = is_list_given && self.rules().white_list.is_by_default();
        let enabled = enabled.map(|on| on.0);
        let enabled = enabled.or_else(|| replaces.then(|| self.rules().settings().announce_whitelist));
        let settings = enabled.map(|on| ("announceWhitelist".to_owned(), Some(on.to_string())));
        self.change_settings(settings.into_iter().collect()).await?;
        self.white_list(Call { path, query, body: Nothing::default(), member_count, picture, who, http })
            .await
    }
}
