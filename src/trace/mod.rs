//! Input traces of a running server (`--trace-input FILE`), for reproducing bugs.
//!
//! Sessions and logins are deterministic state machines: their effects depend only on their inputs and times. A trace
//! holds these, one JSON object per line, each written before the machine gets it; after each input follows a digest
//! of its effects. [`replay`] feeds the inputs to new machines and compares the digests. A trace holds everything
//! that users send, including passwords, so only its owner may read the file.

mod digest;
mod origin;
pub mod replay;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::background::{BackgroundThread, Queue, QueueLimits};
use crate::config::Rules;
use crate::config::ServerSettings;
use crate::config::rules::RulesRecord;
use crate::rules::login::{Arrival, LoginEffect, LoginInput};
use crate::rules::rng::Rng;
use crate::rules::session::input::{Input, ReaderOffsets};
use crate::rules::session::{ConnId, Effect, SessionMachine};
use crate::rules::time::Timestamp;
pub use origin::Origin;

/// Lines that wait for the writer thread. With more, [`Trace`] blocks its callers (back-pressure).
const MAX_QUEUED: usize = 4096;

/// A line of a trace.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// Rules of the server, which logins refer to by number.
    Rules { number: u64, rules: Box<RulesRecord> },
    /// A session starts.
    Session {
        id: String,
        now: Timestamp,
        /// Seed of its random number generator.
        seed: [u8; 32],
        stored: bool,
        shared: Box<ServerSettings>,
        beginning: Box<Origin>,
    },
    /// Input of a session.
    Input { number: u64, id: String, now: Timestamp, positions: ReaderOffsets, input: Box<Input> },
    /// A login starts.
    Login { arrival: Arrival, rules: u64 },
    /// Input of a login.
    LoginInput { number: u64, conn: ConnId, input: Box<LoginInput> },
    /// Digest of the effects of the input with this number.
    Output { number: u64, digest: String },
}

#[derive(Debug)]
struct Inner {
    thread: BackgroundThread<String>,
    next_number: AtomicU64,
    /// Numbers of rules by address. Holding the rules keeps their addresses from being reused.
    rules: Mutex<HashMap<usize, (u64, Arc<Rules>)>>,
}

/// Handle for recording inputs.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

impl Trace {
    /// Starts a trace in a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists or cannot be created, or the writer thread cannot be started.
    pub fn begin(path: &Path) -> io::Result<Trace> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let queue = Queue::new(QueueLimits { items: MAX_QUEUED, bytes: usize::MAX });
        let thread = BackgroundThread::start("trace", queue, move |lines| {
            if let Err(error) = write(lines, file) {
                tracing::error!(%error, "the trace is aborted");
            }
        })?;
        Ok(Trace(Arc::new(Inner { thread, next_number: AtomicU64::new(1), rules: Mutex::default() })))
    }

    fn write(&self, record: &Record) {
        // Records always serialize. An error of `push` means that the writer has ended, after logging why.
        if let Ok(mut line) = serde_json::to_string(record) {
            line.push('\n');
            let bytes = line.len();
            let _ = self.0.thread.queue().push(line, bytes);
        }
    }

    /// Writes everything that is queued and ends the trace; blocks. Later inputs are not recorded.
    pub fn finish(&self) {
        self.0.thread.stop();
    }

    fn next_number(&self) -> u64 {
        self.0.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Records the start of a session.
    pub fn session(
        &self,
        machine: &SessionMachine,
        rng: &Rng,
        now: Timestamp,
        shared: &ServerSettings,
        beginning: Origin,
    ) {
        let Some(seed) = rng.seed() else { return };
        self.write(&Record::Session {
            id: machine.id().to_owned(),
            now,
            seed,
            stored: machine.is_stored(),
            shared: Box::new(shared.clone()),
            beginning: Box::new(beginning),
        });
    }

    /// Records an input of a session, before it is handled. Returns its number for [`Self::effects`].
    pub fn input(&self, id: &str, now: Timestamp, positions: ReaderOffsets, input: &Input) -> u64 {
        let number = self.next_number();
        let (id, input) = (id.to_owned(), Box::new(input.clone()));
        self.write(&Record::Input { number, id, now, positions, input });
        number
    }

    /// Records the effects of that input.
    pub fn effects(&self, number: u64, machine: &mut SessionMachine, effects: &[Effect]) {
        self.write(&Record::Output { number, digest: digest::of_session(machine, effects) });
    }

    /// Records the start of a login, and its rules unless they were recorded before.
    pub fn login(&self, arrival: Arrival, rules: &Arc<Rules>) {
        let address = Arc::as_ptr(rules) as usize;
        let mut known = self.0.rules.lock();
        let number = match known.get(&address) {
            Some((number, _)) => *number,
            None => {
                let number = self.next_number();
                self.write(&Record::Rules { number, rules: Box::new(rules.record()) });
                // Rules that only this map holds cannot be passed again: every reload creates new ones.
                known.retain(|_, (_, rules)| Arc::strong_count(rules) > 1);
                known.insert(address, (number, rules.clone()));
                number
            }
        };
        drop(known);
        self.write(&Record::Login { arrival, rules: number });
    }

    /// Records an input of a login, before it is handled. Returns its number for [`Self::login_effects`].
    pub fn login_input(&self, conn: ConnId, input: &LoginInput) -> u64 {
        let number = self.next_number();
        self.write(&Record::LoginInput { number, conn, input: Box::new(input.clone()) });
        number
    }

    /// Records the effects of that input.
    pub fn login_effects(&self, number: u64, effects: &[LoginEffect]) {
        self.write(&Record::Output { number, digest: digest::of_login(effects) });
    }
}

/// Writes lines as they arrive. Flushes whenever all that waited is written.
fn write(lines: &Queue<String>, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    loop {
        let batch = lines.pop_batch(Duration::ZERO, MAX_QUEUED);
        if batch.is_empty() {
            return Ok(());
        }
        batch.iter().try_for_each(|line| file.write_all(line.as_bytes()))?;
        file.flush()?;
    }
}
