//! What a ban of a person is of, whom it hits, and what to think about before making it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::connected::{Connected, ext_auth_id};
use super::super::error::{ApiError, bad};
use super::super::value::{MAX_EXACT, Text};
use crate::config::ip_range::IpRange;
use crate::db::people::SeenQuery;
use crate::db::{BanKind, BanTarget, PersonBan};

/// Maximum number of devices, accounts, and texts with addresses, each.
const MAX_TARGETS: usize = 50;
/// Maximum number of address ranges.
const MAX_RANGES: usize = 100;
/// How ids of accounts of this server begin.
const OWN_ACCOUNT: &str = "internal:";
/// Maximum length of a system id, and of an account id, in bytes.
const MAX_DEVICE: usize = 100;
/// An IPv4 range of more than 2^this addresses covers more than one home.
const HOME_BITS_IPV4: u32 = 8;
/// The same for IPv6, where a home may have a /48 network.
const HOME_BITS_IPV6: u32 = 80;
/// The most IPv4 addresses that a moderator may ban at once: as many as a /8 network has.
const MODERATOR_BITS_IPV4: u32 = 24;
/// The same for IPv6: as many as a /32 network has, which a provider may have.
const MODERATOR_BITS_IPV6: u32 = 96;

/// The devices, accounts and addresses of a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct GivenTargets {
    /// System ids.
    #[schemars(with = "Vec<String>")]
    devices: Vec<Text>,
    /// Account ids as people have them, such as internal:7; or user ids of an ext-auth server.
    accounts: Vec<AccountId>,
    /// Addresses: single ones, ADDRESS/PREFIX, or FIRST-LAST.
    #[schemars(with = "Vec<String>")]
    addresses: Vec<Text>,
}

/// An account id, or the number of a user of an ext-auth server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum AccountId {
    Number(i64),
    Text(String),
}

/// By what a ban hits somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum TargetKind {
    /// System id.
    Device,
    /// Account id, or user id of an ext-auth server.
    Account,
    /// Address or range of them.
    Address,
}

impl From<BanKind> for TargetKind {
    fn from(kind: BanKind) -> TargetKind {
        match kind {
            BanKind::Address => TargetKind::Address,
            BanKind::System => TargetKind::Device,
            BanKind::User | BanKind::Account => TargetKind::Account,
        }
    }
}

/// Something to think about before banning.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "BanWarning")]
pub(super) struct Warning {
    kind: WarningKind,
    /// A sentence.
    text: String,
}

/// What the warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum WarningKind {
    Operator,
    Moderator,
    OwnAddress,
    WideRange,
    Loopback,
}

/// The valid targets of a ban.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    devices: Vec<String>,
    /// Account ids of this server.
    accounts: Vec<String>,
    /// User ids of an ext-auth server.
    users: Vec<String>,
    ranges: Vec<IpRange>,
}

impl GivenTargets {
    /// Checks and normalizes the targets.
    ///
    /// # Errors
    /// 400 when one is invalid, there are none, or too many.
    pub(super) fn checked(self) -> Result<Targets, ApiError> {
        let lengths = [self.devices.len(), self.accounts.len(), self.addresses.len()];
        if lengths.iter().all(|length| *length == 0) {
            return Err(bad("devices, accounts or addresses: at least one is needed"));
        }
        if lengths.iter().any(|length| *length > MAX_TARGETS) {
            return Err(bad(format!("devices, accounts and addresses: at most {MAX_TARGETS} each")));
        }
        let mut targets = Targets::default();
        for device in self.devices {
            let device = device.trim().to_owned();
            if device.is_empty() || device.len() > MAX_DEVICE {
                return Err(bad("devices: a system id is missing or too long"));
            }
            targets.devices.push(device);
        }
        for account in self.accounts {
            let id = match account {
                AccountId::Number(number) => number.to_string(),
                AccountId::Text(text) => text.trim().to_owned(),
            };
            if id.starts_with(OWN_ACCOUNT) && id.len() <= MAX_DEVICE {
                targets.accounts.push(id);
                continue;
            }
            let user = ext_auth_id(&id).unwrap_or(&id).parse::<i64>();
            let user = user.ok().filter(|user| (1..=MAX_EXACT).contains(user));
            let user =
                user.ok_or_else(|| bad(format!("accounts: '{id}' is no account that can be banned")))?;
            targets.users.push(user.to_string());
        }
        for text in self.addresses {
            let left = MAX_RANGES - targets.ranges.len();
            let ranges =
                IpRange::parse_span(text.trim(), left).map_err(|e| bad(format!("addresses: {e}")))?;
            if ranges.iter().any(IpRange::is_everything) {
                return Err(bad("addresses: everybody cannot be banned"));
            }
            targets.ranges.extend(ranges);
            if targets.ranges.len() > MAX_RANGES {
                return Err(bad(format!("addresses: more than {MAX_RANGES} ranges")));
            }
        }
        Ok(targets)
    }
}

impl Targets {
    /// What a ban is of, without what was taken out of it.
    pub(super) fn of(ban: &PersonBan) -> Targets {
        let mut targets = Targets::default();
        for part in ban.parts.iter().filter(|part| part.row.is_some()) {
            let subject = part.subject.clone();
            match part.kind {
                BanKind::System => targets.devices.push(subject),
                BanKind::Account => targets.accounts.push(subject),
                BanKind::User => targets.users.push(subject),
                BanKind::Address => {
                    let range = IpRange::parse_ban(&format!("{subject}/{}", part.subnet));
                    targets.ranges.extend(range.map(|(range, _)| range));
                }
            }
        }
        targets
    }

    /// The targets as the database has them, each once.
    pub(super) fn rows(&self) -> Vec<BanTarget> {
        let target = |kind, subject: &str, subnet| BanTarget { kind, subject: subject.to_owned(), subnet };
        let devices = self.devices.iter().map(|sid| target(BanKind::System, sid, 0));
        let accounts = self.accounts.iter().map(|id| target(BanKind::Account, id, 0));
        let users = self.users.iter().map(|id| target(BanKind::User, id, 0));
        let ranges = self.ranges.iter().map(|range| {
            let subnet = if range.free_bits() == 0 { 0 } else { i64::from(range.prefix()) };
            target(BanKind::Address, &range.address().to_string(), subnet)
        });
        let mut rows: Vec<BanTarget> = Vec::new();
        for row in devices.chain(accounts).chain(users).chain(ranges) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    /// By what somebody with this device, account id and address is hit; empty if not at all.
    pub(super) fn matches(&self, device: &str, account: &str, address: Option<IpAddr>) -> Vec<TargetKind> {
        let is_device = !device.is_empty() && self.devices.iter().any(|sid| sid == device);
        let is_user = ext_auth_id(account).is_some_and(|user| self.users.iter().any(|id| id == user));
        let is_account = is_user || self.accounts.iter().any(|id| id == account);
        let in_range = address.is_some_and(|ip| self.ranges.iter().any(|range| range.contains(ip)));
        [(is_device, TargetKind::Device), (is_account, TargetKind::Account), (in_range, TargetKind::Address)]
            .into_iter()
            .filter_map(|(matches, kind)| matches.then_some(kind))
            .collect()
    }

    /// By what somebody who is connected is hit.
    pub(super) fn hits(&self, user: &Connected) -> Vec<TargetKind> {
        self.matches(&user.client.sid, &user.client.auth_id, user.address())
    }

    /// Whether there are more addresses than a moderator may ban.
    pub(super) fn exceed_moderators(&self) -> bool {
        let exceeds = |is_ipv4: bool, most: u32| {
            let ranges = self.ranges.iter().filter(|range| range.address().is_ipv4() == is_ipv4);
            let sizes = ranges.map(|range| 1u128.checked_shl(range.free_bits()).unwrap_or(u128::MAX));
            sizes.fold(0, u128::saturating_add) > 1 << most
        };
        exceeds(true, MODERATOR_BITS_IPV4) || exceeds(false, MODERATOR_BITS_IPV6)
    }

    /// What to look for in the records of people: everybody whom a ban would have hit since a time, milliseconds since
    /// 1970, and maybe others.
    pub(super) fn seen_query(&self, since_ms: i64) -> SeenQuery {
        let (single, wide): (Vec<&IpRange>, Vec<&IpRange>) =
            self.ranges.iter().partition(|range| range.free_bits() == 0);
        SeenQuery {
            since_ms,
            devices: self.devices.clone(),
            accounts: self.accounts.clone(),
            users: self.users.clone(),
            addresses: single.into_iter().map(|range| range.address().to_string()).collect(),
            address_prefixes: wide.into_iter().map(IpRange::text_prefix).collect(),
        }
    }

    /// Number of addresses; a text, because it may exceed JSON numbers.
    pub(super) fn address_count(&self) -> String {
        let sizes = self.ranges.iter().map(|range| 1u128.checked_shl(range.free_bits()));
        let sum = sizes.into_iter().try_fold(0u128, |sum, size| sum.checked_add(size?));
        sum.map_or_else(|| "2^128".to_owned(), |sum| sum.to_string())
    }

    /// What to think about before banning. `own` is the address of whoever bans.
    pub(super) fn warnings(&self, hit: &[Connected], own: IpAddr) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |kind, text: String| warnings.push(Warning { kind, text });
        let is_hit = |user: &&Connected| !self.hits(user).is_empty();
        for user in hit.iter().filter(is_hit) {
            let name = &user.client.name;
            if user.client.moderator {
                warn(WarningKind::Moderator, format!("{name} is a moderator of this server."));
            } else if user.is_operator {
                warn(WarningKind::Operator, format!("{name} is an operator of a session."));
            }
        }
        if self.ranges.iter().any(|range| range.contains(own)) {
            warn(WarningKind::OwnAddress, "This is your own address.".to_owned());
        }
        for range in &self.ranges {
            let home = if range.address().is_ipv4() { HOME_BITS_IPV4 } else { HOME_BITS_IPV6 };
            if range.free_bits() > home {
                let text = format!("{range} covers more than one home: many people who did nothing.");
                warn(WarningKind::WideRange, text);
            }
            if range.ends().0.to_canonical().is_loopback() {
                let text = "This is the machine itself: everybody who comes by a proxy on it.".to_owned();
                warn(WarningKind::Loopback, text);
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(given: Value) -> Result<Targets, String> {
        serde_json::from_value::<GivenTargets>(given).unwrap().checked().map_err(|error| error.message)
    }

    #[test]
    fn targets_are_checked_and_bounded() {
        for (given, fault) in [
            (json!({}), "at least one"),
            (json!({"devices": [" "]}), "missing"),
            (json!({"devices": vec!["x"; 51]}), "at most 50"),
            (json!({"accounts": [0]}), "no account that can be banned"),
            (json!({"accounts": ["auth.example:name"]}), "no account that can be banned"),
            (json!({"addresses": ["192.0.2.9-192.0.2.1"]}), "ends before"),
            (json!({"addresses": ["0.0.0.0/0"]}), "everybody"),
            (json!({"addresses": ["::ffff:0:0/96"]}), "everybody"),
            (json!({"addresses": vec!["0.0.0.1-200.255.255.254"; 3]}), "more than"),
        ] {
            assert!(checked(given.clone()).unwrap_err().contains(fault), "{given}");
        }
        let targets = checked(json!({
            "devices": ["abc", "abc"], "accounts": ["7", "auth.example:8", "internal:5"],
            "addresses": ["192.0.2.7", "192.0.2.9/24", "2001:db8::1/64"],
        }));
        let targets = targets.unwrap();
        let rows: Vec<_> =
            targets.rows().into_iter().map(|t| format!("{}/{}", t.subject, t.subnet)).collect();
        assert_eq!(
            rows,
            ["abc/0", "internal:5/0", "7/0", "8/0", "192.0.2.7/0", "192.0.2.0/24", "2001:db8::/64"]
        );
        assert_eq!(targets.address_count(), (1 + 256 + (1u128 << 64)).to_string());
    }

    #[test]
    fn somebody_is_hit_by_device_account_or_address() {
        let targets = checked(
            json!({"devices": ["abc"], "accounts": [7, "internal:7"], "addresses": ["192.0.2.0/24"]}),
        );
        let targets = targets.unwrap();
        let ip = |text: &str| text.parse().ok();
        assert_eq!(targets.matches("abc", "", None), [TargetKind::Device]);
        assert_eq!(
            targets.matches("abc", "auth.example:7", ip("192.0.2.200")),
            [TargetKind::Device, TargetKind::Account, TargetKind::Address]
        );
        assert_eq!(targets.matches("", "internal:7", None), [TargetKind::Account]);
        assert_eq!(targets.matches("", "internal:8", ip("192.0.3.1")), []);
    }

    #[test]
    fn moderators_ban_no_more_than_a_network_of_a_provider() {
        let exceeds =
            |addresses: &[&str]| checked(json!({"addresses": addresses})).unwrap().exceed_moderators();
        assert!(!exceeds(&["10.0.0.0/8"]) && !exceeds(&["2001:db8::/32", "192.0.2.0/24"]));
        assert!(exceeds(&["10.0.0.0/8", "192.0.2.7"]) && exceeds(&["0.0.0.0/1", "128.0.0.0/1"]));
        assert!(exceeds(&["2001:db8::/31"]) && exceeds(&["::/1", "8000::/1"]));
    }

    #[test]
    fn wide_ranges_and_ones_own_address_are_warned_about() {
        let kinds = |address: &str| {
            let targets = checked(json!({"addresses": [address]})).unwrap();
            let warnings = targets.warnings(&[], "198.51.100.7".parse().unwrap());
            warnings.iter().map(|warning| warning.kind).collect::<Vec<_>>()
        };
        for harmless in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/48"] {
            assert_eq!(kinds(harmless), [], "{harmless}");
        }
        assert_eq!(kinds("192.0.2.0/23"), [WarningKind::WideRange]);
        assert_eq!(kinds("::ffff:10.0.0.0/104"), [WarningKind::WideRange]);
        assert_eq!(kinds("2001:db8::/47"), [WarningKind::WideRange]);
        assert_eq!(kinds("198.51.100.0/24"), [WarningKind::OwnAddress]);
        assert_eq!(kinds("127.0.0.1"), [WarningKind::Loopback]);
    }
}
