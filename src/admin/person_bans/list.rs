//! The list of bans: those of persons, and those made by other means.

use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::endpoint::{Call, Json, Nothing};
use super::super::error::{ApiError, bad};
use super::super::value::{Number, Text};
use super::super::{AdminState, query_db};
use super::answer::{Ban, BanList, contains as has_text};
use crate::db::people::PeopleQuery;
use crate::db::{BanKind, Database, PersonBan, time_text};
use crate::rules::lookalike::folded;
use crate::rules::time::Timestamp;

/// Bans per page.
const PAGE: usize = 100;
/// Records of people that a search of bans by name looks at.
const MAX_NAMED: i64 = 5000;

/// Which bans.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct BanFilter {
    /// in-force (default), over or all.
    #[schemars(extend("enum" = ["in-force", "over", "all", "", null]))]
    state: Text,
    /// Only bans with this text in their name, reason, note, author or targets.
    contains: Text,
    /// Which page, from 0.
    page: Number<0, 1_000_000>,
}

/// The devices of a ban.
fn devices_of(ban: &PersonBan) -> impl Iterator<Item = &String> {
    ban.parts.iter().filter(|part| part.kind == BanKind::System).map(|part| &part.subject)
}

impl AdminState {
    pub(super) async fn list_bans_of_persons(
        self: Arc<Self>,
        call: Call<Nothing, BanFilter>,
    ) -> Result<Json<BanList>, ApiError> {
        let BanFilter { state, contains, page } = call.query;
        let in_force = match &*state {
            "" | "in-force" => Some(true),
            "over" => Some(false),
            "all" => None,
            _ => return Err(bad("state: in-force, over or all")),
        };
        let page = page.get_as::<usize>("page")?.unwrap_or(0);
        let bans = self.query_db(Database::person_bans).await?;
        let devices = self.devices_called(&contains).await?;
        let utc_ms = Timestamp::now().utc_ms;
        let now = time_text(utc_ms);
        let is_called = |ban: &PersonBan| devices_of(ban).any(|device| devices.contains(device));
        let wanted: Vec<PersonBan> = bans
            .into_iter()
            .filter(|ban| in_force.is_none_or(|wanted| wanted == ban.is_in_force(&now)))
            .filter(|ban| has_text(ban, &contains) || is_called(ban))
            .collect();
        let total = wanted.len();
        let page: Vec<PersonBan> = wanted.into_iter().skip(page.saturating_mul(PAGE)).take(PAGE).collect();
        let page = self.query_db(move |db| {
            let mut page = page;
            db.read_ban_changes(&mut page)?;
            Ok(page)
        });
        let page = page.await?;
        let names = self.names_of(&page).await?;
        let bans = page.into_iter().zip(names).map(|(ban, names)| Ban::new(ban, utc_ms).with_names(names));
        Ok(Json(BanList { bans: bans.collect(), total }))
    }

    /// Devices of people who were seen with a name like this; none for an empty text.
    async fn devices_called(&self, name: &str) -> Result<HashSet<String>, ApiError> {
        let folded = folded(name);
        if folded.is_empty() {
            return Ok(HashSet::new());
        }
        let query = PeopleQuery { folded, rows: MAX_NAMED, ..PeopleQuery::default() };
        let rows = query_db(&self.log, move |db| db.find_seen(&query)).await?;
        Ok(rows.into_iter().map(|row| row.device).filter(|device| !device.is_empty()).collect())
    }

    /// The names that people were seen with on the devices of each ban.
    async fn names_of(&self, bans: &[PersonBan]) -> Result<Vec<Vec<String>>, ApiError> {
        let devices: Vec<Vec<String>> = bans.iter().map(|ban| devices_of(ban).cloned().collect()).collect();
        query_db(&self.log, move |db| devices.iter().map(|devices| db.names_on(devices)).collect()).await
    }
}
