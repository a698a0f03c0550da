//! External bans: a ban list that is fetched over HTTP. Source: docs/spec/services.md#format-of-external-bans.

use std::net::IpAddr;

use drawhall_protocol::{from_json, whole_number};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bans::BanAction;
use super::bans::BanTerms;

/// One entry of an external ban list. A client that matches any of its addresses, system ids or users is banned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtBan {
    /// Id of the entry in the list.
    pub id: i64,
    /// Banned address ranges: first address, last address, action.
    pub ips: Vec<(IpAddr, IpAddr, BanAction)>,
    /// Exceptions from `ips`: first and last address.
    pub excluded: Vec<(IpAddr, IpAddr)>,
    pub systems: Vec<(String, BanAction)>,
    /// Ids of ext-auth users.
    pub users: Vec<(i64, BanAction)>,
    /// Expiry in UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// Shown to the banned user; may be empty.
    pub reason: String,
}

/// Parses a response. Returns the valid bans, and a message for each entry that was skipped.
///
/// # Errors
/// When the response is not JSON, or has no list `bans`.
pub fn parse(answer: &str) -> Result<(Vec<ExtBan>, Vec<String>), String> {
    let answer: Value =
        from_json(answer.as_bytes()).map_err(|e| format!("external bans: invalid JSON: {e}"))?;
    let list = answer["bans"].as_array().ok_or("external bans: the list 'bans' is missing")?;
    let (mut bans, mut skipped) = (Vec::new(), Vec::new());
    for entry in list {
        match parse_ban(entry) {
            Ok(ban) => bans.push(ban),
            Err(reason) => skipped.push(format!("external ban {}: {reason}", entry["id"])),
        }
    }
    Ok((bans, skipped))
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Parses one entry of the list.
///
/// # Errors
/// When the entry is invalid; the text says why.
pub fn parse_ban(entry: &Value) -> Result<ExtBan, String> {
    let id = whole_number(&entry["id"]).filter(|id| *id > 0).ok_or("invalid id")?;
    let reaction = |value: &Value| match &value["reaction"] {
        Value::Null => Ok(BanAction::Normal),
        name => BanAction::parse(name.as_str().unwrap_or_default()).ok_or(format!("unknown reaction {name}")),
    };
    let range = |value: &Value| {
        let address = |key: &str| value[key].as_str().and_then(|a| a.parse::<IpAddr>().ok());
        let (from, to) =
            address("from").zip(address("to")).ok_or(format!("{value} is not an address range"))?;
        if ipv6_number(from) <= ipv6_number(to) {
            Ok((from, to))
        } else {
            Err(format!("{value} is not an address range"))
        }
    };
    let (mut ips, mut excluded, mut systems, mut users) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in items(entry, "ips") {
        let (from, to) = range(entry)?;
        ips.push((from, to, reaction(entry)?));
    }
    for entry in items(entry, "ipsexcluded") {
        excluded.push(range(entry)?);
    }
    for entry in items(entry, "system") {
        let reaction = reaction(entry)?;
        systems.extend(items(entry, "sids").filter_map(Value::as_str).map(|sid| (sid.to_owned(), reaction)));
    }
    for entry in items(entry, "users") {
        let reaction = reaction(entry)?;
        users.extend(items(entry, "ids").filter_map(whole_number).map(|id| (id, reaction)));
    }
    if ips.is_empty() && systems.is_empty() && users.is_empty() {
        return Err("it has no addresses, system ids or users".into());
    }
    let expires = entry["expires"].as_str().unwrap_or_default();
    if jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", expires).is_err() {
        return Err(format!("'{expires}' is not a time"));
    }
    let expires = expires.to_owned();
    let reason = entry["reason"].as_str().unwrap_or_default().to_owned();
    Ok(ExtBan { id, ips, excluded, systems, users, expires, reason })
}

fn ipv6_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn is_between(address: IpAddr, from: IpAddr, to: IpAddr) -> bool {
    (ipv6_number(from)..=ipv6_number(to)).contains(&ipv6_number(address))
}

impl ExtBan {
    /// Matches a client's address against the ban; `None` if it is not banned.
    pub fn address(&self, address: IpAddr) -> Option<BanTerms> {
        let excluded = self.excluded.iter().any(|(from, to)| is_between(address, *from, *to));
        let banned = self.ips.iter().find(|(from, to, _)| is_between(address, *from, *to));
        banned.filter(|_| !excluded).map(|(.., reaction)| self.terms(*reaction))
    }

    fn terms(&self, reaction: BanAction) -> BanTerms {
        BanTerms { reaction, expires: self.expires.clone(), reason: self.reason.clone() }
    }

    /// Matches a client's system id against the ban; `None` if it is not banned.
    pub fn system(&self, sid: &str) -> Option<BanTerms> {
        self.systems.iter().find(|(banned, _)| banned == sid).map(|(_, reaction)| self.terms(*reaction))
    }

    /// Matches the id of an ext-auth user against the ban; `None` if it is not banned.
    pub fn user(&self, uid: i64) -> Option<BanTerms> {
        self.users.iter().find(|(banned, _)| *banned == uid).map(|(_, reaction)| self.terms(*reaction))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn excluded_addresses_are_not_banned() {
        let text = json!({"bans": [{"id": 5, "expires": "2099-01-01 00:00:00", "reason": "Because",
            "ips": [{"from": "192.0.2.10", "to": "192.0.2.20"}, {"from": "2001:db8::1", "to": "2001:db8::ff", "reaction": "hang"}],
            "ipsexcluded": [{"from": "192.0.2.15", "to": "192.0.2.15"}],
            "system": [{"sids": ["abc"], "reaction": "garbage"}], "users": [{"ids": [17, 18], "reaction": "timer"}]}]});
        let (bans, skipped) = parse(&text.to_string()).unwrap();
        assert!(skipped.is_empty());
        let address = |text: &str| bans[0].address(text.parse().unwrap()).map(|terms| terms.reaction);
        let terms = bans[0].address("192.0.2.10".parse().unwrap()).unwrap();
        assert_eq!((terms.expires.as_str(), terms.reason.as_str()), ("2099-01-01 00:00:00", "Because"));
        let reaction = |terms: Option<BanTerms>| terms.map(|terms| terms.reaction);
        assert_eq!(address("192.0.2.10"), Some(BanAction::Normal));
        assert_eq!(address("::ffff:192.0.2.20"), Some(BanAction::Normal));
        assert_eq!(address("2001:db8::2"), Some(BanAction::Hang));
        assert_eq!([address("192.0.2.15"), address("192.0.2.21"), address("2001:db8::100")], [None; 3]);
        assert_eq!(["abc", "abd"].map(|id| reaction(bans[0].system(id))), [Some(BanAction::Garbage), None]);
        assert_eq!([18, 19].map(|id| reaction(bans[0].user(id))), [Some(BanAction::Timer), None]);
    }

    #[test]
    fn bad_entries_are_skipped_with_a_reason() {
        let expires = "2099-01-01 00:00:00";
        let ip = json!([{"from": "192.0.2.1", "to": "192.0.2.1"}]);
        let text = json!({"bans": [
            {"id": 0, "ips": ip, "expires": expires},
            {"id": 7, "expires": expires},
            {"id": 8, "ips": [{"from": "x", "to": "y"}], "expires": expires},
            {"id": 9, "ips": ip, "expires": "never"},
            {"id": 10, "ips": [{"from": "192.0.2.2", "to": "192.0.2.1"}], "expires": expires},
            {"id": 11, "ips": [{"from": "192.0.2.1", "to": "192.0.2.1", "reaction": "nuke"}], "expires": expires},
            5,
            {"id": 12, "ips": ip, "expires": expires},
        ]});
        let (bans, skipped) = parse(&text.to_string()).unwrap();
        assert_eq!(bans.iter().map(|b| b.id).collect::<Vec<_>>(), [12]);
        assert_eq!(skipped.len(), 7);
        assert!(parse("x").is_err() && parse("{}").is_err() && parse("[]").is_err());
    }

    #[test]
    fn a_recorded_external_ban_list_is_parsed() {
        let Some(golden) = std::env::var_os("DRAWHALL_GOLDEN") else {
            return crate::skip::skip("golden", "DRAWHALL_GOLDEN is not set");
        };
        let file = std::path::Path::new(&golden).join("config/extbans.json");
        let recorded: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let (bans, skipped) = parse(&recorded["served"].to_string()).unwrap();
        assert_eq!(bans.iter().map(|b| b.id).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(skipped.len(), 4);
    }
}
