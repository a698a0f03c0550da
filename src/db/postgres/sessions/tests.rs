use bytes::Bytes;

use super::*;
use crate::db::Database;
use crate::db::tests::databases::on_postgres;
use crate::postgres::PostgresDatabase;

fn store(postgres: &PostgresDatabase, owner: &str) -> Arc<dyn SharedSessions> {
    Database::shared_sessions(&postgres.url().parse().unwrap(), owner, Arc::default()).unwrap()
}

fn outcome(committing: Committing) -> CommitOutcome {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(committing)
}

fn begin(alias: &str) -> FileChange {
    FileChange::Begin { alias: alias.into(), protocol: "dp:4.24.0".into() }
}

fn put(file: &str, content: &'static str) -> FileChange {
    FileChange::Put { file: file.into(), bytes: Bytes::from_static(content.as_bytes()) }
}

fn write(file: &str, at: u64, content: &'static str) -> FileChange {
    FileChange::Write { file: file.into(), at, bytes: Bytes::from_static(content.as_bytes()) }
}

/// What `fetch` writes of a file.
fn fetched(store: &Arc<dyn SharedSessions>, id: &str, file: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    store.fetch(id, directory.path()).map_err(|error| error.to_string())?;
    std::fs::read_to_string(directory.path().join(file)).map_err(|error| error.to_string())
}

const JOURNAL: &str = "FILE a.dprec\n";

/// Commits the session `a`, whose history is `whole`.
fn commit_whole(store: &Arc<dyn SharedSessions>) {
    let whole = vec![begin(""), put("a.session", JOURNAL), write("a.dprec", 0, "whole")];
    assert_eq!(outcome(store.commit("a", 1, whole)), CommitOutcome::Committed);
}

#[test]
fn the_alias_of_a_session_that_ends_is_free_for_the_next() {
    let Some((_, postgres)) = on_postgres() else { return };
    let store = store(&postgres, "one");
    assert_eq!(
        outcome(store.commit("a", 1, vec![begin("alias"), put("a.session", JOURNAL)])),
        CommitOutcome::Committed
    );
    let taken = outcome(store.commit("c", 1, vec![begin("alias"), put("c.session", JOURNAL)]));
    assert_eq!(taken, CommitOutcome::Taken);
    // Nobody waits for the end.
    drop(store.commit("a", 1, vec![FileChange::End]));
    let next = outcome(store.commit("b", 1, vec![begin("alias"), put("b.session", JOURNAL)]));
    assert_eq!(next, CommitOutcome::Committed);
    assert_eq!(store.list().unwrap(), [("b".to_owned(), None)]);
}

#[test]
fn only_the_owner_of_the_present_epoch_writes() {
    let Some((_, postgres)) = on_postgres() else { return };
    let (one, other) = (store(&postgres, "one"), store(&postgres, "other"));
    let first = vec![begin(""), put("a.session", JOURNAL), write("a.dprec", 0, "first")];
    assert_eq!(outcome(one.commit("a", 1, first)), CommitOutcome::Committed);
    // No server is alive here.
    assert_eq!(other.claim("a", None).unwrap(), 2);
    assert_eq!(outcome(one.commit("a", 1, vec![write("a.dprec", 5, " late")])), CommitOutcome::Lost);
    assert_eq!(outcome(one.commit("a", 2, vec![write("a.dprec", 5, " late")])), CommitOutcome::Lost);
    assert_eq!(outcome(other.commit("a", 2, vec![write("a.dprec", 5, " next")])), CommitOutcome::Committed);
    assert_eq!(fetched(&one, "a", "a.dprec").unwrap(), "first next");
    assert_eq!(outcome(other.commit("a", 2, vec![write("a.dprec", 12, "gap")])), CommitOutcome::Committed);
    let error = fetched(&one, "a", "a.dprec").unwrap_err();
    assert!(error.contains("nothing between 10 and 12"), "{error}");
    // Who is alive keeps its sessions.
    postgres.execute("INSERT INTO drawhall_nodes (incarnation, name, address) VALUES ('other', 'n', 'h:1')");
    assert!(matches!(one.claim("a", None), Err(SharedError::Owned)));
    assert!(matches!(one.claim("b", None), Err(SharedError::NotFound)));
}

#[test]
fn a_second_connection_of_a_server_takes_over_from_the_first_which_connects_again() {
    let Some((_, postgres)) = on_postgres() else { return };
    let (first, second) = (store(&postgres, "one"), store(&postgres, "one"));
    let begun = vec![begin(""), put("a.session", JOURNAL), write("a.dprec", 0, "1")];
    assert_eq!(outcome(first.commit("a", 1, begun)), CommitOutcome::Committed);
    assert_eq!(outcome(second.commit("a", 1, vec![write("a.dprec", 1, "2")])), CommitOutcome::Committed);
    assert_eq!(outcome(first.commit("a", 1, vec![write("a.dprec", 2, "3")])), CommitOutcome::Committed);
    assert_eq!(fetched(&first, "a", "a.dprec").unwrap(), "123");
    postgres.execute("DO $$ BEGIN ASSERT (SELECT connection FROM drawhall_committers) = 3; END $$");
}

#[test]
fn a_session_whose_first_changes_were_committed_in_part_is_removed() {
    let Some((_, postgres)) = on_postgres() else { return };
    let (one, other) = (store(&postgres, "one"), store(&postgres, "other"));
    let half = vec![begin("alias"), write("a.dprec", 0, "half")];
    assert_eq!(outcome(one.commit("a", 1, half)), CommitOutcome::Committed);
    let whole = vec![begin(""), put("b.session", "FILE b.dprec\n"), write("b.dprec", 0, "whole")];
    assert_eq!(outcome(one.commit("b", 1, whole)), CommitOutcome::Committed);
    let news = other.news(&HashMap::new()).unwrap();
    let found: Vec<&str> = news.found.iter().map(|session| session.id.as_str()).collect();
    assert_eq!((found, news.unowned.len()), (vec!["b"], 1));
    assert_eq!(other.list().unwrap(), [("b".to_owned(), None)]);
    let known = news.unowned.into_iter().map(|(id, last)| (id, last.epoch)).collect();
    assert!(other.news(&known).unwrap().found.is_empty(), "it is known");
}

#[test]
fn what_a_server_does_not_go_on_with_is_released() {
    let Some((_, postgres)) = on_postgres() else { return };
    postgres.execute("INSERT INTO drawhall_nodes (incarnation, name, address) VALUES ('one', 'n', 'h:1')");
    let (one, other) = (store(&postgres, "one"), store(&postgres, "other"));
    commit_whole(&one);
    assert!(one.news(&HashMap::new()).unwrap().unowned.is_empty());
    assert!(matches!(other.claim("a", None), Err(SharedError::Owned)));
    one.release("a");
    assert!(one.news(&HashMap::new()).unwrap().unowned.contains_key("a"));
    assert_eq!(other.claim("a", None).unwrap(), 2);
}

#[test]
fn a_session_that_is_being_claimed_is_neither_lost_nor_released() {
    let Some((_, postgres)) = on_postgres() else { return };
    postgres.execute("INSERT INTO drawhall_nodes (incarnation, name, address) VALUES ('other', 'n', 'h:1')");
    let (one, other) = (store(&postgres, "one"), store(&postgres, "other"));
    commit_whole(&one);
    std::thread::scope(|scope| {
        // The claim waits for this one.
        let locks = scope.spawn(|| {
            postgres.execute(
                "DO $$ BEGIN PERFORM 1 FROM drawhall_sessions FOR UPDATE; PERFORM pg_sleep(2); END $$",
            );
        });
        postgres.execute(
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
             AND pid <> pg_backend_pid()) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
        );
        let claim = scope.spawn(|| other.claim("a", Some("one")));
        while !locks.is_finished() {
            assert_eq!(other.news(&HashMap::new()).unwrap().lost, [""; 0]);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(claim.join().unwrap().unwrap(), 2);
    });
    assert_eq!(other.news(&HashMap::new()).unwrap().lost, [""; 0]);
    assert!(matches!(one.claim("a", None), Err(SharedError::Owned)), "it was not released");
    assert_eq!(outcome(other.commit("a", 2, vec![write("a.dprec", 5, "!")])), CommitOutcome::Committed);
}
