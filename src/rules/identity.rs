//! Who a user is, by everything that is known.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What identifies a user, for bans and restrictions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Identity {
    /// Compared by skeleton: names that look alike are equal.
    pub name: String,
    pub address: Option<IpAddr>,
    pub auth_id: String,
    pub sid: String,
}

impl Identity {
    /// Whether two identities are the same person: the same account or device.
    pub fn is_same_person(&self, other: &Identity) -> bool {
        let same = |a: &str, b: &str| !a.is_empty() && a == b;
        let unknown = |i: &Identity| i.auth_id.is_empty() && i.sid.is_empty();
        same(&self.auth_id, &other.auth_id)
            || same(&self.sid, &other.sid)
            || (unknown(self) && unknown(other) && self.address == other.address && self.name == other.name)
    }

    /// No more than tells a person from others: account and device, or all if there is neither.
    pub fn only_ids(&self) -> Identity {
        if self.auth_id.is_empty() && self.sid.is_empty() {
            return self.clone();
        }
        Identity { auth_id: self.auth_id.clone(), sid: self.sid.clone(), ..Identity::default() }
    }
}
