//! `banlist`, `systembans`, `userbans`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Operation, number, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{ADDRESS_BAN, BAN_PREVIEW, SYSTEM_BAN, USER_BAN};
use crate::clock::{Timestamp, utc_of};
use crate::config::bans::BanAction;
use crate::config::ip_range::IpRange;
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

const EXPIRES: Field = text("expires", "When it ends, such as 2030-01-01 12:00:00 (UTC).").required();
const COMMENT: Field = text("comment", "For administrators.");
const REACTION: Field = text("reaction", "normal (the default), neterror, garbage, hang or timer.");
const REASON: Field = text("reason", "For who is banned.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("banlist", "Bans of addresses.", Answer::Many(&ADDRESS_BAN, "bans")),
    Operation::post("banlist", "Bans an address or a range of them.", Answer::One(&ADDRESS_BAN))
        .locked_by("bans")
        .body(Body::Fields(&[
            text("ip", "Address.").required(),
            number("subnet", "Length of the common prefix in bits, 0 for the one address."),
            EXPIRES,
            COMMENT,
        ])),
    Operation::get(
        "banlist/preview",
        "How many addresses a ban would cover, and whom.",
        Answer::One(&BAN_PREVIEW),
    )
    .query(&[
        text("ip", "Address.").required(),
        number("subnet", "Length of the common prefix in bits, 0 for the one address."),
    ]),
    Operation::delete("banlist/{ban}", "Removes a ban.", Answer::Done).locked_by("bans"),
    Operation::get("systembans", "Bans of system ids.", Answer::Many(&SYSTEM_BAN, "bans")),
    Operation::post("systembans", "Bans a system id.", Answer::One(&SYSTEM_BAN))
        .locked_by("bans")
        .body(Body::Fields(&[text("sid", "System id.").required(), REACTION, EXPIRES, COMMENT, REASON])),
    Operation::delete("systembans/{ban}", "Removes a ban.", Answer::Done).locked_by("bans"),
    Operation::get("userbans", "Bans of users of an ext-auth server.", Answer::Many(&USER_BAN, "bans")),
    Operation::post("userbans", "Bans a user of an ext-auth server.", Answer::One(&USER_BAN))
        .locked_by("bans")
        .body(Body::Fields(&[number("userId", "User id.").required(), REACTION, EXPIRES, COMMENT, REASON])),
    Operation::delete("userbans/{ban}", "Removes a ban.", Answer::Done).locked_by("bans"),
];

/// Addresses of which a ban keeps out others than the one who is meant: more than a home has.
const MANY_IPV4: u32 = 8;
/// The same of IPv6, where a home has a network of 56 bits, as a number of bits.
const MANY_IPV6: u32 = 72;

/// A time in one of the forms that people write, as the database has it.
fn time(text: &str) -> Option<String> {
    let text = text.trim();
    let time = utc_of(text).or_else(|| text.parse::<jiff::civil::DateTime>().ok())?;
    // Times are compared as texts.
    (time.year() >= 0).then(|| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

impl AdminState {
    /// How many addresses a ban would cover, and whom of those who are online.
    pub(super) async fn preview_ban(&self, call: &Request) -> AdminAnswer {
        let subnet = i64::try_from(call.number("subnet", 0)?).unwrap_or(i64::MAX);
        let range = range_of(call.query("ip").trim(), subnet)?;
        let (first, last) = range.ends();
        let free = range.free_bits();
        let many = free > if range.from.is_ipv4() { MANY_IPV4 } else { MANY_IPV6 };
        let users = self.all_users().await?;
        let hit = users.iter().filter(|user| {
            let ip = user["ip"].as_str().and_then(|ip| ip.parse().ok());
            ip.is_some_and(|ip| range.contains(ip))
        });
        let hit: Vec<Value> = hit
            .map(|u| json!({"uid": u["uid"], "name": u["name"], "ip": u["ip"], "session": u["session"]}))
            .collect();
        // 2^128 is the one number too large.
        let addresses = 1u128.checked_shl(free).map_or_else(|| "2^128".to_owned(), |n| n.to_string());
        Ok(json!({"first": first, "last": last, "addresses": addresses, "many": many, "users": hit}))
    }

    pub(super) async fn bans(&self, call: &Request, kind: BanKind, id: &[&str]) -> AdminAnswer {
        match (call.method, id) {
            (Method::Get, []) => {
                let bans = self.ask(move |db| db.bans(kind)).await?;
                let list = bans.iter().map(|ban| value(kind, ban)).collect();
                Ok(self.listed(call, "bans", "bans", list))
            }
            (Method::Post, []) => {
                let ban = wanted_ban(call, kind)?;
                let made = self.ask(move |db| db.add_ban(kind, ban, Timestamp::now().utc_ms)).await?;
                self.look_again().await?;
                Ok(value(kind, &made))
            }
            (Method::Delete, [id]) => {
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

/// The addresses that a ban covers.
fn range_of(ip: &str, subnet: i64) -> Result<IpRange, AdminError> {
    if ip.parse::<IpAddr>().is_err() {
        return Err(bad("Valid IP address required"));
    }
    let range = if subnet == 0 { ip.to_owned() } else { format!("{ip}/{subnet}") };
    IpRange::parse(&range).ok_or_else(|| bad("Valid subnet required"))
}

/// The ban that a request describes.
fn wanted_ban(call: &Request, kind: BanKind) -> Result<BanRow, AdminError> {
    let mut ban = BanRow { comment: call.text("comment"), ..BanRow::default() };
    match kind {
        BanKind::Address => {
            ban.subject = call.text("ip").trim().to_owned();
            ban.subnet = call.body.get("subnet").and_then(Value::as_i64).unwrap_or(0);
            range_of(&ban.subject, ban.subnet)?;
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
        BanAction::parse(&ban.reaction).ok_or_else(|| bad("Invalid reaction"))?;
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
