//! Endpoints `log`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad};
use super::value::{MAX_EXACT, Number, Text, object};
use super::{AdminState, query_db};
use crate::db::{LogQuery, LogRow};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::time::{Timestamp, iso_of, utc_of};

/// Entries per page.
const PAGE: i64 = 100;

pub(super) fn endpoints(api: &mut Api) {
    api.get("log", "Lines of the log, newest first, 100 a page.", AdminState::log);
    api.post("log", "Writes a line.", AdminState::add_to_log);
}

/// A line of the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct LogLine {
    /// When, ISO 8601.
    timestamp: String,
    /// Error, Warn, Info or Debug.
    level: String,
    /// What it is about.
    topic: String,
    /// What happened.
    message: String,
    /// Session id.
    #[serde(skip_serializing_if = "String::is_empty")]
    session: String,
    /// id;address;name.
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
}

impl From<LogRow> for LogLine {
    fn from(row: LogRow) -> LogLine {
        let LogRow { timestamp, level, topic, user, session, message } = row;
        let level = match level {
            0 => "Error",
            1 => "Warn",
            2 => "Info",
            _ => "Debug",
        };
        LogLine { timestamp, level: level.to_owned(), topic, message, session, user }
    }
}

/// Which lines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Filter {
    /// Which page, from 0.
    page: Number<0, MAX_EXACT>,
    /// Only of this session.
    session: Text,
    /// Only of users whose line has this text.
    user: Text,
    /// Only lines with this text.
    contains: Text,
    /// Only lines later than this, ISO 8601.
    #[schemars(with = "String", extend("anyOf" = [{"format": "date-time"}, {"const": ""}]))]
    after: Text,
    /// Only lines not later than this, ISO 8601.
    #[schemars(with = "String", extend("anyOf" = [{"format": "date-time"}, {"const": ""}]))]
    before: Text,
}

/// A line to write.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["level", "topic", "message"]))]
struct NewLine {
    #[schemars(with = "String", extend("enum" = ["Error", "Warn", "Info", "Debug"]))]
    level: Text,
    /// What it is about.
    #[schemars(with = "String", extend("enum" = Topic::ALL.map(Topic::name)))]
    topic: Text,
    /// What happened; it must begin with `[source] `.
    #[schemars(with = "String", extend("pattern" = r"^\[[\s\S]+\] [\s\S]"))]
    message: Text,
    /// Session id.
    session: Text,
    /// Whom it is about.
    #[serde(deserialize_with = "object")]
    user: Option<LineUser>,
}

/// A user in a line of the log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
struct LineUser {
    /// User id.
    id: Number<0, 255>,
    /// Address.
    ip: Text,
    /// User name.
    name: Text,
}

/// The line that was written.
#[derive(Debug, Serialize, JsonSchema)]
struct Logged {
    /// The line.
    entry: LogLine,
    /// Always false.
    #[serde(rename = "_locked")]
    locked: bool,
}

impl AdminState {
    async fn add_to_log(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewLine>,
    ) -> Result<Json<Logged>, ApiError> {
        let (entry, session) = parse_entry(call.body)?;
        entry.emit(&session);
        let entry = LogLine {
            timestamp: iso_of(entry.utc_ms),
            level: format!("{:?}", entry.level),
            topic: entry.topic.name().into(),
            message: entry.message,
            session,
            user: entry.user.map_or_else(String::new, |user| user.to_string()),
        };
        Ok(Json(Logged { entry, locked: false }))
    }

    async fn log(self: Arc<Self>, call: Call<Nothing, Filter>) -> Result<Json<Vec<LogLine>>, ApiError> {
        let Filter { page, session, user, contains, after, before } = call.query;
        let (after, before) = (log_time(&after)?, log_time(&before)?);
        let skip = page.or("page", 0)?.saturating_mul(PAGE);
        let (session, user, contains) = (session.0, user.0, contains.0);
        let query = LogQuery { session, user, contains, after, before, skip, count: PAGE };
        let rows = query_db(&self.log, move |db| db.log(&query)).await?;
        Ok(Json(rows.into_iter().map(LogLine::from).collect()))
    }
}

/// A time as lines of the log have it; empty stays empty.
fn log_time(text: &str) -> Result<String, ApiError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let time = utc_of(text).ok_or_else(|| bad("Invalid timestamp"))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Checks a log entry; also returns its session id.
fn parse_entry(line: NewLine) -> Result<(LogEntry, String), ApiError> {
    let level = match &*line.level {
        "Error" => Level::Error,
        "Warn" => Level::Warn,
        "Info" => Level::Info,
        "Debug" => Level::Debug,
        _ => return Err(bad("Invalid level")),
    };
    let topic = Topic::parse(&line.topic).ok_or_else(|| bad("Invalid topic"))?;
    let message = line.message.0;
    let source = message.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    if source.is_none_or(|(source, text)| source.is_empty() || text.is_empty()) {
        return Err(bad("Invalid message"));
    }
    let entry = LogEntry::new(Timestamp::now(), level, topic, message);
    let entry = match line.user {
        None => entry,
        Some(LineUser { id, ip, name }) => entry.about(LogUser {
            id: id.get_as("user.id")?.unwrap_or(0),
            address: ip.parse().ok(),
            name: name.0,
        }),
    };
    Ok((entry, line.session.0))
}
