//! What the API says about people.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::connected::Connected;
use super::super::person_bans;
use super::super::reports::Report;
use super::export::ActionAboutPerson;
use crate::db::people::{Note, Person, SeenRow};
use crate::db::{PersonBan, time_text};
use crate::rules::time::iso_of;

/// Names and addresses of one person that are listed.
const MAX_LISTED: usize = 20;

/// A connection of a person.
#[derive(Debug, Serialize, JsonSchema)]
struct Connection {
    /// Number of the connection.
    uid: String,
    /// User name.
    name: String,
    /// Address.
    ip: String,
    /// Session id, empty in none.
    session: String,
    /// Operator of the session.
    operator: bool,
    /// Moderator of the server.
    moderator: bool,
}

/// A ban in force.
#[derive(Debug, Serialize, JsonSchema)]
struct BannedUntil {
    /// Id of the ban.
    id: String,
    /// When it ends, UTC.
    expires: String,
}

/// A person in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PersonRecord")]
pub(super) struct PersonAnswer {
    /// Id; that of the newest device if there is one.
    id: String,
    /// Names, the newest first.
    names: Vec<String>,
    /// System ids, the newest first.
    devices: Vec<String>,
    /// Account ids.
    accounts: Vec<String>,
    /// Addresses, the newest first.
    addresses: Vec<String>,
    /// When they first came, ISO 8601; empty if that is not recorded.
    first_seen: String,
    /// When they last joined or left, ISO 8601; empty if that is not recorded.
    last_seen: String,
    /// Where they are now.
    connected: Vec<Connection>,
    /// Number of notes.
    note_count: usize,
    /// A ban in force.
    banned: Option<BannedUntil>,
}

/// A page of people.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PeopleList {
    pub(super) people: Vec<PersonAnswer>,
    /// There are more on the next page.
    pub(super) more: bool,
}

/// Visits of one session by one name from one address.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Visit {
    /// User name.
    name: String,
    /// Address.
    address: String,
    /// System id.
    device: String,
    /// Session id.
    session: String,
    /// Title of the session.
    title: String,
    /// When they first joined, ISO 8601.
    first: String,
    /// When they last joined or left, ISO 8601.
    last: String,
    /// How often they joined.
    visits: i64,
}

/// A note about a person.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Note")]
pub(super) struct NoteOfPerson {
    /// Id.
    id: i64,
    /// When, UTC.
    at: String,
    /// By whom.
    author: String,
    note: String,
}

/// A ban of a person.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BanOfPerson {
    /// Id of the ban.
    id: String,
    /// When it was made, UTC.
    created: String,
    /// When it ends, UTC.
    expires: String,
    in_force: bool,
    /// Who banned; empty if unknown.
    author: String,
    /// Told to the banned.
    reason: String,
    /// For moderators.
    note: String,
    /// Who ended it before its time.
    ended_by: Option<String>,
}

/// Somebody else at the same address.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OtherPerson {
    /// Id of the person.
    id: String,
    /// The newest name.
    name: String,
    /// The address that they share.
    address: String,
    /// ISO 8601.
    last_seen: String,
}

/// A person with everything that is known.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PersonDetails {
    #[serde(flatten)]
    pub(super) person: PersonAnswer,
    /// Where they were, the newest first.
    pub(super) visits: Vec<Visit>,
    /// Newest first.
    pub(super) notes: Vec<NoteOfPerson>,
    /// Newest first; those that are over included.
    pub(super) bans: Vec<BanOfPerson>,
    /// Reports about them and by them, newest first.
    pub(super) reports: Vec<Report>,
    /// What was done about them (kicks, bans, mutes, warnings), newest first, as long as events are kept; at most 100.
    pub(super) actions: Vec<ActionAboutPerson>,
    /// Others who were at the same addresses. They may be strangers.
    pub(super) shared_addresses: Vec<OtherPerson>,
}

/// Somebody who was here lately and would be hit by a ban.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct RecentPerson<T> {
    /// Names, the newest first.
    names: Vec<String>,
    /// System id; empty if it is unknown.
    pub(in crate::admin) device: String,
    /// ISO 8601.
    last_seen: String,
    /// By what.
    matches: Vec<T>,
}

/// Adds a text unless it is empty, there already, or one too many.
fn add(list: &mut Vec<String>, text: &str) {
    if !text.is_empty() && list.len() < MAX_LISTED && !list.iter().any(|one| one == text) {
        list.push(text.to_owned());
    }
}

impl PersonAnswer {
    pub(super) fn new<'a>(
        id: String,
        person: &Person,
        connected: impl Iterator<Item = &'a Connected>,
        banned: Option<&PersonBan>,
    ) -> PersonAnswer {
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        let connected: Vec<Connection> = connected.map(Connection::from).collect();
        for user in &connected {
            add(&mut names, &user.name);
            add(&mut addresses, &user.ip);
        }
        for row in &person.rows {
            add(&mut names, &row.name);
            add(&mut addresses, &row.address);
        }
        let first = person.rows.iter().map(|row| row.first_ms).min();
        let last = person.rows.iter().map(|row| row.last_ms).max();
        PersonAnswer {
            id,
            names,
            devices: person.devices.clone(),
            accounts: person.accounts.clone(),
            addresses,
            first_seen: first.map(iso_of).unwrap_or_default(),
            last_seen: last.map(iso_of).unwrap_or_default(),
            connected,
            note_count: person.notes.len(),
            banned: banned
                .map(|ban| BannedUntil { id: person_bans::id_of(ban.key), expires: ban.expires.clone() }),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.connected.is_empty()
    }
}

impl From<&Connected> for Connection {
    fn from(user: &Connected) -> Connection {
        Connection {
            uid: user.client.uid.clone(),
            name: user.client.name.clone(),
            ip: user.client.ip.clone(),
            session: user.session.clone(),
            operator: user.is_operator,
            moderator: user.client.moderator,
        }
    }
}

impl From<&SeenRow> for Visit {
    fn from(row: &SeenRow) -> Visit {
        Visit {
            name: row.name.clone(),
            address: row.address.clone(),
            device: row.device.clone(),
            session: row.session.clone(),
            title: row.title.clone(),
            first: iso_of(row.first_ms),
            last: iso_of(row.last_ms),
            visits: row.visits,
        }
    }
}

impl From<Note> for NoteOfPerson {
    fn from(note: Note) -> NoteOfPerson {
        let Note { id, at, author, note } = note;
        NoteOfPerson { id, at, author, note }
    }
}

impl BanOfPerson {
    pub(super) fn new(ban: PersonBan, utc_ms: i64) -> BanOfPerson {
        BanOfPerson {
            id: person_bans::id_of(ban.key),
            in_force: ban.is_in_force(&time_text(utc_ms)),
            created: ban.created,
            expires: ban.expires,
            author: ban.author,
            reason: ban.reason,
            note: ban.note,
            ended_by: ban.ended.map(|(_, by)| by),
        }
    }
}

impl OtherPerson {
    pub(super) fn new(id: String, row: &SeenRow) -> OtherPerson {
        let (name, address) = (row.name.clone(), row.address.clone());
        OtherPerson { id, name, address, last_seen: iso_of(row.last_ms) }
    }
}

impl<T: Copy + PartialEq> RecentPerson<T> {
    pub(super) fn new(row: &SeenRow) -> RecentPerson<T> {
        let device = row.device.clone();
        RecentPerson { names: Vec::new(), device, last_seen: iso_of(row.last_ms), matches: Vec::new() }
    }

    /// Adds what another row says. Rows come newest first.
    pub(super) fn add(&mut self, row: &SeenRow, matches: &[T]) {
        add(&mut self.names, &row.name);
        for one in matches {
            if !self.matches.contains(one) {
                self.matches.push(*one);
            }
        }
    }
}
