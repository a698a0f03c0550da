//! The part of the SQLite backend that only the admin API needs.

use std::net::IpAddr;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use super::super::{BanKind, BanRow, DbError, LogQuery, LogRow};
use super::schema::{disabledextbans, ipbans, listingservers, systembans, userbans};
use super::{Number, SqliteState, ids, remove_setting, write_setting};

#[derive(QueryableByName)]
struct Ban {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = BigInt)]
    subnet: i64,
    #[diesel(sql_type = Text)]
    reaction: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    comment: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    added: String,
}

#[derive(QueryableByName)]
struct LogLine {
    #[diesel(sql_type = Text)]
    timestamp: String,
    #[diesel(sql_type = Integer)]
    level: i32,
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Text)]
    user: String,
    #[diesel(sql_type = Text)]
    session: String,
    #[diesel(sql_type = Text)]
    message: String,
}

/// Columns that only bans of system ids and users have.
const REACTION_AND_REASON: [&str; 2] =
    ["COALESCE(CAST(reaction AS TEXT), '')", "COALESCE(CAST(reason AS TEXT), '')"];

fn table(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Address => "ipbans",
        BanKind::System => "systembans",
        BanKind::User => "userbans",
    }
}

/// Whether two bans have the same subject.
fn same_subject(kind: BanKind, a: &BanRow, b: &BanRow) -> bool {
    if kind != BanKind::Address {
        return a.subject == b.subject;
    }
    // Prefix length 0 and the full length both mean the single address.
    let range = |ban: &BanRow| {
        let ip: IpAddr = ban.subject.trim().parse().ok()?;
        let all = if ip.is_ipv4() { 32 } else { 128 };
        Some((ip, if (1..all).contains(&ban.subnet) { ban.subnet } else { all }))
    };
    range(a).is_some_and(|r| Some(r) == range(b))
}

fn bans_of(connection: &mut SqliteConnection, kind: BanKind) -> QueryResult<Vec<BanRow>> {
    let (subject, subnet, texts) = match kind {
        BanKind::Address => ("ip", "COALESCE(CAST(subnet AS INTEGER), 0)", ["''", "''"]),
        BanKind::System => ("sid", "0", REACTION_AND_REASON),
        BanKind::User => ("userid", "0", REACTION_AND_REASON),
    };
    let sql = format!(
        "SELECT rowid AS id, CAST({subject} AS TEXT) AS subject, {subnet} AS subnet, {} AS reaction, \
         {} AS reason, COALESCE(CAST(expires AS TEXT), '') AS expires, \
         COALESCE(CAST(comment AS TEXT), '') AS comment, COALESCE(CAST(added AS TEXT), '') AS added \
         FROM {} WHERE {subject} IS NOT NULL ORDER BY rowid",
        texts[0],
        texts[1],
        table(kind),
    );
    let rows: Vec<Ban> = diesel::sql_query(sql).load(connection)?;
    let row = |b: Ban| {
        let Ban { id, subject, subnet, reaction, expires, comment, reason, added } = b;
        BanRow { id, subject, subnet, reaction, expires, comment, reason, added }
    };
    Ok(rows.into_iter().map(row).collect())
}

fn write_ban(connection: &mut SqliteConnection, kind: BanKind, id: i64, ban: &BanRow) -> QueryResult<usize> {
    match kind {
        BanKind::Address => diesel::insert_into(ipbans::table)
            .values((
                ipbans::rowid.eq(id),
                ipbans::ip.eq(&ban.subject),
                ipbans::subnet.eq(ban.subnet),
                ipbans::expires.eq(&ban.expires),
                ipbans::comment.eq(&ban.comment),
                ipbans::added.eq(&ban.added),
            ))
            .execute(connection),
        BanKind::System => diesel::insert_into(systembans::table)
            .values((
                systembans::id.eq(id),
                systembans::sid.eq(&ban.subject),
                systembans::reaction.eq(&ban.reaction),
                systembans::expires.eq(&ban.expires),
                systembans::comment.eq(&ban.comment),
                systembans::reason.eq(&ban.reason),
                systembans::added.eq(&ban.added),
            ))
            .execute(connection),
        // The user id is a number, as far as the text is one.
        BanKind::User => diesel::sql_query(
            "INSERT INTO userbans (id, userid, reaction, expires, comment, reason, added) \
             VALUES (?, CAST(? AS INTEGER), ?, ?, ?, ?, ?)",
        )
        .bind::<BigInt, _>(id)
        .bind::<Text, _>(&ban.subject)
        .bind::<Text, _>(&ban.reaction)
        .bind::<Text, _>(&ban.expires)
        .bind::<Text, _>(&ban.comment)
        .bind::<Text, _>(&ban.reason)
        .bind::<Text, _>(&ban.added)
        .execute(connection),
    }
}

impl SqliteState {
    pub(super) fn exchange_settings(
        &mut self,
        (key, value): (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            let matches: Number = diesel::sql_query(
                "SELECT COALESCE((SELECT CAST(value AS TEXT) FROM settings WHERE CAST(key AS TEXT) = ?), '') = ? AS n",
            )
            .bind::<Text, _>(key)
            .bind::<Text, _>(value)
            .get_result(connection)?;
            if matches.n == 0 {
                return Ok(false);
            }
            for key in remove {
                remove_setting(connection, key)?;
            }
            for (key, value) in set {
                write_setting(connection, key, value)?;
            }
            Ok(true)
        })
    }

    pub(super) fn all_bans(&mut self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        Ok(bans_of(&mut self.connection, kind)?)
    }

    pub(super) fn insert_ban(&mut self, kind: BanKind, ban: &BanRow) -> Result<BanRow, DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            let existing = bans_of(connection, kind)?;
            let same = |b: &BanRow| b.expires > ban.added && same_subject(kind, b, ban);
            if let Some(same) = existing.into_iter().find(same) {
                return Ok(same);
            }
            let id = ids::next(connection, table(kind))?;
            write_ban(connection, kind, id, ban)?;
            Ok(BanRow { id, ..ban.clone() })
        })
    }

    pub(super) fn delete_ban(&mut self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            ids::record_highest(connection, table(kind))?;
            let deleted = match kind {
                BanKind::Address => diesel::delete(ipbans::table.find(id)).execute(connection),
                BanKind::System => diesel::delete(systembans::table.find(id)).execute(connection),
                BanKind::User => diesel::delete(userbans::table.find(id)).execute(connection),
            };
            Ok(deleted? > 0)
        })
    }

    pub(super) fn replace_listing_servers(&mut self, patterns: &[String]) -> Result<(), DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            diesel::delete(listingservers::table).execute(connection)?;
            for pattern in patterns {
                diesel::insert_into(listingservers::table)
                    .values(listingservers::url.eq(pattern))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    pub(super) fn mark_ext_ban(&mut self, id: i64, enabled: bool) -> Result<(), DbError> {
        self.own_changes += 1;
        let connection = &mut self.connection;
        if enabled {
            diesel::delete(disabledextbans::table.find(id)).execute(connection)?;
        } else {
            diesel::insert_or_ignore_into(disabledextbans::table)
                .values(disabledextbans::id.eq(id))
                .execute(connection)?;
        }
        Ok(())
    }

    pub(super) fn delete_older_log(&mut self, count: i64) -> Result<(), DbError> {
        diesel::sql_query("DELETE FROM serverlog WHERE rowid <= (SELECT MAX(rowid) FROM serverlog) - ?")
            .bind::<BigInt, _>(count)
            .execute(&mut self.connection)?;
        Ok(())
    }

    pub(super) fn log_rows(&mut self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        let text = |column: &str| format!("COALESCE(CAST({column} AS TEXT), '')");
        let [timestamp, topic, user, session, message] =
            ["timestamp", "topic", "user", "session", "message"].map(text);
        let part = |column: &str| format!("(?2 = '' OR {column} LIKE '%' || ?2 || '%' ESCAPE '\\')");
        let sql = format!(
            "SELECT {timestamp} AS timestamp, COALESCE(CAST(level AS INTEGER), 0) AS level, {topic} AS topic, \
             {user} AS user, {session} AS session, {message} AS message FROM serverlog \
             WHERE (?1 = '' OR {session} = ?1) AND {} AND {} AND (?4 = '' OR {timestamp} > ?4) \
             AND (?7 = '' OR {timestamp} <= ?7) \
             ORDER BY rowid DESC LIMIT ?5 OFFSET ?6",
            part(&user),
            part(&message).replace("?2", "?3"),
        );
        let lines: Vec<LogLine> = diesel::sql_query(sql)
            .bind::<Text, _>(&query.session)
            .bind::<Text, _>(escape_like(&query.user))
            .bind::<Text, _>(escape_like(&query.contains))
            .bind::<Text, _>(&query.after)
            .bind::<BigInt, _>(query.count)
            .bind::<BigInt, _>(query.skip)
            .bind::<Text, _>(&query.before)
            .load(&mut self.connection)?;
        let row = |l: LogLine| {
            let LogLine { timestamp, level, topic, user, session, message } = l;
            LogRow { timestamp, level, topic, user, session, message }
        };
        Ok(lines.into_iter().map(row).collect())
    }
}

/// Escapes the wildcards of LIKE.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
