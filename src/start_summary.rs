//! What a start prints on a terminal: addresses to connect to, the admin page, where the data is, who may do what.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use drawhall::admin::AccessRules;
use drawhall::app::{RunningServer, ServeOptions};
use drawhall::config::Settings;
use drawhall::text::shown;

use crate::data_paths::DataPaths;

/// Interfaces of containers and virtual machines: nobody connects to their addresses from elsewhere.
const VIRTUAL_INTERFACES: [&str; 8] = ["docker", "br-", "veth", "virbr", "podman", "cni", "lxc", "vmnet"];
/// Width of the labels.
const LABEL: usize = 20;

/// Text for a terminal, of at most twelve lines.
#[derive(Debug, Clone)]
pub(crate) struct StartSummary {
    /// Address of the TCP listener, or of that for WebSocket if there is none.
    main: SocketAddr,
    /// There is no TCP listener.
    is_websocket_only: bool,
    /// Address of the WebSocket listener.
    websocket: Option<SocketAddr>,
    /// Name and port that the server is known by on the internet.
    public: Option<(String, u16)>,
    /// Addresses of this machine, without those of loopback.
    addresses: Vec<IpAddr>,
    is_encrypted: bool,
    admin: Option<AdminPage>,
    /// URL that makes the first administrator.
    first_admin: Option<String>,
    data: String,
    may: &'static str,
}

/// The admin page.
#[derive(Debug, Clone)]
struct AdminPage {
    address: SocketAddr,
    scheme: &'static str,
    /// Only this machine may use it.
    is_local: bool,
    needs_login: bool,
}

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Machine,
    Network,
    Internet,
    /// Such as link-local addresses, which need more than an address.
    Nowhere,
}

fn reach_of(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Reach::Machine,
        IpAddr::V4(v4) => match v4.octets() {
            // Shared addresses of providers, RFC 6598.
            [100, 64..=127, ..] => Reach::Network,
            _ if v4.is_private() => Reach::Network,
            _ if v4.is_link_local() || v4.is_unspecified() => Reach::Nowhere,
            _ => Reach::Internet,
        },
        IpAddr::V6(v6) if v6.is_unique_local() => Reach::Network,
        IpAddr::V6(v6) if v6.segments()[0] & 0xe000 == 0x2000 => Reach::Internet,
        IpAddr::V6(_) => Reach::Nowhere,
    }
}

/// Addresses of the interfaces that others may connect to, IPv4 first.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot list the network interfaces");
        Vec::new()
    });
    let is_virtual = |name: &str| VIRTUAL_INTERFACES.iter().any(|start| name.starts_with(start));
    let real = interfaces.into_iter().filter(|interface| !is_virtual(&interface.name));
    let mut addresses: Vec<IpAddr> = real.map(|interface| interface.ip()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// Who may join and host.
fn permission_text(settings: &Settings) -> &'static str {
    match (settings.allow_guests, settings.allow_guest_hosts) {
        (true, true) => "everybody who can connect may join and host",
        (true, false) => "everybody who can connect may join, accounts with HOST may host",
        (false, _) => "accounts only",
    }
}

fn data_text(paths: &DataPaths) -> String {
    let show = |path: &Path| shown(&path.display().to_string());
    match (&paths.data, &paths.database, &paths.sessions) {
        (Some(data), database, Some(sessions))
            if sessions.starts_with(data) && database.as_ref().is_none_or(|path| path.starts_with(data)) =>
        {
            show(data)
        }
        (_, None, None) => "in memory only, nothing is kept".to_owned(),
        (_, Some(database), Some(sessions)) => format!("{}, sessions {}", show(database), show(sessions)),
        (_, Some(database), None) => format!("{}, sessions in memory only", show(database)),
        (_, None, Some(sessions)) => format!("sessions {}", show(sessions)),
    }
}

impl AdminPage {
    /// The page at its own port, else at that of WebSocket, else none.
    fn of(running: &RunningServer, options: &ServeOptions) -> Option<AdminPage> {
        let AccessRules { networks, .. } = &options.admin_access;
        let shared = running.websocket_address().filter(|_| options.admin_on_websocket);
        let is_shared = running.admin_address().is_none();
        Some(AdminPage {
            address: running.admin_address().or(shared)?,
            scheme: if is_shared && options.is_encrypted() { "https" } else { "http" },
            is_local: networks.is_empty(),
            needs_login: is_shared || options.admin_access.needs_login(),
        })
    }
}

impl StartSummary {
    pub(crate) fn of(running: &RunningServer, options: &ServeOptions, paths: &DataPaths) -> StartSummary {
        let name = Some(options.source.local_host.clone()).filter(|name| !name.is_empty());
        let announced = Some(options.announce_port).filter(|port| *port > 0);
        let port = announced.unwrap_or(running.address().port());
        StartSummary {
            main: running.address(),
            is_websocket_only: running.websocket_address() == Some(running.address()),
            websocket: running.websocket_address(),
            public: name.map(|name| (name, port)),
            addresses: own_addresses(),
            is_encrypted: options.is_encrypted(),
            admin: AdminPage::of(running, options),
            first_admin: running.first_admin_link().map(str::to_owned),
            data: data_text(paths),
            may: permission_text(running.rules().borrow().settings()),
        }
    }

    /// Addresses by which a listener can be reached from somewhere.
    fn addresses_of(&self, listener: SocketAddr, reach: Reach) -> Vec<SocketAddr> {
        let has_ip = |ip: &&IpAddr| !listener.is_ipv4() || ip.is_ipv4();
        let found: Vec<IpAddr> = if listener.ip().is_unspecified() {
            self.addresses.iter().filter(has_ip).copied().filter(|ip| reach_of(*ip) == reach).collect()
        } else {
            [listener.ip()].into_iter().filter(|ip| reach_of(*ip) == reach).collect()
        };
        // One family is enough.
        let is_ipv4 = found.iter().any(IpAddr::is_ipv4);
        let of_family = found.into_iter().filter(|ip| !is_ipv4 || ip.is_ipv4());
        of_family.take(2).map(|ip| SocketAddr::new(ip, listener.port())).collect()
    }

    /// The host and port by which a listener is reached from this machine or its network.
    fn nearest(&self, listener: SocketAddr, from_network: bool) -> String {
        let network = self.addresses_of(listener, Reach::Network);
        match network.first().filter(|_| from_network) {
            Some(address) => address.to_string(),
            None if listener.ip().is_unspecified() => format!("localhost:{}", listener.port()),
            None => listener.to_string(),
        }
    }

    fn websocket_scheme(&self) -> &'static str {
        if self.is_encrypted { "wss" } else { "ws" }
    }

    /// The addresses to give to others, with from where each can be reached.
    fn reaches(&self) -> Vec<(&'static str, String)> {
        let shown_as = |host: String| match self.is_websocket_only {
            true => format!("{}://{host}/", self.websocket_scheme()),
            false => host,
        };
        let list = |addresses: Vec<SocketAddr>| {
            let shown: Vec<String> = addresses.iter().map(|address| shown_as(address.to_string())).collect();
            shown.join(" or ")
        };
        let mut rows = Vec::new();
        let is_everywhere = self.main.ip().is_unspecified();
        if is_everywhere || self.main.ip().is_loopback() {
            rows.push(("  this machine", shown_as(self.nearest(self.main, false))));
        }
        let network = list(self.addresses_of(self.main, Reach::Network));
        if !network.is_empty() {
            rows.push(("  this network", network));
        }
        let internet = list(self.addresses_of(self.main, Reach::Internet));
        match &self.public {
            Some((name, port)) => {
                rows.push(("  the internet", shown_as(format!("{}:{port}", shown(name)))));
            }
            None if !internet.is_empty() => rows.push(("  the internet", internet)),
            None if is_everywhere => {
                let text = format!("only if your router forwards port {} to this machine", self.main.port());
                rows.push(("  the internet", text));
            }
            None => {}
        }
        rows
    }
}

impl fmt::Display for StartSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "drawhall {}\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "Server address to enter in Drawpile, on")?;
        let mut rows = self.reaches();
        if let Some(websocket) = self.websocket.filter(|_| !self.is_websocket_only) {
            let scheme = self.websocket_scheme();
            rows.push(("WebSocket", format!("{scheme}://{}/", self.nearest(websocket, true))));
        }
        if let Some(admin) = &self.admin {
            let login = if admin.needs_login { "login needed" } else { "no login needed" };
            let from = if admin.is_local { "this machine only" } else { "networks of --web-admin-access" };
            let host = self.nearest(admin.address, !admin.is_local);
            rows.push(("Admin page", format!("{}://{host}/ ({from}, {login})", admin.scheme)));
        }
        if let Some(link) = &self.first_admin {
            rows.push(("First administrator", link.clone()));
        }
        let encryption = if self.is_encrypted { "encrypted" } else { "not encrypted" };
        rows.push(("Open to", format!("{}; connections are {encryption}", self.may)));
        rows.push(("Data", self.data.clone()));
        for (label, text) in rows {
            writeln!(f, "{label:LABEL$} {text}")?;
        }
        writeln!(f, "Ctrl+C stops the server. --log-level info shows what happens.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> StartSummary {
        let ips = ["192.168.1.5", "203.0.113.7", "fe80::1", "2001:db8::5", "fd00::5"];
        StartSummary {
            main: "[::]:27750".parse().unwrap(),
            is_websocket_only: false,
            websocket: None,
            public: None,
            addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            is_encrypted: false,
            admin: None,
            first_admin: None,
            data: "/home/ada/.local/share/drawhall".into(),
            may: permission_text(&Settings::default()),
        }
    }

    #[test]
    fn each_kind_of_reach_has_its_address() {
        let rows = |summary: &StartSummary| {
            let rows = summary.reaches().into_iter();
            rows.map(|(label, text)| format!("{}: {text}", label.trim())).collect::<Vec<_>>()
        };
        let all = [
            "this machine: localhost:27750",
            "this network: 192.168.1.5:27750",
            "the internet: 203.0.113.7:27750",
        ];
        assert_eq!(rows(&summary()), all);
        let named = StartSummary { public: Some(("draw.example.org".into(), 27750)), ..summary() };
        assert_eq!(rows(&named)[2], "the internet: draw.example.org:27750");
        let home = StartSummary { addresses: vec!["192.168.1.5".parse().unwrap()], ..summary() };
        assert_eq!(rows(&home)[2], "the internet: only if your router forwards port 27750 to this machine");
        let ipv6 = ["2001:db8::5", "fd00::5"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(
            rows(&StartSummary { addresses: ipv6, ..summary() }),
            [
                "this machine: localhost:27750",
                "this network: [fd00::5]:27750",
                "the internet: [2001:db8::5]:27750"
            ]
        );
        let at = |address: &str| {
            rows(&StartSummary { main: format!("{address}:27750").parse().unwrap(), ..summary() })
        };
        assert_eq!(at("127.0.0.1"), ["this machine: 127.0.0.1:27750"]);
        assert_eq!(at("192.168.1.5"), ["this network: 192.168.1.5:27750"]);
        assert_eq!(at("0.0.0.0"), all, "IPv4 only");
    }

    #[test]
    fn it_has_at_most_twelve_lines() {
        let full = StartSummary {
            websocket: "[::]:27751".parse().ok(),
            admin: Some(AdminPage {
                address: "[::]:27780".parse().unwrap(),
                scheme: "http",
                is_local: false,
                needs_login: true,
            }),
            first_admin: Some("http://localhost:27780/#/first-admin/token".into()),
            ..summary()
        };
        let text = full.to_string();
        assert!(text.lines().count() <= 12, "{text}");
        assert!(text.contains("http://192.168.1.5:27780/ (networks of --web-admin-access, login needed)"));
        assert!(text.contains("ws://192.168.1.5:27751/"));
    }
}
