//! Protocol versions, `namespace:server.major.minor`, and their compatibility. Source:
//! docs/spec/wire.md#protocol-version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::message::Layout;

/// The *server* number of the protocol that this crate implements.
pub const SERVER_VERSION: u32 = 4;

/// A protocol version such as `dp:4.25.1`.
///
/// Only versions of the same namespace are ordered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProtocolVersion {
    namespace: String,
    server: u32,
    major: u32,
    minor: u32,
}

/// A text that is not a protocol version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no protocol version (expected namespace:server.major.minor, such as dp:4.25.1)")]
pub struct InvalidVersion(pub String);

impl ProtocolVersion {
    /// The version of the 2.3 client series, the newest that this crate decodes.
    pub fn current() -> Self {
        Self::dp(SERVER_VERSION, 25, 1)
    }

    /// A version in Drawpile's namespace `dp`.
    pub fn dp(server: u32, major: u32, minor: u32) -> Self {
        Self { namespace: "dp".into(), server, major, minor }
    }

    /// The namespace, one or more of a-z.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server number.
    pub fn server(&self) -> u32 {
        self.server
    }

    /// The major number.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The minor number.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    fn numbers(&self) -> (u32, u32, u32) {
        (self.server, self.major, self.minor)
    }

    /// Whether this server can host a session of this version: the server number must match.
    pub fn is_hostable(&self) -> bool {
        self.server == SERVER_VERSION
    }

    /// Whether it is `minimum` or newer. `None` if the namespaces differ.
    pub fn at_least(&self, minimum: &ProtocolVersion) -> Option<bool> {
        (self.namespace == minimum.namespace).then(|| self.numbers() >= minimum.numbers())
    }

    /// Whether clients of this version must send a system id (dp:4.24.0 and later).
    pub fn requires_system_id(&self) -> bool {
        self.namespace == "dp" && self.numbers() >= (4, 24, 0)
    }

    /// Whether clients of this version can look up sessions before login (dp:4.24.0 and later).
    pub fn supports_lookup(&self) -> bool {
        self.requires_system_id()
    }

    /// How compatible a client of this version is with a session of version `session`.
    pub fn joins(&self, session: &ProtocolVersion) -> Compatibility {
        let same =
            |a: &Self, b: &Self| a.namespace == b.namespace && a.server == b.server && a.major == b.major;
        if self == session {
            Compatibility::Full
        } else if same(self, session) {
            Compatibility::MinorDiffers
        } else if session.is_dp_4_24() && *self >= Self::dp(4, 25, 0) && self.server == 4 && self.major == 25
        {
            Compatibility::OlderLayout
        } else {
            Compatibility::None
        }
    }

    fn is_dp_4_24(&self) -> bool {
        self.namespace == "dp" && self.numbers() == (4, 24, 0)
    }

    /// Whether a binary template of this version can be loaded: namespace `dp` and our server number.
    pub fn is_template_binary(&self) -> bool {
        self.namespace == "dp" && self.is_hostable()
    }

    /// Whether a text template of this version can be loaded: namespace, server and major number of `current`.
    pub fn is_template_text(&self) -> bool {
        let current = Self::current();
        self.namespace == current.namespace && self.server == current.server && self.major == current.major
    }

    /// The payload layout of sessions of this version.
    pub fn layout(&self) -> Layout {
        if self.namespace == "dp" && self.numbers() < (4, 25, 0) { Layout::V4_24 } else { Layout::V4_25 }
    }

    /// The series of clients that use this version, as display text.
    pub fn client_series(&self) -> &'static str {
        match (self.namespace.as_str(), self.server, self.major, self.minor) {
            ("dp", 4, 20, _) => "2.0.x",
            ("dp", 4, 21, _) => "2.1.x",
            ("dp", 4, 22 | 23, _) => "2.2 beta",
            ("dp", 4, 24, _) => "2.2.x",
            ("dp", 4, 25, 0) => "2.3 alpha",
            ("dp", 4, 25, 1) => "2.3.x",
            _ => "unknown",
        }
    }
}

/// How compatible a client is with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// The versions are the same.
    Full,
    /// Only the minor number differs: the client joins with restrictions and announces it (`oldv`).
    MinorDiffers,
    /// A 2.3 client in a dp:4.24.0 session: it uses that session's payload layout.
    OlderLayout,
    /// The client cannot join.
    None,
}

impl PartialOrd for ProtocolVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.namespace == other.namespace).then(|| self.numbers().cmp(&other.numbers()))
    }
}

impl TryFrom<String> for ProtocolVersion {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<ProtocolVersion> for String {
    fn from(version: ProtocolVersion) -> String {
        version.to_string()
    }
}

impl FromStr for ProtocolVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let parse = || {
            let (namespace, numbers) = text.split_once(':')?;
            let valid = !namespace.is_empty() && namespace.bytes().all(|b| b.is_ascii_lowercase());
            let mut parts = numbers
                .split('.')
                .map(|n| n.bytes().all(|b| b.is_ascii_digit()).then(|| n.parse::<u32>().ok()).flatten());
            let version = Self {
                namespace: namespace.into(),
                server: parts.next()??,
                major: parts.next()??,
                minor: parts.next()??,
            };
            (valid && parts.next().is_none()).then_some(version)
        };
        parse().ok_or_else(|| InvalidVersion(text.into()))
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}.{}", self.namespace, self.server, self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v(text: &str) -> ProtocolVersion {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_is_a_namespace_and_three_decimal_numbers() {
        assert_eq!(v("dp:4.25.1"), ProtocolVersion::dp(4, 25, 1));
        assert_eq!(v("xy:0.0.0").namespace(), "xy");
        for bad in [
            "",
            "dp",
            "dp:",
            "4.25.1",
            ":4.25.1",
            "DP:4.25.1",
            "d1:4.25.1",
            "dp:4.25",
            "dp:4.25.1.2",
            "dp:4.-25.1",
            "dp:4.+25.1",
            "dp:4..1",
            "dp:a.b.c",
            " dp:4.25.1",
            "dp:4.25.1 ",
            "dp:4.25.99999999999",
        ] {
            assert_eq!(bad.parse::<ProtocolVersion>(), Err(InvalidVersion(bad.into())), "{bad}");
        }
    }

    #[test]
    fn only_the_server_number_decides_about_hosting() {
        assert!(v("xy:4.99.7").is_hostable());
        assert!(!v("dp:5.0.0").is_hostable());
        assert!(!v("dp:3.25.1").is_hostable());
    }

    #[test]
    fn system_ids_and_lookup_start_with_dp_4_24_0() {
        assert!(!v("dp:4.23.9").requires_system_id());
        assert!(v("dp:4.24.0").requires_system_id());
        assert!(v("dp:4.25.1").supports_lookup());
        assert!(!v("xy:4.25.1").requires_system_id());
    }

    #[test]
    fn a_minimum_is_a_matter_of_one_namespace() {
        assert_eq!(v("dp:4.24.0").at_least(&v("dp:4.24.0")), Some(true));
        assert_eq!(v("dp:4.21.2").at_least(&v("dp:4.24.0")), Some(false));
        assert_eq!(v("xy:9.9.9").at_least(&v("dp:4.24.0")), None);
    }

    #[test]
    fn clients_join_their_own_series_and_23_clients_also_dp_4_24_0() {
        assert_eq!(v("dp:4.25.1").joins(&v("dp:4.25.1")), Compatibility::Full);
        assert_eq!(v("dp:4.25.1").joins(&v("dp:4.25.0")), Compatibility::MinorDiffers);
        assert_eq!(v("dp:4.25.1").joins(&v("dp:4.24.0")), Compatibility::OlderLayout);
        assert_eq!(v("dp:4.24.0").joins(&v("dp:4.25.1")), Compatibility::None);
        assert_eq!(v("dp:4.25.1").joins(&v("dp:4.23.0")), Compatibility::None);
        assert_eq!(v("xy:4.25.1").joins(&v("dp:4.25.1")), Compatibility::None);
    }

    #[test]
    fn templates_follow_their_form() {
        assert!(v("dp:4.20.1").is_template_binary());
        assert!(!v("xy:4.25.1").is_template_binary());
        assert!(v("dp:4.25.0").is_template_text());
        assert!(!v("dp:4.24.0").is_template_text());
    }

    #[test]
    fn the_layout_changed_with_dp_4_25_0() {
        assert_eq!(v("dp:4.24.0").layout(), Layout::V4_24);
        assert_eq!(v("dp:4.25.0").layout(), Layout::V4_25);
        assert_eq!(v("dp:4.21.2").client_series(), "2.1.x");
    }

    fn any_version() -> impl Strategy<Value = ProtocolVersion> {
        ("[a-z]{1,3}", any::<u32>(), any::<u32>(), any::<u32>())
            .prop_map(|(namespace, server, major, minor)| ProtocolVersion { namespace, server, major, minor })
    }

    /// Versions that are near each other, so that they are often equal in part.
    fn near() -> impl Strategy<Value = ProtocolVersion> {
        let namespace = prop::sample::select(vec!["dp", "xy"]);
        (namespace, 3u32..6, 23u32..27, 0u32..3).prop_map(|(namespace, server, major, minor)| {
            ProtocolVersion { namespace: namespace.into(), server, major, minor }
        })
    }

    proptest! {
        #[test]
        fn the_order_is_one(a in near(), b in near(), c in near()) {
            prop_assert_eq!(a.partial_cmp(&b), b.partial_cmp(&a).map(std::cmp::Ordering::reverse));
            prop_assert_eq!(a == b, a.partial_cmp(&b) == Some(std::cmp::Ordering::Equal));
            prop_assert_eq!(a.partial_cmp(&b).is_some(), a.namespace == b.namespace);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn what_is_new_enough_stays_so(a in near(), b in near(), minimum in near()) {
            if a.at_least(&minimum) == Some(true) && b >= a {
                prop_assert_eq!(b.at_least(&minimum), Some(true));
            }
        }

        #[test]
        fn who_joins_whom_is_an_algebra(a in near(), b in near(), c in near()) {
            let (ab, ba) = (a.joins(&b), b.joins(&a));
            prop_assert_eq!(ab == Compatibility::Full, a == b);
            // Minor numbers make no difference of direction, layouts do: the newer speaks the older's.
            prop_assert_eq!(ab == Compatibility::MinorDiffers, ba == Compatibility::MinorDiffers);
            prop_assert!(ab != Compatibility::OlderLayout || (ba == Compatibility::None && a > b));
            if a.namespace != b.namespace || a.server != b.server {
                prop_assert_eq!(ab, Compatibility::None);
            }
            let same_major = |x: Compatibility| matches!(x, Compatibility::Full | Compatibility::MinorDiffers);
            if same_major(ab) && same_major(b.joins(&c)) {
                prop_assert!(same_major(a.joins(&c)));
                prop_assert_eq!(a.is_template_text(), b.is_template_text());
            }
            if ab != Compatibility::None {
                prop_assert_eq!(a.is_hostable(), b.is_hostable());
                prop_assert!(a.requires_system_id() >= b.requires_system_id() || a < b);
            }
        }

        #[test]
        fn rights_grow_with_the_version(a in near(), b in near()) {
            if a <= b {
                prop_assert!(a.requires_system_id() <= b.requires_system_id());
                prop_assert!(a.layout() == Layout::V4_24 || b.layout() == Layout::V4_25);
            }
        }

        #[test]
        fn text_round_trips(version in any_version()) {
            prop_assert_eq!(version.to_string().parse::<ProtocolVersion>(), Ok(version));
        }

        #[test]
        fn every_client_joins_its_own_version(version in any_version()) {
            prop_assert_eq!(version.joins(&version), Compatibility::Full);
            prop_assert_eq!(version.at_least(&version), Some(true));
        }

        #[test]
        fn order_agrees_with_at_least(a in any_version(), b in any_version()) {
            prop_assert_eq!(a.at_least(&b), a.partial_cmp(&b).map(|o| o.is_ge()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = text.parse::<ProtocolVersion>();
        }
    }
}
