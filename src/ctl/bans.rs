//! `drawhall ctl ban` and `drawhall ctl bans`.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use super::actions::BanCommand;
use super::time::{end_of, shown_span};
use super::{path_segment, query};
use crate::Failure;

/// End of a ban that does not expire.
const NEVER: &str = "2999-12-31";
/// Bits of an IPv6 address that belong to one home.
const HOME_BITS: u8 = 64;

impl Api {
    /// Bans the address of somebody who is connected, or was lately.
    pub(super) async fn ban(
        &self,
        name: &str,
        duration: Option<Duration>,
        kick: bool,
        comment: Option<String>,
    ) -> Result<(), Failure> {
        let users = self.get("users").await?;
        let connected = found_users(&users, name);
        let addresses = match connected.as_slice() {
            [] => self.last_address(name).await?.into_iter().collect(),
            users => addresses_of(users),
        };
        let [address] = addresses[..] else {
            return Err(match addresses.len() {
                0 => format!(
                    "nobody called '{name}' is connected or in the log; ban an address with `bans add`"
                ),
                _ => several_called(name),
            }
            .into());
        };
        let subnet = if address.is_ipv6() { HOME_BITS } else { 0 };
        let expires = duration.and_then(end_of).unwrap_or_else(|| NEVER.to_owned());
        let comment = comment.unwrap_or_else(|| name.to_owned());
        let body = json!({"ip": address, "subnet": subnet, "expires": expires, "comment": comment});
        let created = self.request(Method::POST, "banlist", Some(&body)).await?;
        if kick {
            for uid in connected.iter().filter_map(|user| user["uid"].as_str()) {
                // Whoever has left meanwhile need not be sent away.
                let _ = self.request(Method::DELETE, &format!("users/{}", path_segment(uid)), None).await;
            }
        }
        let range = if subnet > 0 { format!("{address}/{subnet}") } else { address.to_string() };
        let span =
            duration.map_or_else(|| "without end".to_owned(), |span| format!("for {}", shown_span(span)));
        let kicked = if kick { format!(", disconnected {}", connected.len()) } else { String::new() };
        self.print_result(&created, &format!("added ban {}: {range} {span}{kicked}", created["id"]));
        Ok(())
    }

    /// The address in the newest line of the log about somebody.
    async fn last_address(&self, name: &str) -> Result<Option<IpAddr>, Failure> {
        let lines = self.get(&format!("log?{}", query(&[("user", name)]))).await?;
        let users = lines.as_array().into_iter().flatten().filter_map(|line| line["user"].as_str());
        Ok(users.filter_map(|user| address_in_log(user, name)).next())
    }

    pub(super) async fn bans(&self, action: Option<BanCommand>) -> Result<(), Failure> {
        match action {
            None => {
                let columns = ["id", "ip", "subnet", "expires", "comment", "added"];
                self.print_table(&self.get("banlist").await?, &columns);
            }
            Some(BanCommand::Add { range, expires, duration, comment }) => {
                let (ip, subnet) = range.split_once('/').unwrap_or((&range, "0"));
                let subnet: u8 = subnet.parse().map_err(|_| "the prefix must be a number")?;
                let end = duration.and_then(end_of).unwrap_or(expires);
                let body = json!({"ip": ip, "subnet": subnet, "expires": end, "comment": comment});
                let created = self.request(Method::POST, "banlist", Some(&body)).await?;
                self.print_result(&created, &format!("added ban {}", created["id"]));
            }
            Some(BanCommand::Remove { id }) => {
                self.print_result(
                    &self.request(Method::DELETE, &format!("banlist/{id}"), None).await?,
                    "removed",
                );
            }
        }
        Ok(())
    }
}

/// Names are unique in a session only.
pub(super) fn several_called(name: &str) -> String {
    format!("there are several called '{name}': give the uid that `users` shows")
}

/// Users with this name or uid.
pub(super) fn found_users<'a>(users: &'a Value, wanted: &str) -> Vec<&'a Value> {
    let users = users.as_array().map_or(&[][..], Vec::as_slice);
    users.iter().filter(|user| user["name"] == wanted || user["uid"] == wanted).collect()
}

/// Their addresses, each once.
fn addresses_of(users: &[&Value]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        users.iter().filter_map(|user| user["ip"].as_str()?.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The address in `id;address;name`, if the name is the one.
fn address_in_log(user: &str, name: &str) -> Option<IpAddr> {
    let mut parts = user.splitn(3, ';').skip(1);
    let address = parts.next()?;
    (parts.next()? == name).then(|| address.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_uid_and_those_who_left_in_the_log() {
        let users = json!([
            {"uid": "7", "name": "Ann", "ip": "192.0.2.1"},
            {"uid": "8", "name": "Bo", "ip": "192.0.2.2"},
            {"uid": "9", "name": "Bo", "ip": "192.0.2.2"},
        ]);
        assert_eq!(found_users(&users, "8").len(), 1);
        let both = found_users(&users, "Bo");
        assert_eq!((both.len(), addresses_of(&both)), (2, vec!["192.0.2.2".parse().unwrap()]));
        assert!(found_users(&users, "ann").is_empty());
        assert_eq!(address_in_log("5;2001:db8::1;A;b", "A;b"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(address_in_log("5;192.0.2.1;Annabel", "Ann"), None);
    }
}
