//! Random schedules: servers that own sessions, take them over from one another and commit over a network that delays,
//! breaks connections and loses answers, to a database with the rules of the real one. What a client was shown must
//! never be missing afterwards.
//!
//! `DRAWHALL_SCHEDULES` is the number of schedules (2,000).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use super::{CommitOutcome, CommitQueue, FileChange, Transaction, read_copies};
use crate::storage::syncer::SyncFile;

const SERVERS: usize = 3;
const STEPS: usize = 160;
const SESSION: &str = "s";
const JOURNAL: &str = "s.session";

/// What is switched off, to see that the schedules find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    None,
    /// The database takes changes of any epoch.
    NoEpochs,
    /// The database takes changes over connections that were given up.
    NoConnections,
    /// Clients are shown what is not committed.
    ShownEarly,
}

/// xorshift64*: schedules are the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

fn file_name(generation: u64) -> String {
    format!("s_r{generation}.dprec")
}

/// Rows of a file by their start: epoch and content.
type Rows = BTreeMap<u64, (i64, Bytes)>;

/// The one session in the database.
#[derive(Debug, Default)]
struct Database {
    owner: usize,
    epoch: i64,
    /// The last connection of each server.
    connections: [u64; SERVERS],
    files: BTreeMap<String, Rows>,
    /// Messages that somebody was shown.
    shown: BTreeSet<u32>,
    /// Messages that were stored, and that a reset has dropped. Those of the owner before may be shown after that.
    dropped: BTreeSet<u32>,
}

impl Database {
    fn content(&self, file: &str) -> Result<Vec<u8>, String> {
        let (mut content, mut last) = (Vec::new(), 0);
        for (start, (epoch, bytes)) in self.files.get(file).into_iter().flatten() {
            if *start != content.len() as u64 {
                return Err(format!("{file} has a gap or overlap at {start}"));
            }
            if *epoch < last {
                return Err(format!("{file} has epoch {epoch} at {start}, after {last}"));
            }
            last = *epoch;
            content.extend_from_slice(bytes);
        }
        Ok(content)
    }

    /// The generation that the journal names.
    fn generation(&self) -> Result<u64, String> {
        let journal = self.content(JOURNAL)?;
        journal.first().map(|generation| u64::from(*generation)).ok_or_else(|| "no journal".to_owned())
    }

    fn check(&self) -> Result<(), String> {
        let stored: BTreeSet<u32> =
            messages(&self.content(&file_name(self.generation()?))?).into_iter().collect();
        match self.shown.iter().find(|message| !stored.contains(message) && !self.dropped.contains(message)) {
            None => Ok(()),
            Some(lost) => Err(format!("message {lost} was shown and is not stored")),
        }
    }

    /// Performs a transaction; `Ok(false)` if this server has lost the session.
    fn commit(
        &mut self,
        server: usize,
        connection: u64,
        transaction: &Transaction,
        sabotage: Sabotage,
    ) -> Result<Option<bool>, String> {
        if connection != self.connections[server] && sabotage != Sabotage::NoConnections {
            return Ok(None);
        }
        for session in transaction.iter() {
            let is_owner = self.owner == server && self.epoch == session.epoch;
            if !is_owner && sabotage != Sabotage::NoEpochs {
                return Ok(Some(false));
            }
            let before = self.generation()?;
            let (was_complete, content) = (self.check(), self.content(&file_name(before))?);
            for change in &session.changes {
                match change {
                    FileChange::Write { file, at, bytes } => {
                        self.files
                            .entry(file.clone())
                            .or_default()
                            .insert(*at, (session.epoch, bytes.clone()));
                    }
                    FileChange::Put { file, bytes } => {
                        self.files.insert(file.clone(), Rows::from([(0, (session.epoch, bytes.clone()))]));
                    }
                    FileChange::Remove { file } => drop(self.files.remove(file)),
                    FileChange::Begin { .. } | FileChange::Copy { .. } | FileChange::End => {}
                }
            }
            if self.generation()? != before {
                // Whoever resets knows what was shown.
                was_complete?;
                self.dropped.extend(messages(&content));
            }
        }
        Ok(Some(true))
    }
}

fn messages(content: &[u8]) -> Vec<u32> {
    content.chunks_exact(4).map(|m| u32::from_le_bytes(m.try_into().unwrap())).collect()
}

/// A transaction on its way, or its answer.
#[derive(Debug)]
enum OnTheWay {
    There(u64, Transaction),
    Back(u64, Option<bool>),
}

/// A server, as far as the one session goes.
#[derive(Debug, Default)]
struct Server {
    /// Its epoch, if it believes to own the session.
    epoch: Option<i64>,
    generation: u64,
    history: Vec<u8>,
    journal: Vec<u8>,
    /// What is not queued yet, and the messages in it.
    unqueued: (Vec<FileChange>, Vec<u32>),
    queue: CommitQueue<Vec<u32>>,
    is_waiting: bool,
    connection: u64,
    is_sent: bool,
    is_paused: bool,
}

struct Schedule {
    dice: Dice,
    sabotage: Sabotage,
    database: Database,
    servers: [Server; SERVERS],
    network: Vec<(usize, OnTheWay)>,
    next_message: u32,
    next_generation: u64,
}

impl Schedule {
    fn new(seed: u64, sabotage: Sabotage) -> Schedule {
        let mut database = Database { epoch: 1, ..Database::default() };
        database.files.insert(JOURNAL.to_owned(), Rows::from([(0, (1, Bytes::from_static(&[1])))]));
        let mut servers: [Server; SERVERS] = Default::default();
        servers[0] = Server { epoch: Some(1), generation: 1, journal: vec![1], ..Server::default() };
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Schedule {
            dice,
            sabotage,
            database,
            servers,
            network: Vec::new(),
            next_message: 1,
            next_generation: 2,
        }
    }

    fn run(mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
            self.database.check()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let server = self.dice.below(SERVERS as u64) as usize;
        match self.dice.below(20) {
            0..4 => self.draw(server),
            4 => self.reset(server),
            5..7 => self.rewrite_journal(server),
            7..11 => self.send(server),
            11..16 => self.deliver()?,
            16..18 => self.break_connection(server),
            18 => self.take_over(server)?,
            _ => self.servers[server].is_paused ^= true,
        }
        Ok(())
    }

    /// A client draws.
    fn draw(&mut self, at: usize) {
        let message = self.next_message;
        let server = &mut self.servers[at];
        if !server.is_active() {
            return;
        }
        self.next_message += 1;
        let bytes = message.to_le_bytes();
        server.append(&file_name(server.generation), server.history.len(), &bytes);
        server.history.extend_from_slice(&bytes);
        server.append(JOURNAL, server.journal.len(), b"j");
        server.journal.push(b'j');
        server.unqueued.1.push(message);
        if self.sabotage == Sabotage::ShownEarly {
            self.database.shown.insert(message);
        }
        self.servers[at].queue();
    }

    /// The history is replaced.
    fn reset(&mut self, at: usize) {
        let (generation, image) = (self.next_generation, self.next_message);
        let server = &mut self.servers[at];
        if !server.is_active() {
            return;
        }
        (self.next_generation, self.next_message) = (generation + 1, image + 1);
        let old = file_name(server.generation);
        (server.generation, server.history) = (generation, image.to_le_bytes().to_vec());
        server.journal = vec![generation as u8];
        let new = file_name(generation);
        server.unqueued.0.extend([
            FileChange::Remove { file: new.clone() },
            FileChange::Write { file: new, at: 0, bytes: Bytes::copy_from_slice(&server.history) },
            FileChange::Put { file: JOURNAL.to_owned(), bytes: Bytes::copy_from_slice(&server.journal) },
            FileChange::Remove { file: old },
        ]);
        // Of what was drawn before and is not queued yet, the reset has dropped everything.
        server.unqueued.1 = vec![image];
        server.queue();
    }

    fn rewrite_journal(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if server.is_active() {
            server.journal.truncate(1);
            let bytes = Bytes::copy_from_slice(&server.journal);
            server.unqueued.0.push(FileChange::Put { file: JOURNAL.to_owned(), bytes });
            server.queue();
        }
    }

    /// The server sends the transaction that it has to try, unless one is on its way.
    fn send(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if server.is_sent || server.is_paused {
            return;
        }
        if server.connection == 0 {
            self.database.connections[at] += 1;
            server.connection = self.database.connections[at];
        }
        if let Some(transaction) = server.queue.next_transaction() {
            server.is_sent = true;
            self.network.push((at, OnTheWay::There(server.connection, transaction)));
        }
    }

    /// Something arrives, in any order: a connection that was given up may still have something to deliver.
    fn deliver(&mut self) -> Result<(), String> {
        if self.network.is_empty() {
            return Ok(());
        }
        let number = self.dice.below(self.network.len() as u64) as usize;
        // What is late is very late, or others would hardly ever overtake it.
        let is_late = |(at, message): &(usize, OnTheWay)| match message {
            OnTheWay::There(connection, _) => *connection != self.servers[*at].connection,
            OnTheWay::Back(..) => false,
        };
        if is_late(&self.network[number]) && self.dice.below(16) > 0 {
            return Ok(());
        }
        match self.network.swap_remove(number) {
            (at, OnTheWay::There(connection, transaction)) => {
                let answer = self.database.commit(at, connection, &transaction, self.sabotage)?;
                self.network.push((at, OnTheWay::Back(connection, answer)));
            }
            (at, OnTheWay::Back(connection, answer)) => {
                let server = &mut self.servers[at];
                if connection != server.connection {
                    return Ok(());
                }
                server.is_sent = false;
                match answer {
                    None => server.connection = 0,
                    Some(is_owner) => {
                        let lost: HashSet<String> =
                            (!is_owner).then(|| SESSION.to_owned()).into_iter().collect();
                        for (shown, outcome) in server.queue.committed(&lost) {
                            if outcome == CommitOutcome::Committed {
                                self.database.shown.extend(shown);
                                server.is_waiting = false;
                                server.queue();
                            } else {
                                server.lose();
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The answer is lost, and perhaps the question; the server connects anew.
    fn break_connection(&mut self, at: usize) {
        let server = &mut self.servers[at];
        (server.connection, server.is_sent) = (0, false);
        let keeps = self.dice.below(4) > 0;
        self.network.retain(|(to, message)| *to != at || keeps && matches!(message, OnTheWay::There(..)));
    }

    /// A server takes the session over and reads it; whether the owner is alive is not asked, as that is only for speed.
    fn take_over(&mut self, at: usize) -> Result<(), String> {
        let server = &mut self.servers[at];
        if server.epoch.is_some() || server.is_paused || !server.queue.is_empty() {
            return Ok(());
        }
        self.database.epoch += 1;
        self.database.owner = at;
        let generation = self.database.generation()?;
        server.epoch = Some(self.database.epoch);
        server.generation = generation;
        server.history = self.database.content(&file_name(generation))?;
        server.journal = self.database.content(JOURNAL)?;
        Ok(())
    }
}

impl Server {
    fn is_active(&self) -> bool {
        self.epoch.is_some() && !self.is_paused
    }

    fn append(&mut self, file: &str, at: usize, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.unqueued.0.push(FileChange::Write { file: file.to_owned(), at: at as u64, bytes });
    }

    /// Queues what has come meanwhile, unless earlier changes wait for their outcome: sessions do so.
    fn queue(&mut self) {
        let (Some(epoch), false) = (self.epoch, self.is_waiting) else { return };
        let (changes, messages) = std::mem::take(&mut self.unqueued);
        if !changes.is_empty() {
            self.queue.push(SESSION.to_owned(), epoch, changes, messages);
            self.is_waiting = true;
        }
    }

    fn lose(&mut self) {
        self.epoch = None;
        self.unqueued = Default::default();
        self.is_waiting = false;
    }
}

fn first_violation(schedules: u64, sabotage: Sabotage) -> Option<(u64, String)> {
    let violation = |seed| Schedule::new(seed, sabotage).run().err().map(|error| (seed, error));
    (1..=schedules).find_map(violation)
}

#[test]
fn nothing_that_was_shown_is_lost_in_any_schedule() {
    let schedules = std::env::var("DRAWHALL_SCHEDULES").map_or(2_000, |number| number.parse().unwrap());
    assert_eq!(first_violation(schedules, Sabotage::None), None);
}

#[test]
fn the_schedules_find_what_is_switched_off() {
    for sabotage in [Sabotage::NoEpochs, Sabotage::NoConnections, Sabotage::ShownEarly] {
        assert!(first_violation(10_000, sabotage).is_some(), "{sabotage:?}");
    }
}

#[test]
fn changes_of_a_session_keep_their_order_and_large_ones_go_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| n as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let source = SyncFile::open(std::fs::OpenOptions::new().read(true), &path).unwrap();
    let copy = |len| FileChange::Copy { file: "h".into(), at: 0, len, source: source.clone() };
    let put = || FileChange::Put { file: "j".into(), bytes: Bytes::from_static(b"journal") };
    let mut queue = CommitQueue::default();
    queue.push("large".into(), 1, vec![copy(content.len() as u64), put()], 1);
    queue.push("large".into(), 1, vec![FileChange::End], 2);
    queue.push("small".into(), 1, vec![put()], 3);
    queue.push("short".into(), 1, vec![copy(content.len() as u64 + 1)], 4);
    let (mut told, mut written, mut journals) = (Vec::new(), Vec::new(), 0);
    loop {
        let Some(transaction) = queue.next_transaction() else { break };
        let again = queue.next_transaction().unwrap();
        assert!(std::sync::Arc::ptr_eq(&transaction, &again), "the same until its outcome is known");
        let transaction = match read_copies(&transaction) {
            Ok(transaction) => transaction,
            Err((session, _)) => {
                let given_up = queue.give_up(Some(&session));
                told.extend(given_up.into_iter().map(|(_, number)| (number, CommitOutcome::GivenUp)));
                continue;
            }
        };
        for change in transaction.iter().filter(|s| s.session == "large").flat_map(|s| &s.changes) {
            match change {
                FileChange::Write { at, bytes, .. } => {
                    assert_eq!((*at, journals), (written.len() as u64, 0));
                    assert!(bytes.len() <= 1 << 20);
                    written.extend_from_slice(bytes);
                }
                FileChange::Put { .. } => journals += 1,
                change => assert!(matches!(change, FileChange::End) && journals == 1, "{change:?}"),
            }
        }
        told.extend(queue.committed(&HashSet::new()));
    }
    assert!(written == content && queue.is_empty() && queue.held() == 0);
    told.sort_by_key(|(number, _)| *number);
    let outcomes: Vec<CommitOutcome> = told.into_iter().map(|(_, outcome)| outcome).collect();
    use CommitOutcome::{Committed, GivenUp};
    assert_eq!(outcomes, [Committed, Committed, Committed, GivenUp], "the file is shorter than that");
}

#[test]
fn who_waits_is_told_when_nothing_is_tried_any_more() {
    let mut queue = CommitQueue::default();
    let remove = || FileChange::Remove { file: "f".into() };
    queue.push("a".into(), 1, vec![remove()], 1);
    queue.push("b".into(), 1, vec![remove()], 2);
    queue.push("over".into(), 1, vec![FileChange::End], 3);
    assert!(queue.next_transaction().is_some());
    assert_eq!(queue.give_up(None), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let rest = queue.next_transaction().unwrap();
    assert!(rest.len() == 1 && rest[0].session == "over" && rest[0].ends(), "what has ended would come back");
    assert_eq!(queue.committed(&HashSet::new()), [(3, CommitOutcome::Committed)]);
    assert!(queue.is_empty());
}
