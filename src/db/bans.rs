//! Bans in force, and bans of persons: devices, accounts and addresses together, with who banned and what was changed.

use super::{BanKind, Database, DbError, time_text};

/// A ban of an address range that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpBan {
    /// Address as it was entered.
    pub ip: String,
    /// Prefix length in bits, 0 for the single address.
    pub subnet: i64,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// Shown to the banned user; empty unless the ban is part of that of a person.
    pub reason: String,
}

/// A ban of a system id or ext-auth user that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SubjectBan {
    pub subject: String,
    /// Name of the action.
    pub reaction: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// Shown to the banned user.
    pub reason: String,
}

/// What a ban is of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanTarget {
    pub kind: BanKind,
    /// Address, system id or user id.
    pub subject: String,
    /// Prefix length of an address range in bits, 0 for the single address.
    pub subnet: i64,
}

/// A ban of a person to be made.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NewPersonBan {
    /// Name of the person, as moderators know it.
    pub name: String,
    /// Shown to the banned person.
    pub reason: String,
    /// Shown to moderators only.
    pub note: String,
    /// Who bans.
    pub author: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    pub targets: Vec<BanTarget>,
}

/// Identifies a ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanKey {
    /// The ban of a person.
    Person(i64),
    /// A row of a table of bans that was made by other means.
    Row(BanKind, i64),
}

/// A row of a table of bans that belongs to the ban of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanPart {
    pub kind: BanKind,
    /// Row id; `None` when the row was removed.
    pub row: Option<i64>,
    /// Address, system id or user id.
    pub subject: String,
    /// Prefix length of an address range in bits, 0 for the single address.
    pub subnet: i64,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
}

/// A change of a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanChange {
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub at: String,
    pub author: String,
    /// What was changed: name, reason, note or expires.
    pub field: String,
    pub before: String,
    pub after: String,
}

/// The ban of a person, or a row of a table of bans that was made by other means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PersonBan {
    pub key: BanKey,
    pub name: String,
    /// Shown to the banned person.
    pub reason: String,
    /// Shown to moderators only.
    pub note: String,
    /// Who banned; empty if unknown.
    pub author: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub created: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// When and by whom it was ended before its time.
    pub ended: Option<(String, String)>,
    pub parts: Vec<BanPart>,
    /// Oldest first.
    pub changes: Vec<BanChange>,
}

impl PersonBan {
    /// Whether a part of it is in force; `now` is UTC, `yyyy-MM-dd HH:mm:ss`.
    pub fn is_in_force(&self, now: &str) -> bool {
        self.ended.is_none()
            && self.parts.iter().any(|part| part.row.is_some() && part.expires.as_str() > now)
    }
}

/// What became of a new ban.
#[derive(Debug, Clone)]
pub enum AddedBan {
    /// It is in force. Of these targets there were bans already that last as long, which stay as they are.
    Added(Box<PersonBan>, Vec<BanPart>),
    /// There are bans of all its targets already; the first of them, or the first that ends sooner.
    Exists(Box<PersonBan>),
    /// There are too many bans ([`Database::MAX_PERSON_BANS`]).
    TooMany,
}

/// What is to be changed of a ban; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanEdit {
    pub name: Option<String>,
    pub reason: Option<String>,
    pub note: Option<String>,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: Option<String>,
    /// Who changes it.
    pub author: String,
}

/// A ban before and after a change.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct EditedBan {
    pub before: PersonBan,
    pub after: PersonBan,
}

/// Bans of persons in a database engine. `now` is UTC, `yyyy-MM-dd HH:mm:ss`.
pub(super) trait BanStore {
    /// All bans without their changes, newest first.
    fn person_bans(&self) -> Result<Vec<PersonBan>, DbError>;
    fn person_ban(&self, key: BanKey) -> Result<Option<PersonBan>, DbError>;
    fn changes_of_ban(&self, ban: i64) -> Result<Vec<BanChange>, DbError>;
    fn ban_of_row(&self, kind: BanKind, row: i64) -> Result<BanKey, DbError>;
    fn covering_bans(&self, targets: &[BanTarget], now: &str) -> Result<Vec<(BanPart, BanKey)>, DbError>;
    fn add_person_ban(&self, ban: &NewPersonBan, now: &str) -> Result<AddedBan, DbError>;
    fn edit_ban(&self, key: BanKey, edit: &BanEdit, now: &str) -> Result<Option<EditedBan>, DbError>;
    fn end_ban(&self, key: BanKey, author: &str, now: &str) -> Result<Option<PersonBan>, DbError>;
}

impl Database {
    /// Maximum number of bans of persons that are kept, those that are over included. Those that have been over for
    /// longest make room for new ones.
    pub const MAX_PERSON_BANS: usize = 20_000;
    /// Maximum number of changes that are kept of each ban.
    pub const MAX_BAN_CHANGES: usize = 100;

    /// All bans, newest first; those that were made by other means than [`Database::add_person_ban`] are among them.
    /// They are without their changes: see [`Database::read_ban_changes`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn person_bans(&self) -> Result<Vec<PersonBan>, DbError> {
        self.backend.person_bans()
    }

    /// Reads what was changed of these bans.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn read_ban_changes(&self, bans: &mut [PersonBan]) -> Result<(), DbError> {
        for ban in bans {
            if let BanKey::Person(id) = ban.key {
                ban.changes = self.backend.changes_of_ban(id)?;
            }
        }
        Ok(())
    }

    /// A ban.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn person_ban(&self, key: BanKey) -> Result<Option<PersonBan>, DbError> {
        self.backend.person_ban(key)
    }

    /// The ban that a row of a table of bans belongs to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn ban_of_row(&self, kind: BanKind, row: i64) -> Result<BanKey, DbError> {
        self.backend.ban_of_row(kind, row)
    }

    /// Bans in force that cover some of these targets, with the bans that they belong to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn covering_bans(
        &self,
        targets: &[BanTarget],
        utc_ms: i64,
    ) -> Result<Vec<(BanPart, BanKey)>, DbError> {
        self.backend.covering_bans(targets, &time_text(utc_ms))
    }

    /// Bans a person. Targets of which there are bans in force already that last as long get no second one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_person_ban(&self, ban: &NewPersonBan, utc_ms: i64) -> Result<AddedBan, DbError> {
        self.backend.add_person_ban(ban, &time_text(utc_ms))
    }

    /// Changes a ban, and records what was changed by whom. `None` if there is no such ban, or it was ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn edit_ban(&self, key: BanKey, edit: &BanEdit, utc_ms: i64) -> Result<Option<EditedBan>, DbError> {
        self.backend.edit_ban(key, edit, &time_text(utc_ms))
    }

    /// Ends a ban, and records who ended it. Returns it; `None` if there is no such ban, or it was ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_ban(&self, key: BanKey, author: &str, utc_ms: i64) -> Result<Option<PersonBan>, DbError> {
        self.backend.end_ban(key, author, &time_text(utc_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::BanRow;
    use crate::db::tests::databases::databases;

    /// 2026-11-21 06:12:52
    const NOW: i64 = 1_795_241_572_000;
    const LATER: &str = "2026-11-28 00:00:00";

    fn target(kind: BanKind, subject: &str, subnet: i64) -> BanTarget {
        BanTarget { kind, subject: subject.into(), subnet }
    }

    fn ban(targets: &[BanTarget]) -> NewPersonBan {
        NewPersonBan {
            name: "Pixel".into(),
            reason: "scribbling".into(),
            note: "third time".into(),
            author: "rowan".into(),
            expires: LATER.into(),
            targets: targets.to_vec(),
        }
    }

    fn added(database: &Database, targets: &[BanTarget]) -> PersonBan {
        match database.add_person_ban(&ban(targets), NOW).unwrap() {
            AddedBan::Added(ban, _) => *ban,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_person_is_banned_by_all_targets_with_one_reason() {
        for database in databases() {
            let targets = [
                target(BanKind::System, "abc", 0),
                target(BanKind::Address, "192.0.2.0", 24),
                target(BanKind::User, "7", 0),
                target(BanKind::Account, "internal:5", 0),
            ];
            let made = added(&database, &targets);
            assert_eq!((made.key, made.parts.len()), (BanKey::Person(1), 4));
            assert!(made.is_in_force(&time_text(NOW)) && !made.is_in_force(LATER));
            let snapshot = database.snapshot(NOW).unwrap();
            assert_eq!(snapshot.ip_bans[0].reason, "scribbling");
            assert_eq!(snapshot.system_bans[0].reason, "scribbling");
            assert_eq!((snapshot.user_bans[0].subject.as_str(), snapshot.user_bans.len()), ("7", 1));
            assert_eq!(snapshot.account_bans[0].subject, "internal:5");
            assert_eq!(database.person_bans().unwrap(), [made]);
        }
    }

    #[test]
    fn a_second_ban_of_the_same_target_is_not_made() {
        for database in databases() {
            let range = target(BanKind::Address, "192.0.2.0", 24);
            added(&database, std::slice::from_ref(&range));
            let inside = target(BanKind::Address, "192.0.2.7", 0);
            for covered in [range, inside.clone()] {
                let second = database.add_person_ban(&ban(&[covered]), NOW).unwrap();
                assert!(matches!(second, AddedBan::Exists(ban) if ban.key == BanKey::Person(1)));
            }
            let AddedBan::Added(more, already) =
                database.add_person_ban(&ban(&[inside, target(BanKind::System, "abc", 0)]), NOW).unwrap()
            else {
                panic!("the device is not banned yet")
            };
            assert_eq!((more.parts.len(), already.len()), (1, 1));
            assert_eq!(already[0].subject, "192.0.2.0");
            let wider = target(BanKind::Address, "192.0.0.0", 16);
            assert_eq!(added(&database, &[wider]).parts.len(), 1, "a wider range covers more");
        }
    }

    #[test]
    fn a_shorter_ban_of_a_target_does_not_shorten_the_ban_of_a_person() {
        for database in databases() {
            let device = target(BanKind::System, "abc", 0);
            let mut short = ban(std::slice::from_ref(&device));
            short.expires = time_text(NOW + 600_000);
            database.add_person_ban(&short, NOW).unwrap();
            let alone = database.add_person_ban(&ban(std::slice::from_ref(&device)), NOW).unwrap();
            assert!(
                matches!(alone, AddedBan::Exists(ban) if ban.key == BanKey::Person(1)),
                "it can be extended"
            );
            let both = ban(&[device.clone(), target(BanKind::Address, "192.0.2.1", 0)]);
            let AddedBan::Added(more, already) = database.add_person_ban(&both, NOW).unwrap() else {
                panic!("the address is not banned yet")
            };
            assert_eq!((more.parts.len(), already.len()), (2, 0));
            let later = database.snapshot(NOW + 700_000).unwrap();
            assert_eq!(later.system_bans.len(), 1, "the device is banned for as long as the address");
            let again = database.add_person_ban(&both, NOW).unwrap();
            assert!(matches!(again, AddedBan::Exists(ban) if ban.key == more.key), "the one that ends last");
        }
    }

    #[test]
    fn a_ban_is_changed_in_place_and_every_change_is_recorded() {
        for database in databases() {
            let made =
                added(&database, &[target(BanKind::System, "abc", 0), target(BanKind::Address, "::1", 0)]);
            let edit = BanEdit {
                expires: Some("2027-01-01 00:00:00".into()),
                reason: Some("much scribbling".into()),
                author: "juniper".into(),
                ..BanEdit::default()
            };
            let EditedBan { before, after } =
                database.edit_ban(made.key, &edit, NOW + 1000).unwrap().unwrap();
            assert_eq!((before, after.note.as_str()), (made, "third time"));
            let changes: Vec<_> = after
                .changes
                .iter()
                .map(|c| (c.field.as_str(), c.before.as_str(), c.after.as_str()))
                .collect();
            assert_eq!(
                changes,
                [("reason", "scribbling", "much scribbling"), ("expires", LATER, "2027-01-01 00:00:00")]
            );
            assert!(after.changes.iter().all(|c| c.author == "juniper" && c.at == "2026-11-21 06:12:53"));
            let snapshot = database.snapshot(NOW).unwrap();
            for (expires, reason) in [
                (&snapshot.ip_bans[0].expires, &snapshot.ip_bans[0].reason),
                (&snapshot.system_bans[0].expires, &snapshot.system_bans[0].reason),
            ] {
                assert_eq!((expires.as_str(), reason.as_str()), ("2027-01-01 00:00:00", "much scribbling"));
            }
            for n in 0..Database::MAX_BAN_CHANGES + 5 {
                let edit = BanEdit { note: Some(n.to_string()), ..BanEdit::default() };
                database.edit_ban(after.key, &edit, NOW).unwrap().unwrap();
            }
            let mut listed = database.person_bans().unwrap();
            assert!(listed[0].changes.is_empty(), "they are read for a page only");
            database.read_ban_changes(&mut listed).unwrap();
            let kept = database.person_ban(after.key).unwrap().unwrap().changes;
            assert_eq!(listed[0].changes, kept);
            assert_eq!(kept.len(), Database::MAX_BAN_CHANGES);
            assert_eq!(kept.last().unwrap().after, (Database::MAX_BAN_CHANGES + 4).to_string());
        }
    }

    #[test]
    fn whoever_is_let_back_in_can_be_banned_again() {
        for database in databases() {
            let targets = [target(BanKind::System, "abc", 0)];
            let made = added(&database, &targets);
            assert!(database.end_ban(made.key, "juniper", NOW).unwrap().is_some());
            assert!(database.snapshot(NOW).unwrap().system_bans.is_empty());
            let over = database.person_ban(made.key).unwrap().unwrap();
            assert_eq!(over.ended, Some((time_text(NOW), "juniper".into())));
            assert_eq!(over.parts[0].subject, "abc", "what it was of is still known");
            assert!(!over.is_in_force(&time_text(NOW)));
            assert!(database.end_ban(made.key, "juniper", NOW).unwrap().is_none(), "it is over already");
            assert_eq!(added(&database, &targets).key, BanKey::Person(2));
        }
    }

    #[test]
    fn bans_made_by_other_means_are_listed_and_can_be_changed() {
        for database in databases() {
            let row = BanRow {
                subject: "192.0.2.1".into(),
                expires: LATER.into(),
                comment: "by hand".into(),
                ..BanRow::default()
            };
            database.add_ban(BanKind::Address, row, NOW).unwrap();
            let key = BanKey::Row(BanKind::Address, 1);
            let listed = database.person_bans().unwrap();
            assert_eq!((listed[0].key, listed[0].note.as_str(), listed.len()), (key, "by hand", 1));
            let edit = BanEdit { expires: Some("2027-01-01 00:00:00".into()), ..BanEdit::default() };
            let edited = database.edit_ban(key, &edit, NOW).unwrap().unwrap();
            assert_eq!((edited.before.key, edited.after.key), (key, BanKey::Person(1)));
            assert_eq!(database.bans(BanKind::Address).unwrap()[0].expires, "2027-01-01 00:00:00");
            assert_eq!(database.person_bans().unwrap().len(), 1, "it is one ban still");
            assert_eq!(database.person_ban(key).unwrap(), None, "the row belongs to it now");
            assert!(database.remove_ban(BanKind::Address, 1).unwrap());
            let gone = database.person_ban(BanKey::Person(1)).unwrap().unwrap();
            assert!(!gone.is_in_force(&time_text(NOW)) && gone.parts[0].row.is_none());
            assert!(database.end_ban(BanKey::Row(BanKind::System, 9), "x", NOW).unwrap().is_none());
        }
    }
}
