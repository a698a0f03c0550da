//! Reading and claiming sessions that several servers share.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt as _;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use crate::db::postgres::client::PgClient;
use crate::rules::metadata::{Metadata, SessionSummary};
use crate::storage::file_names;
use crate::storage::shared::{LastOwner, OwnershipNews, SharedError};

/// Unowned sessions of which the journal is read in one question.
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
    from: Option<&str>,
) -> Result<Result<i64, SharedError>, Error> {
    let sql = concat!(
        "UPDATE drawhall_sessions SET owner = $2, epoch = epoch + 1 WHERE id = $1 AND (owner IN ($2, $3) OR owner NOT IN ",
        alive!(),
        ") RETURNING epoch"
    );
    if let Some(row) = client.client.query_opt(sql, &[&id, &owner, &from.unwrap_or(owner)]).await? {
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

/// All sessions, and the incarnations of the servers that have them.
pub(super) async fn list(client: &PgClient) -> Result<Vec<(String, Option<String>)>, Error> {
    let sql = concat!(
        "SELECT s.id, n.incarnation FROM drawhall_sessions s LEFT JOIN drawhall_nodes n \
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
    let rows = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, i64>(1)));
    let (ids, epochs): (Vec<String>, Vec<i64>) = rows.filter(|(id, _)| !is_kept(id)).unzip();
    if !ids.is_empty() {
        let sql = "UPDATE drawhall_sessions s SET owner = '' FROM UNNEST($1::text[], $2::int8[]) AS u(id, epoch) \
                   WHERE s.id = u.id AND s.epoch = u.epoch AND s.owner = $3";
        client.client.execute(sql, &[&ids, &epochs, &owner]).await?;
    }
    Ok(())
}

/// Sessions without an owner, and those that another server has taken over. Those that are not understood are left out
/// until they have had another owner.
pub(super) async fn news(
    client: &PgClient,
    owner: &str,
    owned: &[&str],
    known: &HashMap<String, i64>,
    not_understood: &mut HashMap<String, i64>,
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
    let (mut new, mut left_out) = (Vec::new(), HashMap::new());
    for row in client.client.query(sql, &[&owner]).await? {
        let (id, epoch, incarnation): (String, i64, String) = (row.get(0), row.get(1), row.get(4));
        if not_understood.get(&id) == Some(&epoch) {
            left_out.insert(id, epoch);
            continue;
        }
        if known.get(&id) != Some(&epoch) {
            if new.len() == MAX_FOUND {
                // It comes with the next question.
                continue;
            }
            let age = Duration::from_secs_f64(row.get::<_, f64>(3).max(0.0));
            let last_use = UNIX_EPOCH.checked_add(age);
            new.push(Unread { id: id.clone(), epoch, protocol: row.get(2), last_use });
        }
        news.unowned.insert(id, LastOwner { incarnation, epoch });
    }
    if !new.is_empty() {
        let mut unread: HashMap<String, i64> = new.iter().map(|new| (new.id.clone(), new.epoch)).collect();
        news.found = summaries(client, new).await?;
        for session in &news.found {
            unread.remove(&session.id);
        }
        news.unowned.retain(|id, _| !unread.contains_key(id));
        left_out.extend(unread);
    }
    *not_understood = left_out;
    Ok(news)
}

/// Removes sessions without a journal, which nobody has seen: their first changes were committed in part.
const REMOVE_UNFINISHED: &str = concat!(
    "WITH gone AS (DELETE FROM drawhall_sessions s USING UNNEST($1::text[], $2::int8[]) AS u(id, epoch) \
     WHERE s.id = u.id AND s.epoch = u.epoch AND s.owner NOT IN ",
    alive!(),
    " RETURNING s.id) DELETE FROM drawhall_session_data d USING gone WHERE d.session = gone.id"
);
const JOURNALS: &str = "SELECT d.session, STRING_AGG(d.bytes, ''::bytea ORDER BY d.start) FROM drawhall_session_data d \
     JOIN UNNEST($1::text[], $2::text[]) AS u(session, file) ON d.session = u.session AND d.file = u.file \
     GROUP BY d.session";
const SIZES: &str = "SELECT d.session, MAX(d.start + OCTET_LENGTH(d.bytes)) FROM drawhall_session_data d \
     JOIN UNNEST($1::text[], $2::text[]) AS u(session, file) ON d.session = u.session AND d.file = u.file \
     GROUP BY d.session";

/// A session whose journal has not been read.
struct Unread {
    id: String,
    epoch: i64,
    protocol: String,
    last_use: Option<SystemTime>,
}

/// What the journals of sessions say. Those that are not understood are left out.
async fn summaries(client: &PgClient, sessions: Vec<Unread>) -> Result<Vec<SessionSummary>, Error> {
    let client = &client.client;
    let ids: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
    let names: Vec<String> = ids.iter().map(|id| file_names::journal(id)).collect();
    let rows = client.query(JOURNALS, &[&ids, &names]).await?;
    let journals: HashMap<&str, &[u8]> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let (unfinished, rest): (Vec<Unread>, Vec<Unread>) =
        sessions.into_iter().partition(|session| !journals.contains_key(session.id.as_str()));
    if !unfinished.is_empty() {
        let columns = unfinished.iter().map(|session| (session.id.as_str(), session.epoch));
        let (ids, epochs): (Vec<&str>, Vec<i64>) = columns.unzip();
        client.execute(REMOVE_UNFINISHED, &[&ids, &epochs]).await?;
    }
    let mut found = Vec::new();
    for Unread { id, protocol, last_use, .. } in rest {
        let metadata = journals.get(id.as_str()).map(|journal| Metadata::replay(journal).metadata);
        match (metadata.filter(|metadata| metadata.file.is_some()), protocol.parse()) {
            (Some(metadata), Ok(protocol)) => {
                found.push(SessionSummary { id, metadata, protocol, size: 0, last_use });
            }
            _ => tracing::warn!("session {id} of the database is left out: its journal is not understood"),
        }
    }
    let columns = found.iter().map(|s| (s.id.as_str(), s.metadata.file.as_deref().unwrap_or_default()));
    let (ids, files): (Vec<&str>, Vec<&str>) = columns.unzip();
    let rows = client.query(SIZES, &[&ids, &files]).await?;
    let sizes: HashMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // Without its history a session cannot be loaded.
    found.retain_mut(|session| {
        let size = sizes.get(&session.id);
        session.size = size.map_or(0, |size| size.cast_unsigned());
        if size.is_none() {
            tracing::warn!("session {} of the database is left out: it has no history", session.id);
        }
        size.is_some()
    });
    Ok(found)
}

#[cfg(test)]
#[test]
fn the_lease_in_sql_is_lease_secs() {
    assert!(alive!().contains(&format!("INTERVAL '{} seconds'", crate::db::nodes::LEASE_SECS)));
}
