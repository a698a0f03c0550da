use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::*;

pub(crate) mod databases;

/// 2026-11-21 06:12:52
const NOW: i64 = 1_795_241_572_000;

/// A database of each engine, and how it is changed by hand.
fn each(test: impl Fn(&Database, &dyn Fn(&str))) {
    let (_directory, database) = database();
    test(&database, &|sql| execute(&database, sql));
    if let Some((database, postgres)) = databases::on_postgres() {
        test(&database, &|sql| postgres.execute(sql));
    }
}

fn database() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("config.db")).unwrap();
    (directory, database)
}

/// Changes the database as another program does.
fn execute(database: &Database, sql: &str) {
    let mut connection = SqliteConnection::establish(database.path().unwrap().to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
}

fn account(name: &str) -> Account {
    Account { id: 0, name: name.into(), hash: "plain;x".into(), locked: false, flags: vec!["HOST".into()] }
}

#[test]
fn changes_of_other_programs_change_the_version() {
    each(|database, by_hand| {
        let before = database.version().unwrap();
        assert_eq!(database.version().unwrap(), before);
        by_hand("INSERT INTO settings (key, value) VALUES ('clientTimeout', '90')");
        let after = database.version().unwrap();
        assert_ne!(after, before);
        database.add_account(&account("a")).unwrap();
        assert_ne!(database.version().unwrap(), after);
    });
}

#[test]
fn settings_of_any_column_type_are_read() {
    let (_directory, database) = database();
    execute(
        &database,
        "INSERT INTO settings VALUES ('a', 3); INSERT INTO settings VALUES ('b', 90.5);
         INSERT INTO settings VALUES ('c', X'74657874'); INSERT INTO settings VALUES ('d', NULL);",
    );
    let settings = database.snapshot(NOW).unwrap().settings;
    let expected = [("a", "3"), ("b", "90.5"), ("c", "text"), ("d", "")];
    assert_eq!(settings, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn expired_bans_are_not_in_the_snapshot() {
    each(|database, by_hand| {
        by_hand(
        "INSERT INTO ipbans (ip, subnet, expires) VALUES ('192.0.2.0', 24, '2099-01-01');
         INSERT INTO ipbans (ip, subnet, expires) VALUES ('192.0.2.1', 0, '2001-01-01 00:00:00');
         INSERT INTO ipbans (ip, expires) VALUES ('192.0.2.2', '2026-12-01 00:00:00');
         INSERT INTO systembans (sid, reaction, expires, added) VALUES ('abc', 'hang', '2099-01-01 00:00:00', 'x');
         INSERT INTO userbans (userid, expires, added) VALUES (7, '2000-01-01 00:00:00', 'x');",
    );
        let snapshot = database.snapshot(NOW).unwrap();
        let ranges: Vec<_> = snapshot.ip_bans.iter().map(|b| (b.ip.as_str(), b.subnet)).collect();
        assert_eq!(ranges, [("192.0.2.0", 24), ("192.0.2.2", 0)]);
        let end = "2099-01-01 00:00:00".to_owned();
        let ban = SubjectBan {
            subject: "abc".into(),
            reaction: "hang".into(),
            expires: end,
            reason: String::new(),
        };
        assert_eq!(snapshot.system_bans, [ban]);
        assert_eq!(snapshot.ip_bans[0].expires, "2099-01-01");
        assert!(snapshot.user_bans.is_empty());
        assert_eq!(snapshot.next_expiry.as_deref(), Some("2026-12-01 00:00:00"));
    });
}

#[test]
fn lookalikes_of_account_names_are_found_as_accounts_change() {
    each(|database, by_hand| {
        let similar = |name: &str| database.has_account_like(name).unwrap();
        assert!(!similar("a"));
        database.add_account(&account("a")).unwrap();
        assert!(similar("a") && similar("A") && similar("ａ") && !similar("b"));
        by_hand("INSERT INTO users (username, password) VALUES ('b', 'plain;x')");
        assert!(similar("B"));
        database.remove_account(AccountKey::Name("a")).unwrap();
        assert!(!similar("A") && similar("B"));
    });
}

#[test]
fn accounts_are_added_changed_and_removed() {
    each(|database, _| {
        assert!(database.snapshot(NOW).unwrap().account_names.is_empty());
        database.add_account(&account("a")).unwrap();
        assert!(matches!(database.add_account(&account("a")), Err(DbError::AccountExists(_))));
        database.change_account(AccountKey::Name("a"), |a| a.locked = true).unwrap();
        let found = database.account("a").unwrap().unwrap();
        assert_eq!((found.id, found.locked, found.flags.as_slice()), (1, true, &["HOST".to_owned()][..]));
        assert!(database.account("A").unwrap().is_none(), "names are case-sensitive");
        assert!(!database.snapshot(NOW).unwrap().account_names.is_empty());
        database.remove_account(AccountKey::Name("a")).unwrap();
        assert!(matches!(database.remove_account(AccountKey::Name("a")), Err(DbError::NoAccount(_))));
        assert!(database.accounts().unwrap().is_empty());
    });
}

#[test]
fn accounts_entered_by_hand_are_read() {
    let (_directory, database) = database();
    execute(
        &database,
        "INSERT INTO users (username, password) VALUES ('bare', X'706C61696E3B7077');
         INSERT INTO users VALUES ('flags', 'plain;x', 'true', 'MOD, HOST');
         INSERT INTO users VALUES ('locked', 'plain;x', '1', '');",
    );
    let accounts = database.accounts().unwrap();
    assert_eq!(
        (accounts[0].hash.as_str(), accounts[0].locked, accounts[0].flags.len()),
        ("plain;pw", false, 0)
    );
    assert_eq!(
        (accounts[1].locked, accounts[1].flags.as_slice()),
        (false, &["MOD".to_owned(), "HOST".into()][..])
    );
    assert!(accounts[2].locked);
}

#[test]
fn the_log_is_purged_by_age() {
    each(|database, _| {
        let row = |timestamp: &str| LogRow {
            timestamp: timestamp.into(),
            level: 2,
            topic: "Status".into(),
            user: String::new(),
            session: String::new(),
            message: "x".into(),
        };
        database.append_log(&[row("2026-11-01T00:00:00Z"), row("2026-11-20T00:00:00Z")]).unwrap();
        assert_eq!(database.purge_log(5, NOW).unwrap(), 1);
        assert_eq!(database.purge_log(5, NOW).unwrap(), 0);
    });
}

#[test]
fn addresses_are_shortened_in_old_rows_of_the_log() {
    each(|database, _| {
        let row = |timestamp: &str, user: &str| LogRow {
            timestamp: timestamp.into(),
            level: 2,
            topic: "ClientInfo".into(),
            user: user.into(),
            session: String::new(),
            message: format!("from {}", user.split(';').nth(1).unwrap_or_default()),
        };
        let old = "2026-11-01T00:00:00Z";
        let rows = [
            row(old, "3;198.51.100.24;Bao;x"),
            row(old, "0;2001:db8:1:2::3;"),
            row(old, ""),
            row("2026-11-20T00:00:00Z", "3;198.51.100.24;Bao"),
        ];
        database.append_log(&rows).unwrap();
        let (next, changed) = database.shorten_log_addresses(0, 5, NOW).unwrap();
        assert_eq!(changed, 2);
        assert_eq!(database.shorten_log_addresses(0, 5, NOW).unwrap().1, 0, "once");
        let query = LogQuery { count: 10, ..LogQuery::default() };
        let mut lines: Vec<(String, String)> =
            database.log(&query).unwrap().into_iter().map(|row| (row.user, row.message)).collect();
        lines.sort();
        let expected = [
            ("", "from "),
            ("0;2001:db8:1::;", "from 2001:db8:1::"),
            ("3;198.51.100.0;Bao;x", "from 198.51.100.0"),
            ("3;198.51.100.24;Bao", "from 198.51.100.24"),
        ];
        assert_eq!(lines, expected.map(|(user, message)| (user.to_owned(), message.to_owned())));
        assert_eq!(database.shorten_log_addresses(next, 5, NOW).unwrap(), (next, 0), "it goes on from there");
    });
}

#[test]
fn a_file_that_is_not_a_database_is_refused_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.db");
    std::fs::write(&path, "this is no database, and long enough to be seen as none ".repeat(50)).unwrap();
    let error = Database::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot open the database {}", path.display())), "{error}");
    assert!(Database::open(&directory.path().join("no/such/directory.db")).is_err());
}

#[test]
fn databases_of_the_reference_are_read_as_they_are() {
    let Some(golden) = std::env::var_os("DRAWHALL_GOLDEN") else {
        return crate::skip::skip("golden", "DRAWHALL_GOLDEN is not set");
    };
    let golden = Path::new(&golden).join("config");
    let open = |name: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, std::fs::read(golden.join(name)).unwrap()).unwrap();
        (directory, Database::open(&path).unwrap())
    };
    let (_directory, changed) = open("changed.db");
    let names: Vec<(i64, String, bool)> =
        changed.accounts().unwrap().into_iter().map(|a| (a.id, a.name, a.locked)).collect();
    assert_eq!(names, [(1, "admin".into(), false), (2, "bob".into(), false), (3, "Troll".into(), true)]);
    let admin = changed.account("admin").unwrap().unwrap();
    assert!(crate::rules::password::verify("secret", &admin.hash));
    let snapshot = changed.snapshot(NOW).unwrap();
    assert_eq!((snapshot.ip_bans.len(), snapshot.system_bans.len(), snapshot.user_bans.len()), (2, 6, 1));
    assert_eq!((snapshot.listing_servers.len(), snapshot.disabled_ext_bans), (2, vec![5, 999]));
    assert!(snapshot.settings.contains(&("clientTimeout".into(), "90s".into())));
    // A database of the 2.1 series lacks some tables of bans.
    let (_directory, legacy) = open("legacy21.db");
    let old = legacy.account("oldhash").unwrap().unwrap();
    assert!(crate::rules::password::verify("pässword", &old.hash));
    assert_eq!(legacy.snapshot(NOW).unwrap().ip_bans.len(), 1);
}

#[test]
fn a_ban_that_makes_room_takes_its_rows_with_it() {
    const DAY: i64 = 86_400_000;
    each(|database, by_hand| {
        let add = |device: &str, expires: &str, now| {
            let target = BanTarget { kind: BanKind::System, subject: device.into(), subnet: 0 };
            let ban =
                NewPersonBan { expires: expires.into(), targets: vec![target], ..NewPersonBan::default() };
            assert!(matches!(database.add_person_ban(&ban, now).unwrap(), AddedBan::Added(..)), "{device}");
        };
        add("first", "2026-11-22 00:00:00", NOW);
        add("second", "2026-11-24 00:00:00", NOW);
        by_hand(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
             INSERT INTO drawhall_bans (id, name, reason, note, author, created, expires) \
             SELECT i, '', '', '', '', '2026-11-21 00:00:00', '2027-01-01 00:00:00' FROM n",
            Database::MAX_PERSON_BANS
        ));
        by_hand(&raise_identity(database));
        add("third", "2027-01-01 00:00:00", NOW + 10 * DAY);
        let devices: Vec<_> =
            database.bans(BanKind::System).unwrap().into_iter().map(|row| row.subject).collect();
        assert_eq!(devices, ["second", "third"]);
        assert!(database.person_ban(BanKey::Person(1)).unwrap().is_none());
    });
}

/// SQL after which the ids of bans of persons go on above those that were inserted.
fn raise_identity(database: &Database) -> String {
    if database.is_shared() {
        format!("ALTER TABLE drawhall_bans ALTER COLUMN id RESTART WITH {}", Database::MAX_PERSON_BANS + 1)
    } else {
        String::new()
    }
}
