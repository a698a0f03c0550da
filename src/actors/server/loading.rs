//! Loading sessions on demand, and unloading unused ones.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::prelude::*;

use super::directory::{Missing, Residency, SessionEntry, Unreadable, Waiter};
use super::{Server, SessionDir, SessionMachine, SessionSummary, Suspended};
use crate::actors::messages::{SessionHandle, ToSession};
use crate::blocking::Job;
use crate::entropy::seeded_rng;
use crate::rules::session::persistence::stored_description;
use crate::rules::session::{Cx, Effect, ListingUpdate, Rollback};
use crate::rules::time::Timestamp;
use crate::storage::session_dir::shared::NotLoaded;
use crate::storage::session_dir::{LoadError, LoadedSession};
use crate::trace::Origin;

fn utc_ms(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Creation time of a session from its ULID, or else that of its last use, in milliseconds since 1970.
fn created_ms(id: &str, last_use: i64) -> i64 {
    let created = ulid::Ulid::from_string(id).ok().and_then(|id| i64::try_from(id.timestamp_ms()).ok());
    created.filter(|ms| *ms <= last_use).unwrap_or(last_use)
}

/// The state of a session that was last used at this time, in milliseconds since 1970, and was not here before.
pub(super) fn new_here(id: &str, last_use: i64, now: Timestamp) -> Suspended {
    let random = seeded_rng().bytes().unwrap_or_default();
    Suspended::at_start(now, created_ms(id, last_use), last_use, random)
}

/// Logs what the making of a session has to say.
pub(super) fn emit(effects: &[Effect], id: &str) {
    for effect in effects {
        if let Effect::Log(entry) = effect {
            entry.emit(id);
        }
    }
}

impl Server {
    /// Adds a stored session to the directory.
    pub(crate) fn take_listed(&mut self, session: &SessionSummary, now: Timestamp) {
        let last_use = session.last_use.and_then(utc_ms).unwrap_or(now.utc_ms);
        let started = now.earlier(created_ms(&session.id, last_use));
        let description = stored_description(session, &self.rules.shared, started);
        let residency = Residency::Stored(Box::new(new_here(&session.id, last_use, now)));
        let share = self.histories.share_of(session.size);
        let mut entry = SessionEntry::new(description, session.protocol.clone(), residency, share);
        entry.set_unowned(self.parts.shared.is_some());
        self.directory.insert(entry);
        if self.parts.shared.is_some() {
            // Whoever takes it over may announce it.
            return;
        }
        let id = &session.id;
        self.to_announce.extend(session.metadata.announcements.iter().map(|url| (id.clone(), url.clone())));
    }

    /// Retries stored sessions whose files could not be read.
    pub(super) fn retry_unreadable(&mut self, ctx: &mut Context<Self>) {
        let Some(session_dir) =
            self.parts.session_dir.clone().filter(|session_dir| session_dir.has_unreadable())
        else {
            return;
        };
        let shared = self.parts.shared.clone();
        let listing = self.parts.blocking_pool.run(Job::FileIo, move || {
            let listed = session_dir.list_unreadable();
            match shared {
                None => listed,
                Some(shared) => {
                    session_dir.import_restored(&*shared, &listed);
                    // They are found in the database.
                    Vec::new()
                }
            }
        });
        ctx.spawn(listing.into_actor(self).map(|listed, server, ctx| {
            let now = Timestamp::now();
            let listed = listed.unwrap_or_default();
            for session in &listed {
                if server.directory.find(&session.id).is_none() {
                    tracing::info!("stored session {} is there again", session.id);
                    server.take_listed(session, now);
                }
            }
            server.announce_stored(ctx);
        }));
    }

    /// Announces stored sessions again.
    pub(super) fn announce_stored(&mut self, ctx: &mut Context<Self>) {
        for (id, url) in std::mem::take(&mut self.to_announce) {
            self.announce_at(&id, &url, ctx);
        }
    }

    /// Number of sessions.
    pub(super) fn session_count(&self) -> usize {
        self.directory.local_count()
    }

    /// Whether an id or alias is used, or is being created.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.directory.find(name).is_some() || self.instantiating.contains_key(name)
    }

    /// Whether `sessionCountLimit` is reached.
    pub(super) fn is_full(&self) -> bool {
        self.session_count() >= self.rules.settings().session_count_limit.0 as usize
    }

    /// Calls the waiter with a session, which is loaded or created from a template if necessary.
    pub(super) fn with_session(&mut self, name: &str, waiter: Waiter, ctx: &mut Context<Self>) {
        let Some(entry) = self.directory.find_mut(name) else {
            return self.with_template(name, waiter, ctx);
        };
        match &mut entry.residency {
            Residency::Active(address) | Residency::Remote { session: address, .. } => waiter(Ok(address)),
            Residency::Unloading(_, waiters) | Residency::Loading(waiters) => waiters.push(waiter),
            Residency::Stored(_) if entry.unreadable.as_ref().is_some_and(|u| u.counts(Timestamp::now())) => {
                let error = entry.unreadable.as_ref().map_or_else(String::new, |u| u.error.clone());
                waiter(Err(Missing::Unreadable(error)));
            }
            Residency::Stored(rest) => {
                let (rest, id) = ((**rest).clone(), entry.description.id.clone());
                entry.residency = Residency::Loading(vec![waiter]);
                self.load(id, rest, None, ctx);
            }
        }
    }

    /// Loads a session. The server of the incarnation `from`, if there is one, hands it over.
    pub(super) fn load(
        &mut self,
        id: String,
        rest: Suspended,
        from: Option<String>,
        ctx: &mut Context<Self>,
    ) {
        let Some(session_dir) = self.parts.session_dir.clone() else { return self.session_ended(&id) };
        let (name, known) = (id.clone(), rest.clone());
        let (is_traced, shared) = (self.parts.trace.is_some(), self.parts.shared.clone());
        let loading = self.parts.blocking_pool.run(Job::FileIo, move || {
            let before = if is_traced { session_dir.files_of(&name) } else { Vec::new() };
            let loaded = match &shared {
                None => session_dir.load(&name).map_err(NotLoaded::from),
                Some(shared) => session_dir.load_shared(&**shared, &name, from.as_deref()),
            };
            loaded.map(|loaded| {
                // Those of a shared session were fetched meanwhile.
                let is_fetched = is_traced && shared.is_some();
                let files = if is_fetched { session_dir.files_of(&name) } else { before };
                let rollback = Rollback::of_stored(&loaded.session, &known);
                (loaded, files, rollback)
            })
        });
        ctx.spawn(loading.into_actor(self).map(move |loaded, server, ctx| {
            let panicked = || Err(LoadError::Journal(io::Error::other("reading it failed")).into());
            match loaded.unwrap_or_else(panicked) {
                Ok((loaded, files, rollback)) => {
                    server.loaded(&id, loaded, rollback, Origin::Loaded { rest, files }, ctx);
                }
                Err(NotLoaded::Unreadable(error)) => server.not_loaded(&id, rest, &error),
                Err(NotLoaded::Owned) => server.owned_elsewhere(&id, rest, ctx),
                Err(NotLoaded::Ended) => server.session_ended(&id),
            }
            server.stopped_if_idle();
        }));
    }

    /// Loading failed. A transient failure leaves the session stored, to be retried on demand.
    fn not_loaded(&mut self, id: &str, rest: Suspended, error: &LoadError) {
        self.parts.metrics.storage_errors.count();
        if !error.is_transient() {
            tracing::error!("stored session {id} cannot be loaded: {error}");
            return self.session_ended(id);
        }
        tracing::error!("stored session {id} cannot be loaded at the moment: {error}");
        let Some(entry) = self.directory.find_mut(id) else { return };
        let rest = rest.without_staying();
        let error = error.to_string();
        entry.unreadable = Some(Unreadable::new(error.clone(), Timestamp::now()));
        if let Residency::Loading(waiters) =
            std::mem::replace(&mut entry.residency, Residency::Stored(Box::new(rest)))
        {
            waiters.into_iter().for_each(|waiter| waiter(Err(Missing::Unreadable(error.clone()))));
        }
    }

    fn loaded(
        &mut self,
        id: &str,
        loaded: LoadedSession,
        rollback: Rollback,
        origin: Origin,
        ctx: &mut Context<Self>,
    ) {
        let (now, mut rng) = (Timestamp::now(), seeded_rng());
        let mut cx = Cx::new(now, &mut rng);
        let shared = self.rules.shared.clone();
        let rest = if let Origin::Loaded { rest, .. } = &origin { Some(rest.clone()) } else { None };
        let LoadedSession { session, store } = loaded;
        let mut machine = SessionMachine::restored(shared, session, rest, &mut cx);
        machine.adopt_rollback(rollback);
        emit(&cx.effects, id);
        if let Some(trace) = &self.parts.trace {
            trace.session(&machine, &rng, now, &self.rules.shared, origin);
        }
        let description = machine.description(false, now);
        let Some(address) = self.start_session(machine, rng, Some(store), ctx) else {
            return self.session_ended(id);
        };
        let listed = self.listed_at(id);
        if !listed.is_empty() {
            address.tell(ToSession::Listing(ListingUpdate { listed, ..ListingUpdate::default() }));
        }
        let Some(entry) = self.directory.find_mut(id) else { return };
        entry.describe(description);
        entry.share.set(0);
        entry.unreadable = None;
        entry.set_unowned(false);
        entry.claims = 0;
        let residency = std::mem::replace(&mut entry.residency, Residency::Active(address.clone()));
        if let Residency::Loading(waiters) | Residency::Unloading(_, waiters) = residency {
            waiters.into_iter().for_each(|waiter| waiter(Ok(&address)));
        }
        if self.stopping.is_some() {
            address.tell(ToSession::Stop);
        }
    }

    /// The origin of a session, for a trace.
    pub(super) fn if_traced(&self, origin: impl FnOnce() -> Origin) -> Option<Origin> {
        self.parts.trace.is_some().then(origin)
    }

    /// Starts a new session and shows it to the lobby.
    pub(super) fn begin(
        &mut self,
        mut machine: SessionMachine,
        origin: Option<Origin>,
        hosted_from: Option<IpAddr>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Option<SessionHandle> {
        let rng = seeded_rng();
        let store = match &self.parts.session_dir {
            Some(session_dir) => {
                machine.store();
                let mut store = session_dir.create(machine.id(), machine.protocol().clone())?;
                if self.parts.shared.is_some() {
                    store.share_new(machine.alias());
                }
                Some(store)
            }
            None => None,
        };
        if let (Some(trace), Some(origin)) = (&self.parts.trace, origin) {
            trace.session(&machine, &rng, now, &self.rules.shared, origin);
        }
        let (description, protocol) = (machine.description(false, now), machine.protocol().clone());
        let address = self.start_session(machine, rng, store, ctx)?;
        self.announce(&description, false);
        let residency = Residency::Active(address.clone());
        let mut entry = SessionEntry::new(description, protocol, residency, self.histories.share());
        entry.hosted_from = hosted_from;
        self.directory.insert(entry);
        Some(address)
    }

    /// A session has ended.
    pub(super) fn session_ended(&mut self, id: &str) {
        let Some(entry) = self.directory.remove(id) else { return };
        if entry.is_local() {
            self.watchers.ended(id);
        }
        let unlisted = entry.unlisted();
        self.announce_end(id, |w| w.moderator || !unlisted);
        if let Residency::Unloading(_, waiters) | Residency::Loading(waiters) = entry.residency {
            waiters.into_iter().for_each(|waiter| waiter(Err(Missing::NotFound)));
        }
    }

    /// A session has been unloaded.
    pub(super) fn unloaded(&mut self, id: &str, rest: Suspended, ctx: &mut Context<Self>) {
        let Some(entry) = self.directory.find_mut(id) else { return };
        let residency = std::mem::replace(&mut entry.residency, Residency::Stored(Box::new(rest)));
        entry.amend(|description| description.user_count = 0);
        entry.share.set(entry.description.size);
        if let Residency::Unloading(_, waiters) | Residency::Loading(waiters) = residency {
            for waiter in waiters {
                self.with_session(id, waiter, ctx);
            }
        }
    }

    /// Ends expired sessions that are not loaded.
    pub(super) fn end_expired(&mut self, ctx: &mut Context<Self>) {
        let Some(session_dir) = self.parts.session_dir.clone() else { return };
        let (now, shared) = (Timestamp::now(), &self.rules.shared);
        let is_over = |entry: &&SessionEntry| {
            let d = &entry.description;
            let idle_override = d.idle_override.unwrap_or(false);
            matches!(&entry.residency, Residency::Stored(rest) if rest.is_over(d.persistent, idle_override, shared, now))
        };
        let over: Vec<String> =
            self.directory.entries().filter(is_over).map(|e| e.description.id.clone()).collect();
        let archive = self.rules.settings().archive;
        for id in over {
            tracing::info!("stored session {id} expired");
            self.unlist(&id, None, false, ctx);
            self.session_ended(&id);
            match self.parts.shared.clone() {
                None => self.remove_files(&session_dir, id, archive, ctx),
                Some(shared) => self.end_unowned(&session_dir, shared, id, ctx),
            }
        }
    }

    fn remove_files(
        &self,
        session_dir: &Arc<SessionDir>,
        id: String,
        archive: bool,
        ctx: &mut Context<Self>,
    ) {
        let (session_dir, name) = (session_dir.clone(), id.clone());
        let removing =
            self.parts.blocking_pool.run(Job::FileIo, move || session_dir.remove_unloaded(&name, archive));
        ctx.spawn(removing.into_actor(self).map(move |removed, _, _| {
            if let Some(Err(error)) = removed {
                tracing::error!("stored session {id}: {error}");
            }
        }));
    }

    /// A session has been empty for `sessionUnloadTime`: unloads it.
    pub(super) fn request_unload(&mut self, id: &str) {
        let Some(entry) = self.directory.find_mut(id) else { return };
        if let Residency::Active(address) = &entry.residency {
            let address = address.clone();
            address.tell(ToSession::Unload);
            entry.residency = Residency::Unloading(address, Vec::new());
        }
    }

    /// A session goes on: those who waited for it enter it.
    pub(super) fn unload_declined(&mut self, id: &str) {
        let Some(entry) = self.directory.find_mut(id) else { return };
        let Some(address) = entry.address().cloned() else { return };
        let residency = std::mem::replace(&mut entry.residency, Residency::Active(address.clone()));
        if let Residency::Unloading(_, waiters) = residency {
            waiters.into_iter().for_each(|waiter| waiter(Ok(&address)));
        }
    }
}
