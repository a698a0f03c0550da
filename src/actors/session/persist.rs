//! Write-ahead persistence: what clients are sent is on disk first.
//!
//! Appending to open files takes microseconds and is done in place. All other work (fsync, new files, password
//! hashes) moves the files to the blocking pool; until they are back nothing is sent, and new effects queue up.

use std::time::Duration;

use actix::prelude::*;

use super::sending::PendingSends;
use super::shared::Written;
use super::{ClientOp, ConnId, Session};
use crate::actors::messages::ToServer;
use crate::blocking::Job;
use crate::rules::session::Refusal;
use crate::rules::session::input::Input;
use crate::rules::session::{Counted, WriteBatch};
use crate::rules::time::Timestamp;
use crate::storage::session_files::{SessionFiles, StorageError, WriteResult};
use crate::storage::shared::CommitOutcome;

/// Delay before the retry of a failed write.
const RETRY: Duration = Duration::from_secs(5);

impl Session {
    /// Logs if the files could not be released; `released` is `None` if that panicked.
    fn log_release(&self, released: Option<Result<(), StorageError>>) {
        let error = match released {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "releasing its files panicked; the next start cleans them up".to_owned(),
        };
        self.count(Counted::StorageError);
        tracing::error!("session {}: {error}", self.machine.id());
    }

    /// What must be written; the whole journal if it must be rewritten.
    pub(super) fn drain_writes(&mut self, store: &SessionFiles) -> WriteBatch {
        let mut work = self.machine.drain_writes();
        if store.wants_snapshot(&work) {
            self.machine.compact_journal(&mut work);
        }
        work
    }

    pub(super) fn store_here(
        &mut self,
        mut store: SessionFiles,
        work: WriteBatch,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let outcome = store.perform(work);
        self.store = Some(store);
        self.apply_write_result(outcome, now, ctx);
    }

    pub(super) fn store_elsewhere(&mut self, store: SessionFiles, work: WriteBatch, ctx: &mut Context<Self>) {
        let waiting = self.drain_outgoing();
        self.store_and_hold(store, work, waiting, ctx);
    }

    /// Writes on the blocking pool what must be on disk, and in the database if the session is shared, before `waiting`
    /// is sent.
    pub(super) fn store_and_hold(
        &mut self,
        mut store: SessionFiles,
        work: WriteBatch,
        waiting: PendingSends,
        ctx: &mut Context<Self>,
    ) {
        self.storing = true;
        let turn = if work.passwords.is_empty() { Job::FileIo } else { Job::HashPassword };
        let done = self.blocking_pool.run(turn, move || {
            let outcome = store.perform(work);
            (store, outcome)
        });
        let done = self.commit_after(done);
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            let now = Timestamp::now();
            let Some(Written { store, result: outcome, outcome: committed }) = done else {
                // The job panicked and the files are lost with it.
                session.storing = false;
                tracing::error!("session {}: storing failed", session.machine.id());
                return ctx.stop();
            };
            if committed != CommitOutcome::Committed {
                return session.lost(committed, ctx);
            }
            if store.is_shared() && store.exists() && outcome.error.is_some() {
                return session.hold(store, outcome, waiting, ctx);
            }
            session.storing = false;
            if std::mem::take(&mut session.is_held) {
                tracing::info!("session {}: it can be stored again", session.machine.id());
            }
            let refused = !store.exists();
            session.store = Some(store);
            if refused {
                return session.refuse_all(outcome, ctx);
            }
            session.apply_write_result(outcome, now, ctx);
            session.flush_outgoing(waiting);
            session.read_on();
            if session.retry_ms.is_some() && session.ending.is_some() {
                // Trying again at once would fail again, and a session that ends does not wait for a full disk.
                let waiting = session.drain_outgoing();
                session.flush_outgoing(waiting);
                return session.finish_if_over(ctx);
            }
            session.send(now, ctx);
        }));
    }

    /// Resumes clients that were paused while the files were away.
    fn read_on(&mut self) {
        for member in self.members.values_mut() {
            let cost = std::mem::take(&mut member.unstored);
            member.release(cost);
        }
    }

    /// The files of a new session cannot be created: its host is refused and the session ends.
    fn refuse_all(&mut self, outcome: WriteResult, ctx: &mut Context<Self>) {
        let error = outcome.error.map_or_else(String::new, |e| e.to_string());
        self.count(Counted::StorageError);
        tracing::error!("a session cannot be made: {error}");
        let mut conns: Vec<ConnId> = self.members.keys().copied().collect();
        conns.sort_unstable();
        let nobody = conns.is_empty();
        self.deliver(
            conns.into_iter().map(|conn| (conn, ClientOp::Refused(Refusal::cannot_store()))).collect(),
        );
        self.outgoing.clear();
        self.ended = true;
        if nobody {
            // The host may be about to enter; it is refused when it does.
            ctx.run_later(RETRY, |session, ctx| session.over(ctx));
        } else {
            self.over(ctx);
        }
    }

    fn apply_write_result(&mut self, outcome: WriteResult, now: Timestamp, ctx: &mut Context<Self>) {
        if let Some(stored) = outcome.stored {
            self.machine.history().stored(stored);
        }
        let mut effects = Vec::new();
        match (outcome.error, self.retry_ms) {
            (Some(error), None) => {
                effects = self.effects_of(Input::StoringFailed(error.to_string()), now);
                self.retry_later(now, ctx);
            }
            (Some(error), Some(_)) => {
                tracing::debug!("session {}: {error}", self.machine.id());
                self.retry_later(now, ctx);
            }
            (None, Some(_)) => {
                self.retry_ms = None;
                effects = self.effects_of(Input::StoringRecovered, now);
            }
            (None, None) => {}
        }
        self.interpret(effects, now, ctx);
    }

    fn retry_later(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        self.retry_ms = Some(now.monotonic_ms + RETRY.as_millis() as u64);
        ctx.run_later(RETRY, |session, ctx| {
            if !session.ended {
                session.send(Timestamp::now(), ctx);
            }
        });
    }

    /// Appends new history to the recording.
    pub(super) fn record(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        let to_record = self.machine.take_recording();
        if to_record.restart {
            let chunks = self.machine.history().chunks();
            recording.begin(self.machine.protocol(), chunks);
        } else if !to_record.bytes.is_empty() {
            recording.write(to_record.bytes);
        }
    }

    /// Releases the files of an ended session once nothing waits for them.
    pub(super) fn finish_if_over(&mut self, ctx: &mut Context<Self>) {
        let Some(ending) = self.ending.take() else { return };
        let Some(store) = self.store.take() else { return self.over(ctx) };
        self.end_shared(&store, ending);
        self.storing = true;
        let done = self.blocking_pool.run(Job::FileIo, move || store.finish(ending));
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            session.log_release(done);
            session.over(ctx);
        }));
    }

    fn over(&mut self, ctx: &mut Context<Self>) {
        self.recording = None;
        self.tell_end(None);
        ctx.stop();
    }

    /// Asks the server to unload the session if it has been empty for long enough. A recorded session stays loaded,
    /// as each load would begin a new recording.
    pub(super) fn request_unload(&self) {
        let due = self.machine.unload_at().is_some_and(|due| Timestamp::now().monotonic_ms >= due);
        let is_read = self.is_read() || self.renderer.is_available() && self.awaits_rendering();
        if due && self.retry_ms.is_none() && !self.storing && self.recording.is_none() && !is_read {
            self.server.tell(ToServer::RequestUnload { id: self.machine.id().to_owned() });
        }
    }

    /// The server sends no client to the session any more: unloads it.
    pub(super) fn unload(&mut self, ctx: &mut Context<Self>) {
        if self.ended {
            return;
        }
        let id = self.machine.id().to_owned();
        if !self.is_unused() {
            return self.server.tell(ToServer::UnloadDeclined { id });
        }
        let description = self.machine.description(false, Timestamp::now());
        self.server.tell(ToServer::SessionChanged { description, announce: false });
        let Some(mut store) = self.store.take() else { return self.unloaded(ctx) };
        if store.is_poisoned() {
            self.machine.history().renew();
        }
        let work = self.drain_writes(&store);
        self.storing = true;
        let done = self.blocking_pool.run(Job::FileIo, move || {
            let mut outcome = store.perform(work);
            if outcome.error.is_none() {
                outcome.error = store.sync().err();
            }
            (store, outcome)
        });
        let done = self.commit_after(done);
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            session.storing = false;
            let Some(Written { store, result: mut outcome, outcome: committed }) = done else {
                session.log_release(None);
                return session.unloaded(ctx);
            };
            if committed != CommitOutcome::Committed {
                return session.lost(committed, ctx);
            }
            if let Some(stored) = outcome.stored.take() {
                session.machine.history().stored(stored);
            }
            // Inputs may have come meanwhile. After an error, only what is in memory is known to be whole.
            let rest = session.drain_writes(&store);
            if outcome.error.is_none() && session.is_unused() && rest.is_empty() {
                drop(store);
                return session.unloaded(ctx);
            }
            session.server.tell(ToServer::UnloadDeclined { id });
            if store.is_shared() && outcome.error.is_some() {
                session.storing = true;
                let waiting = session.drain_outgoing();
                return session.hold(store, outcome, waiting, ctx);
            }
            let now = Timestamp::now();
            session.apply_write_result(outcome, now, ctx);
            session.store_elsewhere(store, rest, ctx);
        }));
    }

    /// Whether a program should run for it before it is unloaded.
    fn awaits_rendering(&self) -> bool {
        self.machine.awaits_thumbnail() || self.machine.awaits_compaction()
    }

    /// Whether somebody waits for what is made of the history.
    fn is_read(&self) -> bool {
        let is_rendered = self.compaction.is_some() || self.rendering.is_some();
        self.reading.is_some() || is_rendered || !self.following.is_empty()
    }

    /// Nobody is in the session, and nothing waits for it.
    pub(super) fn is_unused(&self) -> bool {
        let is_read = self.is_read();
        let is_empty = self.members.is_empty() && self.outgoing.is_empty() && !self.storing && !is_read;
        is_empty && !self.ended && self.machine.unload_at().is_some() && self.retry_ms.is_none()
    }

    fn unloaded(&mut self, ctx: &mut Context<Self>) {
        self.ended = true;
        self.recording = None;
        let rest = self.machine.rest();
        self.tell_end(Some(rest));
        ctx.stop();
    }

    /// Schedules the unload request of an empty session.
    pub(super) fn schedule_unload(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        // A timer that runs looks again when it ends.
        if self.unload_timer.is_some_and(|due| self.machine.unload_at().is_none_or(|later| due <= later)) {
            return;
        }
        if let Some(due) = self.machine.unload_at() {
            let wait = Duration::from_millis(due.saturating_sub(now.monotonic_ms));
            self.unload_timer = Some(due);
            ctx.run_later(wait, |session, ctx| {
                session.unload_timer = None;
                session.request_unload();
                let now = Timestamp::now();
                if session.machine.unload_at().is_some_and(|due| due > now.monotonic_ms) {
                    session.schedule_unload(now, ctx);
                }
            });
        }
    }
}
