//! How values of options are read.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use drawhall::config::ip_range::IpRange;
use drawhall::config::{Millis, Profile, SettingValue as _};
use drawhall::db::ClusterUrl;

/// Reads the address of a database. clap's own message would show it, with the password.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClusterUrlParser;

impl TypedValueParser for ClusterUrlParser {
    type Value = ClusterUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ClusterUrl, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "it is no Unicode text".to_owned()).and_then(str::parse);
        parsed.map_err(|reason: String| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--cluster: {reason}\n")).with_cmd(command)
        })
    }
}

/// A time such as `100ms` or `5s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let millis = Millis::read(text).ok_or("expected a time such as 1s or 100ms")?;
    Ok(Duration::from_millis(millis.0))
}

/// Where other servers connect: the address is told to them, so it must be one of this machine's.
pub(super) fn link_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected ADDRESS:PORT, such as 192.0.2.1:27752")?;
    if address.ip().is_unspecified() {
        return Err("expected the address under which other servers reach this one".into());
    }
    Ok(address)
}

pub(super) fn profile(text: &str) -> Result<Profile, String> {
    Profile::read(text).ok_or_else(|| "expected public".to_owned())
}

/// The items of a list option.
pub(crate) fn items<T>(list: &[Option<T>]) -> impl Iterator<Item = &T> {
    list.iter().flatten()
}

/// Parser for the items of a list option. Blanks around items are ignored, and so are empty items, as after a comma at
/// the end.
pub(super) fn item<T: Send + Sync + Clone + 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> + Clone + Send + Sync + 'static {
    move |text| match text.trim() {
        "" => Ok(None),
        text => parse(text).map(Some),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a parser of clap")]
pub(super) fn host_name(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A host name that a certificate can be issued for.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && allowed && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("expected a host name, not an address".to_owned());
    }
    if name.len() <= 253 && name.contains('.') && name.split('.').all(is_label) {
        Ok(name)
    } else {
        Err("expected a host name such as draw.example.org (no wildcard; international names in their xn-- form)"
            .to_owned())
    }
}

pub(super) fn email(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let valid = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if valid && !address.contains(char::is_whitespace) {
        Ok(address.to_owned())
    } else {
        Err("expected an e-mail address".to_owned())
    }
}

pub(super) fn network(text: &str) -> Result<IpRange, String> {
    IpRange::parse(text).ok_or_else(|| "expected a network such as 10.0.0.0/8".to_owned())
}

/// A network, or all of them.
pub(super) fn access_network(text: &str) -> Result<IpRange, String> {
    network(if text == "all" { "::/0" } else { text })
}

pub(super) fn http_url(text: &str) -> Result<String, String> {
    drawhall::http::check_url(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// The address of a page, to which paths are appended.
pub(super) fn page_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.contains(['?', '#', '@']) {
        Err("expected an address without ?, # and @".to_owned())
    } else {
        Ok(url)
    }
}

pub(super) fn crypt_key(text: &str) -> Result<[u8; 32], String> {
    let bytes = drawhall_protocol::qt_base64::decode(text);
    bytes.try_into().map_err(|b: Vec<u8>| format!("{} bytes instead of 32", b.len()))
}

/// A port; 0 for `off` or 0.
pub(super) fn port_or_off(text: &str) -> Result<u16, String> {
    if text.trim().eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    text.trim().parse().map_err(|_| "expected a port from 1 to 65535, or off".to_owned())
}
