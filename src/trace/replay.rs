//! Replays the recorded inputs of a trace on new state machines.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Record, digest};
use crate::config::Rules;
use crate::config::ServerSettings;
use crate::rules::login::{LoginMachine, LoginSource};
use crate::rules::rng::Rng;
use crate::rules::session::{ConnId, Cx, SessionMachine};
use crate::rules::time::Timestamp;
use crate::storage::session_dir::{LoadError, SessionDir, SessionDirError};
use crate::trace::Origin;

/// Result of a replay.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Sessions started.
    pub sessions: u64,
    /// Logins started.
    pub logins: u64,
    /// Inputs replayed.
    pub inputs: u64,
    /// Inputs skipped, because the start of their session or login is not in the trace.
    pub skipped: u64,
    /// Digests compared.
    pub compared: u64,
    /// Numbers of the lines whose digest differs from the replayed one.
    pub different: Vec<u64>,
}

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReplayError {
    #[error("cannot read the trace: {0}")]
    Io(#[from] io::Error),
    /// A line is not a record of a trace.
    #[error("line {line}: {source}")]
    Line {
        /// Line number, from 1.
        line: u64,
        source: serde_json::Error,
    },
    /// A directory for the files of a stored session cannot be used.
    #[error("line {line}: {source}")]
    SessionDir {
        /// Line number, from 1.
        line: u64,
        source: SessionDirError,
    },
    /// A stored session cannot be loaded.
    #[error("line {line}: {source}")]
    Load {
        /// Line number, from 1.
        line: u64,
        source: LoadError,
    },
}

/// Replays a trace. An incomplete last line, as a crash leaves it, ends the replay. A panic of the server happens
/// again here; `before` gets the number of each line first, so that the caller knows the line of a panic.
///
/// # Errors
/// When a line is malformed or its files cannot be restored.
pub fn run(trace: impl BufRead, mut before: impl FnMut(u64)) -> Result<Replayed, ReplayError> {
    let mut replayer = Replayer::default();
    for (line, text) in (1..).zip(trace.lines()) {
        let text = text?;
        let record = match serde_json::from_str(&text) {
            Ok(record) => record,
            Err(error) if error.is_eof() => break,
            Err(source) => return Err(ReplayError::Line { line, source }),
        };
        before(line);
        replayer.replay(line, record)?;
    }
    Ok(replayer.replayed)
}

#[derive(Default)]
struct Replayer {
    rules: HashMap<u64, Arc<Rules>>,
    sessions: BTreeMap<String, (SessionMachine, Rng)>,
    logins: HashMap<ConnId, (LoginMachine, LoginSource)>,
    /// Digests of replayed inputs by number, until the recorded digest follows.
    digests: HashMap<u64, String>,
    /// Directories of stored sessions; removed at the end.
    directories: Vec<TemporaryDir>,
    replayed: Replayed,
}

impl Replayer {
    fn replay(&mut self, line: u64, record: Record) -> Result<(), ReplayError> {
        match record {
            Record::Rules { number, rules } => {
                self.rules.insert(number, Arc::new(Rules::from_record(*rules)));
            }
            Record::Session { id, now, seed, stored, shared, beginning } => {
                let mut machine = self.start_session(line, &id, now, *shared, *beginning)?;
                if stored {
                    machine.store();
                }
                self.sessions.insert(id, (machine, Rng::from_seed(seed)));
                self.replayed.sessions += 1;
            }
            Record::Input { number, id, now, positions, input } => {
                let Some((machine, rng)) = self.sessions.get_mut(&id) else {
                    self.replayed.skipped += 1;
                    return Ok(());
                };
                let mut cx = Cx::new(now, rng);
                machine.set_reader_offsets(&positions);
                machine.handle(*input, &mut cx);
                let effects = cx.effects;
                self.digests.insert(number, digest::of_session(machine, &effects));
                self.replayed.inputs += 1;
            }
            Record::Login { arrival, rules } => {
                if let Some(rules) = self.rules.get(&rules) {
                    let (machine, _) = LoginMachine::new(rules.clone(), &arrival);
                    self.logins.insert(arrival.conn, (machine, LoginSource::new(&arrival)));
                    self.replayed.logins += 1;
                }
            }
            Record::LoginInput { number, conn, input } => {
                let Some((machine, source)) = self.logins.get_mut(&conn) else {
                    self.replayed.skipped += 1;
                    return Ok(());
                };
                let mut cx = source.cx();
                machine.handle(*input, &mut cx);
                self.digests.insert(number, digest::of_login(&cx.effects));
                self.replayed.inputs += 1;
            }
            Record::Output { number, digest } => {
                if let Some(own) = self.digests.remove(&number) {
                    self.replayed.compared += 1;
                    if own != digest {
                        self.replayed.different.push(line);
                    }
                }
            }
        }
        Ok(())
    }

    fn start_session(
        &mut self,
        line: u64,
        id: &str,
        now: Timestamp,
        shared: ServerSettings,
        beginning: Origin,
    ) -> Result<SessionMachine, ReplayError> {
        let mut rng = Rng::unseeded();
        let mut cx = Cx::new(now, &mut rng);
        match beginning {
            Origin::Hosted { alias, protocol, founder } => {
                Ok(SessionMachine::new(shared, id.to_owned(), alias, protocol, founder, now))
            }
            Origin::Made { template, messages, passwords } => {
                let id = id.to_owned();
                let mut machine = SessionMachine::from_template(shared, id, &template, messages, &mut cx);
                for (kind, password) in &passwords {
                    machine.set_password(*kind, password);
                }
                Ok(machine)
            }
            Origin::Loaded { rest, files } => {
                let directory = TemporaryDir::new()?;
                for file in &files {
                    file.write_to(&directory.0)?;
                }
                let opened = SessionDir::open(&directory.0, Duration::from_secs(3600));
                let opened = opened.map_err(|source| ReplayError::SessionDir { line, source })?;
                let loaded = opened.load(id).map_err(|source| ReplayError::Load { line, source })?;
                self.directories.push(directory);
                Ok(SessionMachine::restored(shared, loaded.session, Some(rest), &mut cx))
            }
        }
    }
}

/// A directory that is removed when dropped.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> io::Result<TemporaryDir> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("drawhall-replay-{}-{}-{number}", std::process::id(), Timestamp::now().utc_ms);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(TemporaryDir(path))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory for temporary files.
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}
