//! Reading and claiming sessions that several servers share.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use crate::db::postgres::client::PgClient;
use crate::rules::metadata::{Metadata, SessionSummary};
use crate::storage::file_names;
use crate::storage::shared::{LastOwner, OwnershipNews, SharedError};

/// Unowned sessions that are looked at in one question.
const MAX_FOUND: usize = 500;
/// Bytes of a row that is imported.
const IMPORT_BYTES: usize = 1 << 20;

/// The servers that are alive: within [`LEASE_SECS`](crate::db::nodes::LEASE_SECS), and not started again since.
macro_rules! alive {
    () => {
        "(SELECT DISTINCT ON (address) incarnation FROM drawhall_nodes \
         WHERE seen > now() - INTERVAL '3 seconds' ORDER BY address, incarnation DESC)"
    };
}

/// Makes a server the owner of a session.
pub(super) async fn claim(
    client: &PgClient,
    id: &str,
    owner: &str,
) -> Result<Result<i64, SharedError>, Error> {
    let sql = concat!(
        "UPDATE drawhall_sessions SET owner = $2, epoch = epoch + 1 WHERE id = $1 AND (owner = $2 OR owner NOT IN ",
        alive!(),
        ") RETURNING epoch"
    );
    if let Some(row) = client.client.query_opt(sql, &[&id, &owner]).await? {
        return Ok(Ok(row.get(0)));
    }
    let known = client.client.query_opt("SELECT 1 FROM drawhall_sessions WHERE id = $1", &[&id]).await?;
    Ok(Err(if known.is_some() { SharedError::Owned } else { SharedError::NotFound }))
}

/// Writes the files of a session to a directory.
pub(super) async fn fetch(client: &PgClient, id: &str, directory: &Path) -> Result<(), SharedError> {
    let sql = "SELECT file, start, bytes FROM drawhall_session_data WHERE session = $1 ORDER BY file, start";
    let values: [&(dyn ToSql + Sync); 1] = [&id];
    let rows = client.client.query_raw(sql, values).await?;
    let mut rows = pin!(rows);
    let mut open: Option<(String, File, i64)> = None;
    while let Some(row) = rows.try_next().await? {
        let (name, start, bytes): (String, i64, &[u8]) = (row.get(0), row.get(1), row.get(2));
        if !file_names::is_of_session(&name, Some(id)) || name.contains('/') {
            return Err(SharedError::Database(format!("session {id} has a file {name}")));
        }
        if open.as_ref().is_none_or(|(last, _, _)| *last != name) {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).open(directory.join(&name))?;
            open = Some((name.clone(), file, 0));
        }
        let Some((_, file, end)) = &mut open else { continue };
        if *end != start {
            return Err(SharedError::Database(format!("{name} has nothing between {end} and {start}")));
        }
        file.write_all_at(bytes, start.cast_unsigned())?;
        *end += bytes.len() as i64;
    }
    Ok(())
}

/// Adds a session without an owner.
pub(super) async fn import(
    client: &PgClient,
    session: &SessionSummary,
    files: &[(PathBuf, String)],
) -> Result<(), SharedError> {
    let (id, client) = (&session.id, &client.client);
    client.batch_execute("BEGIN").await?;
    let sql = "INSERT INTO drawhall_sessions (id, owner, epoch, alias, protocol) VALUES ($1, '', 0, $2, $3) \
               ON CONFLICT DO NOTHING";
    let protocol = session.protocol.to_string();
    if client.execute(sql, &[id, &session.metadata.alias, &protocol]).await? == 0 {
        return Err(SharedError::Taken);
    }
    let sql =
        "INSERT INTO drawhall_session_data (session, file, start, epoch, bytes) VALUES ($1, $2, $3, 0, $4)";
    let insert = client.prepare(sql).await?;
    for (path, name) in files {
        let mut file = File::open(path)?;
        let mut start = 0_i64;
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(IMPORT_BYTES as u64).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            client.execute(&insert, &[id, name, &start, &bytes]).await?;
            start += bytes.len() as i64;
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// All sessions, and the names of the servers that have them.
pub(super) async fn list(client: &PgClient) -> Result<Vec<(String, Option<String>)>, Error> {
    let sql = concat!(
        "SELECT s.id, n.name FROM drawhall_sessions s LEFT JOIN drawhall_nodes n \
         ON n.incarnation = s.owner AND n.incarnation IN ",
        alive!(),
        " ORDER BY s.id"
    );
    let rows = client.client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Has the database know that this server does not go on with sessions that it has as its own, but for those kept.
pub(super) async fn release(
    client: &PgClient,
    owner: &str,
    is_kept: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let sql = "SELECT id, epoch FROM drawhall_sessions WHERE owner = $1";
    let rows = client.client.query(sql, &[&owner]).await?;
    for row in rows {
        let (id, epoch): (String, i64) = (row.get(0), row.get(1));
        if !is_kept(&id) {
            let sql = "UPDATE drawhall_sessions SET owner = '' WHERE id = $1 AND epoch = $2 AND owner = $3";
            client.client.execute(sql, &[&id, &epoch, &owner]).await?;
        }
    }
    Ok(())
}

/// Sessions without an owner, and those that another server has taken over.
pub(super) async fn news(
    client: &PgClient,
    owner: &str,
    owned: &[String],
    known: &HashMap<String, i64>,
) -> Result<OwnershipNews, Error> {
    let mut news = OwnershipNews::default();
    let sql = "SELECT id FROM drawhall_sessions WHERE id = ANY($1) AND owner <> $2";
    let lost = client.client.query(sql, &[&owned, &owner]).await?;
    if cfg!(not(feature = "sabotage-fence")) {
        news.lost = lost.iter().map(|row| row.get(0)).collect();
    }
    let sql = concat!(
        "SELECT id, epoch, protocol, EXTRACT(EPOCH FROM changed)::float8, owner FROM drawhall_sessions \
         WHERE owner <> $1 AND owner NOT IN ",
        alive!(),
        " ORDER BY id"
    );
    for row in client.client.query(sql, &[&owner]).await? {
        let (id, epoch): (String, i64) = (row.get(0), row.get(1));
        if known.get(&id) != Some(&epoch) {
            // The others come with the next question.
            if news.found.len() >= MAX_FOUND {
                continue;
            }
            let protocol: String = row.get(2);
            let last_use =
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs_f64(row.get::<_, f64>(3).max(0.0)));
            if let Some(summary) = summary(client, &id, &protocol, last_use).await? {
                news.found.push(summary);
            }
        }
        news.unowned.insert(id, LastOwner { incarnation: row.get(4), epoch });
    }
    Ok(news)
}

/// What a session's journal says; `None` if it cannot be understood.
async fn summary(
    client: &PgClient,
    id: &str,
    protocol: &str,
    last_use: Option<SystemTime>,
) -> Result<Option<SessionSummary>, Error> {
    let sql = "SELECT COALESCE(STRING_AGG(bytes, ''::bytea ORDER BY start), ''::bytea) FROM drawhall_session_data \
               WHERE session = $1 AND file = $2";
    let row = client.client.query_one(sql, &[&id, &file_names::journal(id)]).await?;
    let metadata = Metadata::replay(row.get(0)).metadata;
    let Some((file, protocol)) = metadata.file.clone().zip(protocol.parse().ok()) else {
        tracing::warn!("session {id} of the database has no journal, or an unknown protocol");
        return Ok(None);
    };
    let sql = "SELECT COALESCE(MAX(start + OCTET_LENGTH(bytes)), 0) FROM drawhall_session_data \
               WHERE session = $1 AND file = $2";
    let size: i64 = client.client.query_one(sql, &[&id, &file]).await?.get(0);
    Ok(Some(SessionSummary { id: id.to_owned(), metadata, protocol, size: size.cast_unsigned(), last_use }))
}
