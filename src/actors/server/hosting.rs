//! Hosting, and its limits: number of sessions per address and in all, and the total history limit.

use std::net::IpAddr;

use actix::prelude::*;

use super::{Server, new_session_id};
use crate::actors::messages::{HostSession, PendingEntry, SessionHandle, ToSession};
use crate::actors::session::{Session, SessionDeps};
use crate::rules::login::HostRefusal;
use crate::rules::network::widest;
use crate::rules::rng::Rng;
use crate::rules::session::SessionMachine;
use crate::rules::time::Timestamp;
use crate::storage::session_files::SessionFiles;
use crate::trace::Origin;

impl Server {
    /// Starts the actor of a session on the next worker.
    pub(super) fn start_session(
        &mut self,
        machine: SessionMachine,
        rng: Rng,
        store: Option<SessionFiles>,
        ctx: &mut Context<Self>,
    ) -> Option<SessionHandle> {
        let worker = self.next_worker()?;
        let parts = SessionDeps {
            rng,
            server: ctx.address().into(),
            blocking_pool: self.parts.blocking_pool.clone(),
            metrics: self.parts.metrics.clone(),
            store,
            shared: self.parts.shared.clone(),
            recording: self.parts.recorder.as_ref().map(|r| r.recording(machine.id(), machine.alias())),
            trace: self.parts.trace.clone(),
            events: self.parts.events.clone(),
            renderer: self.parts.renderer.clone(),
            records: self.parts.records.clone(),
            share: self.histories.share(),
            threads: self.workers.len(),
        };
        Some(Session::start_in_arbiter(&worker, move |_| Session::new(machine, parts)).into())
    }

    /// Whether a session may be hosted from this address; accounts that may always host can use `reservedSessions`.
    fn has_room_for(&self, address: Option<IpAddr>, always: bool) -> Result<(), HostRefusal> {
        let settings = self.rules.settings();
        let (count, limit) = (self.session_count(), settings.session_count_limit.0 as usize);
        let has_accounts = self.rules.has_accounts || self.rules.extauth().is_some();
        let percent = if always || !has_accounts { 0 } else { settings.reserved_sessions.0 as usize };
        if count >= limit.saturating_sub(limit * percent / 100) {
            return Err(HostRefusal::Full);
        }
        let most = settings.sessions_per_address.0 as usize;
        if most > 0 && address.is_some_and(|address| self.has_reached_limit(address, most)) {
            self.parts.metrics.limits_hit.count("sessionsPerAddress");
            return Err(HostRefusal::TooManyOfAddress);
        }
        if self.histories.is_full() {
            self.parts.metrics.limits_hit.count("totalHistoryLimit");
            return Err(HostRefusal::NoSpace);
        }
        if self.below_reserve {
            self.parts.metrics.limits_hit.count("diskSpaceReserve");
            return Err(HostRefusal::NoSpace);
        }
        Ok(())
    }

    /// Whether an address has reached `sessionsPerAddress`; an IPv6 /48 network, which one customer can have, has
    /// twice the limit.
    fn has_reached_limit(&self, address: IpAddr, most: usize) -> bool {
        let hosted_from = || self.directory.entries().filter_map(|e| e.hosted_from);
        hosted_from().filter(|other| *other == address).count() >= most
            || hosted_from().filter(|other| widest(*other) == widest(address)).count() >= 2 * most
    }

    /// Logs once when `totalHistoryLimit` is reached, and once when there is room again.
    pub(super) fn check_total_history_limit(&mut self) {
        let full = self.histories.is_full();
        if full == std::mem::replace(&mut self.full_logged, full) {
            return;
        }
        let used = self.histories.used();
        if full {
            tracing::warn!(
                "the histories of all sessions hold {used} bytes, as many as they may (totalHistoryLimit): there are \
                 no new sessions, and what is drawn is dropped, until some end or are reset"
            );
        } else {
            tracing::info!("there is space for histories again, they hold {used} bytes");
        }
    }
}

/// To the Server: whether the disk of the sessions has less than `diskSpaceReserve` left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BelowReserve(pub bool);

impl Handler<BelowReserve> for Server {
    type Result = ();

    fn handle(&mut self, BelowReserve(below): BelowReserve, _: &mut Self::Context) {
        self.parts.renderer.set_lacks_space(below);
        if std::mem::replace(&mut self.below_reserve, below) == below {
            return;
        }
        if below {
            tracing::error!(
                "the disk of the sessions is nearly full (diskSpaceReserve): no new sessions are hosted, \
                 and no pictures made"
            );
        } else {
            tracing::info!("the disk of the sessions has space again: new sessions are hosted");
        }
    }
}

impl Server {
    /// Starts a session for a client that hosts.
    pub(super) fn host(
        &mut self,
        request: HostSession,
        ctx: &mut Context<Self>,
    ) -> Result<SessionHandle, HostRefusal> {
        let HostSession { host, protocol, authenticated, client, in_flight_budget, place } = request;
        if self.refuses_sessions() {
            return Err(HostRefusal::Draining);
        }
        let hosted_from = place.filter(|_| !authenticated.may_always_host);
        self.has_room_for(hosted_from, authenticated.may_always_host)?;
        let id = new_session_id();
        let taken = !host.alias.is_empty() && self.is_taken(&host.alias);
        if taken || self.directory.find(&id).is_some() {
            return Err(HostRefusal::IdInUse);
        }
        if !protocol.is_hostable() {
            return Err(HostRefusal::BadProtocol);
        }
        let (now, founder) = (Timestamp::now(), authenticated.identity.name.clone());
        let (alias, shared) = (host.alias.clone(), self.rules.shared.clone());
        let origin = self.if_traced(|| Origin::Hosted {
            alias: alias.clone(),
            protocol: protocol.clone(),
            founder: founder.clone(),
        });
        let machine = SessionMachine::new(shared, id.clone(), alias, protocol, founder, now);
        let address = self.begin(machine, origin, hosted_from, now, ctx).ok_or(HostRefusal::Full)?;
        if let Some(dir) = &self.parts.session_dir {
            let account = &authenticated.identity.auth_id;
            let by_address = || place.map(|address| widest(address).to_string());
            let host = Some(account.clone()).filter(|account| !account.is_empty()).or_else(by_address);
            dir.set_host(&id, host.unwrap_or_default());
        }
        self.lobby.remove(authenticated.conn);
        let entry = PendingEntry::to_host(client, in_flight_budget);
        address.tell(ToSession::Host { client: authenticated, host, entry });
        Ok(address)
    }
}
