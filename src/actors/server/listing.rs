//! Announces sessions at list servers. Source: docs/spec/services.md#announcing-at-list-servers.
//!
//! Listings belong to the Server actor, so that an unloaded session stays listed.

use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::reply::SessionDescription;
use reqwest::Method;
use serde_json::{Map, Value};
use url::Url;

use super::Server;
use super::list_server::{Failure, announced, announcement, refusal, sessions_url, update};
use super::listings::{AdvertisedState, Announced, Listing, ListingState, RetryLater};
use crate::actors::messages::ToSession;
use crate::config::white_list::list_server;
use crate::log::{Level, LogEntry, Topic};
use crate::rules::limits::Rate;
use crate::rules::session::{ListedAt, ListingUpdate};
use crate::rules::time::Timestamp;

/// Maximum number of list servers for one session, pending requests included.
const MAX_LISTINGS: usize = 10;
/// Rate limit of announcements for all sessions.
const ANNOUNCEMENTS_A_MINUTE: u32 = 60;
/// Interval of refreshes.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Time-out for withdrawing listings at shutdown.
pub(super) const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);

fn base_of(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default()
}

impl Server {
    fn publist(&self, session: &str, level: Level, text: String) {
        LogEntry::new(Timestamp::now(), level, Topic::PubList, text).emit(session);
    }

    /// Tells an active session the state of its listings.
    fn listing_update(
        &self,
        session: &str,
        text: Option<String>,
        announced: Option<&str>,
        withdrawn: Option<&str>,
    ) {
        let Some(address) = self.directory.find(session).and_then(super::SessionEntry::address) else {
            return;
        };
        address.tell(ToSession::Listing(ListingUpdate {
            text,
            listed: self.listed_at(session),
            announced: announced.map(str::to_owned),
            withdrawn: withdrawn.map(str::to_owned),
        }));
    }

    /// List servers where a session is listed.
    pub(super) fn listed_at(&self, session: &str) -> Vec<ListedAt> {
        let done = self.listings.of(session).filter(|l| l.announced().is_some());
        done.map(|l| ListedAt { id: l.number, url: l.url.clone() }).collect()
    }

    /// Announces a stored session, or one from a template.
    pub(super) fn announce_at(&mut self, session: &str, url: &str, ctx: &mut Context<Self>) {
        // The session is told of errors.
        let _ = self.announce_for(session, url, 1, ctx);
    }

    /// Announces a session: the `tries`-th automatic attempt, or 0 on request of a client. Returns why no attempt is
    /// made.
    fn announce_for(
        &mut self,
        session: &str,
        url: &str,
        tries: u32,
        ctx: &mut Context<Self>,
    ) -> Result<(), String> {
        let Some(entry) = self.directory.find(session).filter(|_| self.stopping.is_none()) else {
            return Ok(());
        };
        let description = entry.description.clone();
        let refuse = |text: String| {
            self.listing_update(session, Some(text.clone()), None, None);
            Err(text)
        };
        let Some(named) = list_server(url).filter(|server| self.rules.white_list.allows(server)) else {
            self.publist(session, Level::Warn, format!("Announcement API URL not allowed: {url}"));
            return refuse(format!("Listing on {} is not allowed on this server", host_of(url)));
        };
        if description.unlisted {
            return refuse("This session is hidden from listings, it can't be listed".to_owned());
        }
        let base = base_of(&named);
        if self.listings.of(session).any(|l| l.base == base && !l.is_withdrawing()) {
            return Ok(());
        }
        if self.listings.of(session).count() >= MAX_LISTINGS {
            return refuse(format!("A session can be listed at {MAX_LISTINGS} servers at most"));
        }
        self.publist(session, Level::Info, format!("Announcing session at {url}"));
        let is_named = self.rules.white_list.names(&named);
        let number = self.listings.begin(session, url, &base, tries);
        let body = announcement(&description, &self.rules.local_host, self.parts.announce_port);
        let list_servers = self.parts.list_servers.clone();
        let asked =
            async move { list_servers.ask(Method::POST, &sessions_url(&base), &body, is_named).await };
        ctx.spawn(asked.into_actor(self).map(move |answer, server, ctx| {
            server.announced(number, &description, answer, ctx);
        }));
        Ok(())
    }

    fn announced(
        &mut self,
        number: u64,
        description: &SessionDescription,
        answer: Result<Value, Failure>,
        ctx: &mut Context<Self>,
    ) {
        let Some(listing) = self.listings.get(number) else { return };
        let (session, url) = (listing.session.clone(), listing.url.clone());
        let withdrawn = listing.is_withdrawing();
        let announced = match answer.and_then(|answer| announced(&answer)) {
            Ok(announced) => announced,
            Err(failure) => return self.not_announced(number, &failure),
        };
        if withdrawn {
            return self.delete(number, announced.id, announced.key, ctx);
        }
        let every_ms = (announced.expires.clamp(2, 60 * 24) - 1) as u64 * 60_000;
        listing.state = ListingState::Listed(Announced {
            id: announced.id,
            key: announced.key,
            due_ms: Timestamp::now().monotonic_ms + every_ms,
            every_ms,
            known: AdvertisedState::of(description),
        });
        self.publist(&session, Level::Info, format!("Announced at: {url}"));
        let more =
            if announced.message.is_empty() { String::new() } else { format!(": {}", announced.message) };
        let text = format!("This session is now listed at {}{more}", host_of(&url));
        self.listing_update(&session, Some(text), Some(&url), None);
    }

    fn not_announced(&mut self, number: u64, failure: &Failure) {
        let Some(listing) = self.listings.take(number) else { return };
        let Failure { session_text, detail, .. } = failure;
        let Listing { session, url, tries, .. } = &listing;
        self.listings.try_later(&listing, failure);
        // Logged at the first failure only.
        if *tries > 1 {
            return;
        }
        self.publist(session, Level::Warn, format!("{url}: announcement failed: {detail}"));
        if !listing.is_withdrawing() {
            let text = format!("Listing on {} failed: {session_text}", host_of(url));
            self.listing_update(session, Some(text), None, None);
        }
    }

    /// Withdraws a listing; it keeps its entry until that is done.
    fn delete(&mut self, number: u64, id: i64, key: String, ctx: &mut Context<Self>) {
        let Some(listing) = self.listings.get(number) else { return };
        listing.state = ListingState::Withdrawing;
        let base = listing.base.clone();
        let asked = self.withdraw(&base, id, key).into_actor(self);
        ctx.spawn(asked.map(move |(), server, _| drop(server.listings.take(number))));
    }

    fn withdraw(&self, base: &str, id: i64, key: String) -> impl Future<Output = ()> + use<> {
        let (list_servers, url) = (self.parts.list_servers.clone(), format!("{}{id}", sessions_url(base)));
        async move { list_servers.delete(&url, key).await }
    }

    /// Withdraws one or all listings of a session. `on_purpose`: the session is told and forgets the announcement;
    /// otherwise (it has ended, or the white list forbids the server) it does not.
    pub(super) fn unlist(
        &mut self,
        session: &str,
        url: Option<&str>,
        on_purpose: bool,
        ctx: &mut Context<Self>,
    ) {
        let base = url.map(|url| list_server(url).map(|server| base_of(&server)));
        let meant = |l: &&mut Listing| base.as_ref().is_none_or(|base| base.as_ref() == Some(&l.base));
        self.listings.later.retain(|l| l.session != session || url.is_some_and(|url| l.url != url));
        let there = self.listings.all.iter_mut().filter(|l| l.session == session && !l.is_withdrawing());
        let mut gone = Vec::new();
        for listing in there.filter(meant) {
            // A pending announcement is withdrawn when its answer arrives.
            let state = std::mem::replace(&mut listing.state, ListingState::Withdrawing);
            gone.push((listing.number, listing.url.clone(), state));
        }
        for (number, url, state) in gone {
            self.publist(session, Level::Info, format!("Unlisting from {url}"));
            if let ListingState::Listed(announced) = state {
                self.delete(number, announced.id, announced.key, ctx);
            }
            if on_purpose {
                self.listing_update(session, None, None, Some(&url));
            }
        }
    }

    /// Withdraws all listings at shutdown; they are announced again at the next start.
    pub(super) fn withdraw_all(&mut self) -> Vec<impl Future<Output = ()> + use<>> {
        let all = std::mem::take(&mut self.listings.all);
        let announced = all.iter().filter_map(|l| l.announced().map(|announced| (&l.base, announced)));
        announced.map(|(base, announced)| self.withdraw(base, announced.id, announced.key.clone())).collect()
    }

    /// Refreshes listings that are due or have changed: one request to each list server for all of its listings.
    pub(super) fn refresh_listings(&mut self, ctx: &mut Context<Self>) {
        let ended = |l: &Listing| !l.is_withdrawing() && self.directory.find(&l.session).is_none();
        let orphans: Vec<String> =
            self.listings.all.iter().filter(|l| ended(l)).map(|l| l.session.clone()).collect();
        for session in orphans {
            self.unlist(&session, None, false, ctx);
        }
        self.unlist_forbidden(ctx);
        let now = Timestamp::now().monotonic_ms;
        let again: Vec<RetryLater> = self.listings.later.extract_if(.., |l| l.due_ms <= now).collect();
        for RetryLater { session, url, tries, .. } in again {
            // The session is told of errors.
            let _ = self.announce_for(&session, &url, tries + 1, ctx);
        }
        let mut due: Vec<String> = Vec::new();
        for listing in &self.listings.all {
            let (Some(announced), Some(entry)) = (listing.announced(), self.directory.find(&listing.session))
            else {
                continue;
            };
            let urgent = announced.known != AdvertisedState::of(&entry.description);
            if (urgent || now >= announced.due_ms) && !due.contains(&listing.base) {
                due.push(listing.base.clone());
            }
        }
        for base in due {
            self.refresh_at(base, now, ctx);
        }
    }

    /// Withdraws listings at servers that the white list no longer allows.
    fn unlist_forbidden(&mut self, ctx: &mut Context<Self>) {
        let is_allowed = |url: &str| list_server(url).is_some_and(|s| self.rules.white_list.allows(&s));
        let there = self.listings.all.iter().filter(|l| !l.is_withdrawing() && !is_allowed(&l.url));
        let forbidden: Vec<(String, String)> = there.map(|l| (l.session.clone(), l.url.clone())).collect();
        for (session, url) in forbidden {
            self.unlist(&session, Some(&url), false, ctx);
            let text = format!("Listing on {} is not allowed on this server", host_of(&url));
            self.listing_update(&session, Some(text), None, None);
        }
    }

    fn refresh_at(&mut self, base: String, now: u64, ctx: &mut Context<Self>) {
        let (mut body, mut asked_about, mut is_named) = (Map::new(), Vec::new(), false);
        for listing in self.listings.all.iter_mut().filter(|l| l.base == base) {
            let ListingState::Listed(announced) = &mut listing.state else { continue };
            let Some(entry) = self.directory.find(&listing.session) else { continue };
            announced.due_ms = now + announced.every_ms;
            announced.known = AdvertisedState::of(&entry.description);
            body.insert(announced.id.to_string(), update(&entry.description, &announced.key));
            asked_about.push((listing.number, announced.id));
            is_named |= list_server(&listing.url).is_some_and(|s| self.rules.white_list.names(&s));
        }
        self.publist("", Level::Info, format!("Refreshing {} announcements at {base}", body.len()));
        let (list_servers, body) = (self.parts.list_servers.clone(), Value::from(body));
        let asked = async move { list_servers.ask(Method::PUT, &sessions_url(&base), &body, is_named).await };
        ctx.spawn(
            asked.into_actor(self).map(move |answer, server, _| server.refreshed(&asked_about, &answer)),
        );
    }

    fn refreshed(&mut self, asked_about: &[(u64, i64)], answer: &Result<Value, Failure>) {
        for (number, id) in asked_about {
            let Some(Failure { session_text, detail, .. }) = refusal(answer, *id) else { continue };
            // It is being withdrawn.
            if self.listings.get(*number).is_none_or(|l| l.is_withdrawing()) {
                continue;
            }
            let Some(Listing { session, url, .. }) = self.listings.take(*number) else { continue };
            self.publist(&session, Level::Warn, format!("{url}: {detail}"));
            let text = format!("The session has been delisted from {}: {session_text}", host_of(&url));
            self.listing_update(&session, Some(text), None, None);
        }
    }
}

/// Announces a session at a list server, or unlists it. Answers why no attempt is made; the session is told the same.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct ListSession {
    /// The session.
    pub id: String,
    /// Empty for all list servers.
    pub url: String,
    /// Announce, or unlist.
    pub listed: bool,
}

impl Handler<ListSession> for Server {
    type Result = Result<(), String>;

    fn handle(&mut self, wanted: ListSession, ctx: &mut Self::Context) -> Self::Result {
        let ListSession { id, url, listed } = wanted;
        if listed {
            return self.announce_for_session(&id, &url, ctx);
        }
        self.unlist_for_session(&id, &url, ctx);
        Ok(())
    }
}

impl Server {
    /// Unlists a session from a list server, or from all with an empty URL, because it wants so.
    pub(super) fn unlist_for_session(&mut self, id: &str, url: &str, ctx: &mut Context<Self>) {
        self.unlist(id, (!url.is_empty()).then_some(url), true, ctx);
        // Also cancels the retry of a failed announcement.
        self.listing_update(id, None, None, Some(url));
    }

    /// Announces a session at a list server. Returns why no attempt is made; the session is told the same.
    pub(super) fn announce_for_session(
        &mut self,
        id: &str,
        url: &str,
        ctx: &mut Context<Self>,
    ) -> Result<(), String> {
        let rate = Rate::per_minute(ANNOUNCEMENTS_A_MINUTE);
        if !self.listings.announcing.take(rate, Timestamp::now().monotonic_ms) {
            self.parts.metrics.limits_hit.count("announcements");
            let text = "Too many sessions are being listed on this server, try again in a minute";
            self.listing_update(id, Some(text.to_owned()), None, None);
            return Err(text.to_owned());
        }
        self.announce_for(id, url, 0, ctx)
    }
}
