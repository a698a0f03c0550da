//! `drawhall ctl keep-out`, `banned` and `let-in`: bans of persons.

use std::time::Duration;

use clap::Args;
use drawhall::rules::network::NEIGHBOURHOOD_BITS;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::bans::{found_users, several_called};
use super::format::{shown, table};
use super::time::span;
use super::{Api, path_segment, query};
use crate::Failure;
use crate::output::{out, outln};

/// Whom to keep out, by what, and for how long.
#[derive(Debug, Args)]
pub(super) struct KeepOut {
    /// Name of the user, or the uid that `users` shows.
    name: String,
    /// Ban the address instead of the device.
    #[arg(long)]
    address: bool,
    /// Ban the network around the address: /24 of IPv4, /48 of IPv6.
    #[arg(long)]
    neighbourhood: bool,
    /// Ban the device as well as the address.
    #[arg(long)]
    device: bool,
    /// How long, such as 12h or 7d [default: without end].
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Shown to the person.
    #[arg(long, default_value = "")]
    reason: String,
    /// Shown to moderators only.
    #[arg(long, default_value = "")]
    note: String,
    /// Let the person stay until they leave.
    #[arg(long)]
    stay: bool,
    /// Only say whom it would hit.
    #[arg(long)]
    dry_run: bool,
}

/// Which bans to list, or which one to change.
#[derive(Debug, Args)]
pub(super) struct Banned {
    /// Id of a ban to show, or to change with the options.
    id: Option<String>,
    /// List bans that are over.
    #[arg(long, conflicts_with = "id")]
    over: bool,
    /// List only bans with this text in name, reason, note, author or target.
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "id")]
    contains: String,
    /// The ban ends after this time from now, such as 30d.
    #[arg(long = "for", value_name = "TIME", value_parser = span, requires = "id")]
    duration: Option<Duration>,
    /// Shown to the person.
    #[arg(long, requires = "id")]
    reason: Option<String>,
    /// Shown to moderators only.
    #[arg(long, requires = "id")]
    note: Option<String>,
}

/// What `keep-out` bans of somebody.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    devices: Vec<String>,
    addresses: Vec<String>,
}

/// Adds a text unless it is empty or there.
fn add(list: &mut Vec<String>, text: &Value) {
    if let Some(text) = text.as_str().filter(|text| !text.is_empty() && !list.iter().any(|one| one == text)) {
        list.push(text.to_owned());
    }
}

/// Devices and addresses of the one person with this name or uid. Names are unique in a session only.
fn found(users: &Value, wanted: &str) -> Result<Found, Failure> {
    let mut found = Found::default();
    for user in found_users(users, wanted) {
        add(&mut found.devices, &user["s"]);
        add(&mut found.addresses, &user["ip"]);
    }
    // Clients without a device are told apart by their addresses.
    if found.devices.len() > 1 || (found.devices.is_empty() && found.addresses.len() > 1) {
        return Err(several_called(wanted).into());
    }
    Ok(found)
}

/// Devices and addresses of the one person who had this name, or has this id.
fn found_person(people: &Value, wanted: &str) -> Result<Found, Failure> {
    let people = people.as_array().map_or(&[][..], Vec::as_slice);
    let had = |person: &&Value| {
        person["id"] == wanted
            || person["names"].as_array().is_some_and(|names| names.iter().any(|n| n == wanted))
    };
    let mut found = Found::default();
    match people.iter().filter(had).collect::<Vec<_>>()[..] {
        [] => {}
        [person] => {
            let texts = |key: &str| person[key].as_array().cloned().unwrap_or_default();
            texts("devices").iter().for_each(|device| add(&mut found.devices, device));
            texts("addresses").iter().for_each(|address| add(&mut found.addresses, address));
        }
        _ => {
            return Err(
                format!("there are several called '{wanted}': `person {wanted}` shows their ids").into()
            );
        }
    }
    Ok(found)
}

impl KeepOut {
    /// The body of the request.
    fn body(&self, mut found: Found) -> Result<Value, Failure> {
        let by_address = self.address || self.neighbourhood;
        if by_address && !self.device {
            found.devices.clear();
        }
        if !by_address {
            found.addresses.clear();
        }
        if self.neighbourhood {
            for address in &mut found.addresses {
                let (of_ipv4, of_ipv6) = NEIGHBOURHOOD_BITS;
                let bits = if address.contains(':') { of_ipv6 } else { of_ipv4 };
                *address = format!("{address}/{bits}");
            }
        }
        if found.devices.is_empty() && found.addresses.is_empty() {
            let name = &self.name;
            return Err(format!("nobody called '{name}' is known; ban an address with `bans add`").into());
        }
        let mut body = json!({
            "name": self.name, "reason": self.reason, "note": self.note, "stay": self.stay,
            "devices": found.devices, "addresses": found.addresses,
        });
        match self.duration {
            Some(span) => body["seconds"] = span.as_secs().into(),
            None => body["forever"] = true.into(),
        }
        Ok(body)
    }
}

impl Api {
    pub(super) async fn keep_out(&self, wanted: KeepOut) -> Result<(), Failure> {
        let mut known = found(&self.get("users").await?, &wanted.name)?;
        if known == Found::default() {
            let people = self.get(&format!("people?{}", query(&[("search", &wanted.name)]))).await?;
            known = found_person(&people["people"], &wanted.name)?;
        }
        let body = wanted.body(known)?;
        if wanted.dry_run {
            let preview = self.request(Method::POST, "bans/preview", Some(&body)).await?;
            if self.json {
                self.print_object(&preview);
                return Ok(());
            }
            out!("{}", table(&preview["connected"], &["uid", "name", "ip", "session", "matches"]));
            for warning in preview["warnings"].as_array().into_iter().flatten() {
                outln!("warning: {}", shown(&warning["text"]));
            }
            return Ok(());
        }
        let made = self.request(Method::POST, "bans", Some(&body)).await?;
        let count = made["disconnected"].as_array().map_or(0, Vec::len);
        let (id, expires) = (shown(&made["ban"]["id"]), shown(&made["ban"]["expires"]));
        self.print_result(&made, &format!("added ban {id} until {expires} UTC, disconnected {count}"));
        Ok(())
    }

    pub(super) async fn banned(&self, wanted: Banned) -> Result<(), Failure> {
        let Banned { id, over, contains, duration, reason, note } = wanted;
        let Some(id) = id else {
            let state = if over { "over" } else { "in-force" };
            let list =
                self.get(&format!("bans?{}", query(&[("state", state), ("contains", &contains)]))).await?;
            self.print_table(&list["bans"], &["id", "name", "expires", "author", "reason", "note"]);
            return Ok(());
        };
        let path = format!("bans/{}", path_segment(&id));
        let mut body = Map::new();
        if let Some(span) = duration {
            body.insert("seconds".into(), span.as_secs().into());
        }
        for (key, text) in [("reason", reason), ("note", note)] {
            body.extend(text.map(|text| (key.to_owned(), text.into())));
        }
        let ban = if body.is_empty() {
            self.get(&path).await?
        } else {
            self.request(Method::PUT, &path, Some(&body.into())).await?
        };
        self.print_object(&ban);
        if !self.json {
            outln!();
            self.print_table(&ban["targets"], &["kind", "subject"]);
            self.print_table(&ban["changes"], &["at", "by", "what", "before", "after"]);
        }
        Ok(())
    }

    pub(super) async fn let_in(&self, id: &str) -> Result<(), Failure> {
        let path = format!("bans/{}", path_segment(id));
        let ban = self.request(Method::DELETE, &path, None).await?;
        self.print_result(&ban, &format!("ended the ban of {}", shown(&ban["name"])));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep_out() -> KeepOut {
        KeepOut {
            name: "B".into(),
            address: false,
            neighbourhood: false,
            device: false,
            duration: Some(Duration::from_secs(60)),
            reason: String::new(),
            note: String::new(),
            stay: false,
            dry_run: false,
        }
    }

    #[test]
    fn the_device_is_banned_unless_the_address_is_asked_for() {
        let users = json!([
            {"uid": "1", "name": "B", "ip": "192.0.2.7", "s": "abc"},
            {"uid": "2", "name": "B", "ip": "2001:db8::1", "s": "abc"},
            {"uid": "3", "name": "C", "ip": "192.0.2.7", "s": "def"},
        ]);
        let body = |wanted: &KeepOut| {
            let known = found(&users, &wanted.name).map_err(|_| "several").unwrap();
            let body = wanted.body(known).map_err(|_| "nobody").unwrap();
            (body["devices"].clone(), body["addresses"].clone())
        };
        assert_eq!(body(&keep_out()), (json!(["abc"]), json!([])));
        let address = KeepOut { address: true, ..keep_out() };
        assert_eq!(body(&address), (json!([]), json!(["192.0.2.7", "2001:db8::1"])));
        let both = KeepOut { neighbourhood: true, device: true, name: "3".into(), ..keep_out() };
        assert_eq!(body(&both), (json!(["def"]), json!(["192.0.2.7/24"])));
        assert!(keep_out().body(Found::default()).is_err());
    }

    #[test]
    fn of_several_people_with_a_name_none_is_banned() {
        let user = |uid: &str, ip: &str, s: &str| json!({"uid": uid, "name": "anon", "ip": ip, "s": s});
        let several = json!([user("1", "192.0.2.7", "abc"), user("2", "192.0.2.7", "def")]);
        assert!(found(&several, "anon").is_err());
        assert_eq!(found(&several, "2").ok().unwrap().devices, ["def"]);
        let without_devices = json!([user("1", "192.0.2.7", ""), user("2", "192.0.2.8", "")]);
        assert!(found(&without_devices, "anon").is_err());
    }
}
