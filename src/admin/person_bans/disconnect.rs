//! Ending the connections that a ban hits, at this server and at the others of the cluster.

use std::sync::Arc;

use actix_web::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::AdminState;
use super::super::connected::Connected;
use super::super::endpoint::{Api, Call, Json};
use super::super::error::{ApiError, not_found};
use super::super::request::Who;
use super::answer::SentAway;
use super::targets::Targets;
use super::{BanPath, key_of};
use crate::config::bans::BanTerms;
use crate::db::nodes::Node;
use crate::db::time_text;
use crate::rules::time::Timestamp;

/// Maximum size of the list of those whom another server has disconnected, in bytes.
const MAX_LIST: u64 = 4 << 20;

pub(super) fn endpoints(api: &mut Api) {
    let summary = "Disconnects everybody at this server whom a ban in force hits. Making a ban has done that, at all \
                   servers of a cluster.";
    api.post("bans/{ban}/disconnect", summary, AdminState::disconnect_by_ban).locked_by("bans");
}

/// Who was disconnected.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Disconnected {
    disconnected: Vec<SentAway>,
}

impl AdminState {
    async fn disconnect_by_ban(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Disconnected>, ApiError> {
        let (key, now) = (key_of(&call.path.ban)?, Timestamp::now().utc_ms);
        let ban = self.query_db(move |db| db.person_ban(key)).await?.ok_or_else(not_found)?;
        if !ban.is_in_force(&time_text(now)) {
            return Err(ApiError::new(StatusCode::CONFLICT, "The ban is over"));
        }
        let terms =
            BanTerms { expires: ban.expires.clone(), reason: ban.reason.clone(), ..BanTerms::default() };
        // Whoever comes back at once is to find the ban.
        self.apply_db_changes().await?;
        let disconnected = self.disconnect_hit(&Targets::of(&ban), &terms, now).await?;
        Ok(Json(Disconnected { disconnected }))
    }

    /// Disconnects everybody at this server whom a ban hits.
    pub(super) async fn disconnect_hit(
        &self,
        targets: &Targets,
        terms: &BanTerms,
        utc_ms: i64,
    ) -> Result<Vec<SentAway>, ApiError> {
        let message = terms.message(utc_ms, &self.rules().settings().ban_contact);
        let connected = self.connected().await?;
        let hit: Vec<&Connected> = connected.iter().filter(|user| !targets.hits(user).is_empty()).collect();
        for user in &hit {
            user.disconnect_banned(&message).await;
        }
        Ok(hit.into_iter().map(SentAway::new).collect())
    }

    /// Has the other servers disconnect those whom a ban hits.
    pub(super) async fn disconnect_at_others(&self, ban: &str, who: &Who) -> Vec<SentAway> {
        let question = (&Method::POST, format!("/api/bans/{ban}/disconnect"));
        let answers = self.json_of_others::<Disconnected>(who, question, MAX_LIST).await;
        let at = |(node, there): (Node, Disconnected)| {
            there.disconnected.into_iter().map(move |user| user.at(&node))
        };
        answers.into_iter().flat_map(at).collect()
    }
}
