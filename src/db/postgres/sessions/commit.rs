//! Transactions with the changes of many sessions.
//!
//! All statements are sent at once, so a transaction takes one round trip. The first locks the rows of the sessions
//! that this server owns in the epoch that it knows: until the end nobody can take them over. The others write for
//! these sessions only.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures_util::future::join;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::db::postgres::STATEMENT_TIMEOUT;
use crate::db::postgres::client::PgClient;
use crate::db::postgres::connect::{Connector, full_text};
use crate::storage::shared::{FileChange, SessionChanges};

/// Bytes up to which writes that follow one another are made one row.
const MAX_ROW: usize = 64 << 10;

/// Waits until what earlier connections of this server have under way is done, and has the rest refused.
const CONNECT: &str = "INSERT INTO drawhall_committers AS c (owner, connection) VALUES ($1, 1) \
     ON CONFLICT (owner) DO UPDATE SET connection = c.connection + 1, connected = now() RETURNING connection";
/// Rows of servers that are long gone.
const FORGET: &str = "DELETE FROM drawhall_committers WHERE connected < now() - INTERVAL '1 day' \
     AND owner <> $1 AND owner NOT IN (SELECT incarnation FROM drawhall_nodes) \
     AND owner NOT IN (SELECT owner FROM drawhall_sessions)";
/// Fails, and all statements behind it, unless this is the last connection of the server.
const CHECK: &str = "WITH last AS (SELECT 1 FROM drawhall_committers WHERE owner = $1 AND connection = $2 FOR SHARE) \
     SELECT 1 / COUNT(*) FROM last";

/// Whether the row `s` is that of the session `u`, which this server (parameter `$n`) owns in the epoch that it knows.
#[cfg(not(feature = "sabotage-fence"))]
macro_rules! owned {
    ($n:literal) => {
        concat!("s.id = u.session AND s.epoch = u.epoch AND s.owner = $", $n)
    };
}
#[cfg(feature = "sabotage-fence")]
macro_rules! owned {
    ($n:literal) => {
        concat!("s.id = u.session AND u.epoch > 0 AND $", $n, "::text <> ''")
    };
}

const BEGIN: &str = "INSERT INTO drawhall_sessions (id, owner, epoch, alias, protocol) \
     SELECT u.id, $4, 1, u.alias, u.protocol \
     FROM UNNEST($1::text[], $2::text[], $3::text[]) AS u(id, alias, protocol) ON CONFLICT DO NOTHING";
const LOCK: &str = concat!(
    "SELECT s.id FROM drawhall_sessions s, UNNEST($1::text[], $2::int8[]) AS u(session, epoch) WHERE ",
    owned!(3),
    " ORDER BY s.id FOR SHARE OF s"
);
const REMOVE: &str = concat!(
    "DELETE FROM drawhall_session_data d USING drawhall_sessions s, \
     UNNEST($1::text[], $2::text[], $3::int8[]) AS u(session, file, epoch) \
     WHERE d.session = u.session AND d.file = u.file AND ",
    owned!(4)
);
const WRITE: &str = concat!(
    "INSERT INTO drawhall_session_data (session, file, start, epoch, bytes) \
     SELECT u.session, u.file, u.start, u.epoch, u.bytes \
     FROM UNNEST($1::text[], $2::text[], $3::int8[], $4::int8[], $5::bytea[]) \
     AS u(session, file, start, epoch, bytes) JOIN drawhall_sessions s ON ",
    owned!(6),
    " ON CONFLICT (session, file, start) DO UPDATE SET epoch = EXCLUDED.epoch, bytes = EXCLUDED.bytes"
);
const END: &str = concat!(
    "WITH ended AS (DELETE FROM drawhall_sessions s \
     USING UNNEST($1::text[], $2::int8[]) AS u(session, epoch) WHERE ",
    owned!(3),
    " RETURNING s.id) DELETE FROM drawhall_session_data d USING ended WHERE d.session = ended.id"
);
const TOUCH: &str = "UPDATE drawhall_sessions SET changed = now() \
     WHERE id = ANY($1) AND owner = $2 AND changed < now() - INTERVAL '30 seconds'";

type Param<'a> = &'a (dyn ToSql + Sync);

/// What a transaction does, statement by statement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Statements<'a> {
    /// Sessions, their aliases and protocols.
    begun: (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>),
    /// Sessions that go on, with epochs.
    locked: (Vec<&'a str>, Vec<i64>),
    /// Sessions, files, and the sessions' epochs.
    removed: (Vec<&'a str>, Vec<&'a str>, Vec<i64>),
    written: Rows<'a>,
    /// Sessions, with epochs.
    ended: (Vec<&'a str>, Vec<i64>),
}

/// Rows of `drawhall_session_data`, column by column.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows<'a> {
    sessions: Vec<&'a str>,
    files: Vec<&'a str>,
    starts: Vec<i64>,
    epochs: Vec<i64>,
    contents: Vec<Bytes>,
}

/// What is left of the changes of one file.
#[derive(Default)]
struct FileState {
    is_replaced: bool,
    writes: Vec<(u64, Content)>,
}

/// Content of a row: as it came, or joined of several.
enum Content {
    Single(Bytes),
    Joined(Vec<u8>),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Content::Single(bytes) => bytes.len(),
            Content::Joined(bytes) => bytes.len(),
        }
    }

    fn append(&mut self, more: &[u8]) {
        match self {
            Content::Single(bytes) => *self = Content::Joined([bytes, more].concat()),
            Content::Joined(bytes) => bytes.extend_from_slice(more),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Content::Single(bytes) => bytes,
            Content::Joined(bytes) => bytes.into(),
        }
    }
}

impl FileState {
    fn replace(&mut self, content: Option<Bytes>) {
        self.is_replaced = true;
        self.writes = content.map(|bytes| (0, Content::Single(bytes))).into_iter().collect();
    }

    fn write(&mut self, at: u64, bytes: &Bytes) {
        if bytes.is_empty() {
            // A row of its own would have the key of the next one.
            return;
        }
        if let Some((start, last)) = self.writes.last_mut()
            && *start + last.len() as u64 == at
            && last.len() + bytes.len() <= MAX_ROW
        {
            last.append(bytes);
        } else {
            self.writes.push((at, Content::Single(bytes.clone())));
        }
    }
}

impl<'a> Statements<'a> {
    pub(super) fn of(transaction: &'a [SessionChanges]) -> Statements<'a> {
        let mut statements = Statements::default();
        for session_changes in transaction {
            let SessionChanges { session, epoch, changes } = session_changes;
            let (session, epoch) = (session.as_str(), *epoch);
            if session_changes.ends() {
                // Nothing else of it matters.
                statements.ended.0.push(session);
                statements.ended.1.push(epoch);
                continue;
            }
            statements.locked.0.push(session);
            statements.locked.1.push(epoch);
            let mut files: BTreeMap<&str, FileState> = BTreeMap::new();
            for change in changes {
                match change {
                    FileChange::Begin { alias, protocol } => {
                        statements.begun.0.push(session);
                        statements.begun.1.push(alias);
                        statements.begun.2.push(protocol);
                    }
                    FileChange::Write { file, at, bytes } => files.entry(file).or_default().write(*at, bytes),
                    FileChange::Put { file, bytes } => {
                        files.entry(file).or_default().replace(Some(bytes.clone()));
                    }
                    FileChange::Remove { file } => files.entry(file).or_default().replace(None),
                    // Ends are above; what is to be copied was read before.
                    FileChange::Copy { .. } | FileChange::End => {
                        debug_assert!(false, "{change:?} in a transaction");
                    }
                }
            }
            for (file, FileState { is_replaced, writes }) in files {
                if is_replaced {
                    statements.removed.0.push(session);
                    statements.removed.1.push(file);
                    statements.removed.2.push(epoch);
                }
                for (at, content) in writes {
                    statements.written.sessions.push(session);
                    statements.written.files.push(file);
                    statements.written.starts.push(at.cast_signed());
                    statements.written.epochs.push(epoch);
                    statements.written.contents.push(content.into_bytes());
                }
            }
        }
        statements
    }
}

/// A connection that commits.
pub(super) struct Committer {
    client: PgClient,
    /// Number of the connection.
    connection: i64,
    check: Statement,
    begin: Statement,
    lock: Statement,
    remove: Statement,
    write: Statement,
    end: Statement,
    touch: Statement,
}

impl Committer {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub(super) async fn connect(connector: &Connector, owner: &str) -> Result<Committer, String> {
        let client = PgClient::connect(connector, STATEMENT_TIMEOUT).await?;
        let failed = |error: tokio_postgres::Error| full_text(&error);
        let connection = client.client.query_one(CONNECT, &[&owner]).await.map_err(failed)?.get(0);
        client.client.execute(FORGET, &[&owner]).await.map_err(failed)?;
        let prepare = async |sql| client.client.prepare(sql).await.map_err(|error| full_text(&error));
        let (begin, lock, remove) = (prepare(BEGIN).await?, prepare(LOCK).await?, prepare(REMOVE).await?);
        let (write, end, touch) = (prepare(WRITE).await?, prepare(END).await?, prepare(TOUCH).await?);
        let check = prepare(CHECK).await?;
        Ok(Committer { client, connection, check, begin, lock, remove, write, end, touch })
    }

    /// Commits a transaction. Returns the sessions that this server does not own in the epoch that it knows: nothing of
    /// them was written.
    ///
    /// # Errors
    /// When it is not known to be committed.
    pub(super) async fn commit(
        &self,
        owner: &str,
        transaction: &[SessionChanges],
    ) -> Result<HashSet<String>, String> {
        self.client.was_warned();
        let rows = Statements::of(transaction);
        let Statements { begun, locked, removed, written, ended } = &rows;
        let client = &self.client.client;
        let bytes: Vec<&[u8]> = written.contents.iter().map(|bytes| &bytes[..]).collect();
        let begin_values: [Param<'_>; 4] = [&begun.0, &begun.1, &begun.2, &owner];
        let lock_values: [Param<'_>; 3] = [&locked.0, &locked.1, &owner];
        let remove_values: [Param<'_>; 4] = [&removed.0, &removed.1, &removed.2, &owner];
        let write_values: [Param<'_>; 6] =
            [&written.sessions, &written.files, &written.starts, &written.epochs, &bytes, &owner];
        let end_values: [Param<'_>; 3] = [&ended.0, &ended.1, &owner];
        let touch_values: [Param<'_>; 2] = [&locked.0, &owner];
        let begin = self.if_any(&self.begin, &begun.0, &begin_values);
        let lock = client.query(&self.lock, &lock_values);
        let remove = self.if_any(&self.remove, &removed.0, &remove_values);
        let write = self.if_any(&self.write, &written.sessions, &write_values);
        let end = self.if_any(&self.end, &ended.0, &end_values);
        let touch = self.if_any(&self.touch, &locked.0, &touch_values);
        // The futures are polled in this order, and each sends its statement when it is polled first.
        let check_values: [Param<'_>; 2] = [&owner, &self.connection];
        let check = client.execute(&self.check, &check_values);
        // Ends come first: a new session may have the alias of one that ends.
        let first = join(join(client.batch_execute("BEGIN"), check), end);
        let statements = join(join(first, begin), lock);
        let last = join(touch, client.batch_execute("COMMIT"));
        let statements = join(join(statements, join(remove, write)), last);
        let ((((((began, checked), ended), begun), locked), (removed, written)), (touched, committed)) =
            statements.await;
        checked.map_err(|error| full_text(&error))?;
        for done in [began, begun, removed, written, ended, touched, committed] {
            done.map_err(|error| full_text(&error))?;
        }
        let held = locked.map_err(|error| full_text(&error))?;
        if self.client.was_warned() {
            return Err("the commit is not known to be on the standby".into());
        }
        let held: HashSet<&str> = held.iter().map(|row| row.get(0)).collect();
        let lost = rows.locked.0.iter().filter(|session| !held.contains(*session));
        Ok(lost.map(|session| (*session).to_owned()).collect())
    }

    /// Runs a statement if there is something to do.
    async fn if_any(
        &self,
        statement: &Statement,
        rows: &[&str],
        values: &[Param<'_>],
    ) -> Result<(), tokio_postgres::Error> {
        if !rows.is_empty() {
            self.client.client.execute(statement, values).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_writes_what_is_left_of_the_changes() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let write = |file: &str, at, text| FileChange::Write { file: file.into(), at, bytes: bytes(text) };
        let changes = vec![
            FileChange::Begin { alias: "al".into(), protocol: "p".into() },
            write("j", 4, "gone"),
            FileChange::Put { file: "j".into(), bytes: bytes("new") },
            write("j", 3, "er"),
            write("h", 10, "ab"),
            write("h", 12, "cd"),
            write("h", 20, "ef"),
            write("h", 22, ""),
            FileChange::Remove { file: "old".into() },
        ];
        let ended = SessionChanges { session: "e".into(), epoch: 8, changes: vec![FileChange::End] };
        let transaction = [SessionChanges { session: "s".into(), epoch: 7, changes }, ended];
        let rows = Statements::of(&transaction);
        assert_eq!(rows.begun, (vec!["s"], vec!["al"], vec!["p"]));
        assert_eq!(rows.locked, (vec!["s"], vec![7]));
        assert_eq!(rows.removed, (vec!["s", "s"], vec!["j", "old"], vec![7, 7]));
        assert_eq!(rows.written.files, ["h", "h", "j"]);
        assert_eq!(rows.written.starts, [10, 20, 0]);
        assert_eq!(rows.written.contents, [bytes("abcd"), bytes("ef"), bytes("newer")]);
        assert_eq!(rows.ended, (vec!["e"], vec![8]));
    }
}
