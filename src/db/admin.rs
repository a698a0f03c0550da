//! Database operations that only the admin API needs.

use super::{Database, DbError, LogRow, time_text};

/// Which table of bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanKind {
    /// IP addresses.
    Address,
    /// System ids.
    System,
    /// Users of the auth server (ext-auth), by user id.
    User,
    /// Accounts of this server, by account id.
    Account,
}

impl BanKind {
    /// All kinds.
    pub const ALL: [BanKind; 4] = [BanKind::Address, BanKind::System, BanKind::User, BanKind::Account];
}

/// A row of a table of bans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanRow {
    pub id: i64,
    /// Address, system id or user id.
    pub subject: String,
    /// Prefix length of an address range in bits, 0 for the single address.
    pub subnet: i64,
    /// Name of the action; empty for addresses.
    pub reaction: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// Shown to administrators only.
    pub comment: String,
    /// Shown to the banned user; empty for addresses.
    pub reason: String,
    /// Creation time, in the same format as `expires`.
    pub added: String,
}

/// Filter for log rows. Empty texts match everything.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LogQuery {
    pub session: String,
    /// Substring of the user column.
    pub user: String,
    /// Substring of the message.
    pub contains: String,
    /// Only rows later than this (ISO 8601, UTC).
    pub after: String,
    /// Only rows not later than this (ISO 8601, UTC).
    pub before: String,
    /// Number of newest matching rows to skip.
    pub skip: i64,
    /// Maximum number of rows.
    pub count: i64,
}

impl Database {
    /// Compare-and-set in one transaction: if the setting `only_while.0` has the value `only_while.1` (empty: it does
    /// not exist), removes and sets settings. Returns whether it did.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn replace_settings(
        &self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError> {
        self.backend.replace_settings(only_while, remove, set)
    }

    /// Sets several settings in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn set_settings(&self, settings: &[(&str, &str)]) -> Result<(), DbError> {
        let settings: Vec<(&str, Option<&str>)> = settings.iter().map(|(k, v)| (*k, Some(*v))).collect();
        self.change_settings(&settings)
    }

    /// Sets several settings in one transaction, and removes those without a value: they have their default again.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn change_settings(&self, settings: &[(&str, Option<&str>)]) -> Result<(), DbError> {
        self.backend.change_settings(settings)
    }

    /// All bans of a kind, expired ones included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn bans(&self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        self.backend.ban_rows(kind)
    }

    /// Adds a ban; id and creation time are assigned. If the subject already has a ban in force, that is returned
    /// unchanged. `utc_ms` is the current time.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_ban(&self, kind: BanKind, mut ban: BanRow, utc_ms: i64) -> Result<BanRow, DbError> {
        ban.added = time_text(utc_ms);
        self.backend.add_ban(kind, &ban)
    }

    /// Removes a ban. Returns whether it existed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_ban(&self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.backend.remove_ban(kind, id)
    }

    /// Replaces the white list of list servers.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn set_listing_servers(&self, patterns: &[String]) -> Result<(), DbError> {
        self.backend.set_listing_servers(patterns)
    }

    /// Enables or disables an external ban.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn switch_ext_ban(&self, id: i64, enabled: bool) -> Result<(), DbError> {
        self.backend.switch_ext_ban(id, enabled)
    }

    /// Deletes all log rows but the newest `count`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn keep_newest_log(&self, count: i64) -> Result<(), DbError> {
        self.backend.keep_newest_log(count)
    }

    /// Log rows that match, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        self.backend.log(query)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Account, AccountKey};
    use super::*;
    use crate::db::tests::databases::databases;

    #[test]
    fn bans_are_stored_and_in_the_snapshot() {
        for database in databases() {
            let later = "2999-01-01 00:00:00".to_owned();
            for (kind, subject, subnet) in
                [(BanKind::Address, "192.0.2.0", 24), (BanKind::System, "abc", 0), (BanKind::User, "42", 0)]
            {
                let address = kind == BanKind::Address;
                let ban = BanRow {
                    subject: subject.into(),
                    subnet,
                    reaction: if address { String::new() } else { "hang".into() },
                    expires: later.clone(),
                    comment: "c".into(),
                    reason: if address { String::new() } else { "r".into() },
                    ..BanRow::default()
                };
                let added = database.add_ban(kind, ban, 0).unwrap();
                assert_eq!((added.id, added.added.as_str()), (1, "1970-01-01 00:00:00"));
                assert_eq!(database.bans(kind).unwrap(), [added]);
            }
            let snapshot = database.snapshot(0).unwrap();
            assert_eq!(
                (snapshot.ip_bans.len(), snapshot.system_bans.len(), snapshot.user_bans.len()),
                (1, 1, 1)
            );
            assert!(database.remove_ban(BanKind::System, 1).unwrap());
            assert!(!database.remove_ban(BanKind::System, 1).unwrap());
        }
    }

    #[test]
    fn ids_of_bans_and_accounts_are_not_reused() {
        for database in databases() {
            let ban = |subject: &str| BanRow {
                subject: subject.into(),
                reaction: "normal".into(),
                expires: "2999-01-01 00:00:00".into(),
                ..BanRow::default()
            };
            for kind in [BanKind::Address, BanKind::System, BanKind::User] {
                let add = |subject: &str| database.add_ban(kind, ban(subject), 0).unwrap().id;
                let subjects = if kind == BanKind::Address { ["192.0.2.1", "192.0.2.2"] } else { ["1", "2"] };
                assert_eq!(subjects.map(add), [1, 2]);
                assert!(database.remove_ban(kind, 2).unwrap() && database.remove_ban(kind, 1).unwrap());
                assert_eq!(add(subjects[0]), 3, "{kind:?}");
            }
            let account = |name: &str| Account {
                id: 0,
                name: name.into(),
                hash: "*".into(),
                locked: false,
                flags: Vec::new(),
            };
            for (name, id) in [("a", 1), ("b", 2)] {
                database.add_account(&account(name)).unwrap();
                assert_eq!(database.account(name).unwrap().unwrap().id, id);
            }
            database.remove_account(AccountKey::Name("b")).unwrap();
            database.add_account(&account("c")).unwrap();
            assert_eq!(
                database.account("c").unwrap().unwrap().id,
                3,
                "sessions know accounts by their numbers"
            );
        }
    }

    #[test]
    fn a_subject_has_one_ban_in_force() {
        for database in databases() {
            let ban = |subject: &str, subnet, expires: &str| BanRow {
                subject: subject.into(),
                subnet,
                reaction: "normal".into(),
                expires: expires.into(),
                ..BanRow::default()
            };
            let (past, later) = ("2020-01-01 00:00:00", "2999-01-01 00:00:00");
            let now = 1_795_241_572_000;
            let add = |kind, ban: BanRow| database.add_ban(kind, ban, now).unwrap().id;
            let address = |text: &str, subnet, expires| add(BanKind::Address, ban(text, subnet, expires));
            assert_eq!(address("192.0.2.1", 0, past), 1);
            assert_eq!(address("192.0.2.1", 0, later), 2, "the other is over");
            assert_eq!(address("192.0.2.1", 0, "2998-01-01 00:00:00"), 2);
            assert_eq!(address("192.0.2.1", 32, later), 2, "the same, written otherwise");
            assert_eq!(address("192.0.2.1", 24, later), 3);
            assert_eq!(address("2001:db8::1", 0, later), 4);
            assert_eq!(address("2001:DB8:0::1", 128, later), 4);
            let system = |sid: &str| add(BanKind::System, ban(sid, 0, later));
            assert_eq!([system("abc"), system("abd"), system("abc")], [1, 2, 1]);
            let added = database.add_ban(BanKind::User, ban("7", 0, later), now).unwrap();
            assert_eq!(database.add_ban(BanKind::User, ban("7", 0, past), now).unwrap(), added, "as it is");
        }
    }

    #[test]
    fn log_rows_are_filtered() {
        for database in databases() {
            let row = |n: usize| LogRow {
                timestamp: format!("2026-01-0{n}T00:00:00Z"),
                level: 2,
                topic: "Status".into(),
                user: format!("{n};192.0.2.1;u{n}"),
                session: format!("s{}", n % 2),
                message: format!("100% of {n}"),
            };
            database.append_log(&(1..=6).map(row).collect::<Vec<_>>()).unwrap();
            let found = |query: LogQuery| {
                let rows = database.log(&LogQuery { count: 10, ..query }).unwrap();
                rows.iter().map(|r| r.message.clone()).collect::<Vec<_>>()
            };
            assert_eq!(found(LogQuery { session: "s0".into(), ..LogQuery::default() }).len(), 3);
            assert_eq!(found(LogQuery { user: "u3".into(), ..LogQuery::default() }), ["100% of 3"]);
            assert_eq!(found(LogQuery { contains: "% OF 5".into(), ..LogQuery::default() }), ["100% of 5"]);
            assert_eq!(found(LogQuery { contains: "_".into(), ..LogQuery::default() }), [""; 0]);
            let after = "2026-01-04T00:00:00Z".to_owned();
            assert_eq!(found(LogQuery { after, ..LogQuery::default() }), ["100% of 6", "100% of 5"]);
            let before = "2026-01-02T00:00:00Z".to_owned();
            let early = found(LogQuery { before: before.clone(), ..LogQuery::default() });
            assert!(!early.is_empty() && early.len() < 6, "{early:?}");
            assert_eq!(
                found(LogQuery { before: before.clone(), after: before, ..LogQuery::default() }),
                [""; 0]
            );
            assert_eq!(found(LogQuery { skip: 5, ..LogQuery::default() }), ["100% of 1"]);
            database.keep_newest_log(2).unwrap();
            assert_eq!(found(LogQuery::default()), ["100% of 6", "100% of 5"]);
        }
    }

    #[test]
    fn the_white_list_is_replaced_and_settings_are_removed() {
        for database in databases() {
            for patterns in [vec!["^a".to_owned(), "b".to_owned()], vec!["c".to_owned()]] {
                database.set_listing_servers(&patterns).unwrap();
                assert_eq!(database.snapshot(0).unwrap().listing_servers, patterns);
            }
            database.set_settings(&[("serverTitle", "T"), ("other", "x")]).unwrap();
            let replace = |only_while, set| database.replace_settings(only_while, &["other"], set).unwrap();
            assert!(!replace(("other", "y"), &[]) && !replace(("other", ""), &[]), "it has another value");
            assert!(replace(("other", "x"), &[]) && replace(("other", ""), &[]));
            assert_eq!(database.snapshot(0).unwrap().settings, [("serverTitle".to_owned(), "T".to_owned())]);
            for (enabled, left) in [(false, vec![5]), (false, vec![5]), (true, vec![])] {
                database.switch_ext_ban(5, enabled).unwrap();
                assert_eq!(database.snapshot(0).unwrap().disabled_ext_bans, left);
            }
        }
    }
}
