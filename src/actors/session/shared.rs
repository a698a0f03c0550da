//! Sessions that several servers share: what clients are sent is committed in the database first, and a session that
//! another server has taken over ends here.

use std::future::Future;
use std::time::Duration;

use actix::prelude::*;

use super::sending::PendingSends;
use super::{ClientOp, ConnId, Session};
use crate::actors::messages::ToServer;
use crate::rules::session::effects::ID_IN_USE;
use crate::rules::session::{Counted, DisconnectReason, FileDisposition, Refusal};
use crate::storage::session_files::{SessionFiles, WriteResult};
use crate::storage::shared::{CommitOutcome, FileChange};

/// Delay before files are written again that could not be.
const RETRY: Duration = Duration::from_secs(1);

/// What members are told whom the session leaves.
pub(super) const MOVED: &str = "Another server goes on with this session, please reconnect";

/// A batch that was written to the files, and committed if they are shared.
pub(super) struct Written {
    pub(super) store: SessionFiles,
    pub(super) result: WriteResult,
    pub(super) outcome: CommitOutcome,
}

impl Session {
    /// Commits what a job has changed in the files, if they are shared; `None` if it panicked.
    pub(super) fn commit_after<F: Future<Output = Option<(SessionFiles, WriteResult)>>>(
        &self,
        written: F,
    ) -> impl Future<Output = Option<Written>> + use<F> {
        let (shared, id) = (self.shared.clone(), self.machine.id().to_owned());
        async move {
            let (mut store, result) = written.await?;
            let outcome = match (shared, store.take_changes()) {
                (Some(shared), Some((epoch, changes))) => {
                    let committing = shared.commit(&id, epoch, changes);
                    // So that it is seen that tests notice it.
                    if cfg!(feature = "sabotage-early") { CommitOutcome::Committed } else { committing.await }
                }
                _ => CommitOutcome::Committed,
            };
            Some(Written { store, result, outcome })
        }
    }

    /// The files of a shared session could not be written: nothing is sent until they can be.
    pub(super) fn hold(
        &mut self,
        store: SessionFiles,
        result: WriteResult,
        waiting: PendingSends,
        ctx: &mut Context<Self>,
    ) {
        if let Some(stored) = result.stored {
            self.machine.history().stored(stored);
        }
        self.count(Counted::StorageError);
        if !std::mem::replace(&mut self.is_held, true) {
            let error = result.error.map_or_else(String::new, |error| error.to_string());
            tracing::error!(
                "session {}: nothing is shown until it can be stored: {error}",
                self.machine.id()
            );
        }
        if let Some(ending) = self.ending.take() {
            self.end_shared(&store, ending);
            return self.lost(CommitOutcome::GivenUp, ctx);
        }
        ctx.run_later(RETRY, move |session, ctx| {
            if store.is_poisoned() {
                session.machine.history().renew();
            }
            let work = session.drain_writes(&store);
            session.store_and_hold(store, work, waiting, ctx);
        });
    }

    /// This server does not have the session any more, or cannot store it: it ends here, and its clients are told.
    pub(super) fn lost(&mut self, outcome: CommitOutcome, ctx: &mut Context<Self>) {
        if self.ended && self.ending.is_none() {
            return;
        }
        let (why, message) = match outcome {
            CommitOutcome::Lost => {
                self.metrics.sessions_lost.count();
                ("another server has taken it over", MOVED)
            }
            CommitOutcome::Taken => {
                self.refuse_waiting(&Refusal::id_in_use());
                ("its alias is taken at another server", ID_IN_USE.1)
            }
            CommitOutcome::GivenUp | CommitOutcome::Committed => (
                "it cannot be stored",
                "The server cannot store this session any more, please reconnect, or try again later",
            ),
        };
        self.tell_handed_over(false);
        tracing::warn!("session {}: it ends here: {why}", self.machine.id());
        self.end_here(message, ctx);
    }

    fn refuse_waiting(&mut self, refusal: &Refusal) {
        let waiting = self.members.iter().filter(|(_, member)| member.entry.waits());
        let refused = waiting.map(|(conn, _)| (*conn, ClientOp::Refused(refusal.clone())));
        let refused = refused.collect();
        self.deliver(refused);
    }

    /// Ends the session at this server only; its members are told why.
    pub(super) fn end_here(&mut self, message: &str, ctx: &mut Context<Self>) {
        if let Some(shared) = &self.shared {
            shared.release(self.machine.id());
        }
        self.store = None;
        self.outgoing.clear();
        self.announce = false;
        let waits = |conn: &ConnId| self.members.get(conn).is_some_and(|member| member.entry.waits());
        let mut conns: Vec<ConnId> = self.members.keys().copied().filter(|conn| !waits(conn)).collect();
        conns.sort_unstable();
        let reason = DisconnectReason::Shutdown;
        let op = |conn| (conn, ClientOp::Disconnect { reason, message: message.to_owned() });
        self.deliver(conns.into_iter().map(op).collect());
        self.ended = true;
        self.ending = None;
        self.recording = None;
        self.end_told = true;
        self.tell_server(|id| ToServer::SessionMoved { id });
        ctx.stop();
    }

    /// Ends the session in the database, too, once its files are gone. Nobody waits for that.
    pub(super) fn end_shared(&self, store: &SessionFiles, ending: FileDisposition) {
        if let (Some(shared), Some(epoch)) = (&self.shared, store.shared_epoch())
            && ending != FileDisposition::Keep
        {
            drop(shared.commit(self.machine.id(), epoch, vec![FileChange::End]));
        }
    }
}
