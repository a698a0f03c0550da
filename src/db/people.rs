//! Who was in which session, and what moderators have noted: the records, and the thread that writes them.
//!
//! A person is a device (system id) or an account, with everything that is linked to it: the accounts that were used on
//! the device, the devices of the account, and so on. Addresses link nobody, because strangers share them.

use std::time::Duration;

use super::{Database, DbError, time_text};
use crate::background::{BackgroundThread, Queue, QueueLimits};
use crate::rules::sighting::{ModerationRecord, Sighting};
use crate::rules::time::DAY_MS;

/// How long to collect a batch before it is written.
const BATCH_DELAY: Duration = Duration::from_millis(200);
/// Maximum number of records per transaction.
const BATCH: usize = 500;
/// What may wait to be written. What does not fit is not recorded.
const QUEUED: QueueLimits = QueueLimits { items: 10_000, bytes: 8 << 20 };

/// A row about somebody: one device, account, name, address and session together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SeenRow {
    pub device: String,
    pub account: String,
    pub name: String,
    pub address: String,
    /// Session id.
    pub session: String,
    /// Title of the session.
    pub title: String,
    /// When they first joined, milliseconds since 1970.
    pub first_ms: i64,
    /// When they last joined or left.
    pub last_ms: i64,
    /// How often they joined.
    pub visits: i64,
}

/// What identifies a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PersonKey {
    /// System id.
    Device(String),
    /// Account id.
    Account(String),
    /// A name from an address, of clients that have neither.
    Guest {
        /// Address.
        address: String,
        /// User name.
        name: String,
    },
}

impl SeenRow {
    /// The device and the account of a row, as far as it has them.
    pub fn keys(&self) -> impl Iterator<Item = PersonKey> {
        let device = (!self.device.is_empty()).then(|| PersonKey::Device(self.device.clone()));
        let account = (!self.account.is_empty()).then(|| PersonKey::Account(self.account.clone()));
        device.into_iter().chain(account)
    }
}

impl PersonKey {
    /// The key of a row: that of the device if there is one.
    pub fn of(row: &SeenRow) -> PersonKey {
        let guest = || PersonKey::Guest { address: row.address.clone(), name: row.name.clone() };
        row.keys().next().unwrap_or_else(guest)
    }
}

/// A note about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Note {
    pub id: i64,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub at: String,
    pub author: String,
    pub note: String,
}

/// A person: everything that is known of linked devices and accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// System ids, the newest first.
    pub devices: Vec<String>,
    /// Account ids.
    pub accounts: Vec<String>,
    /// Newest first, at most [`Database::MAX_ROWS_OF_PERSON`].
    pub rows: Vec<SeenRow>,
    /// Newest first.
    pub notes: Vec<Note>,
}

impl Person {
    /// Whether somebody with this system id and this account is the person. Empty ones are nobody's.
    pub fn has(&self, device: &str, account: &str) -> bool {
        let is_in = |one: &str, all: &[String]| !one.is_empty() && all.iter().any(|other| other == one);
        is_in(device, &self.devices) || is_in(account, &self.accounts)
    }

    /// The devices and accounts, each with the column that has them.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let devices = self.devices.iter().map(|device| ("device", device));
        devices.chain(self.accounts.iter().map(|account| ("account", account)))
    }

    /// The key of this person: of its newest row.
    pub fn key(&self) -> Option<PersonKey> {
        let device = self.devices.first().map(|device| PersonKey::Device(device.clone()));
        let account = self.accounts.first().map(|account| PersonKey::Account(account.clone()));
        device.or(account).or_else(|| self.rows.first().map(PersonKey::of))
    }
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct PeopleQuery {
    /// Part of a name as [`folded`](crate::rules::lookalike::folded); empty for none.
    pub folded: String,
    /// Beginning of an address, device or account; empty for none.
    pub prefix: String,
    /// Only rows that are not older than this, milliseconds since 1970: of who was not there like this before.
    pub since_ms: i64,
    /// Rows to look at, newest first.
    pub rows: i64,
}

/// What rows are to have, any of it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SeenQuery {
    /// Only of people who were there since this time, milliseconds since 1970.
    pub since_ms: i64,
    pub devices: Vec<String>,
    pub accounts: Vec<String>,
    /// User ids of an ext-auth server: what accounts have behind the last colon.
    pub users: Vec<String>,
    pub addresses: Vec<String>,
    /// Beginnings of addresses; an empty one is that of all.
    pub address_prefixes: Vec<String>,
}

/// People in a database engine.
pub(super) trait PeopleStore {
    fn record_sightings(&self, seen: &[Sighting], most: i64) -> Result<(), DbError>;
    fn find_seen(&self, query: &PeopleQuery) -> Result<Vec<SeenRow>, DbError>;
    fn person(&self, key: &PersonKey) -> Result<Person, DbError>;
    fn seen_at(&self, addresses: &[String], not: &Person) -> Result<Vec<SeenRow>, DbError>;
    fn seen_by(&self, query: &SeenQuery) -> Result<Vec<SeenRow>, DbError>;
    fn add_note(&self, key: &PersonKey, note: &Note) -> Result<Option<Note>, DbError>;
    fn remove_note(&self, id: i64) -> Result<bool, DbError>;
    fn erase_person(&self, key: &PersonKey) -> Result<usize, DbError>;
    fn purge_sightings(&self, before_ms: i64) -> Result<usize, DbError>;
}

impl Database {
    /// Maximum number of rows about people; the oldest make room.
    pub const MAX_SIGHTINGS: i64 = 100_000;
    /// The same in a database in memory.
    pub const MAX_SIGHTINGS_IN_MEMORY: i64 = 10_000;
    /// Maximum number of rows about one person that are read.
    pub const MAX_ROWS_OF_PERSON: usize = 500;
    /// Maximum number of rows that are read with one device, account or address range.
    pub const MAX_ROWS_SEEN: i64 = 5000;
    /// Maximum number of devices, and of accounts, that are linked into one person.
    pub const MAX_LINKED: usize = 50;
    /// Maximum number of names that are listed of one ban.
    pub const MAX_NAMES: usize = 20;
    /// Maximum number of notes about one device or account.
    pub const MAX_NOTES: usize = 200;

    /// Records who joined and left.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_sightings(&self, seen: &[Sighting]) -> Result<(), DbError> {
        let most = if self.is_in_memory() { Self::MAX_SIGHTINGS_IN_MEMORY } else { Self::MAX_SIGHTINGS };
        self.backend.record_sightings(seen, most)
    }

    /// Rows that fit, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_seen(&self, query: &PeopleQuery) -> Result<Vec<SeenRow>, DbError> {
        self.backend.find_seen(query)
    }

    /// The person with this device or account. It has no rows if nobody like that is known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn person(&self, key: &PersonKey) -> Result<Person, DbError> {
        self.backend.person(key)
    }

    /// The newest rows of others at the addresses of a person.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn others_at_addresses_of(&self, person: &Person) -> Result<Vec<SeenRow>, DbError> {
        let mut addresses: Vec<String> = person.rows.iter().map(|row| row.address.clone()).collect();
        addresses.sort();
        addresses.dedup();
        addresses.retain(|address| !address.is_empty());
        addresses.truncate(Self::MAX_LINKED);
        self.backend.seen_at(&addresses, person)
    }

    /// Rows with any of what is asked for, newest first; at most [`Database::MAX_ROWS_SEEN`] with each.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn seen_by(&self, query: &SeenQuery) -> Result<Vec<SeenRow>, DbError> {
        self.backend.seen_by(query)
    }

    /// The names that were seen on these devices, the newest first; at most [`Database::MAX_NAMES`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn names_on(&self, devices: &[String]) -> Result<Vec<String>, DbError> {
        let mut names: Vec<String> = Vec::new();
        for device in devices.iter().take(Self::MAX_LINKED) {
            for row in self.backend.person(&PersonKey::Device(device.clone()))?.rows {
                if names.len() < Self::MAX_NAMES && row.device == *device && !names.contains(&row.name) {
                    names.push(row.name);
                }
            }
        }
        Ok(names)
    }

    /// Adds a note about a person. `None` if there are too many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_note(
        &self,
        key: &PersonKey,
        author: &str,
        note: &str,
        utc_ms: i64,
    ) -> Result<Option<Note>, DbError> {
        let note = Note { id: 0, at: time_text(utc_ms), author: author.into(), note: note.into() };
        self.backend.add_note(key, &note)
    }

    /// Removes a note. Returns whether it existed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_note(&self, id: i64) -> Result<bool, DbError> {
        self.backend.remove_note(id)
    }

    /// Erases all rows and notes about a person. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn erase_person(&self, key: &PersonKey) -> Result<usize, DbError> {
        self.backend.erase_person(key)
    }

    /// Deletes rows about people who were not there for `days`. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn purge_sightings(&self, days: u32, utc_ms: i64) -> Result<usize, DbError> {
        self.backend.purge_sightings(utc_ms - i64::from(days) * DAY_MS)
    }
}

/// The queue for [`start_writer`].
pub fn record_queue() -> Queue<ModerationRecord> {
    Queue::new(QUEUED)
}

/// Starts the thread that writes what is queued; [`BackgroundThread::stop`] writes the rest.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_writer(
    queue: Queue<ModerationRecord>,
    database: Database,
) -> std::io::Result<BackgroundThread<ModerationRecord>> {
    BackgroundThread::start("people", queue, move |queue| {
        let mut has_failed = false;
        loop {
            let records = queue.pop_batch(BATCH_DELAY, BATCH);
            if records.is_empty() {
                return;
            }
            let mut seen = Vec::new();
            for record in records {
                match record {
                    ModerationRecord::Seen(sighting) => seen.push(*sighting),
                    ModerationRecord::Reported(report) => {
                        if let Err(error) = database.add_report(&report) {
                            tracing::warn!(%error, "cannot store an abuse report");
                        }
                    }
                }
            }
            if seen.is_empty() {
                continue;
            }
            match (database.record_sightings(&seen), has_failed) {
                (Err(error), false) => {
                    tracing::warn!(%error, "cannot record who was in a session; this is logged once");
                    has_failed = true;
                }
                (Ok(()), true) => {
                    tracing::info!("who is in a session is recorded again");
                    has_failed = false;
                }
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests;
