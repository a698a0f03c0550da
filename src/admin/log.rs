//! Endpoints `log`.

use serde_json::{Map, Value, json};

use super::operation::{Answer, Body, Field, Kind, Operation, number, text};
use super::request::{Method, Request, bad, unsupported};
use super::schemas::{LOG_LINE, LOGGED};
use super::{AdminState, query_db};
use crate::db::{LogQuery, LogRow};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::time::{Timestamp, iso_of, utc_of};

/// Entries per page.
const PAGE: u64 = 100;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("log", "Lines of the log, newest first, 100 a page.", Answer::Many(&LOG_LINE, "log"))
        .query(&[
            number("page", "Which page, from 0."),
            text("session", "Only of this session."),
            text("user", "Only of users whose line has this text."),
            text("contains", "Only lines with this text."),
            text("after", "Only lines later than this, ISO 8601."),
        ]),
    Operation::post("log", "Writes a line.", Answer::One(&LOGGED)).body(Body::Fields(&[
        text("level", "Error, Warn, Info or Debug.").required(),
        text("topic", "What it is about, such as Status.").required(),
        text("message", "What happened; it must begin with `[source] `.").required(),
        text("session", "Session id."),
        Field::new("user", Kind::Object, "Whom it is about: id, ip, name."),
    ])),
];

/// A log entry as JSON.
pub(super) fn value(row: LogRow) -> Value {
    let LogRow { timestamp, level, topic, user, session, message } = row;
    let level = match level {
        0 => "Error",
        1 => "Warn",
        2 => "Info",
        _ => "Debug",
    };
    let mut object = Map::new();
    let members =
        [("timestamp", timestamp), ("level", level.to_owned()), ("topic", topic), ("message", message)];
    object.extend(members.map(|(k, v)| (k.to_owned(), v.into())));
    // Empty members are left out.
    for (key, text) in [("session", session), ("user", user)] {
        if !text.is_empty() {
            object.insert(key.into(), text.into());
        }
    }
    object.into()
}

impl AdminState {
    pub(super) async fn log(&self, request: &Request) -> AdminAnswer {
        match request.method {
            Method::Get => self.read_log(request).await,
            Method::Post => {
                let entry = parse_entry(request)?;
                let (entry, session) = entry;
                entry.emit(&session);
                let mut value = json!({
                    "timestamp": iso_of(entry.utc_ms),
                    "level": format!("{:?}", entry.level),
                    "topic": format!("{:?}", entry.topic),
                    "message": entry.message,
                });
                if !session.is_empty() {
                    value["session"] = session.into();
                }
                if let Some(user) = &entry.user {
                    value["user"] = user.to_string().into();
                }
                Ok(json!({"entry": value, "_locked": false}))
            }
            _ => Err(unsupported()),
        }
    }

    async fn read_log(&self, request: &Request) -> AdminAnswer {
        let after = match request.query("after") {
            "" => String::new(),
            text => {
                let time = utc_of(text).ok_or_else(|| bad("Invalid timestamp"))?;
                time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
            }
        };
        let query = LogQuery {
            session: request.query("session").to_owned(),
            user: request.query("user").to_owned(),
            contains: request.query("contains").to_owned(),
            after,
            skip: request.number("page", 0)?.saturating_mul(PAGE).try_into().unwrap_or(i64::MAX),
            count: PAGE as i64,
        };
        let rows = query_db(&self.log, move |db| db.log(&query)).await?;
        Ok(rows.into_iter().map(value).collect())
    }
}

/// Parses the log entry in a request; also returns its session id.
fn parse_entry(request: &Request) -> Result<(LogEntry, String), AdminError> {
    let level = match request.text("level").as_str() {
        "Error" => Level::Error,
        "Warn" => Level::Warn,
        "Info" => Level::Info,
        "Debug" => Level::Debug,
        _ => return Err(bad("Invalid level")),
    };
    let topic = Topic::parse(&request.text("topic")).ok_or_else(|| bad("Invalid topic"))?;
    let message = request.text("message");
    let source = message.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    if source.is_none_or(|(source, text)| source.is_empty() || text.is_empty()) {
        return Err(bad("Invalid message"));
    }
    let entry = LogEntry::new(Timestamp::now(), level, topic, message);
    let entry = match request.body.get("user") {
        None | Some(Value::Null) => entry,
        Some(user) => entry.about(LogUser {
            id: user["id"].as_u64().and_then(|id| u8::try_from(id).ok()).unwrap_or(0),
            address: user["ip"].as_str().and_then(|ip| ip.parse().ok()),
            name: user["name"].as_str().unwrap_or_default().to_owned(),
        }),
    };
    Ok((entry, request.text("session")))
}
