//! Endpoints `banlist`, `systembans`, `userbans`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Operation, number, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{ADDRESS_BAN, BAN_PREVIEW, SYSTEM_BAN, USER_BAN};
use crate::config::bans::BanAction;
use crate::config::ip_range::IpRange;
use crate::db::{BanKind, BanRow};
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::time::{Timestamp, utc_of};

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
const REASON: Field = text("reason", "Shown to banned users.");

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
        "Number of addresses that a ban would cover, and connected users with such addresses.",
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

/// A ban of more addresses than 2^this is shown as broad: it covers more than one home. For IPv4.
const BROAD_IPV4_BITS: u32 = 8;
/// For IPv6, where a home may have a /56 network.
const BROAD_IPV6_BITS: u32 = 72;

/// Parses a time in one of several formats; returns it as the database stores it.
fn time(text: &str) -> Option<String> {
    let text = text.trim();
    let time = utc_of(text).or_else(|| text.parse::<jiff::civil::DateTime>().ok())?;
    // The database compares times as text.
    (time.year() >= 0).then(|| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

impl AdminState {
    /// How many addresses a ban would cover, and which connected users.
    pub(super) async fn preview_ban(&self, request: &Request) -> AdminAnswer {
        let subnet = i64::try_from(request.number("subnet", 0)?).unwrap_or(i64::MAX);
        let range = parse_range(request.query("ip").trim(), subnet)?;
        let (first, last) = range.ends();
        let free_bits = range.free_bits();
        let many = free_bits > if range.from.is_ipv4() { BROAD_IPV4_BITS } else { BROAD_IPV6_BITS };
        let users = self.all_users().await?;
        let hit = users.iter().filter(|user| {
            let ip = user["ip"].as_str().and_then(|ip| ip.parse().ok());
            ip.is_some_and(|ip| range.contains(ip))
        });
        let hit: Vec<Value> = hit
            .map(|u| json!({"uid": u["uid"], "name": u["name"], "ip": u["ip"], "session": u["session"]}))
            .collect();
        // All IPv6 addresses: 2^128 does not fit.
        let addresses = 1u128.checked_shl(free_bits).map_or_else(|| "2^128".to_owned(), |n| n.to_string());
        Ok(json!({"first": first, "last": last, "addresses": addresses, "many": many, "users": hit}))
    }

    pub(super) async fn bans(&self, request: &Request, kind: BanKind, id: &[&str]) -> AdminAnswer {
        match (request.method, id) {
            (Method::Get, []) => {
                let bans = self.query_db(move |db| db.bans(kind)).await?;
                let list = bans.iter().map(|ban| value(kind, ban)).collect();
                Ok(self.list_value(request, "bans", "bans", list))
            }
            (Method::Post, []) => {
                let ban = parse_ban(request, kind)?;
                let added = self.query_db(move |db| db.add_ban(kind, ban, Timestamp::now().utc_ms)).await?;
                self.apply_db_changes().await?;
                Ok(value(kind, &added))
            }
            (Method::Delete, [id]) => {
                let id: i64 = id.parse().map_err(|_| not_found())?;
                if !self.query_db(move |db| db.remove_ban(kind, id)).await? {
                    return Err(not_found());
                }
                self.apply_db_changes().await?;
                Ok(json!({"status": "ok", "deleted": id}))
            }
            _ => Err(unsupported()),
        }
    }
}

/// The addresses of a ban.
fn parse_range(ip: &str, subnet: i64) -> Result<IpRange, AdminError> {
    if ip.parse::<IpAddr>().is_err() {
        return Err(bad("Valid IP address required"));
    }
    let range = if subnet == 0 { ip.to_owned() } else { format!("{ip}/{subnet}") };
    IpRange::parse(&range).ok_or_else(|| bad("Valid subnet required"))
}

/// Parses and checks the ban in a request.
fn parse_ban(request: &Request, kind: BanKind) -> Result<BanRow, AdminError> {
    let mut ban = BanRow { comment: request.text("comment"), ..BanRow::default() };
    match kind {
        BanKind::Address => {
            ban.subject = request.text("ip").trim().to_owned();
            ban.subnet = request.body.get("subnet").and_then(Value::as_i64).unwrap_or(0);
            parse_range(&ban.subject, ban.subnet)?;
        }
        BanKind::System => {
            ban.subject = request.text("sid").trim().to_owned();
            if ban.subject.is_empty() {
                return Err(bad("SID required"));
            }
        }
        BanKind::User => {
            let id = request.body.get("userId").and_then(Value::as_i64).filter(|id| *id > 0);
            ban.subject = id.ok_or_else(|| bad("Valid user ID required"))?.to_string();
        }
    }
    if kind != BanKind::Address {
        let reaction = request.text("reaction");
        ban.reaction = if reaction.is_empty() { "normal".to_owned() } else { reaction };
        BanAction::parse(&ban.reaction).ok_or_else(|| bad("Invalid reaction"))?;
        ban.reason = request.text("reason");
    }
    ban.expires = time(&request.text("expires")).ok_or_else(|| bad("Valid expiration time required"))?;
    Ok(ban)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_in_several_formats() {
        for text in ["2099-01-01 00:00:00", "2099-01-01T00:00:00Z", "2099-01-01T01:00:00+01:00", "2099-01-01"]
        {
            assert_eq!(time(text).as_deref(), Some("2099-01-01 00:00:00"), "{text}");
        }
        assert_eq!([time("whenever"), time(""), time("2099-13-01")], [None, None, None]);
    }
}
