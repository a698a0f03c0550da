//! Changes on their way to the database: one transaction at a time, with what all sessions have meanwhile. No I/O of its
//! own but reading what is copied from files.

use std::collections::{HashSet, VecDeque};
use std::io;
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

/// What is committed at once. Each session is in it once at most.
pub type Transaction = Arc<Vec<SessionChanges>>;

#[derive(Debug)]
struct Request<T> {
    session: String,
    epoch: i64,
    changes: VecDeque<FileChange>,
    /// Its changes, or the first of them, are in the transaction under way.
    is_in_flight: bool,
    /// What is to be copied cannot be read.
    is_unreadable: bool,
    /// Who waits for the outcome.
    answer: T,
}

impl<T> Request<T> {
    /// Takes the first changes, as many as fit into a transaction.
    fn take(&mut self) -> io::Result<Vec<FileChange>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        self.is_in_flight = true;
        while bytes < MAX_SESSION_BYTES
            && let Some(change) = self.changes.pop_front()
        {
            let (now, later) = change.split(MAX_SESSION_BYTES - bytes)?;
            bytes += now.len();
            taken.push(now);
            if let Some(later) = later {
                self.changes.push_front(later);
            }
        }
        Ok(taken)
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
}

impl<T> Default for CommitQueue<T> {
    fn default() -> Self {
        CommitQueue { requests: VecDeque::new(), in_flight: None }
    }
}

impl<T> CommitQueue<T> {
    /// Adds changes of a session; `answer` is returned with their outcome.
    pub fn push(&mut self, session: String, epoch: i64, changes: Vec<FileChange>, answer: T) {
        let changes = changes.into();
        self.requests.push_back(Request {
            session,
            epoch,
            changes,
            is_in_flight: false,
            is_unreadable: false,
            answer,
        });
    }

    /// Whether changes of this session are not known to be committed.
    pub fn has(&self, session: &str) -> bool {
        self.requests.iter().any(|request| request.session == session)
    }

    /// Number of requests whose outcome is unknown.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes in memory that are not known to be committed.
    pub fn held(&self) -> u64 {
        let queued = self.requests.iter().flat_map(|request| &request.changes);
        let in_flight = self.in_flight.iter().flat_map(|t| t.iter()).flat_map(|session| &session.changes);
        queued.chain(in_flight).map(FileChange::held).sum()
    }

    /// The transaction to try now: the one whose outcome is unknown, or a new one; `None` if there is nothing to commit.
    /// Also who is told that its changes are given up, because they cannot be read from the disk.
    pub fn next_transaction(&mut self) -> (Option<Transaction>, Vec<T>) {
        if self.in_flight.is_some() {
            return (self.in_flight.clone(), Vec::new());
        }
        let (mut sessions, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for request in &mut self.requests {
            if bytes >= MAX_BYTES || sessions.len() >= MAX_SESSIONS {
                break;
            }
            // A later request of a session waits for the earlier one.
            if !seen.insert(request.session.clone()) {
                continue;
            }
            match request.take() {
                Ok(changes) => {
                    bytes += changes.iter().map(FileChange::len).sum::<u64>();
                    let (session, epoch) = (request.session.clone(), request.epoch);
                    sessions.push(SessionChanges { session, epoch, changes });
                }
                Err(error) => {
                    tracing::error!("session {}: its files cannot be read: {error}", request.session);
                    request.is_unreadable = true;
                }
            }
        }
        let unreadable: VecDeque<Request<T>>;
        (unreadable, self.requests) =
            std::mem::take(&mut self.requests).into_iter().partition(|request| request.is_unreadable);
        let given_up = unreadable.into_iter().map(|request| request.answer).collect();
        if !sessions.is_empty() {
            self.in_flight = Some(Arc::new(sessions));
        }
        (self.in_flight.clone(), given_up)
    }

    /// The transaction under way was committed, but for the changes of these sessions, which this server has lost. Returns
    /// who is to be told what.
    pub fn committed(&mut self, lost: &HashSet<String>) -> Vec<(T, CommitOutcome)> {
        self.in_flight = None;
        let mut told = Vec::new();
        for mut request in std::mem::take(&mut self.requests) {
            let was_in_flight = std::mem::take(&mut request.is_in_flight);
            if was_in_flight && lost.contains(&request.session) {
                told.push((request.answer, CommitOutcome::Lost));
            } else if was_in_flight && request.changes.is_empty() {
                told.push((request.answer, CommitOutcome::Committed));
            } else {
                self.requests.push_back(request);
            }
        }
        told
    }

    /// Nothing is tried any more: returns everybody who waits, with the sessions.
    pub fn give_up(&mut self) -> Vec<(String, T)> {
        self.in_flight = None;
        std::mem::take(&mut self.requests)
            .into_iter()
            .map(|request| (request.session, request.answer))
            .collect()
    }
}
