//! Everything that decides about connections, in one transaction.

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::{Number, Pair, Sql, SubjectBan, text};
use crate::db::{IpBan, Snapshot};

#[derive(QueryableByName)]
struct Range {
    #[diesel(sql_type = Text)]
    ip: String,
    #[diesel(sql_type = BigInt)]
    subnet: i64,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    reason: String,
}

#[derive(QueryableByName)]
struct Subject {
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = Text)]
    reaction: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    reason: String,
}

impl From<Subject> for SubjectBan {
    fn from(row: Subject) -> SubjectBan {
        let Subject { subject, reaction, expires, reason } = row;
        SubjectBan { subject, reaction, expires, reason }
    }
}

/// The first column of a query's rows.
fn column(connection: &mut impl Sql, sql: &str) -> QueryResult<Vec<String>> {
    Ok(connection.rows::<Pair>(sql, &[])?.into_iter().map(|pair| pair.a).collect())
}

/// Bans in force of a table with a subject column.
fn bans(connection: &mut impl Sql, table: &str, subject: &str, now: &str) -> QueryResult<Vec<SubjectBan>> {
    let sql = format!(
        "SELECT CAST({subject} AS TEXT) AS subject, CAST(reaction AS TEXT) AS reaction, \
         CAST(expires AS TEXT) AS expires, COALESCE(CAST(reason AS TEXT), '') AS reason FROM {table} \
         WHERE CAST(expires AS TEXT) > ?1 AND {subject} IS NOT NULL AND reaction IS NOT NULL ORDER BY id"
    );
    let rows: Vec<Subject> = connection.rows(&sql, &[text(now)])?;
    Ok(rows.into_iter().map(SubjectBan::from).collect())
}

fn ip_bans(connection: &mut impl Sql, now: &str) -> QueryResult<Vec<IpBan>> {
    let id = connection.dialect().row_id;
    let sql = format!(
        "SELECT CAST(ip AS TEXT) AS ip, COALESCE(CAST(subnet AS BIGINT), 0) AS subnet, \
         CAST(expires AS TEXT) AS expires, COALESCE((SELECT ban.reason FROM drawhall_ban_parts part \
         JOIN drawhall_bans ban ON ban.id = part.ban WHERE part.kind = 'address' AND part.row_id = ipbans.{id} \
         AND part.subject = CAST(ipbans.ip AS TEXT)), '') AS reason FROM ipbans \
         WHERE CAST(expires AS TEXT) > ?1 AND ip IS NOT NULL ORDER BY {id}"
    );
    let ranges: Vec<Range> = connection.rows(&sql, &[text(now)])?;
    let ban = |Range { ip, subnet, expires, reason }| IpBan { ip, subnet, expires, reason };
    Ok(ranges.into_iter().map(ban).collect())
}

pub(super) fn read(connection: &mut impl Sql, now: &str) -> QueryResult<Snapshot> {
    let id = connection.dialect().row_id;
    let settings: Vec<Pair> = connection.rows(
        &format!(
            "SELECT CAST(key AS TEXT) AS a, COALESCE(CAST(value AS TEXT), '') AS b FROM settings \
             WHERE key IS NOT NULL ORDER BY {id}"
        ),
        &[],
    )?;
    let servers = format!(
        "SELECT CAST(url AS TEXT) AS a, '' AS b FROM listingservers WHERE url IS NOT NULL ORDER BY {id}"
    );
    let disabled: Vec<Number> = connection.rows("SELECT id AS n FROM disabledextbans ORDER BY id", &[])?;
    let accounts = "SELECT CAST(username AS TEXT) AS a, '' AS b FROM users WHERE username IS NOT NULL";
    let ends = "SELECT COALESCE(MIN(e), '') AS a, '' AS b FROM (SELECT CAST(expires AS TEXT) AS e FROM ipbans \
        UNION ALL SELECT expires FROM systembans UNION ALL SELECT expires FROM userbans \
        UNION ALL SELECT expires FROM drawhall_accountbans) AS ends WHERE e > ?1";
    let next: Vec<Pair> = connection.rows(ends, &[text(now)])?;
    Ok(Snapshot {
        settings: settings.into_iter().map(|p| (p.a, p.b)).collect(),
        ip_bans: ip_bans(connection, now)?,
        system_bans: bans(connection, "systembans", "sid", now)?,
        user_bans: bans(connection, "userbans", "userid", now)?,
        account_bans: bans(connection, "drawhall_accountbans", "account", now)?,
        listing_servers: column(connection, &servers)?,
        disabled_ext_bans: disabled.into_iter().map(|n| n.n).collect(),
        account_names: column(connection, accounts)?,
        next_expiry: next.into_iter().map(|p| p.a).find(|e| !e.is_empty()),
    })
}
