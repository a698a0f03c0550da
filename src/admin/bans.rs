//! `banlist`, `systembans`, `userbans`.

use serde_json::{Value, json};

use super::Office;
use super::call::{Call, Method, bad, not_found, unsupported};
use crate::clock::Now;
use crate::config::ini::{IpRange, Reaction};
use crate::db::{BanKind, BanRow};
use crate::session::admin::{AdminAnswer, AdminError};

fn value(kind: BanKind, ban: &BanRow) -> Value {
    let BanRow { id, subject, subnet, reaction, expires, comment, reason, added } = ban;
    match kind {
        BanKind::Address => json!({"id": id, "ip": subject, "subnet": subnet, "expires": expires,
            "comment": comment, "added": added}),
        BanKind::System => json!({"id": id, "sid": subject, "reaction": reaction, "expires": expires,
            "comment": comment, "reason": reason, "added": added}),
        BanKind::User => {
            json!({"id": id, "userId": subject.parse::<i64>().unwrap_or(0), "reaction": reaction,
            "expires": expires, "comment": comment, "reason": reason, "added": added})
        }
    }
}

/// A time in one of the forms that people write, as the database has it.
fn time(text: &str) -> Option<String> {
    let text = text.trim();
    let with_zone = text.parse::<jiff::Timestamp>().map(|t| t.as_millisecond());
    let without = || {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|t| t.timestamp().as_millisecond())
    };
    with_zone.ok().or_else(without).map(crate::db::time_text)
}

impl Office {
    pub(super) async fn bans(&self, call: &Call, kind: BanKind, id: &[&str]) -> AdminAnswer {
        match (call.method, id) {
            (Method::Get, []) => {
                let bans = self.ask(move |db| db.bans(kind)).await?;
                let list = bans.iter().map(|ban| value(kind, ban)).collect();
                Ok(self.listed(call, "bans", "bans", list))
            }
            (Method::Post, []) => {
                self.unlocked("bans")?;
                let ban = wanted_ban(call, kind)?;
                let made = self.ask(move |db| db.add_ban(kind, ban, Now::get().utc_ms)).await?;
                self.look_again().await?;
                Ok(value(kind, &made))
            }
            (Method::Delete, [id]) => {
                self.unlocked("bans")?;
                let id: i64 = id.parse().map_err(|_| not_found())?;
                if !self.ask(move |db| db.remove_ban(kind, id)).await? {
                    return Err(not_found());
                }
                self.look_again().await?;
                Ok(json!({"status": "ok", "deleted": id}))
            }
            _ => Err(unsupported()),
        }
    }
}

/// The ban that a request describes.
fn wanted_ban(call: &Call, kind: BanKind) -> Result<BanRow, AdminError> {
    let mut ban = BanRow { comment: call.text("comment"), ..BanRow::default() };
    match kind {
        BanKind::Address => {
            ban.subject = call.text("ip").trim().to_owned();
            ban.subnet = call.body.get("subnet").and_then(Value::as_i64).unwrap_or(0);
            let range =
                if ban.subnet == 0 { ban.subject.clone() } else { format!("{}/{}", ban.subject, ban.subnet) };
            if ban.subject.parse::<std::net::IpAddr>().is_err() {
                return Err(bad("Valid IP address required"));
            }
            IpRange::parse(&range).ok_or_else(|| bad("Valid subnet required"))?;
        }
        BanKind::System => {
            ban.subject = call.text("sid").trim().to_owned();
            if ban.subject.is_empty() {
                return Err(bad("SID required"));
            }
        }
        BanKind::User => {
            let id = call.body.get("userId").and_then(Value::as_i64).filter(|id| *id > 0);
            ban.subject = id.ok_or_else(|| bad("Valid user ID required"))?.to_string();
        }
    }
    if kind != BanKind::Address {
        let reaction = call.text("reaction");
        ban.reaction = if reaction.is_empty() { "normal".to_owned() } else { reaction };
        Reaction::parse(&ban.reaction).ok_or_else(|| bad("Invalid reaction"))?;
        ban.reason = call.text("reason");
    }
    ban.expires = time(&call.text("expires")).ok_or_else(|| bad("Valid expiration time required"))?;
    Ok(ban)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_people_write() {
        for text in ["2099-01-01 00:00:00", "2099-01-01T00:00:00Z", "2099-01-01T01:00:00+01:00", "2099-01-01"]
        {
            assert_eq!(time(text).as_deref(), Some("2099-01-01 00:00:00"), "{text}");
        }
        assert_eq!([time("whenever"), time(""), time("2099-13-01")], [None, None, None]);
    }
}
