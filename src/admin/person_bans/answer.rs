//! What the API says about bans of persons.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::connected::Connected;
use super::super::people::RecentPerson;
use super::targets::{TargetKind, Warning};
use crate::config::bans::BanTerms;
use crate::db::nodes::Node;
use crate::db::{BanChange, BanPart, PersonBan, time_text};

/// A ban.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PersonBan")]
pub(super) struct Ban {
    /// Id. That of a ban made by other means is such as address:5.
    id: String,
    /// Name of the person.
    name: String,
    /// Names that were seen on the devices, the newest first; in lists only.
    names: Vec<String>,
    /// Told to the banned.
    reason: String,
    /// For moderators.
    note: String,
    /// Who banned; empty if unknown.
    author: String,
    /// When it was made, UTC.
    created: String,
    /// When it ends, UTC.
    expires: String,
    /// It does not end.
    permanent: bool,
    in_force: bool,
    /// That it was ended before its time.
    ended: Option<Ended>,
    /// What is banned.
    targets: Vec<Target>,
    /// Oldest first.
    changes: Vec<Change>,
}

/// The end of a ban before its time.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct Ended {
    /// When, UTC.
    at: String,
    /// By whom.
    by: String,
}

/// Something that is banned.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BanTarget")]
struct Target {
    kind: TargetKind,
    /// System id, user id, or address with prefix.
    subject: String,
}

/// A change of a ban.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BanChange")]
struct Change {
    /// When, UTC.
    at: String,
    /// By whom.
    by: String,
    /// name, reason, note or expires.
    what: String,
    before: String,
    after: String,
}

/// A page of bans.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BanList {
    pub(super) bans: Vec<Ban>,
    /// Number of bans on all pages.
    pub(super) total: usize,
}

/// Somebody who was disconnected.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct SentAway {
    /// Number of the connection; at another server of the cluster with that server's before it.
    uid: String,
    /// User name.
    name: String,
    /// Session id, empty in none.
    session: String,
}

/// A target that was banned already.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CoveredTarget {
    kind: TargetKind,
    /// What is banned: the target, or a range around it.
    subject: String,
    /// When that ban ends, UTC.
    expires: String,
    /// Id of that ban; in previews.
    #[serde(skip_serializing_if = "Option::is_none")]
    ban: Option<String>,
}

/// A ban that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MadeBan {
    pub(super) ban: Ban,
    /// Who was disconnected.
    pub(super) disconnected: Vec<SentAway>,
    /// Targets that were banned already for as long; they stay as they were.
    pub(super) already: Vec<CoveredTarget>,
}

/// Somebody who is connected and would be hit.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HitUser {
    /// Number of the connection.
    uid: String,
    /// User name.
    name: String,
    /// Address.
    ip: String,
    /// System id.
    device: String,
    /// Session id, empty in none.
    session: String,
    /// By what.
    matches: Vec<TargetKind>,
    /// Operator of the session.
    operator: bool,
    /// Moderator of the server.
    moderator: bool,
}

/// What a ban would do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PersonBanPreview")]
pub(super) struct BanPreview {
    /// Who is connected and would be hit.
    pub(super) connected: Vec<HitUser>,
    /// Who was here in the last 30 days, is not connected, and would have been hit; newest first.
    pub(super) recent: Vec<RecentPerson<TargetKind>>,
    /// What to think about before.
    pub(super) warnings: Vec<Warning>,
    /// Targets that are banned already.
    pub(super) already: Vec<CoveredTarget>,
    /// Number of addresses; a string, because it may exceed JSON numbers.
    pub(super) addresses: String,
}

/// A part as one text.
fn subject_of(part: &BanPart) -> String {
    if part.subnet == 0 { part.subject.clone() } else { format!("{}/{}", part.subject, part.subnet) }
}

/// Whether a ban has a text anywhere, ignoring case.
pub(super) fn contains(ban: &PersonBan, text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let texts = [&ban.name, &ban.reason, &ban.note, &ban.author].map(|text| text.to_lowercase());
    text.is_empty()
        || texts.iter().any(|one| one.contains(&text))
        || ban.parts.iter().any(|part| subject_of(part).to_lowercase().contains(&text))
}

impl Ban {
    pub(super) fn new(ban: PersonBan, utc_ms: i64) -> Ban {
        let terms = BanTerms { expires: ban.expires.clone(), ..BanTerms::default() };
        let target = |part: &BanPart| Target { kind: part.kind.into(), subject: subject_of(part) };
        let change = |change: BanChange| {
            let BanChange { at, author, field, before, after } = change;
            Change { at, by: author, what: field, before, after }
        };
        Ban {
            id: super::id_of(ban.key),
            permanent: terms.is_permanent(utc_ms),
            in_force: ban.is_in_force(&time_text(utc_ms)),
            targets: ban.parts.iter().map(target).collect(),
            ended: ban.ended.map(|(at, by)| Ended { at, by }),
            changes: ban.changes.into_iter().map(change).collect(),
            name: ban.name,
            names: Vec::new(),
            reason: ban.reason,
            note: ban.note,
            author: ban.author,
            created: ban.created,
            expires: ban.expires,
        }
    }
}

impl Ban {
    pub(super) fn with_names(self, names: Vec<String>) -> Ban {
        Ban { names, ..self }
    }
}

impl CoveredTarget {
    pub(super) fn new(part: &BanPart, ban: Option<String>) -> CoveredTarget {
        let (kind, subject) = (part.kind.into(), subject_of(part));
        CoveredTarget { kind, subject, expires: part.expires.clone(), ban }
    }
}

impl SentAway {
    pub(super) fn new(user: &Connected) -> SentAway {
        let session = user.session.clone();
        SentAway { uid: user.client.uid.clone(), name: user.client.name.clone(), session }
    }

    /// The same of a user of another server of the cluster.
    pub(super) fn at(self, node: &Node) -> SentAway {
        SentAway { uid: format!("{}.{}", node.incarnation, self.uid), ..self }
    }
}

impl HitUser {
    pub(super) fn new(user: &Connected, matches: Vec<TargetKind>) -> HitUser {
        HitUser {
            uid: user.client.uid.clone(),
            name: user.client.name.clone(),
            ip: user.client.ip.clone(),
            device: user.client.sid.clone(),
            session: user.session.clone(),
            matches,
            operator: user.is_operator,
            moderator: user.client.moderator,
        }
    }
}
