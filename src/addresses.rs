//! The addresses at which a server is reached, by from where: this machine, its network, the internet.

use std::net::{IpAddr, SocketAddr};

use drawhall::app::{RunningServer, ServeOptions};
use drawhall::http::is_global;
use drawhall::text::shown;

/// Interfaces of containers and virtual machines: nobody connects to their addresses from elsewhere.
const VIRTUAL_INTERFACES: [&str; 8] = ["docker", "br-", "veth", "virbr", "podman", "cni", "lxc", "vmnet"];
/// The port that Drawpile uses if an address names none.
const USUAL_PORT: u16 = 27750;

/// The port of `wss` if an address names none.
const HTTPS_PORT: u16 = 443;

/// Where a server listens, and by which addresses others reach it.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// Address of the TCP listener, or of that for WebSocket if there is none.
    pub(crate) main: SocketAddr,
    /// There is no TCP listener.
    pub(crate) is_websocket_only: bool,
    /// Address of the WebSocket listener.
    pub(crate) websocket: Option<SocketAddr>,
    /// Name and port that the server is known by on the internet.
    pub(crate) public: Option<(String, u16)>,
    /// Addresses of this machine, without those of loopback.
    pub(crate) own: Vec<IpAddr>,
    pub(crate) is_encrypted: bool,
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
            _ if is_global(ip) => Reach::Internet,
            // Such as addresses for documentation and tests.
            _ => Reach::Nowhere,
        },
        IpAddr::V6(v6) if v6.is_unique_local() => Reach::Network,
        IpAddr::V6(_) if is_global(ip) => Reach::Internet,
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

impl Addresses {
    pub(crate) fn of_running(running: &RunningServer, options: &ServeOptions) -> Addresses {
        Addresses::new(running.address(), running.websocket_address(), options)
    }

    /// The addresses of a server with these options, which need not run.
    pub(crate) fn of_options(options: &ServeOptions) -> Option<Addresses> {
        let at = |listen: Option<IpAddr>, port| {
            SocketAddr::new(listen.unwrap_or_else(|| std::net::Ipv6Addr::UNSPECIFIED.into()), port)
        };
        let websocket = options.websocket_port.map(|port| at(options.websocket_listen, port));
        let tcp = Some(at(options.listen, options.port)).filter(|_| !options.no_tcp);
        Some(Addresses::new(tcp.or(websocket)?, websocket, options))
    }

    fn new(main: SocketAddr, websocket: Option<SocketAddr>, options: &ServeOptions) -> Addresses {
        let name = Some(options.source.local_host.clone()).filter(|name| !name.is_empty());
        let announced = Some(options.announce_port).filter(|port| *port > 0);
        let port = announced.unwrap_or(main.port());
        Addresses {
            main,
            is_websocket_only: websocket == Some(main),
            websocket,
            public: name.map(|name| (name, port)),
            own: own_addresses(),
            is_encrypted: options.is_encrypted(),
        }
    }

    /// Addresses by which a listener can be reached from somewhere.
    fn addresses_of(&self, listener: SocketAddr, reach: Reach) -> Vec<SocketAddr> {
        let has_ip = |ip: &&IpAddr| !listener.is_ipv4() || ip.is_ipv4();
        let found: Vec<IpAddr> = if listener.ip().is_unspecified() {
            self.own.iter().filter(has_ip).copied().filter(|ip| reach_of(*ip) == reach).collect()
        } else {
            [listener.ip()].into_iter().filter(|ip| reach_of(*ip) == reach).collect()
        };
        // One family is enough.
        let is_ipv4 = found.iter().any(IpAddr::is_ipv4);
        let of_family = found.into_iter().filter(|ip| !is_ipv4 || ip.is_ipv4());
        of_family.take(2).map(|ip| SocketAddr::new(ip, listener.port())).collect()
    }

    /// The host and port by which a listener is reached from this machine or its network.
    pub(crate) fn nearest(&self, listener: SocketAddr, from_network: bool) -> String {
        let network = self.addresses_of(listener, Reach::Network);
        match network.first().filter(|_| from_network) {
            Some(address) => address.to_string(),
            None if listener.ip().is_unspecified() => format!("localhost:{}", listener.port()),
            None => listener.to_string(),
        }
    }

    pub(crate) fn websocket_scheme(&self) -> &'static str {
        if self.is_encrypted { "wss" } else { "ws" }
    }

    /// The addresses to give to others, with from where each can be reached.
    pub(crate) fn reaches(&self) -> Vec<(&'static str, String)> {
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
        if let Some(websocket) = self.websocket.filter(|_| !self.is_websocket_only) {
            let host = match (&self.public, websocket.port()) {
                (Some((name, _)), HTTPS_PORT) if self.is_encrypted => shown(name),
                (Some((name, _)), port) => format!("{}:{port}", shown(name)),
                (None, _) => self.nearest(websocket, true),
            };
            rows.push(("WebSocket", format!("{}://{host}/", self.websocket_scheme())));
        }
        rows
    }

    /// The address to give to others who are farthest away, as a link that Drawpile opens.
    pub(crate) fn link(&self) -> String {
        let internet = self.addresses_of(self.main, Reach::Internet).first().map(ToString::to_string);
        let network = self.addresses_of(self.main, Reach::Network).first().map(ToString::to_string);
        let named = self.public.as_ref().map(|(name, port)| format!("{name}:{port}"));
        let host = named.or(internet).or(network).unwrap_or_else(|| self.nearest(self.main, false));
        if self.is_websocket_only {
            return format!("{}://{host}/", self.websocket_scheme());
        }
        let host = host.strip_suffix(&format!(":{USUAL_PORT}")).unwrap_or(&host);
        format!("drawpile://{host}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let own = ["192.168.1.5", "9.9.9.9", "fe80::1", "2620:fe::9", "fd00::5"];
        Addresses {
            main: "[::]:27750".parse().unwrap(),
            is_websocket_only: false,
            websocket: None,
            public: None,
            own: own.map(|ip| ip.parse().unwrap()).to_vec(),
            is_encrypted: false,
        }
    }

    #[test]
    fn only_addresses_that_are_routed_globally_are_on_the_internet() {
        for (address, reach) in [
            ("9.9.9.9", Reach::Internet),
            ("2620:fe::9", Reach::Internet),
            ("192.0.2.1", Reach::Nowhere),
            ("198.18.0.1", Reach::Nowhere),
            ("240.0.0.1", Reach::Nowhere),
            ("2001:db8::1", Reach::Nowhere),
            ("fe80::1", Reach::Nowhere),
            ("100.64.0.1", Reach::Network),
            ("::1", Reach::Machine),
        ] {
            assert_eq!(reach_of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn each_kind_of_reach_has_its_address() {
        let rows = |addresses: &Addresses| {
            let rows = addresses.reaches().into_iter();
            rows.map(|(label, text)| format!("{}: {text}", label.trim())).collect::<Vec<_>>()
        };
        let all = [
            "this machine: localhost:27750",
            "this network: 192.168.1.5:27750",
            "the internet: 9.9.9.9:27750",
        ];
        assert_eq!(rows(&addresses()), all);
        let named = Addresses { public: Some(("draw.example.org".into(), 27750)), ..addresses() };
        assert_eq!(rows(&named)[2], "the internet: draw.example.org:27750");
        let home = Addresses { own: vec!["192.168.1.5".parse().unwrap()], ..addresses() };
        assert_eq!(rows(&home)[2], "the internet: only if your router forwards port 27750 to this machine");
        let ipv6 = ["2620:fe::9", "fd00::5"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(
            rows(&Addresses { own: ipv6, ..addresses() }),
            [
                "this machine: localhost:27750",
                "this network: [fd00::5]:27750",
                "the internet: [2620:fe::9]:27750"
            ]
        );
        let at = |address: &str| {
            rows(&Addresses { main: format!("{address}:27750").parse().unwrap(), ..addresses() })
        };
        assert_eq!(at("127.0.0.1"), ["this machine: 127.0.0.1:27750"]);
        assert_eq!(at("192.168.1.5"), ["this network: 192.168.1.5:27750"]);
        assert_eq!(at("0.0.0.0"), all, "IPv4 only");
    }

    #[test]
    fn browsers_reach_a_server_by_its_name() {
        let websocket = |port: u16, is_encrypted| {
            let websocket = Some(SocketAddr::from(([0, 0, 0, 0], port)));
            let public = Some(("draw.example.org".to_owned(), 27750));
            let rows = Addresses { websocket, public, is_encrypted, ..addresses() }.reaches();
            rows.into_iter().find(|(label, _)| *label == "WebSocket").unwrap().1
        };
        assert_eq!(websocket(443, true), "wss://draw.example.org/");
        assert_eq!(websocket(443, false), "ws://draw.example.org:443/");
        assert_eq!(websocket(27751, true), "wss://draw.example.org:27751/");
    }

    #[test]
    fn the_link_is_the_one_that_reaches_farthest() {
        let link = |own: &[&str], public: Option<(&str, u16)>| {
            let own = own.iter().map(|ip| ip.parse().unwrap()).collect();
            let public = public.map(|(name, port)| (name.to_owned(), port));
            Addresses { own, public, ..addresses() }.link()
        };
        assert_eq!(link(&["192.168.1.5", "9.9.9.9"], None), "drawpile://9.9.9.9/");
        assert_eq!(link(&["192.168.1.5"], None), "drawpile://192.168.1.5/");
        assert_eq!(link(&[], None), "drawpile://localhost/");
        assert_eq!(link(&["192.168.1.5"], Some(("draw.example.org", 27750))), "drawpile://draw.example.org/");
        assert_eq!(link(&[], Some(("draw.example.org", 4000))), "drawpile://draw.example.org:4000/");
        let websocket = "[::]:27751".parse().unwrap();
        let only = Addresses {
            main: websocket,
            is_websocket_only: true,
            websocket: Some(websocket),
            is_encrypted: true,
            ..addresses()
        };
        assert_eq!(only.link(), "wss://9.9.9.9:27751/");
    }
}
