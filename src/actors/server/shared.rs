//! Sessions that several servers share. Those without an owner are in the directory as stored ones are; who asks for one
//! makes this server its owner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::reply::SessionDescription;

use super::Server;
use super::directory::{Residency, SessionEntry, Waiter};
use crate::actors::messages::ToSession;
use crate::blocking::Job;
use crate::db::nodes::Node;
use crate::rules::session::persistence::Suspended;
use crate::rules::time::Timestamp;
use crate::storage::session_dir::SessionDir;
use crate::storage::shared::{OwnershipNews, SharedSessions};

/// How often the database is asked for sessions without an owner.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Delay before a session is asked for again that another server has just taken over: it tells of it meanwhile.
const CLAIM_RETRY: Duration = Duration::from_millis(400);
/// Attempts to get at a session that another server has, of which it does not tell.
const MAX_CLAIMS: u8 = 10;

impl Server {
    /// Asks the database for sessions without an owner, from now on.
    pub(super) fn follow_ownership(&self, ctx: &mut Context<Self>) {
        if self.parts.shared.is_some() {
            self.ask_later(false, ctx);
        }
    }

    /// Asks after a while; `is_failing` if the last attempt has failed, which is logged once.
    fn ask_later(&self, is_failing: bool, ctx: &mut Context<Self>) {
        ctx.run_later(POLL_INTERVAL, move |server, ctx| server.ask_for_ownership(is_failing, ctx));
    }

    fn ask_for_ownership(&mut self, is_failing: bool, ctx: &mut Context<Self>) {
        let Some(shared) = self.parts.shared.clone() else { return };
        // What the directory does not have as such is told again: the last news of its server may have come late.
        let is_listed = |id: &str| self.directory.find(id).is_some_and(SessionEntry::is_unowned);
        let known = self.unowned.iter().filter(|(id, _)| is_listed(id));
        let known: HashMap<String, i64> = known.map(|(id, last)| (id.clone(), last.epoch)).collect();
        let asking = self.parts.blocking_pool.run(Job::FileIo, move || shared.news(&known));
        ctx.spawn(asking.into_actor(self).map(move |news, server, ctx| {
            let fails = match news {
                Some(Ok(news)) => {
                    if is_failing {
                        tracing::info!("sessions of servers that are gone are taken over again");
                    }
                    server.ownership(news, ctx);
                    false
                }
                Some(Err(error)) => {
                    if !is_failing {
                        tracing::warn!(
                            "sessions of servers that are gone are not taken over for now: {error}"
                        );
                    }
                    true
                }
                None => is_failing,
            };
            server.ask_later(fails, ctx);
        }));
    }

    fn ownership(&mut self, news: OwnershipNews, ctx: &mut Context<Self>) {
        let OwnershipNews { found, unowned, lost } = news;
        for id in lost {
            match self.directory.find(&id).map(|entry| &entry.residency) {
                Some(Residency::Active(session) | Residency::Unloading(session, _)) => {
                    session.tell(ToSession::Lost);
                }
                Some(Residency::Stored(_)) => self.session_ended(&id),
                Some(Residency::Loading(_) | Residency::Remote { .. }) | None => {}
            }
        }
        let is_gone = |id: &&String| !unowned.contains_key(*id);
        let gone: Vec<String> = self.unowned.keys().filter(is_gone).cloned().collect();
        self.unowned = unowned;
        for id in gone {
            let told = self.told_by_last_owner.remove(&id);
            if self.directory.find(&id).is_some_and(SessionEntry::is_unowned) {
                self.session_ended(&id);
                // Its server is back, unless a third one tells of it.
                if let Some((node, description)) = told {
                    self.remote_session(&node, description, ctx);
                }
            }
        }
        let now = Timestamp::now();
        for session in found {
            match self.directory.find(&session.id) {
                // Its server is gone.
                Some(SessionEntry { residency: Residency::Remote { node, .. }, description, .. }) => {
                    let told = (node.clone(), description.clone());
                    self.told_by_last_owner.insert(session.id.clone(), told);
                    self.remote_ended(&session.id);
                }
                Some(entry) if entry.is_unowned() => self.session_ended(&session.id),
                Some(SessionEntry { residency: Residency::Stored(_), .. })
                    if self.has_given_up(&session.id) =>
                {
                    self.session_ended(&session.id);
                }
                Some(_) => continue,
                None => {}
            }
            self.take_listed(&session, now);
            if let Some(entry) = self.directory.find(&session.id) {
                let description = entry.description.clone();
                self.announce_change(&description, false, ctx);
            }
        }
    }

    /// Gives up what is not loaded here, for other servers; returns these sessions. The directory has them as unowned
    /// when the database does.
    pub(super) fn give_up_stored(&self) -> HashSet<String> {
        let Some(shared) = &self.parts.shared else { return HashSet::new() };
        let is_own =
            |entry: &&SessionEntry| matches!(entry.residency, Residency::Stored(_)) && !entry.is_unowned();
        let own = self.directory.entries().filter(is_own).map(|entry| entry.description.id.clone());
        own.inspect(|id| shared.release(id)).collect()
    }

    /// Whether a session has no owner, although this server tells of it: it was the last one, and is late. What it tells
    /// counts again when it turns out to be the owner still.
    pub(super) fn is_told_late(&mut self, node: &Arc<Node>, description: &SessionDescription) -> bool {
        let id = &description.id;
        let is_late = self.directory.find(id).is_some_and(SessionEntry::is_unowned)
            && self.unowned.get(id).is_some_and(|last| last.incarnation == node.incarnation);
        if is_late {
            self.told_by_last_owner.insert(id.clone(), (node.clone(), description.clone()));
        }
        is_late
    }

    /// Another server was quicker: whoever waits for the session asks again, and finds it there.
    pub(super) fn owned_elsewhere(&mut self, id: &str, rest: Suspended, ctx: &mut Context<Self>) {
        let Some(entry) = self.directory.find_mut(id) else { return };
        entry.claims += 1;
        // The server that hands it over has been told that it is not taken.
        if entry.claims > MAX_CLAIMS || rest.has_staying() {
            return self.session_ended(id);
        }
        let residency = std::mem::replace(&mut entry.residency, Residency::Stored(Box::new(rest)));
        if let Residency::Loading(waiters) = residency {
            let id = id.to_owned();
            ctx.run_later(CLAIM_RETRY, move |server, ctx| {
                let ask_again = |waiter: Waiter| server.with_session(&id, waiter, ctx);
                waiters.into_iter().for_each(ask_again);
            });
        }
    }

    /// Ends a shared session that has expired.
    pub(super) fn end_unowned(
        &self,
        dir: &Arc<SessionDir>,
        shared: Arc<dyn SharedSessions>,
        id: String,
        ctx: &mut Context<Self>,
    ) {
        let (dir, name) = (dir.clone(), id.clone());
        let ending = self.parts.blocking_pool.run(Job::FileIo, move || dir.end_shared(&*shared, &name));
        ctx.spawn(ending.into_actor(self).map(move |ended, _, _| {
            if let Some(Err(error)) = ended {
                tracing::error!("session {id} has expired and cannot be ended: {error}");
            }
        }));
    }

    /// A session that another server has taken over, or that cannot be stored any more: it has ended here.
    pub(super) fn session_moved(&mut self, id: &str, ctx: &mut Context<Self>) {
        // The other server does not know of its listings.
        if self.stopping.is_none() {
            self.unlist(id, None, false, ctx);
        }
        self.session_ended(id);
        self.stopped_if_idle();
    }
}
