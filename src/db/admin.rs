//! What the admin API needs of a database besides what decides about connections.

use super::{Database, DbError, LogRow, time_text};

/// What is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanKind {
    /// Addresses.
    Address,
    /// System ids.
    System,
    /// Users of an auth server, by number.
    User,
}

/// A ban as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BanRow {
    /// Its number.
    pub id: i64,
    /// Address, system id or number of the user.
    pub subject: String,
    /// Length of the common prefix of addresses in bits, 0 for the one address.
    pub subnet: i64,
    /// Name of the reaction; addresses have none.
    pub reaction: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// For administrators.
    pub comment: String,
    /// For who is banned; addresses have none.
    pub reason: String,
    /// When it was made, in the same form as `expires`.
    pub added: String,
}

/// Which lines of the log are wanted. What is empty does not matter.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Session id.
    pub session: String,
    /// Part of the user.
    pub user: String,
    /// Part of the message.
    pub contains: String,
    /// Later than this, ISO 8601 in UTC.
    pub after: String,
    /// How many newer lines are left out.
    pub skip: i64,
    /// How many lines there are at most.
    pub count: i64,
}

impl Database {
    /// Removes settings and sets others, all at once, but only while a setting has a value (the empty one: it is not
    /// there); returns whether it had.
    ///
    /// # Errors
    /// When it cannot be written; everything is as before then.
    pub fn replace_settings(
        &self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError> {
        self.backend().replace_settings(only_while, remove, set)
    }

    /// All bans of a kind, also those that are over.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bans(&self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        self.backend().ban_rows(kind)
    }

    /// Adds a ban; number and time are given to it. If there is one in force of the same, that is returned as it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_ban(&self, kind: BanKind, mut ban: BanRow, utc_ms: i64) -> Result<BanRow, DbError> {
        ban.added = time_text(utc_ms);
        self.backend().add_ban(kind, &ban)
    }

    /// Removes a ban; returns whether it was there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove_ban(&self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.backend().remove_ban(kind, id)
    }

    /// Replaces the white list of list servers.
    ///
    /// # Errors
    /// When it cannot be written; it is as before then.
    pub fn set_listing_servers(&self, patterns: &[String]) -> Result<(), DbError> {
        self.backend().set_listing_servers(patterns)
    }

    /// Switches an external ban on or off.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn switch_ext_ban(&self, id: i64, enabled: bool) -> Result<(), DbError> {
        self.backend().switch_ext_ban(id, enabled)
    }

    /// Deletes all but so many of the newest lines of the log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_newest_log(&self, count: i64) -> Result<(), DbError> {
        self.backend().keep_newest_log(count)
    }

    /// Lines of the log, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        self.backend().log(query)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Account, AccountKey};
    use super::*;

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db")).unwrap();
        (folder, database)
    }

    #[test]
    fn bans_are_kept_as_they_were_made_and_decide() {
        let (_folder, database) = database();
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
            let made = database.add_ban(kind, ban, 0).unwrap();
            assert_eq!((made.id, made.added.as_str()), (1, "1970-01-01 00:00:00"));
            assert_eq!(database.bans(kind).unwrap(), [made]);
        }
        let snapshot = database.snapshot(0).unwrap();
        assert_eq!((snapshot.ip_bans.len(), snapshot.system_bans.len(), snapshot.user_bans.len()), (1, 1, 1));
        assert!(database.remove_ban(BanKind::System, 1).unwrap());
        assert!(!database.remove_ban(BanKind::System, 1).unwrap());
    }

    #[test]
    fn numbers_of_bans_and_accounts_are_given_once() {
        let (_folder, database) = database();
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
        assert_eq!(database.account("c").unwrap().unwrap().id, 3, "sessions know accounts by their numbers");
    }

    #[test]
    fn who_is_banned_is_not_banned_twice() {
        let (_folder, database) = database();
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
        let made = database.add_ban(BanKind::User, ban("7", 0, later), now).unwrap();
        assert_eq!(database.add_ban(BanKind::User, ban("7", 0, past), now).unwrap(), made, "as it is");
    }

    #[test]
    fn the_log_is_searched() {
        let (_folder, database) = database();
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
        assert_eq!(found(LogQuery { skip: 5, ..LogQuery::default() }), ["100% of 1"]);
        database.keep_newest_log(2).unwrap();
        assert_eq!(found(LogQuery::default()), ["100% of 6", "100% of 5"]);
    }

    #[test]
    fn the_white_list_is_replaced_and_settings_are_removed() {
        let (_folder, database) = database();
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
