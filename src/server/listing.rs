//! Announcing sessions at list servers. Source: `services.md`, Announcing at list servers.
//!
//! Listings belong to the Server, so that a session that is in files only stays listed.

use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::reply::SessionDescription;
use reqwest::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::Server;
use crate::clock::Now;
use crate::http::{Http, HttpError};
use crate::log::{Level, LogEntry, Topic};
use crate::session::actor::ListingNews;

/// List servers that one session can be announced at.
const MAX_LISTINGS: usize = 10;
/// How often listings are looked at.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Minutes that a listing lasts if the list server does not say.
const DEFAULT_EXPIRES: i64 = 6;
/// How long withdrawing may take when the server stops.
pub(super) const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);

/// A session at a list server.
#[derive(Debug)]
pub(super) struct Listing {
    session: String,
    url: String,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    id: i64,
    key: String,
    /// When to refresh it, on the forward clock.
    due_ms: u64,
    every_ms: u64,
    /// What the list server knows.
    known: Urgent,
}

/// What a list server is told of at once when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Urgent {
    title: String,
    nsfm: bool,
    password: bool,
    full: bool,
    allow_web: bool,
}

impl Urgent {
    fn of(session: &SessionDescription) -> Urgent {
        Urgent {
            title: session.title.clone(),
            nsfm: session.nsfm,
            password: session.has_password,
            full: session.user_count >= session.max_user_count,
            allow_web: session.allow_web.unwrap_or(false),
        }
    }
}

/// Where sessions of a list server are.
fn sessions_url(base: &str) -> String {
    format!("{}/sessions/", base.trim_end_matches('/'))
}

fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default()
}

/// What every request tells of a session.
fn told(session: &SessionDescription) -> Map<String, Value> {
    let members = json!({
        "title": session.title,
        "users": session.user_count,
        "activedrawingusers": session.active_drawing_user_count,
        "password": session.has_password,
        "owner": session.founder,
        "nsfm": session.nsfm,
        "maxusers": session.max_user_count,
    });
    members.as_object().cloned().unwrap_or_default()
}

/// The body of an announcement.
fn announcement(session: &SessionDescription, host: &str, port: u16) -> Value {
    let mut body = told(session);
    if !host.is_empty() {
        body.insert("host".into(), host.into());
    }
    if port > 0 {
        body.insert("port".into(), port.into());
    }
    let id = if session.alias.is_empty() { &session.id } else { &session.alias };
    body.insert("id".into(), id.as_str().into());
    body.insert("protocol".into(), session.protocol.as_str().into());
    for (key, on) in
        [("allowweb", session.allow_web.unwrap_or(false)), ("preferwebsockets", session.prefer_web_sockets)]
    {
        if on {
            body.insert(key.into(), true.into());
        }
    }
    Value::from(body)
}

/// What of a session is brought up to date.
fn update(session: &SessionDescription, key: &str) -> Value {
    let mut body = told(session);
    body.insert("updatekey".into(), key.into());
    body.insert("closed".into(), false.into());
    body.insert("allowweb".into(), session.allow_web.unwrap_or(false).into());
    body.insert("preferwebsockets".into(), session.prefer_web_sockets.into());
    Value::from(body)
}

/// The answer of a list server, or its error for people.
async fn ask(http: Http, method: Method, url: String, body: Value) -> Result<Value, String> {
    let answer = http.request(method, &url, &[], Some(&body)).await;
    let answer = answer.map_err(|e| match e {
        HttpError::Failed(reason) => format!("Network error: {reason}"),
        other => other.to_string(),
    })?;
    let message = answer.json.as_ref().and_then(|v| v["message"].as_str()).filter(|m| !m.is_empty());
    match answer.status {
        200..=299 => answer.json.clone().ok_or_else(|| "Unparseable response".into()),
        status @ (400 | 409 | 422) => {
            Err(message.map_or_else(|| format!("HTTP error {status} (no explanation given)"), str::to_owned))
        }
        410 => Err("the list server is gone for good".into()),
        status => Err(format!("Network error: HTTP status {status}")),
    }
}

impl Server {
    fn publist(&self, session: &str, level: Level, text: String) {
        LogEntry::new(Now::get(), level, Topic::PubList, text).emit(session);
    }

    /// Tells a session what has become of its listings. One that is in files only does not need to know.
    fn listing_news(&self, session: &str, text: Option<String>, made: Option<&str>, withdrawn: Option<&str>) {
        let Some(address) = self.directory.find(session).and_then(super::Entry::address) else { return };
        address.do_send(ListingNews {
            text,
            listed: self.listed_at(session),
            made: made.map(str::to_owned),
            withdrawn: withdrawn.map(str::to_owned),
        });
    }

    /// Where a session is listed.
    pub(super) fn listed_at(&self, session: &str) -> Vec<String> {
        let done = self.listings.iter().filter(|l| l.session == session && l.made.is_some());
        done.map(|l| l.url.clone()).collect()
    }

    /// Announces a session at a list server.
    pub(super) fn announce_at(&mut self, session: &str, url: &str, ctx: &mut Context<Self>) {
        let Some(entry) = self.directory.find(session).filter(|_| self.stopping.is_none()) else { return };
        if Url::parse(url).is_err() || !self.rules.may_announce_at(url) {
            self.publist(session, Level::Warn, format!("Announcement API URL not allowed: {url}"));
            let text = format!("Listing on {} is not allowed on this server", host_of(url));
            return self.listing_news(session, Some(text), None, None);
        }
        let http = self.parts.http.clone();
        if self.listings.iter().any(|l| l.session == session && l.url == url) {
            return;
        }
        if self.listings.iter().filter(|l| l.session == session).count() >= MAX_LISTINGS {
            let text = format!("A session can be listed at {MAX_LISTINGS} servers at most");
            return self.listing_news(session, Some(text), None, None);
        }
        let description = entry.description.clone();
        self.publist(session, Level::Info, format!("Announcing session at {url}"));
        self.listings.push(Listing { session: session.to_owned(), url: url.to_owned(), made: None });
        let body = announcement(&description, &self.rules.local_host, self.parts.announce_port);
        let asked = ask(http, Method::POST, sessions_url(url), body);
        let (session, url) = (session.to_owned(), url.to_owned());
        ctx.spawn(asked.into_actor(self).map(move |answer, server, ctx| {
            server.announced(&session, &url, &description, answer, ctx);
        }));
    }

    fn announced(
        &mut self,
        session: &str,
        url: &str,
        description: &SessionDescription,
        answer: Result<Value, String>,
        ctx: &mut Context<Self>,
    ) {
        let at = self.listings.iter().position(|l| l.session == session && l.url == url);
        let host = host_of(url);
        match (answer, at) {
            (Ok(answer), Some(at)) => {
                let minutes = answer["expires"].as_i64().unwrap_or(DEFAULT_EXPIRES).clamp(2, 60 * 24) - 1;
                let every_ms = minutes as u64 * 60_000;
                self.listings[at].made = Some(Made {
                    id: answer["id"].as_i64().unwrap_or_default(),
                    key: answer["key"].as_str().unwrap_or_default().to_owned(),
                    due_ms: Now::get().ms + every_ms,
                    every_ms,
                    known: Urgent::of(description),
                });
                self.publist(session, Level::Info, format!("Announced at: {url}"));
                let more = answer["message"].as_str().filter(|m| !m.is_empty());
                let more = more.map_or_else(String::new, |m| format!(": {m}"));
                let text = format!("This session is now listed at {host}{more}");
                self.listing_news(session, Some(text), Some(url), None);
            }
            // It was withdrawn, or has ended, before the answer came.
            (Ok(answer), None) => {
                let (id, key) = (answer["id"].as_i64(), answer["key"].as_str());
                if let (Some(id), Some(key)) = (id, key) {
                    self.delete(url, id, key, ctx);
                }
            }
            (Err(error), Some(at)) => {
                self.listings.remove(at);
                self.publist(session, Level::Warn, format!("{url}: announcement failed: {error}"));
                self.listing_news(session, Some(format!("Listing on {host} failed: {error}")), None, None);
            }
            (Err(_), None) => {}
        }
    }

    fn delete(&self, url: &str, id: i64, key: &str, ctx: &mut Context<Self>) {
        ctx.spawn(self.withdraw(url, id, key).into_actor(self));
    }

    fn withdraw(&self, url: &str, id: i64, key: &str) -> impl Future<Output = ()> + use<> {
        let (http, url) = (self.parts.http.clone(), format!("{}{id}", sessions_url(url)));
        let headers = [("x-update-key", key.to_owned())];
        async move {
            if let Err(error) = http.request(Method::DELETE, &url, &headers, None).await {
                tracing::debug!(%error, "cannot withdraw a listing");
            }
        }
    }

    /// Withdraws a session's listing, or all of them; `on_purpose` if not because the session is over.
    pub(super) fn unlist(
        &mut self,
        session: &str,
        url: Option<&str>,
        on_purpose: bool,
        ctx: &mut Context<Self>,
    ) {
        let gone =
            self.listings.extract_if(.., |l| l.session == session && url.is_none_or(|url| l.url == url));
        for listing in gone.collect::<Vec<_>>() {
            self.publist(session, Level::Info, format!("Unlisting from {}", listing.url));
            if let Some(made) = &listing.made {
                self.delete(&listing.url, made.id, &made.key, ctx);
            }
            if on_purpose {
                self.listing_news(session, None, None, Some(&listing.url));
            }
        }
    }

    /// Withdraws everything, because the server stops. It is announced again at the next start.
    pub(super) fn withdraw_all(&mut self) -> Vec<impl Future<Output = ()> + use<>> {
        let all = std::mem::take(&mut self.listings);
        let made = all.iter().filter_map(|l| l.made.as_ref().map(|made| (&l.url, made)));
        made.map(|(url, made)| self.withdraw(url, made.id, &made.key)).collect()
    }

    /// Brings listings up to date that are due, or of which something has changed that must be told at once: one request
    /// for each list server, with all of its listings.
    pub(super) fn refresh_listings(&mut self, ctx: &mut Context<Self>) {
        let ended = |l: &Listing| self.directory.find(&l.session).is_none();
        let orphans: Vec<String> =
            self.listings.iter().filter(|l| ended(l)).map(|l| l.session.clone()).collect();
        for session in orphans {
            self.unlist(&session, None, false, ctx);
        }
        let now = Now::get().ms;
        let mut due: Vec<String> = Vec::new();
        for listing in &self.listings {
            let (Some(made), Some(entry)) = (&listing.made, self.directory.find(&listing.session)) else {
                continue;
            };
            let urgent = made.known != Urgent::of(&entry.description);
            if (urgent || now >= made.due_ms) && !due.contains(&listing.url) {
                due.push(listing.url.clone());
            }
        }
        for url in due {
            self.refresh_at(&url, now, ctx);
        }
    }

    fn refresh_at(&mut self, url: &str, now: u64, ctx: &mut Context<Self>) {
        let http = self.parts.http.clone();
        let mut body = Map::new();
        for listing in self.listings.iter_mut().filter(|l| l.url == url) {
            let (Some(made), Some(entry)) = (&mut listing.made, self.directory.find(&listing.session)) else {
                continue;
            };
            made.due_ms = now + made.every_ms;
            made.known = Urgent::of(&entry.description);
            body.insert(made.id.to_string(), update(&entry.description, &made.key));
        }
        self.publist("", Level::Info, format!("Refreshing {} announcements at {url}", body.len()));
        let ids: Vec<String> = body.keys().cloned().collect();
        let asked = ask(http, Method::PUT, sessions_url(url), Value::from(body));
        let url = url.to_owned();
        ctx.spawn(asked.into_actor(self).map(move |answer, server, _| server.refreshed(&url, &ids, &answer)));
    }

    fn refreshed(&mut self, url: &str, ids: &[String], answer: &Result<Value, String>) {
        let host = host_of(url);
        for id in ids {
            let reason = match answer {
                // If this fails there is something wrong with the list server.
                Err(error) => error.clone(),
                Ok(answer) if answer["responses"][id] == "ok" => continue,
                Ok(answer) => answer["errors"][id].as_str().unwrap_or("no reason given").to_owned(),
            };
            let same = |l: &Listing| l.url == url && l.made.as_ref().is_some_and(|m| m.id.to_string() == *id);
            let Some(at) = self.listings.iter().position(same) else { continue };
            let session = self.listings.remove(at).session;
            self.publist(&session, Level::Warn, format!("{url}: {reason}"));
            let text = format!("The session has been delisted from {host}: {reason}");
            self.listing_news(&session, Some(text), None, None);
        }
    }
}

/// A session wants to be announced at a list server, or no more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ListSession {
    /// The session.
    pub id: String,
    /// The list server; all of them if it is empty.
    pub url: String,
    /// Announced, or not any more.
    pub listed: bool,
}

impl Handler<ListSession> for Server {
    type Result = ();

    fn handle(&mut self, ListSession { id, url, listed }: ListSession, ctx: &mut Self::Context) {
        if listed {
            self.announce_at(&id, &url, ctx);
        } else {
            self.unlist(&id, (!url.is_empty()).then_some(url.as_str()), true, ctx);
            // A list server that did not answer is not to be asked again, either.
            self.listing_news(&id, None, None, Some(&url));
        }
    }
}

/// An abuse report is to be passed on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SendReport {
    /// The session.
    pub id: String,
    /// What is told.
    pub report: Value,
}

impl Handler<SendReport> for Server {
    type Result = ();

    fn handle(&mut self, SendReport { id, report }: SendReport, ctx: &mut Self::Context) {
        let Some(url) = self.rules.shared.report_url.clone() else { return };
        let http = self.parts.http.clone();
        let token = &self.rules.settings().report_token;
        let headers =
            if token.is_empty() { Vec::new() } else { vec![("authorization", format!("Token {token}"))] };
        let sent = async move {
            let answer = http.request(Method::POST, &url, &headers, Some(&report)).await;
            match answer {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("HTTP status {}", answer.status)),
                Err(error) => Err(error.to_string()),
            }
        };
        ctx.spawn(sent.into_actor(self).map(move |sent, server, _| {
            if let Some(address) = server.directory.find(&id).and_then(super::Entry::address) {
                address.do_send(crate::session::actor::ReportSent { error: sent.err() });
            }
        }));
    }
}
