//! Endpoints `bans`: bans of persons, which also disconnect them.
//!
//! A person is banned by devices, accounts and addresses together. The rows in the tables of bans are as drawpile-srv
//! has them, so its frontends (`bans`) list and remove them, too.

mod answer;
mod disconnect;
mod list;
mod targets;

use std::sync::Arc;

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::AdminState;
use super::bans::time;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, forbidden, not_found};
use super::request::{Who, audit_sentence};
use super::roles::Role;
use super::value::{Flag, Number, Text};
use crate::config::bans::BanTerms;
use crate::db::{AddedBan, BanEdit, BanKey, BanKind, BanPart, EditedBan, NewPersonBan, PersonBan, time_text};
use crate::log::Topic;
use crate::rules::time::{DAY_MS, Timestamp};
use answer::{Ban, BanPreview, CoveredTarget, HitUser, MadeBan};
use targets::{GivenTargets, TargetKind, Targets};

/// How long moderators may ban, in milliseconds; without the minute that a request may take.
const MODERATOR_MS: i64 = 30 * DAY_MS + 60_000;
/// A preview says whom the ban would have hit in this many days.
const RECENT_DAYS: i64 = 30;
/// Maximum number of them.
const MAX_RECENT: usize = 200;
/// End of a ban that does not end.
const FOREVER: &str = "2999-12-31 00:00:00";
/// Maximum length of names and reasons in characters. A reason is sent to the banned.
const MAX_REASON: usize = 500;
/// Maximum length of a note in characters.
const MAX_NOTE: usize = 2000;
/// Maximum length of a ban in seconds: 100 years.
const MAX_SECONDS: i64 = 100 * 365 * 86_400;

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "bans",
        "Bans of persons, and those made by other means; newest first.",
        AdminState::list_bans_of_persons,
    );
    api.post(
        "bans",
        "Bans a person by devices, accounts and addresses, and disconnects everybody who is hit. 409 if all of that \
         is banned already.",
        AdminState::ban_person,
    )
    .locked_by("bans");
    api.post(
        "bans/preview",
        "Whom a ban would hit, and what to think about before.",
        AdminState::preview_person_ban,
    )
    .reads();
    api.get("bans/{ban}", "A ban.", AdminState::person_ban);
    api.put("bans/{ban}", "Changes the end and the texts of a ban in place.", AdminState::change_person_ban)
        .locked_by("bans");
    api.delete("bans/{ban}", "Ends a ban: the person may come in again.", AdminState::end_person_ban)
        .locked_by("bans");
    disconnect::endpoints(api);
}

/// The path of a ban.
#[derive(Debug, Deserialize, JsonSchema)]
struct BanPath {
    /// Id of the ban.
    ban: String,
}

/// How long a ban lasts: one of the three.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Length {
    /// Seconds from now.
    seconds: Number<1, MAX_SECONDS>,
    /// When it ends, such as 2030-01-01 12:00:00 (UTC).
    expires: Text,
    /// It does not end.
    forever: Option<Flag>,
}

/// A ban of a person.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct NewBan {
    #[serde(flatten)]
    targets: GivenTargets,
    #[serde(flatten)]
    length: Length,
    /// Name of the person.
    name: Text,
    /// Told to the banned, at most 500 characters.
    reason: Text,
    /// For moderators, at most 2,000 characters.
    note: Text,
    /// Let those stay who are connected.
    stay: Option<Flag>,
}

/// Changes of a ban. What is missing stays as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ChangeBan {
    #[serde(flatten)]
    length: Length,
    /// Name of the person.
    name: Option<Text>,
    /// Told to the banned.
    reason: Option<Text>,
    /// For moderators.
    note: Option<Text>,
}

impl Length {
    /// The end as the database has it; `None` if none is given.
    fn end(&self, utc_ms: i64) -> Result<Option<String>, ApiError> {
        let seconds = self.seconds.get("seconds")?;
        let forever = self.forever.is_some_and(|forever| forever.0);
        let expires = (!self.expires.is_empty())
            .then(|| time(&self.expires).ok_or_else(|| bad("expires: must be a time")))
            .transpose()?;
        if usize::from(seconds.is_some()) + usize::from(forever) + usize::from(expires.is_some()) > 1 {
            return Err(bad("seconds, expires, forever: only one of them"));
        }
        let end = if forever { Some(FOREVER.to_owned()) } else { expires };
        let end = end.or_else(|| seconds.map(|seconds| time_text(utc_ms + seconds * 1000)));
        if end.as_deref().is_some_and(|end| end <= time_text(utc_ms).as_str()) {
            return Err(bad("expires: is over already"));
        }
        Ok(end)
    }
}

/// Refuses moderators a ban that ends later than they may ban.
fn check_end(who: &Who, end: &str, utc_ms: i64) -> Result<(), ApiError> {
    if who.role < Role::Administrator && end > time_text(utc_ms + MODERATOR_MS).as_str() {
        return Err(forbidden("Moderators ban for 30 days at most; ask an administrator"));
    }
    Ok(())
}

/// Refuses moderators a ban of more addresses than they may ban.
fn check_size(who: &Who, targets: &Targets) -> Result<(), ApiError> {
    if who.role < Role::Administrator && targets.exceed_moderators() {
        return Err(forbidden(
            "Moderators ban networks of /8 (IPv4) or /32 (IPv6) at most; ask an administrator",
        ));
    }
    Ok(())
}

/// The kind of a row in ids of bans.
fn kind_name(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Address => "address",
        BanKind::System => "device",
        BanKind::User => "account",
        BanKind::Account => "own-account",
    }
}

/// The id of a ban, in the API.
pub(super) fn id_of(key: BanKey) -> String {
    match key {
        BanKey::Person(id) => id.to_string(),
        BanKey::Row(kind, id) => format!("{}:{id}", kind_name(kind)),
    }
}

/// The ban with this id.
fn key_of(id: &str) -> Result<BanKey, ApiError> {
    let Some((kind, row)) = id.split_once(':') else {
        return id.parse().map(BanKey::Person).map_err(|_| not_found());
    };
    let kind = BanKind::ALL.into_iter().find(|one| kind_name(*one) == kind).ok_or_else(not_found)?;
    row.parse().map(|row| BanKey::Row(kind, row)).map_err(|_| not_found())
}

/// When a ban ends, in words.
fn end_in_words(expires: &str, utc_ms: i64) -> String {
    let terms = BanTerms { expires: expires.to_owned(), ..BanTerms::default() };
    if terms.is_permanent(utc_ms) {
        return "permanently".to_owned();
    }
    format!("until {} UTC", expires.get(..16).unwrap_or(expires))
}

/// What a ban is of, in words.
fn targets_in_words(ban: &PersonBan) -> String {
    let name = if ban.name.is_empty() { "somebody" } else { ban.name.as_str() };
    let is_of = |part: &BanPart, kind| TargetKind::from(part.kind) == kind;
    let count = |kind, one: &str, many: &str| match ban.parts.iter().filter(|p| is_of(p, kind)).count() {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let counts = [
        count(TargetKind::Device, "device", "devices"),
        count(TargetKind::Account, "account", "accounts"),
        count(TargetKind::Address, "address range", "address ranges"),
    ];
    format!("{name} ({})", counts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

impl AdminState {
    async fn person_ban(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Ban>, ApiError> {
        let key = key_of(&call.path.ban)?;
        let ban = self.query_db(move |db| db.person_ban(key)).await?.ok_or_else(not_found)?;
        Ok(Json(Ban::new(ban, Timestamp::now().utc_ms)))
    }

    async fn preview_person_ban(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewBan>,
    ) -> Result<Json<BanPreview>, ApiError> {
        let targets = call.body.targets.checked()?;
        let utc_ms = Timestamp::now().utc_ms;
        let rows = targets.rows();
        let covered = self.query_db(move |db| db.covering_bans(&rows, utc_ms)).await?;
        let connected = self.connected().await?;
        let warnings = targets.warnings(&connected, call.who.source.ip());
        let since = utc_ms - RECENT_DAYS * DAY_MS;
        let recent = self.people_hit(targets.seen_query(since), {
            let targets = targets.clone();
            move |row| targets.matches(&row.device, &row.account, row.address.parse().ok())
        });
        let recent = recent.await?.into_iter().filter(|person| {
            person.device.is_empty() || !connected.iter().any(|user| user.client.sid == person.device)
        });
        let recent = recent.take(MAX_RECENT).collect();
        let hit =
            connected.iter().map(|user| (user, targets.hits(user))).filter(|(_, hits)| !hits.is_empty());
        Ok(Json(BanPreview {
            connected: hit.map(|(user, matches)| HitUser::new(user, matches)).collect(),
            recent,
            warnings,
            already: covered.iter().map(|(part, key)| CoveredTarget::new(part, Some(id_of(*key)))).collect(),
            addresses: targets.address_count(),
        }))
    }

    async fn ban_person(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewBan>,
    ) -> Result<Json<MadeBan>, ApiError> {
        let NewBan { targets, length, name, reason, note, stay } = call.body;
        let now = Timestamp::now().utc_ms;
        let targets = targets.checked()?;
        let expires =
            length.end(now)?.ok_or_else(|| bad("seconds, expires, forever: one of them is needed"))?;
        check_end(&call.who, &expires, now)?;
        check_size(&call.who, &targets)?;
        let new = NewPersonBan {
            name: name.at_most("name", MAX_REASON)?,
            reason: reason.at_most("reason", MAX_REASON)?,
            note: note.at_most("note", MAX_NOTE)?,
            author: call.who.author().to_owned(),
            expires: expires.clone(),
            targets: targets.rows(),
        };
        let terms = BanTerms { expires, reason: new.reason.clone(), ..BanTerms::default() };
        let (ban, already) = match self.query_db(move |db| db.add_person_ban(&new, now)).await? {
            AddedBan::Added(ban, already) => (*ban, already),
            AddedBan::Exists(ban) => return Err(already_banned(&ban, now)),
            AddedBan::TooMany => return Err(ApiError::new(StatusCode::CONFLICT, "There are too many bans")),
        };
        self.apply_db_changes().await?;
        let stay = stay.is_some_and(|stay| stay.0);
        let mut disconnected =
            if stay { Vec::new() } else { self.disconnect_hit(&targets, &terms, now).await? };
        if !stay {
            disconnected.extend(self.disconnect_at_others(&id_of(ban.key), &call.who).await);
        }
        let why = if ban.reason.is_empty() { String::new() } else { format!(": {}", ban.reason) };
        let (whom, end) = (targets_in_words(&ban), end_in_words(&ban.expires, now));
        let count = disconnected.len();
        audit_sentence(
            Topic::Ban,
            &format!("{} banned {whom} {end}{why}; {count} connections ended", call.who.author()),
        );
        let already = already.iter().map(|part| CoveredTarget::new(part, None)).collect();
        let ban = Ban::new(ban, now);
        self.publish("bans", "ban", &ban);
        Ok(Json(MadeBan { ban, disconnected, already }))
    }

    /// Refuses moderators changes of a ban that is longer than they may ban.
    async fn check_ban_of(&self, who: &Who, key: BanKey, utc_ms: i64) -> Result<(), ApiError> {
        if who.role < Role::Administrator {
            let ban = self.query_db(move |db| db.person_ban(key)).await?.ok_or_else(not_found)?;
            check_end(who, &ban.expires, utc_ms)?;
        }
        Ok(())
    }

    /// Tells subscribers of a ban that was changed by other means. One that is gone is told by its id alone.
    pub(super) async fn publish_ban(&self, key: BanKey) -> Result<(), ApiError> {
        match self.query_db(move |db| db.person_ban(key)).await? {
            Some(ban) => self.publish("bans", "ban", &Ban::new(ban, Timestamp::now().utc_ms)),
            None => self.publish("bans", "ban", &serde_json::json!({"id": id_of(key), "inForce": false})),
        }
        Ok(())
    }

    async fn change_person_ban(
        self: Arc<Self>,
        call: Call<BanPath, Nothing, ChangeBan>,
    ) -> Result<Json<Ban>, ApiError> {
        let key = key_of(&call.path.ban)?;
        let ChangeBan { length, name, reason, note } = call.body;
        let now = Timestamp::now().utc_ms;
        let text =
            |field: &str, text: Option<Text>, most| text.map(|text| text.at_most(field, most)).transpose();
        let edit = BanEdit {
            name: text("name", name, MAX_REASON)?,
            reason: text("reason", reason, MAX_REASON)?,
            note: text("note", note, MAX_NOTE)?,
            expires: length.end(now)?,
            author: call.who.author().to_owned(),
        };
        if let Some(end) = &edit.expires {
            check_end(&call.who, end, now)?;
        }
        self.check_ban_of(&call.who, key, now).await?;
        let edited = self.query_db(move |db| db.edit_ban(key, &edit, now)).await?;
        let EditedBan { before, after } = edited.ok_or_else(not_found)?;
        self.apply_db_changes().await?;
        let (whom, author) = (targets_in_words(&after), call.who.author());
        if before.expires == after.expires {
            audit_sentence(Topic::Ban, &format!("{author} changed the ban of {whom}"));
        } else {
            let ends = [&before, &after].map(|ban| end_in_words(&ban.expires, now));
            let text = format!("{author} changed the ban of {whom} from {} to {}", ends[0], ends[1]);
            audit_sentence(Topic::Ban, &text);
        }
        let ban = Ban::new(after, now);
        self.publish("bans", "ban", &ban);
        Ok(Json(ban))
    }

    async fn end_person_ban(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Ban>, ApiError> {
        let key = key_of(&call.path.ban)?;
        let author = call.who.author().to_owned();
        let now = Timestamp::now().utc_ms;
        self.check_ban_of(&call.who, key, now).await?;
        let ended = self.query_db(move |db| db.end_ban(key, &author, now)).await?.ok_or_else(not_found)?;
        self.apply_db_changes().await?;
        let text = format!("{} let {} back in", call.who.author(), targets_in_words(&ended));
        audit_sentence(Topic::Unban, &text);
        let ban = Ban::new(ended, now);
        self.publish("bans", "ban", &ban);
        Ok(Json(ban))
    }
}

/// The refusal of a second ban.
fn already_banned(ban: &PersonBan, utc_ms: i64) -> ApiError {
    let by = if ban.author.is_empty() { String::new() } else { format!(" by {}", ban.author) };
    let end = end_in_words(&ban.expires, utc_ms);
    let message = format!("Already banned {end}{by}");
    ApiError::new(StatusCode::CONFLICT, message)
        .with("ban", id_of(ban.key))
        .with("expires", ban.expires.clone())
}
