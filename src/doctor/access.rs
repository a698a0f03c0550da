//! Checks of what is open to whom: admin API, proxies, list servers, host name.

use std::net::{IpAddr, ToSocketAddrs as _};

use super::configuration::accounts_of;
use super::{Context, Findings};

/// Passwords that are shorter can be guessed.
const MIN_PASSWORD: usize = 8;
/// Addresses from different parts of the internet; who trusts them all trusts everybody.
const EVERYWHERE: [&str; 3] = ["8.8.8.8", "192.0.2.1", "203.0.113.1"];

pub(super) fn admin(context: &Context<'_>, findings: &mut Findings) {
    let Some(admin) = &context.setup.admin else { return };
    if admin.is_open && admin.is_reachable && admin.is_for_all {
        findings.error(
            "admin-open",
            "everybody who reaches the admin port may change everything (--web-admin-open)",
            "give --web-admin-auth or --web-admin-login instead, or --web-admin-listen 127.0.0.1 behind a proxy",
        );
    } else if admin.is_open_by_mistake {
        findings.warning(
            "admin-refuses-all",
            "the admin API refuses the machines of --web-admin-access, because nobody would have to log in",
            "give --web-admin-auth USER:PASSWORD or --web-admin-login",
        );
    } else if admin.is_reachable && admin.is_for_all && !admin.is_encrypted {
        findings.warning(
            "admin-unencrypted",
            "the admin API is open to all networks without encryption: passwords can be read on their way",
            "give --web-admin-listen 127.0.0.1 and put a proxy with a certificate before it; with \
             --web-admin-on-websocket give the server a certificate",
        );
    }
    if let Some(length) = admin.password_length.filter(|length| *length < MIN_PASSWORD) {
        findings.warning(
            "admin-password-short",
            format!("the password of --web-admin-auth has only {length} characters"),
            "choose a longer one",
        );
    }
    let may_log_in = |context: &Context<'_>| {
        let accounts = accounts_of(context);
        accounts.iter().any(|account| !account.locked && account.flags.iter().any(|flag| flag == "ADMIN"))
    };
    let in_file = context.rules.as_ref().is_some_and(|rules| {
        rules.file().users.iter().any(|user| user.flags.iter().any(|flag| flag == "ADMIN"))
    });
    if admin.needs_login && admin.password_length.is_none() && !in_file && !may_log_in(context) {
        findings.error(
            "admin-nobody",
            "nobody can log in to the admin API: no account has the flag ADMIN",
            "drawhall account add NAME --flags ADMIN",
        );
    }
}

pub(super) fn proxies(context: &Context<'_>, findings: &mut Findings) {
    let trusted = &context.setup.trusted;
    let everywhere = EVERYWHERE.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    if everywhere.into_iter().all(|address| trusted.contains(address)) {
        findings.error(
            "proxy-everybody",
            "--trusted-proxy trusts every address: everybody can pretend to be somebody else, and bans have no effect",
            "name the network of your proxy only",
        );
    }
}

pub(super) fn list_servers(context: &Context<'_>, findings: &mut Findings) {
    let Some(rules) = &context.rules else { return };
    if context.setup.announce_private && !rules.settings().announce_whitelist {
        findings.warning(
            "list-server-private",
            "everybody who hosts can have requests made in your own network (--announce-private)",
            "set announceWhitelist to true, and list the allowed list servers",
        );
    }
}

/// Whether a name has an address, by DNS or as this machine knows it.
pub(super) fn has_address(host: &str) -> bool {
    (host, 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some())
}

pub(super) fn host_name(context: &Context<'_>, findings: &mut Findings) {
    let host = context.setup.source.local_host.as_str();
    if host.is_empty() || host.parse::<IpAddr>().is_ok() {
        return;
    }
    if !has_address(host) {
        findings.warning(
            "host-name-unknown",
            format!("the name {host} (--local-host) has no address"),
            "add it to your domain's DNS, or correct it: clients and list servers use it",
        );
    }
}
