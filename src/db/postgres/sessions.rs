//! Sessions that several servers share, in the tables `drawhall_sessions` and `drawhall_session_data`.
//!
//! One connection commits, one transaction after the other, each with what all sessions of this server have meanwhile
//! (`sessions/commit.rs`). Others read and claim (`sessions/read.rs`).

mod commit;
mod read;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::blocking::{Background, block_on};
use super::client::PgClient;
use super::connect::Connector;
use super::{NO_ANSWER, STATEMENT_TIMEOUT};
use crate::metrics::Metrics;
use crate::rules::metadata::SessionSummary;
use crate::storage::shared::{
    CommitOutcome, CommitQueue, Committing, FileChange, OwnershipNews, SessionChanges, SharedError,
    SharedSessions, Transaction, read_copies,
};
use commit::Committer;

/// Delay before a transaction is tried again; it doubles with each failure in a row.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The longest of these delays.
const MAX_RETRY: Duration = Duration::from_secs(1);
/// How long changes are tried to be committed. Then clients had better look for another server.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Time that a server that stops waits for what is to be committed.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Sessions whose files are read or written at once.
const MAX_FILES: usize = 4;
/// Time for reading or writing the files of one session as a whole.
const FILES_TIMEOUT: Duration = Duration::from_secs(120);

type Queue = CommitQueue<oneshot::Sender<CommitOutcome>>;

/// What the committing task and those who wait for it share.
struct CommitState {
    /// This server, as its row in `drawhall_nodes` has it.
    owner: String,
    queue: Mutex<Queue>,
    wake: Notify,
    is_stopping: AtomicBool,
    metrics: Arc<Metrics>,
    /// Sessions that this server goes on with, as far as it knows, and their epochs. What else the database has as its
    /// own, and has nothing queued, is released. A session is here before the database has it.
    owned: Mutex<HashMap<String, i64>>,
    /// Sessions that are being claimed: neither is their former owner's claim a loss, nor are they to be released.
    claiming: Mutex<HashSet<String>>,
}

impl CommitState {
    fn count_uncommitted(&self) {
        self.metrics.uncommitted_bytes.set(self.queue.lock().held());
    }
}

/// Sessions in a PostgreSQL database.
pub(in crate::db) struct PgSessions {
    background: Background,
    connector: Arc<Connector>,
    state: Arc<CommitState>,
    /// For news of owners.
    reader: Mutex<Option<PgClient>>,
    /// For claims, which do not wait for news.
    claimer: Mutex<Option<PgClient>>,
    /// Sessions without an owner that this program does not understand, with their epochs.
    not_understood: Mutex<HashMap<String, i64>>,
    /// Limits the connections for whole sessions.
    files: Semaphore,
    committing: JoinHandle<()>,
}

impl fmt::Debug for PgSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgSessions").field("owner", &self.state.owner).finish_non_exhaustive()
    }
}

impl Drop for PgSessions {
    fn drop(&mut self) {
        self.committing.abort();
        // The tasks of a connection are on the thread in the background.
        self.background.enter(|| drop((self.reader.get_mut().take(), self.claimer.get_mut().take())));
    }
}

impl PgSessions {
    pub(super) fn start(
        background: Background,
        connector: Arc<Connector>,
        owner: &str,
        metrics: Arc<Metrics>,
    ) -> PgSessions {
        let state = Arc::new(CommitState {
            owner: owner.to_owned(),
            queue: Mutex::default(),
            wake: Notify::new(),
            is_stopping: AtomicBool::new(false),
            metrics,
            owned: Mutex::default(),
            claiming: Mutex::default(),
        });
        let committing = commit_all(state.clone(), connector.clone());
        let committing = background.enter(|| tokio::spawn(committing));
        PgSessions {
            background,
            connector,
            state,
            reader: Mutex::default(),
            claimer: Mutex::default(),
            not_understood: Mutex::default(),
            files: Semaphore::new(MAX_FILES),
            committing,
        }
    }

    /// Asks a short question, over a connection that stays open.
    fn ask<T>(
        &self,
        kept: &Mutex<Option<PgClient>>,
        question: impl AsyncFnOnce(&PgClient) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SharedError> {
        let mut kept = kept.lock();
        let answered = block_on(&self.background, async {
            let client = match kept.take().filter(|client| !client.client.is_closed()) {
                Some(client) => client,
                None => PgClient::connect(&self.connector, STATEMENT_TIMEOUT).await?,
            };
            let answer = tokio::time::timeout(STATEMENT_TIMEOUT, question(&client)).await;
            let answer = answer
                .map_err(|_| NO_ANSWER.to_owned())?
                .map_err(|error| super::connect::full_text(&error))?;
            *kept = Some(client);
            Ok(answer)
        });
        answered.map_err(SharedError::Database)
    }

    /// Does something with all files of a session, over a connection of its own.
    fn with_files<T>(
        &self,
        work: impl AsyncFnOnce(&PgClient) -> Result<T, SharedError>,
    ) -> Result<T, SharedError> {
        let working = async {
            let _permit = self.files.acquire().await.map_err(|_| SharedError::Database(NO_ANSWER.into()))?;
            let client = PgClient::connect(&self.connector, FILES_TIMEOUT).await;
            work(&client.map_err(SharedError::Database)?).await
        };
        let done = block_on(&self.background, async { tokio::time::timeout(FILES_TIMEOUT, working).await });
        done.map_err(|_| SharedError::Database(NO_ANSWER.into()))?
    }
}

impl From<tokio_postgres::Error> for SharedError {
    fn from(error: tokio_postgres::Error) -> SharedError {
        SharedError::Database(super::connect::full_text(&error))
    }
}

/// Why what a transaction copies is not read.
enum NotRead {
    /// A file of this session cannot be read.
    Session(String, std::io::Error),
    /// The task has panicked, or was cancelled.
    Failed(tokio::task::JoinError),
}

/// The transaction with the content of the files that it copies. Most have none.
async fn with_copies(transaction: Transaction) -> Result<Transaction, NotRead> {
    if !transaction.iter().any(SessionChanges::has_copies) {
        return Ok(transaction);
    }
    let read = tokio::task::spawn_blocking(move || read_copies(&transaction)).await;
    let read = read.map_err(NotRead::Failed)?;
    read.map(Transaction::new).map_err(|(session, error)| NotRead::Session(session, error))
}

/// Commits what is queued, until it is aborted.
async fn commit_all(state: Arc<CommitState>, connector: Arc<Connector>) {
    let mut committer: Option<Committer> = None;
    let (mut failures, mut failing_since) = (0_u32, None);
    loop {
        let next = state.queue.lock().next_transaction();
        let Some(transaction) = next else {
            state.wake.notified().await;
            continue;
        };
        let transaction = match with_copies(transaction).await {
            Ok(transaction) => transaction,
            Err(NotRead::Session(session, error)) => {
                tracing::error!("session {session}: its copy on this machine cannot be read: {error}");
                give_up(&state, Some(&session));
                continue;
            }
            Err(NotRead::Failed(error)) if error.is_panic() => {
                tracing::error!("reading copies of sessions has failed: {error}");
                give_up(&state, None);
                continue;
            }
            // The runtime ends.
            Err(NotRead::Failed(_)) => return,
        };
        let attempt = async {
            if committer.is_none() {
                committer = Some(Committer::connect(&connector, &state.owner).await?);
            }
            let Some(committer) = &committer else { return Err(NO_ANSWER.to_owned()) };
            committer.commit(&state.owner, &transaction).await
        };
        let begun = Instant::now();
        let attempted = tokio::time::timeout(STATEMENT_TIMEOUT, attempt).await;
        match attempted.unwrap_or_else(|_| Err(NO_ANSWER.to_owned())) {
            Ok(lost) => {
                failing_since = None;
                if std::mem::take(&mut failures) > 0 {
                    tracing::info!("commits to PostgreSQL work again");
                }
                // A session may have been claimed again meanwhile.
                let is_lost = |id: &String, epoch: &i64| {
                    let mut changes = transaction.iter().filter(|changes| lost.contains(&changes.session));
                    changes.any(|changes| changes.session == *id && changes.epoch == *epoch)
                };
                state.owned.lock().retain(|id, epoch| !is_lost(id, epoch));
                state.metrics.commits.record(begun.elapsed().as_millis() as u64);
                let told = state.queue.lock().committed(&lost);
                state.count_uncommitted();
                tell(told);
            }
            Err(error) => {
                committer = None;
                state.metrics.commit_errors.count();
                if failures == 0 {
                    tracing::error!(
                        "cannot commit to PostgreSQL: shared sessions show nothing new until it answers: {error}"
                    );
                }
                let since: Instant = *failing_since.get_or_insert(begun);
                if state.is_stopping.load(Ordering::Acquire) || since.elapsed() > GIVE_UP_AFTER {
                    give_up(&state, None);
                    failing_since = None;
                }
                let delay = FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(MAX_RETRY);
                failures += 1;
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// What is queued is not tried any more, of all sessions or of one: they end at this server.
fn give_up(state: &CommitState, only: Option<&str>) {
    let (sessions, waiting): (HashSet<String>, Vec<_>) = state.queue.lock().give_up(only).into_iter().unzip();
    if !sessions.is_empty() {
        tracing::error!("{} sessions that cannot be committed end at this server", sessions.len());
    }
    state.count_uncommitted();
    state.owned.lock().retain(|id, _| !sessions.contains(id));
    tell(waiting.into_iter().map(|waiting| (waiting, CommitOutcome::GivenUp)));
}

fn tell(answers: impl IntoIterator<Item = (oneshot::Sender<CommitOutcome>, CommitOutcome)>) {
    for (waiting, outcome) in answers {
        // A session whose actor is gone needs no answer.
        let _ = waiting.send(outcome);
    }
}

impl SharedSessions for PgSessions {
    fn commit(&self, id: &str, epoch: i64, changes: Vec<FileChange>) -> Committing {
        let (answer, outcome) = oneshot::channel();
        let ends = matches!(changes.last(), Some(FileChange::End));
        if !ends {
            self.state.owned.lock().insert(id.to_owned(), epoch);
        }
        self.state.queue.lock().push(id.to_owned(), epoch, changes, answer);
        if ends {
            self.state.owned.lock().remove(id);
        }
        self.state.count_uncommitted();
        self.state.wake.notify_one();
        Box::pin(async { outcome.await.unwrap_or(CommitOutcome::GivenUp) })
    }

    fn claim(&self, id: &str, from: Option<&str>) -> Result<i64, SharedError> {
        self.state.claiming.lock().insert(id.to_owned());
        let claimed =
            self.ask(&self.claimer, async |client| read::claim(client, id, &self.state.owner, from).await);
        let claimed = claimed.and_then(|claimed| claimed);
        match claimed {
            Ok(epoch) => drop(self.state.owned.lock().insert(id.to_owned(), epoch)),
            Err(_) => self.release(id),
        }
        self.state.claiming.lock().remove(id);
        claimed
    }

    fn release(&self, id: &str) {
        self.state.owned.lock().remove(id);
    }

    fn fetch(&self, id: &str, directory: &Path) -> Result<(), SharedError> {
        self.with_files(async |client| read::fetch(client, id, directory).await)
    }

    fn import(&self, session: &SessionSummary, files: &[(PathBuf, String)]) -> Result<(), SharedError> {
        self.with_files(async |client| read::import(client, session, files).await)
    }

    fn list(&self) -> Result<Vec<(String, Option<String>)>, SharedError> {
        self.ask(&self.reader, read::list)
    }

    fn news(&self, known: &HashMap<String, i64>) -> Result<OwnershipNews, SharedError> {
        let state = &self.state;
        let owned = state.owned.lock().clone();
        let ids: Vec<&str> = owned.keys().map(String::as_str).collect();
        // Asked after the database was.
        let is_kept = |id: &str| {
            state.claiming.lock().contains(id)
                || state.owned.lock().contains_key(id)
                || state.queue.lock().has(id)
        };
        let mut not_understood = self.not_understood.lock();
        let mut news = self.ask(&self.reader, async |client| {
            read::release(client, &state.owner, is_kept).await?;
            read::news(client, &state.owner, &ids, known, &mut not_understood).await
        })?;
        // What was claimed meanwhile is not lost: the database was asked before.
        let (claiming, mut now) = (state.claiming.lock(), state.owned.lock());
        news.lost.retain(|id| !claiming.contains(id) && now.get(id) == owned.get(id));
        now.retain(|id, _| !news.lost.contains(id));
        Ok(news)
    }

    fn stop_retrying(&self) {
        self.state.is_stopping.store(true, Ordering::Release);
    }

    fn wait_until_idle(&self) {
        let begun = Instant::now();
        // Who waits for this has nothing else to do.
        while !self.state.queue.lock().is_empty() && begun.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests;
