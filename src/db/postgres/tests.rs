use std::sync::Barrier;
use std::time::Duration;

use crate::db::tests::databases::on_postgres;
use crate::db::{Account, AccountKey, BanKind, BanRow, ClusterUrl, Database, DbError, LogQuery, LogRow};
use crate::postgres::PostgresDatabase;

fn url(postgres: &PostgresDatabase) -> ClusterUrl {
    postgres.url().parse().unwrap()
}

fn account(name: &str) -> Account {
    Account { id: 0, name: name.into(), hash: "plain;x".into(), locked: false, flags: Vec::new() }
}

/// Waits until something is so.
fn eventually(what: &str, is: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !is() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_empty_database_gets_its_tables_and_first_settings_once() {
    let Some(postgres) = PostgresDatabase::create() else { return };
    let url = url(&postgres);
    assert!(Database::connect_unchanged(&url).unwrap().is_none(), "it is empty");
    let first = Database::connect(&url, &[("logpurgedays", "30")]).unwrap();
    assert_eq!(first.snapshot(0).unwrap().settings, [("logpurgedays".to_owned(), "30".to_owned())]);
    first.change_settings(&[("logpurgedays", None)]).unwrap();
    let second = Database::connect(&url, &[("logpurgedays", "30")]).unwrap();
    assert!(second.snapshot(0).unwrap().settings.is_empty());
    assert!(Database::connect_unchanged(&url).unwrap().is_some());
    assert!(first.is_shared() && first.path().is_none() && first.directory().is_none());
}

#[test]
fn a_first_start_that_fails_leaves_nothing_so_the_next_one_writes_the_settings() {
    let Some(postgres) = PostgresDatabase::create() else { return };
    let url = url(&postgres);
    // Adds a constraint to the table of settings as soon as there is one.
    postgres.execute(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF to_regclass('settings') IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'refuse') THEN \
         ALTER TABLE settings ADD CONSTRAINT refuse CHECK (value <> 'refused'); END IF; END $$; \
         CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION refuse()",
    );
    assert!(Database::connect(&url, &[("logpurgedays", "refused")]).is_err());
    assert!(Database::connect_unchanged(&url).unwrap().is_none(), "it is still empty");
    let database = Database::connect(&url, &[("logpurgedays", "30")]).unwrap();
    assert_eq!(database.snapshot(0).unwrap().settings, [("logpurgedays".to_owned(), "30".to_owned())]);
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let Some((_, postgres)) = on_postgres() else { return };
    postgres.execute("INSERT INTO __diesel_schema_migrations VALUES ('30000101000000')");
    for error in
        [Database::connect(&url(&postgres), &[]).err(), Database::connect_unchanged(&url(&postgres)).err()]
    {
        assert!(matches!(error, Some(DbError::NewerCluster { version, .. }) if version == "30000101000000"));
    }
}

#[test]
fn servers_that_start_at_once_make_one_set_of_tables() {
    let Some(postgres) = PostgresDatabase::create() else { return };
    let url = url(&postgres);
    let start = Barrier::new(4);
    let open = || {
        start.wait();
        Database::connect(&url, &[]).unwrap()
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        let all: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        all[0].add_account(&account("a")).unwrap();
        assert!(all.iter().all(|one| one.account("a").unwrap().is_some()));
    });
}

#[test]
fn of_several_servers_one_adds_a_name_and_all_get_different_ids() {
    let Some((one, postgres)) = on_postgres() else { return };
    let other = Database::connect(&url(&postgres), &[]).unwrap();
    let start = Barrier::new(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let add = |n: usize| {
            let (start, database) = (&start, if n.is_multiple_of(2) { &one } else { &other });
            move || {
                start.wait();
                let own = database.add_account(&account(&format!("own{n}"))).unwrap().id;
                // They look the same.
                let name = if n < 4 { "Bob" } else { "bob" };
                (own, database.add_account(&account(name)).is_ok())
            }
        };
        let all: Vec<_> = (0..8).map(|n| scope.spawn(add(n))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|(_, added)| *added).count(), 1);
    let mut ids: Vec<i64> = results.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8);
}

#[test]
fn rows_inserted_by_hand_get_ids_that_were_not_used() {
    let Some((database, postgres)) = on_postgres() else { return };
    for name in ["a", "b"] {
        database.add_account(&account(name)).unwrap();
    }
    database.remove_account(AccountKey::Name("b")).unwrap();
    postgres.execute("INSERT INTO users (username, password) VALUES ('c', 'plain;x')");
    assert_eq!(database.account("c").unwrap().unwrap().id, 3);
    assert_eq!(database.add_account(&account("d")).unwrap().id, 4);
}

#[test]
fn a_change_on_one_server_is_told_to_the_others() {
    let Some((one, postgres)) = on_postgres() else { return };
    let other = Database::connect(&url(&postgres), &[]).unwrap();
    let mut version = other.version().unwrap();
    let ban = BanRow { subject: "192.0.2.1".into(), expires: "2999-01-01".into(), ..BanRow::default() };
    let changes: [&dyn Fn(); 3] = [
        &|| drop(one.add_ban(BanKind::Address, ban.clone(), 0).unwrap()),
        &|| one.set_settings(&[("serverTitle", "T")]).unwrap(),
        &|| postgres.execute("TRUNCATE ipbans"),
    ];
    for change in changes {
        change();
        eventually("the version has changed", || {
            other.may_have_changed() && other.version().unwrap() != version
        });
        version = other.version().unwrap();
    }
    one.append_log(&[LogRow {
        timestamp: "2026-01-01T00:00:00Z".into(),
        level: 2,
        topic: "Status".into(),
        user: String::new(),
        session: String::new(),
        message: "NUL \0 is no text".into(),
    }])
    .unwrap();
    assert_eq!(other.version().unwrap(), version, "the log decides nothing");
    let log = other.log(&LogQuery { count: 10, ..LogQuery::default() }).unwrap();
    assert_eq!(log[0].message, "NUL \u{fffd} is no text");
}

#[test]
fn a_database_that_was_away_is_used_again() {
    let Some((database, postgres)) = on_postgres() else { return };
    database.add_account(&account("a")).unwrap();
    postgres.set_away(true);
    eventually("it is away", || matches!(database.account("a"), Err(DbError::Connect { .. })));
    let error = database.accounts().unwrap_err().to_string();
    assert!(error.starts_with("cannot use the database postgres://drawhall@"), "{error}");
    let refused = Database::connect(&url(&postgres), &[]).err();
    assert!(matches!(refused, Some(DbError::Connect { .. })), "{refused:?}");
    postgres.set_away(false);
    eventually("it is back", || database.account("a").is_ok_and(|account| account.is_some()));
}

#[test]
fn a_failed_change_leaves_nothing_and_the_connection_is_used_again() {
    let Some((database, postgres)) = on_postgres() else { return };
    database.add_account(&account("a")).unwrap();
    postgres.execute("ALTER TABLE users ADD CONSTRAINT short CHECK (length(username) < 3)");
    let rename = || database.change_account(AccountKey::Name("a"), |account| account.name = "long".into());
    for _ in 0..20 {
        assert!(matches!(rename(), Err(DbError::Query(_))));
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        database.change_account(AccountKey::Name("a"), |_| panic!("in the middle of a transaction"))
    }));
    assert!(panicked.is_err());
    assert_eq!(database.change_account(AccountKey::Name("a"), |a| a.locked = true).unwrap().name, "a");
}

#[test]
fn connections_are_encrypted_and_certificates_checked_as_the_address_says() {
    let Some((_, postgres)) = on_postgres() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, postgres.certificate()).unwrap();
    let trusted = format!("sslmode=verify-full&sslrootcert={}", file.display());
    let connect = |host: &str, parameters: &str| {
        Database::connect(&postgres.url_at(host, parameters).parse().unwrap(), &[])
    };
    for (parameters, encrypted) in
        [("sslmode=disable", false), ("sslmode=prefer", true), ("sslmode=require", true), (&trusted, true)]
    {
        let database = connect("localhost", &format!("{parameters}&application_name=checked")).unwrap();
        assert!(database.accounts().unwrap().is_empty());
        postgres.execute(&format!(
            "DO $$ BEGIN ASSERT (SELECT BOOL_AND(ssl = {encrypted}) FROM pg_stat_ssl JOIN pg_stat_activity \
             USING (pid) WHERE datname = CURRENT_DATABASE() AND application_name = 'checked'); END $$"
        ));
        drop(database);
        // It ends with its connections, but PostgreSQL may see that later.
        postgres.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'checked'",
        );
    }
    for (host, parameters) in [("localhost", "sslmode=verify-full"), ("127.0.0.1", trusted.as_str())] {
        let error = connect(host, parameters).unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{host} {parameters}: {error}");
    }
    let missing = connect("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem").unwrap_err();
    assert!(missing.to_string().contains("sslrootcert /nowhere.pem: "), "{missing}");
}
