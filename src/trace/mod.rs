//! Recorded inputs of a running server: `--trace-input FILE`, to reproduce what went wrong.
//!
//! Sessions and logins are machines: what they do depends on what happens to them and when, and on nothing else. A trace
//! holds that, one JSON object a line, written before the machine gets it; after each input follows a digest of the
//! effects. [`replay`] gives the same inputs to new machines and compares the digests. A trace holds everything that
//! people send, passwords too: only its owner may read it.

mod digest;
pub mod replay;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::client::login::{Arrival, LoginEffect, LoginInput};
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::config::rules::RulesRecord;
use crate::session::input::{Input, Origin, ReaderOffsets};
use crate::session::{ConnId, Effects, ServerSettings, SessionMachine};

/// Lines that wait for the file; whoever has more waits.
const MAX_WAITING: usize = 4096;

/// A line of a trace.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// Rules of the server, under a number.
    Rules { number: u64, rules: Box<RulesRecord> },
    /// A session begins.
    Session {
        id: String,
        now: Timestamp,
        /// Seed of its chance.
        seed: [u8; 32],
        stored: bool,
        shared: Box<ServerSettings>,
        beginning: Box<Origin>,
    },
    /// Something happens to a session.
    Input { number: u64, id: String, now: Timestamp, positions: ReaderOffsets, input: Box<Input> },
    /// A login begins.
    Login { arrival: Arrival, rules: u64 },
    /// Something happens to a login.
    LoginInput { number: u64, conn: ConnId, input: Box<LoginInput> },
    /// What came of an input.
    Output { number: u64, digest: String },
}

/// What the thread that writes is told.
enum Line {
    Text(String),
    /// It is to end, and say so.
    End(SyncSender<()>),
}

#[derive(Debug)]
struct Inner {
    lines: SyncSender<Line>,
    next: AtomicU64,
    /// Numbers of rules, by where they are. They are kept so that no others get to be there.
    rules: Mutex<HashMap<usize, (u64, Arc<Rules>)>>,
}

/// Where inputs are recorded.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

impl Trace {
    /// Begins a trace in a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists or cannot be made, or there is no thread to write it.
    pub fn begin(path: &Path) -> io::Result<Trace> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (lines, to_write) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("trace".into()).spawn(move || {
            if let Err(error) = write(&to_write, file) {
                tracing::error!(%error, "the trace is given up");
            }
        })?;
        Ok(Trace(Arc::new(Inner { lines, next: AtomicU64::new(1), rules: Mutex::default() })))
    }

    fn write(&self, record: &Record) {
        // Everything here can be JSON, and the file may be given up.
        if let Ok(mut line) = serde_json::to_string(record) {
            line.push('\n');
            let _ = self.0.lines.send(Line::Text(line));
        }
    }

    /// Writes what waits, and ends; blocks. What happens later is not recorded.
    pub fn finish(&self) {
        let (done, is_done) = sync_channel(1);
        if self.0.lines.send(Line::End(done)).is_ok() {
            // An error is that the thread has ended before.
            let _ = is_done.recv();
        }
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A session begins.
    pub fn session(
        &self,
        machine: &mut SessionMachine,
        now: Timestamp,
        shared: &ServerSettings,
        beginning: Origin,
    ) {
        let Some(seed) = machine.rng().seed() else { return };
        self.write(&Record::Session {
            id: machine.id().to_owned(),
            now,
            seed,
            stored: machine.is_stored(),
            shared: Box::new(shared.clone()),
            beginning: Box::new(beginning),
        });
    }

    /// Something is about to happen to a session. Returns the number to give with its effects.
    pub fn input(&self, id: &str, now: Timestamp, positions: ReaderOffsets, input: &Input) -> u64 {
        let number = self.number();
        let (id, input) = (id.to_owned(), Box::new(input.clone()));
        self.write(&Record::Input { number, id, now, positions, input });
        number
    }

    /// What has come of it.
    pub fn effects(&self, number: u64, machine: &mut SessionMachine, effects: &Effects) {
        self.write(&Record::Output { number, digest: digest::of_session(machine, effects) });
    }

    /// A login begins.
    pub fn login(&self, arrival: Arrival, rules: &Arc<Rules>) {
        let at = Arc::as_ptr(rules) as usize;
        let mut known = self.0.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match known.get(&at) {
            Some((number, _)) => *number,
            None => {
                let number = self.number();
                self.write(&Record::Rules { number, rules: Box::new(rules.record()) });
                // Those that nobody has any more will not be met again.
                known.retain(|_, (_, rules)| Arc::strong_count(rules) > 1);
                known.insert(at, (number, rules.clone()));
                number
            }
        };
        drop(known);
        self.write(&Record::Login { arrival, rules: number });
    }

    /// Something is about to happen to a login. Returns the number to give with its effects.
    pub fn login_input(&self, conn: ConnId, input: &LoginInput) -> u64 {
        let number = self.number();
        self.write(&Record::LoginInput { number, conn, input: Box::new(input.clone()) });
        number
    }

    /// What has come of it.
    pub fn login_effects(&self, number: u64, effects: &[LoginEffect]) {
        self.write(&Record::Output { number, digest: digest::of_login(effects) });
    }
}

/// Writes lines as they come; what is there is in the file when nothing more waits.
fn write(lines: &Receiver<Line>, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    loop {
        let line = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Disconnected) => return file.flush(),
            Err(TryRecvError::Empty) => {
                file.flush()?;
                match lines.recv() {
                    Ok(line) => line,
                    Err(_) => return Ok(()),
                }
            }
        };
        match line {
            Line::Text(text) => file.write_all(text.as_bytes())?,
            Line::End(done) => {
                file.flush()?;
                // Whoever waits may have gone.
                let _ = done.send(());
                return Ok(());
            }
        }
    }
}

/// Bytes as base64 in JSON.
pub(crate) mod base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
