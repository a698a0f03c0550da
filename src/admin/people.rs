//! Endpoints `people`: who is connected or was lately, by person instead of by connection; and notes about them.

mod answer;
mod export;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::connected::{Connected, ext_auth_id};
use super::endpoint::{Api, Call, Done, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::reports::Report;
use super::request::audit_sentence;
use super::value::{Number, Text, parsed, time_of};
use super::{AdminState, query_db};
use crate::db::people::{PeopleQuery, Person, PersonKey, SeenQuery, SeenRow};
use crate::db::{BanKind, Database, PersonBan, time_text};
use crate::log::Topic;
use crate::rules::lookalike::folded;
use crate::rules::time::Timestamp;
use answer::{BanOfPerson, NoteOfPerson, OtherPerson, PeopleList, PersonAnswer, PersonDetails};

pub(super) use answer::RecentPerson;

/// People per page.
const PAGE: usize = 50;
/// People of one answer that has only those who are new.
const NEW_PAGE: usize = 250;
/// Rows that a search looks at, newest first.
const MAX_ROWS: i64 = 5000;
/// Maximum length of a search in characters.
const MAX_SEARCH: usize = 100;
/// Maximum length of a note in characters.
const MAX_NOTE: usize = 2000;
/// Reports about or by a person that are shown.
const MAX_REPORTS: i64 = 50;
/// Others at the addresses of a person that are shown.
const MAX_OTHERS: usize = 20;

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "people",
        "People who were here in the last days (setting peopleDays), 50 a page: connected ones first, then the newest. \
         Searches by part of any name they had, look-alikes included, or the beginning of an address, device or \
         account.",
        AdminState::people_list,
    );
    api.get(
        "people/{person}",
        "A person: names, devices, accounts, where they were, notes, bans, what was done about them.",
        AdminState::person_details,
    );
    api.get(
        "people/{person}/export",
        "What is stored about a person, for somebody who asks what is known of them: visits, notes, bans, reports, chat \
         and events.",
        AdminState::export_person,
    );
    api.post(
        "people/{person}/notes",
        "Adds a note about a person, for moderators.",
        AdminState::add_person_note,
    );
    api.delete("people/{person}/notes/{note}", "Removes a note.", AdminState::remove_person_note);
    api.delete(
        "people/{person}",
        "Erases visits and notes of a person. Chat and events are erased by DELETE timeline; reports stay for their time.",
        AdminState::erase_person,
    );
}

/// Which people.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Search {
    /// Part of a name, or the beginning of an address, device or account; at most 100 characters.
    search: Text,
    /// Only those who were here for the first time since this time, ISO 8601 with a time zone; then there are 250 a page.
    #[schemars(with = "String", extend("anyOf" = [{"format": "date-time"}, {"const": ""}]))]
    since: Text,
    /// Which page, from 0.
    page: Number<0, 20>,
}

/// The path of a person.
#[derive(Debug, Deserialize, JsonSchema)]
struct PersonPath {
    /// Id of the person, such as device:0123456789abcdef0123456789abcdef.
    person: String,
}

/// The path of a note.
#[derive(Debug, Deserialize, JsonSchema)]
struct NotePath {
    /// Id of the person.
    #[allow(dead_code, reason = "a part of the path; notes have ids of their own")]
    person: String,
    /// Id of the note.
    #[serde(deserialize_with = "parsed")]
    note: i64,
}

/// A note.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["note"]))]
struct NewNote {
    /// For moderators; at most 2,000 characters.
    #[schemars(with = "String", length(min = 1, max = 2000))]
    note: Text,
}

/// The id of a person in the API.
fn id_of(key: &PersonKey) -> String {
    match key {
        PersonKey::Device(device) => format!("device:{device}"),
        PersonKey::Account(account) => format!("account:{account}"),
        PersonKey::Guest { address, name } => format!("guest:{address};{name}"),
    }
}

/// The person with this id.
fn key_of(id: &str) -> Result<PersonKey, ApiError> {
    match id.split_once(':') {
        Some(("device", device)) if !device.is_empty() => Ok(PersonKey::Device(device.to_owned())),
        Some(("account", account)) if !account.is_empty() => Ok(PersonKey::Account(account.to_owned())),
        Some(("guest", guest)) => {
            let named = guest.split_once(';').filter(|(_, name)| !name.is_empty());
            let (address, name) = named.ok_or_else(not_found)?;
            Ok(PersonKey::Guest { address: address.to_owned(), name: name.to_owned() })
        }
        _ => Err(not_found()),
    }
}

/// Whether a connection is one of a person.
fn is_of(user: &Connected, person: &Person) -> bool {
    let (sid, auth_id) = (&user.client.sid, &user.client.auth_id);
    person.has(sid, auth_id)
        || (sid.is_empty()
            && auth_id.is_empty()
            && person.rows.iter().any(|row| row.name == user.client.name && row.address == user.client.ip))
}

/// Whether a ban is of a device or account of a person, or of exactly one of their addresses.
fn is_banned_by(person: &Person, ban: &PersonBan) -> bool {
    ban.parts.iter().any(|part| match part.kind {
        BanKind::System => person.devices.contains(&part.subject),
        BanKind::User => {
            person.accounts.iter().any(|account| ext_auth_id(account) == Some(part.subject.as_str()))
        }
        BanKind::Account => person.accounts.contains(&part.subject),
        BanKind::Address => part.subnet == 0 && person.rows.iter().any(|row| row.address == part.subject),
    })
}

/// Those bans that are in force.
fn in_force(bans: &[PersonBan], utc_ms: i64) -> Vec<PersonBan> {
    let now = time_text(utc_ms);
    bans.iter().filter(|ban| ban.is_in_force(&now)).cloned().collect()
}

/// The persons of these rows who were never seen before a time (milliseconds since 1970), in the order of the rows, each
/// once.
fn persons_of(
    database: &Database,
    rows: &[SeenRow],
    since_ms: i64,
    skip: usize,
    count: usize,
) -> Result<(Vec<Person>, bool), crate::db::DbError> {
    let (mut known, mut found, mut seen): (HashSet<PersonKey>, Vec<Person>, usize) = Default::default();
    for row in rows {
        let mut keys: Vec<PersonKey> = row.keys().collect();
        if keys.is_empty() {
            keys.push(PersonKey::of(row));
        }
        if keys.iter().any(|key| known.contains(key)) {
            known.extend(keys);
            continue;
        }
        if found.len() >= count {
            return Ok((found, true));
        }
        let person = database.person(&keys[0])?;
        known.extend(person.devices.iter().cloned().map(PersonKey::Device));
        known.extend(person.accounts.iter().cloned().map(PersonKey::Account));
        known.extend(keys);
        if person.rows.iter().any(|row| row.first_ms < since_ms) {
            continue;
        }
        seen += 1;
        if seen > skip {
            found.push(person);
        }
    }
    Ok((found, false))
}

impl AdminState {
    async fn people_list(self: Arc<Self>, call: Call<Nothing, Search>) -> Result<Json<PeopleList>, ApiError> {
        let search = call.query.search.at_most("search", MAX_SEARCH)?;
        let page = call.query.page.get_as::<usize>("page")?.unwrap_or(0);
        let since = call.query.since;
        let (since_ms, count) =
            if since.is_empty() { (0, PAGE) } else { (time_of("since", &since)?, NEW_PAGE) };
        let query = PeopleQuery { folded: folded(&search), prefix: search, since_ms, rows: MAX_ROWS };
        let found = query_db(&self.log, move |db| {
            let rows = db.find_seen(&query)?;
            persons_of(db, &rows, since_ms, page * count, count)
        });
        let (persons, more) = found.await?;
        let (connected, bans) = (self.connected().await?, self.bans_in_force().await?);
        let mut people: Vec<PersonAnswer> =
            persons.iter().map(|person| summary(person, &connected, &bans)).collect();
        people.sort_by_key(|person| !person.is_connected());
        Ok(Json(PeopleList { people, more }))
    }

    /// Bans in force; none without a configuration database.
    async fn bans_in_force(&self) -> Result<Vec<PersonBan>, ApiError> {
        Ok(in_force(&self.bans_ever().await?, Timestamp::now().utc_ms))
    }

    async fn bans_ever(&self) -> Result<Vec<PersonBan>, ApiError> {
        match &self.database {
            Some(database) => query_db(database, Database::person_bans).await,
            None => Ok(Vec::new()),
        }
    }

    /// A person who is known by a record, a note or a connection; 404 otherwise.
    async fn known_person(&self, key: &PersonKey) -> Result<(Person, Vec<Connected>), ApiError> {
        let wanted = key.clone();
        let person = query_db(&self.log, move |db| db.person(&wanted)).await?;
        let mut connected = self.connected().await?;
        connected.retain(|user| is_of(user, &person));
        if person.rows.is_empty() && person.notes.is_empty() && connected.is_empty() {
            return Err(not_found());
        }
        Ok((person, connected))
    }

    async fn person_details(
        self: Arc<Self>,
        call: Call<PersonPath>,
    ) -> Result<Json<PersonDetails>, ApiError> {
        let key = key_of(&call.path.person)?;
        let (person, connected) = self.known_person(&key).await?;
        let actions = self.actions_about(&key, &person).await?;
        let bans = self.bans_ever().await?;
        let asked = person.clone();
        let others = query_db(&self.log, move |db| db.others_at_addresses_of(&asked)).await?;
        let asked = person.clone();
        let reports = query_db(&self.log, move |db| db.reports_with(&asked, MAX_REPORTS)).await?;
        let now = Timestamp::now().utc_ms;
        let in_force = in_force(&bans, now);
        let of_person = bans.into_iter().filter(|ban| is_banned_by(&person, ban));
        Ok(Json(PersonDetails {
            bans: of_person.map(|ban| BanOfPerson::new(ban, now)).collect(),
            reports: reports.into_iter().map(Report::from).collect(),
            actions,
            shared_addresses: others_of(&others),
            visits: person.rows.iter().map(Into::into).collect(),
            notes: person.notes.iter().cloned().map(NoteOfPerson::from).collect(),
            person: summary(&person, &connected, &in_force),
        }))
    }

    async fn add_person_note(
        self: Arc<Self>,
        call: Call<PersonPath, Nothing, NewNote>,
    ) -> Result<Json<NoteOfPerson>, ApiError> {
        let key = key_of(&call.path.person)?;
        if matches!(key, PersonKey::Guest { .. }) {
            return Err(bad("Notes are about devices and accounts, and this person has neither"));
        }
        let note = call.body.note.trim().to_owned();
        if note.is_empty() || note.chars().count() > MAX_NOTE {
            return Err(bad(format!("note: 1 to {MAX_NOTE} characters")));
        }
        let (person, _) = self.known_person(&key).await?;
        let (author, now) = (call.who.author().to_owned(), Timestamp::now().utc_ms);
        let added = query_db(&self.log, move |db| db.add_note(&key, &author, &note, now)).await?;
        let added = added.ok_or_else(|| bad("There are too many notes about this person"))?;
        let text = format!("{} made a note about {}", call.who.author(), name_of(&person));
        audit_sentence(Topic::Status, &text);
        Ok(Json(added.into()))
    }

    async fn remove_person_note(self: Arc<Self>, call: Call<NotePath>) -> Result<Json<Done>, ApiError> {
        let id = call.path.note;
        if !query_db(&self.log, move |db| db.remove_note(id)).await? {
            return Err(not_found());
        }
        Ok(Done::deleted(id))
    }

    async fn erase_person(self: Arc<Self>, call: Call<PersonPath>) -> Result<Json<Done>, ApiError> {
        let key = key_of(&call.path.person)?;
        if query_db(&self.log, move |db| db.erase_person(&key)).await? == 0 {
            return Err(not_found());
        }
        Ok(Done::ok())
    }

    /// People whom a ban would have hit, by a function that says by what it hits a row.
    pub(super) async fn people_hit<T: Copy + PartialEq + Send + 'static>(
        &self,
        query: SeenQuery,
        hits: impl Fn(&SeenRow) -> Vec<T> + Send + 'static,
    ) -> Result<Vec<RecentPerson<T>>, ApiError> {
        query_db(&self.log, move |db| Ok(recent_people(&db.seen_by(&query)?, hits))).await
    }
}

/// Groups rows that are hit by device, or account, or name and address.
fn recent_people<T: Copy + PartialEq>(
    rows: &[SeenRow],
    hits: impl Fn(&SeenRow) -> Vec<T>,
) -> Vec<RecentPerson<T>> {
    let (mut index, mut people): (HashMap<PersonKey, usize>, Vec<RecentPerson<T>>) = Default::default();
    for row in rows {
        let matches = hits(row);
        if matches.is_empty() {
            continue;
        }
        let at = *index.entry(PersonKey::of(row)).or_insert(people.len());
        if at == people.len() {
            people.push(RecentPerson::new(row));
        }
        people[at].add(row, &matches);
    }
    people
}

/// The newest name of a person.
fn name_of(person: &Person) -> &str {
    person.rows.first().map_or("somebody", |row| row.name.as_str())
}

/// Others who were at the same addresses, by person.
fn others_of(rows: &[SeenRow]) -> Vec<OtherPerson> {
    let mut known = HashSet::new();
    let new = rows.iter().filter(|row| known.insert(PersonKey::of(row)));
    new.take(MAX_OTHERS).map(|row| OtherPerson::new(id_of(&PersonKey::of(row)), row)).collect()
}

/// The summary of a person.
fn summary(person: &Person, connected: &[Connected], bans: &[PersonBan]) -> PersonAnswer {
    let id = person.key().as_ref().map(id_of).unwrap_or_default();
    let connected = connected.iter().filter(|user| is_of(user, person));
    let banned = bans.iter().find(|ban| is_banned_by(person, ban));
    PersonAnswer::new(id, person, connected, banned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_people_are_read_again() {
        for key in [
            PersonKey::Device("abc".into()),
            PersonKey::Account("auth.example:7".into()),
            PersonKey::Guest { address: "2001:db8::1".into(), name: "A;b".into() },
        ] {
            assert_eq!(key_of(&id_of(&key)), Ok(key));
        }
        for wrong in ["", "abc", "device:", "guest:nobody", "guest:192.0.2.1;"] {
            assert!(key_of(wrong).is_err(), "{wrong}");
        }
    }
}
