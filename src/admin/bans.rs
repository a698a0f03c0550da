//! Endpoints `banlist`, `systembans`, `userbans`.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Json, List, ListVersion, Listed, Nothing, Version};
use super::error::{ApiError, bad, not_found};
use super::value::{MAX_EXACT, Number, Text, WholeNumber, parsed};
use crate::config::bans::BanAction;
use crate::config::ip_range::IpRange;
use crate::db::{BanKey, BanKind, BanRow};
use crate::rules::time::{Timestamp, utc_of};

pub(super) fn endpoints(api: &mut Api) {
    api.get("banlist", "Bans of addresses.", AdminState::address_bans);
    api.post("banlist", "Bans an address or a range of them.", AdminState::ban_address).locked_by("bans");
    api.get(
        "banlist/preview",
        "Number of addresses that a ban would cover, and connected users with such addresses.",
        AdminState::preview_ban,
    );
    api.delete("banlist/{ban}", "Removes a ban.", AdminState::unban_address).locked_by("bans");
    api.get("systembans", "Bans of system ids.", AdminState::system_bans);
    api.post("systembans", "Bans a system id.", AdminState::ban_system).locked_by("bans");
    api.delete("systembans/{ban}", "Removes a ban.", AdminState::unban_system).locked_by("bans");
    api.get("userbans", "Bans of users of an ext-auth server.", AdminState::user_bans);
    api.post("userbans", "Bans a user of an ext-auth server.", AdminState::ban_user).locked_by("bans");
    api.delete("userbans/{ban}", "Removes a ban.", AdminState::unban_user).locked_by("bans");
}

/// A ban of an address or a range of them.
#[derive(Debug, Serialize, JsonSchema)]
struct AddressBan {
    /// Id.
    id: i64,
    /// Address.
    ip: String,
    /// Length of the common prefix in bits, 0 for the one address.
    subnet: i64,
    /// When it ends, UTC.
    expires: String,
    /// For administrators.
    comment: String,
    /// When it was added, UTC.
    added: String,
}

/// A ban of a system id.
#[derive(Debug, Serialize, JsonSchema)]
struct SystemBan {
    /// Id.
    id: i64,
    /// System id.
    sid: String,
    /// normal, neterror, garbage, hang or timer.
    reaction: String,
    /// When it ends, UTC.
    expires: String,
    /// For administrators.
    comment: String,
    /// Shown to banned users.
    reason: String,
    /// When it was added, UTC.
    added: String,
}

/// A ban of a user of an ext-auth server.
#[derive(Debug, Serialize, JsonSchema)]
struct UserBan {
    /// Id.
    id: i64,
    /// User id of the ext-auth server.
    #[serde(rename = "userId")]
    user_id: i64,
    /// normal, neterror, garbage, hang or timer.
    reaction: String,
    /// When it ends, UTC.
    expires: String,
    /// For administrators.
    comment: String,
    /// Shown to banned users.
    reason: String,
    /// When it was added, UTC.
    added: String,
}

impl Listed for AddressBan {
    const NAME: &'static str = "bans";
}

impl Listed for SystemBan {
    const NAME: &'static str = "bans";
}

impl Listed for UserBan {
    const NAME: &'static str = "bans";
}

impl From<BanRow> for AddressBan {
    fn from(ban: BanRow) -> AddressBan {
        let BanRow { id, subject, subnet, expires, comment, added, .. } = ban;
        AddressBan { id, ip: subject, subnet, expires, comment, added }
    }
}

impl From<BanRow> for SystemBan {
    fn from(ban: BanRow) -> SystemBan {
        let BanRow { id, subject, reaction, expires, comment, reason, added, .. } = ban;
        SystemBan { id, sid: subject, reaction, expires, comment, reason, added }
    }
}

impl From<BanRow> for UserBan {
    fn from(ban: BanRow) -> UserBan {
        let BanRow { id, subject, reaction, expires, comment, reason, added, .. } = ban;
        UserBan { id, user_id: subject.parse().unwrap_or(0), reaction, expires, comment, reason, added }
    }
}

/// The path of a ban.
#[derive(Debug, Deserialize, JsonSchema)]
struct BanPath {
    /// Id of the ban.
    #[serde(deserialize_with = "parsed")]
    ban: i64,
}

/// A new ban of addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["ip", "expires"], "anyOf" = range_schemas()))]
struct NewAddressBan {
    /// Address.
    #[schemars(with = "String")]
    ip: Text,
    /// Length of the common prefix in bits, 0 for the one address.
    subnet: Number<0, 128>,
    /// When it ends, such as 2030-01-01 12:00:00 (UTC).
    #[schemars(schema_with = "time_schema")]
    expires: Text,
    /// For administrators.
    comment: Text,
}

/// A new ban of a system id.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["sid", "expires"]))]
struct NewSystemBan {
    /// System id.
    #[schemars(with = "String", extend("pattern" = r"\S"))]
    sid: Text,
    /// What happens to the banned. The default is normal.
    #[schemars(extend("enum" = ["normal", "neterror", "garbage", "hang", "timer", "", null]))]
    reaction: Text,
    /// When it ends, such as 2030-01-01 12:00:00 (UTC).
    #[schemars(schema_with = "time_schema")]
    expires: Text,
    /// For administrators.
    comment: Text,
    /// Shown to banned users.
    reason: Text,
}

/// A new ban of a user of an ext-auth server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["userId", "expires"]))]
struct NewUserBan {
    /// User id.
    #[serde(rename = "userId")]
    #[schemars(with = "WholeNumber<1, MAX_EXACT>")]
    user_id: Number<1, MAX_EXACT>,
    /// What happens to the banned. The default is normal.
    #[schemars(extend("enum" = ["normal", "neterror", "garbage", "hang", "timer", "", null]))]
    reaction: Text,
    /// When it ends, such as 2030-01-01 12:00:00 (UTC).
    #[schemars(schema_with = "time_schema")]
    expires: Text,
    /// For administrators.
    comment: Text,
    /// Shown to banned users.
    reason: Text,
}

/// Addresses that may be banned.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["ip"]))]
struct Range {
    /// Address.
    #[schemars(with = "String", extend("anyOf" = [{"format": "ipv4"}, {"format": "ipv6"}]))]
    ip: Text,
    /// Length of the common prefix in bits, 0 for the one address; at most 32 for IPv4.
    subnet: Number<0, 128>,
}

/// Addresses with the subnets that they can have.
fn range_schemas() -> [serde_json::Value; 2] {
    let mut schemas = SchemaGenerator::default();
    let of = |format: &str, subnet: Schema| serde_json::json!({"properties": {"ip": {"format": format}, "subnet": subnet}});
    [
        of("ipv4", Number::<0, 32>::json_schema(&mut schemas)),
        of("ipv6", Number::<0, 128>::json_schema(&mut schemas)),
    ]
}

/// A time, of which the years 1000 to 9999 are described.
fn time_schema(_: &mut SchemaGenerator) -> Schema {
    let day = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])";
    let time = "([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])?";
    json_schema!({"type": "string", "pattern": format!(r"^\s*[1-9][0-9]{{3}}-({day}){time}\s*$")})
}

/// Connected users whom a ban would hit.
#[derive(Debug, Serialize, JsonSchema)]
struct BannedUser {
    /// Number of the connection.
    uid: String,
    /// User name.
    name: String,
    /// Address.
    ip: String,
    /// Session id, empty in none.
    session: String,
}

/// What a ban would cover.
#[derive(Debug, Serialize, JsonSchema)]
struct BanPreview {
    /// First address.
    first: IpAddr,
    /// Last address.
    last: IpAddr,
    /// Number of addresses; a string, because it may exceed JSON numbers.
    addresses: String,
    /// More addresses than one home has.
    many: bool,
    /// Connected users with such an address.
    users: Vec<BannedUser>,
}

/// A ban of more addresses than 2^this is shown as broad: it covers more than one home. For IPv4.
const BROAD_IPV4_BITS: u32 = 8;
/// For IPv6, where a home may have a /56 network.
const BROAD_IPV6_BITS: u32 = 72;

/// Parses a time in one of several formats; returns it as the database stores it.
pub(super) fn time(text: &str) -> Option<String> {
    let text = text.trim();
    let time = utc_of(text).or_else(|| text.parse::<jiff::civil::DateTime>().ok())?;
    // The database compares times as text.
    (time.year() >= 0).then(|| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The reaction of a ban.
fn checked_reaction(text: Text) -> Result<String, ApiError> {
    let reaction = if text.is_empty() { "normal".to_owned() } else { text.0 };
    BanAction::parse(&reaction).ok_or_else(|| bad("Invalid reaction"))?;
    Ok(reaction)
}

/// A ban of a system or a user, which says how it strikes.
fn reacting_ban(
    subject: String,
    reaction: Text,
    expires: &str,
    comment: Text,
    reason: Text,
) -> Result<BanRow, ApiError> {
    let (reaction, expires) = (checked_reaction(reaction)?, expiry(expires)?);
    Ok(BanRow { subject, reaction, expires, comment: comment.0, reason: reason.0, ..BanRow::default() })
}

fn expiry(text: &str) -> Result<String, ApiError> {
    time(text).ok_or_else(|| bad("Valid expiration time required"))
}

impl AdminState {
    /// How many addresses a ban would cover, and which connected users.
    async fn preview_ban(self: Arc<Self>, call: Call<Nothing, Range>) -> Result<Json<BanPreview>, ApiError> {
        let range = parse_range(call.query.ip.trim(), call.query.subnet.or("subnet", 0)?)?;
        let (first, last) = range.ends();
        let canonical = range.canonical();
        let free_bits = canonical.free_bits();
        let many = free_bits > if canonical.address().is_ipv4() { BROAD_IPV4_BITS } else { BROAD_IPV6_BITS };
        let users = self.all_users().await?;
        let hit = users.into_iter().filter(|user| user.ip.parse().is_ok_and(|ip| range.contains(ip)));
        let users = hit
            .map(|user| BannedUser {
                uid: user.uid.unwrap_or_default(),
                name: user.name,
                ip: user.ip,
                session: user.session.unwrap_or_default(),
            })
            .collect();
        // All IPv6 addresses: 2^128 does not fit.
        let addresses = 1u128.checked_shl(free_bits).map_or_else(|| "2^128".to_owned(), |n| n.to_string());
        Ok(Json(BanPreview { first, last, addresses, many, users }))
    }

    async fn list_bans<T: Listed + From<BanRow>>(
        &self,
        kind: BanKind,
        version: &ListVersion,
    ) -> Result<List<T>, ApiError> {
        let bans = self.query_db(move |db| db.bans(kind)).await?;
        List::new(bans.into_iter().map(T::from).collect(), version, self.is_locked("bans"))
    }

    async fn add_ban<T: From<BanRow>>(&self, kind: BanKind, ban: BanRow) -> Result<Json<T>, ApiError> {
        let added = self.query_db(move |db| db.add_ban(kind, ban, Timestamp::now().utc_ms)).await?;
        self.apply_db_changes().await?;
        self.publish_ban(BanKey::Row(kind, added.id)).await?;
        Ok(Json(added.into()))
    }

    async fn remove_ban(&self, kind: BanKind, id: i64) -> Result<Json<Done>, ApiError> {
        let key = self.query_db(move |db| db.ban_of_row(kind, id)).await?;
        if !self.query_db(move |db| db.remove_ban(kind, id)).await? {
            return Err(not_found());
        }
        self.apply_db_changes().await?;
        self.publish_ban(key).await?;
        Ok(Done::deleted(id))
    }

    async fn address_bans(
        self: Arc<Self>,
        call: Call<Nothing, Version>,
    ) -> Result<List<AddressBan>, ApiError> {
        self.list_bans(BanKind::Address, &call.query.v).await
    }

    async fn ban_address(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewAddressBan>,
    ) -> Result<Json<AddressBan>, ApiError> {
        let NewAddressBan { ip, subnet, expires, comment } = call.body;
        let (subject, subnet) = (ip.trim().to_owned(), subnet.or("subnet", 0)?);
        parse_range(&subject, subnet)?;
        let expires = expiry(&expires)?;
        let ban = BanRow { subject, subnet, expires, comment: comment.0, ..BanRow::default() };
        self.add_ban(BanKind::Address, ban).await
    }

    async fn unban_address(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Done>, ApiError> {
        self.remove_ban(BanKind::Address, call.path.ban).await
    }

    async fn system_bans(self: Arc<Self>, call: Call<Nothing, Version>) -> Result<List<SystemBan>, ApiError> {
        self.list_bans(BanKind::System, &call.query.v).await
    }

    async fn ban_system(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewSystemBan>,
    ) -> Result<Json<SystemBan>, ApiError> {
        let NewSystemBan { sid, reaction, expires, comment, reason } = call.body;
        let subject = sid.trim().to_owned();
        if subject.is_empty() {
            return Err(bad("SID required"));
        }
        let ban = reacting_ban(subject, reaction, &expires, comment, reason)?;
        self.add_ban(BanKind::System, ban).await
    }

    async fn unban_system(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Done>, ApiError> {
        self.remove_ban(BanKind::System, call.path.ban).await
    }

    async fn user_bans(self: Arc<Self>, call: Call<Nothing, Version>) -> Result<List<UserBan>, ApiError> {
        self.list_bans(BanKind::User, &call.query.v).await
    }

    async fn ban_user(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewUserBan>,
    ) -> Result<Json<UserBan>, ApiError> {
        let NewUserBan { user_id, reaction, expires, comment, reason } = call.body;
        let id = user_id.get("userId").ok().flatten().ok_or_else(|| bad("Valid user ID required"))?;
        let ban = reacting_ban(id.to_string(), reaction, &expires, comment, reason)?;
        self.add_ban(BanKind::User, ban).await
    }

    async fn unban_user(self: Arc<Self>, call: Call<BanPath>) -> Result<Json<Done>, ApiError> {
        self.remove_ban(BanKind::User, call.path.ban).await
    }
}

/// The addresses of a ban.
fn parse_range(ip: &str, subnet: i64) -> Result<IpRange, ApiError> {
    if ip.parse::<IpAddr>().is_err() {
        return Err(bad("Valid IP address required"));
    }
    let range = if subnet == 0 { ip.to_owned() } else { format!("{ip}/{subnet}") };
    IpRange::parse(&range).ok_or_else(|| bad("Valid subnet required"))
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
