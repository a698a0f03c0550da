//! Changes on their way to the database: one transaction at a time, with what all sessions have meanwhile. No I/O.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::{CommitOutcome, FileChange};

/// Bytes of one session in a transaction, about: others shall not wait for a large one.
const MAX_SESSION_BYTES: u64 = 1 << 20;
/// Bytes of a transaction, about.
const MAX_BYTES: u64 = 8 << 20;
/// Sessions in a transaction at most.
const MAX_SESSIONS: usize = 1000;

/// Changes of one session in a transaction.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SessionChanges {
    pub session: String,
    pub epoch: i64,
    pub changes: Vec<FileChange>,
}

impl SessionChanges {
    /// Whether the session has ended.
    pub fn ends(&self) -> bool {
        matches!(self.changes.last(), Some(FileChange::End))
    }

    /// Whether something is to be copied from files.
    pub fn has_copies(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, FileChange::Copy { .. }))
    }
}

/// What is committed at once. Each session is in it once at most.
pub type Transaction = Arc<Vec<SessionChanges>>;

#[derive(Debug)]
struct Request<T> {
    session: String,
    epoch: i64,
    changes: VecDeque<FileChange>,
    /// Bytes in memory that it came with.
    held: u64,
    /// Its changes, or the first of them, are in the transaction under way.
    is_in_flight: bool,
    /// Who waits for the outcome.
    answer: T,
}

impl<T> Request<T> {
    /// Takes the first changes, as many as fit into a transaction.
    fn take(&mut self) -> SessionChanges {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        self.is_in_flight = true;
        while bytes < MAX_SESSION_BYTES
            && let Some(change) = self.changes.pop_front()
        {
            let (now, later) = change.split(MAX_SESSION_BYTES - bytes);
            bytes += now.len();
            changes.push(now);
            if let Some(later) = later {
                self.changes.push_front(later);
            }
        }
        SessionChanges { session: self.session.clone(), epoch: self.epoch, changes }
    }
}

/// The queue of changes that are not known to be committed.
///
/// **Invariants**
///
/// * At most one transaction is under way. While its outcome is unknown, the same one is tried again, which is harmless
///   if it was committed: its changes say what is at which place.
/// * The changes of a session are committed in the order in which they came.
/// * Whoever waits is told that its changes are committed only when all of them are.
#[derive(Debug)]
pub struct CommitQueue<T> {
    requests: VecDeque<Request<T>>,
    in_flight: Option<Transaction>,
    held: u64,
}

impl<T> Default for CommitQueue<T> {
    fn default() -> Self {
        CommitQueue { requests: VecDeque::new(), in_flight: None, held: 0 }
    }
}

impl<T> CommitQueue<T> {
    /// Adds changes of a session; `answer` is returned with their outcome.
    pub fn push(&mut self, session: String, epoch: i64, changes: Vec<FileChange>, answer: T) {
        let held = changes.iter().map(FileChange::held).sum();
        self.held += held;
        let changes = changes.into();
        self.requests.push_back(Request { session, epoch, changes, held, is_in_flight: false, answer });
    }

    /// Whether changes of this session are not known to be committed.
    pub fn has(&self, session: &str) -> bool {
        self.requests.iter().any(|request| request.session == session)
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes in memory that are not known to be committed.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The transaction to try now: the one whose outcome is unknown, or a new one; `None` if there is nothing to commit.
    pub fn next_transaction(&mut self) -> Option<Transaction> {
        if self.in_flight.is_some() {
            return self.in_flight.clone();
        }
        let (mut sessions, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for request in &mut self.requests {
            if bytes >= MAX_BYTES || sessions.len() >= MAX_SESSIONS {
                break;
            }
            // A later request of a session waits for the earlier one.
            if seen.insert(request.session.clone()) {
                let changes = request.take();
                bytes += changes.changes.iter().map(FileChange::len).sum::<u64>();
                sessions.push(changes);
            }
        }
        self.in_flight = (!sessions.is_empty()).then(|| Arc::new(sessions));
        self.in_flight.clone()
    }

    /// The transaction under way was committed, but for the changes of these sessions, which this server has lost. Returns
    /// who is to be told what.
    pub fn committed(&mut self, lost: &HashSet<String>) -> Vec<(T, CommitOutcome)> {
        let transaction = self.in_flight.take();
        let is_new = |session: &str| {
            let mut changes = transaction.iter().flat_map(|t| t.iter()).filter(|s| s.session == session);
            changes.any(|s| matches!(s.changes.first(), Some(FileChange::Begin { .. })))
        };
        let mut told = Vec::new();
        for mut request in std::mem::take(&mut self.requests) {
            let was_in_flight = std::mem::take(&mut request.is_in_flight);
            let outcome = match lost.contains(&request.session) {
                true if is_new(&request.session) => CommitOutcome::Taken,
                true => CommitOutcome::Lost,
                false => CommitOutcome::Committed,
            };
            if was_in_flight && (request.changes.is_empty() || outcome != CommitOutcome::Committed) {
                self.held -= request.held;
                told.push((request.answer, outcome));
            } else {
                self.requests.push_back(request);
            }
        }
        told
    }

    /// The transaction under way is not tried any more. Its changes are those that come next.
    fn take_back(&mut self) {
        let Some(transaction) = self.in_flight.take() else { return };
        for session in transaction.iter() {
            let is_its =
                |request: &&mut Request<T>| request.is_in_flight && request.session == session.session;
            if let Some(request) = self.requests.iter_mut().find(is_its) {
                request.is_in_flight = false;
                session.changes.iter().rev().for_each(|change| request.changes.push_front(change.clone()));
            }
        }
    }

    /// What is queued is not tried any more, of all sessions or of one; ends of sessions are, or they would come back.
    /// Returns everybody who waits, with the sessions.
    pub fn give_up(&mut self, only: Option<&str>) -> Vec<(String, T)> {
        self.take_back();
        let mut given_up = Vec::new();
        for request in std::mem::take(&mut self.requests) {
            let stays = only.is_some_and(|session| request.session != session)
                || matches!(request.changes.back(), Some(FileChange::End));
            if stays {
                self.requests.push_back(request);
            } else {
                self.held -= request.held;
                given_up.push((request.session, request.answer));
            }
        }
        given_up
    }
}
