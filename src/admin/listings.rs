//! Endpoints `sessions/ID/listing`: at which list servers a session is announced.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AdminState;
use super::answers::Listing;
use super::endpoint::{Api, Call, Done, Json, List, Nothing, Version};
use super::error::{ApiError, bad, not_found};
use super::sessions::SessionPath;
use super::value::{Text, parsed};
use crate::actors::server::ListSession;

pub(super) fn endpoints(api: &mut Api) {
    api.get("sessions/{session}/listing", "Where it is announced.", AdminState::listings);
    api.post("sessions/{session}/listing", "Announces it at a list server.", AdminState::announce)
        .locked_by("sessions");
    api.delete("sessions/{session}/listing/{listing}", "Removes it from a list server.", AdminState::unlist)
        .locked_by("sessions");
}

/// The path of a listing.
#[derive(Debug, Deserialize, JsonSchema)]
struct ListingPath {
    /// Session id or alias.
    session: String,
    /// Id of the listing.
    #[serde(deserialize_with = "parsed")]
    listing: u64,
}

/// Where to announce a session.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["url"]))]
struct Announce {
    /// URL of the list server's API.
    #[schemars(with = "String", extend("format" = "uri"))]
    url: Text,
}

impl AdminState {
    async fn listings(self: Arc<Self>, call: Call<SessionPath, Version>) -> Result<List<Listing>, ApiError> {
        let details = self.details(&call.path.session).await?;
        List::new(details.listings, &call.query.v, details.locked)
    }

    async fn announce(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Announce>,
    ) -> Result<Json<Done>, ApiError> {
        let details = self.details(&call.path.session).await?;
        let url = call.body.url.0;
        if url.is_empty() {
            return Err(bad("Missing url"));
        }
        url::Url::parse(&url).map_err(|e| bad(format!("Invalid url: {e}")))?;
        let id = details.session.id.unwrap_or_default();
        self.server.send(ListSession { id, url, listed: true }).await?.map_err(bad)?;
        Ok(Done::ok())
    }

    async fn unlist(self: Arc<Self>, call: Call<ListingPath>) -> Result<Json<Done>, ApiError> {
        let details = self.details(&call.path.session).await?;
        let found = details.listings.into_iter().find(|listing| listing.id == call.path.listing);
        let url = found.ok_or_else(not_found)?.url;
        let id = details.session.id.unwrap_or_default();
        self.server.send(ListSession { id, url, listed: false }).await?.map_err(bad)?;
        Ok(Done::ok())
    }
}
