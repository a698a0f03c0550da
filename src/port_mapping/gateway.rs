//! The router of this network, and this machine's address there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// Where the system tells its IPv4 routes. `/proc/net` is a link to it, which services with `ProcSubset=pid` do not have.
const ROUTES: &str = "/proc/self/net/route";
/// Flags of a route that is up and leads to a gateway.
const UP_GATEWAY: u32 = 0x3;

/// The gateway of the default route with the smallest metric. Source: proc_net(5), `/proc/net/route`: addresses are
/// hexadecimal in the machine's byte order.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = columns[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let leads_out = hex(destination)? == 0 && hex(mask)? == 0 && hex(flags)? & UP_GATEWAY == UP_GATEWAY;
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        leads_out.then_some((metric.parse::<u32>().ok()?, gateway))
    };
    routes.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// The router, and the address of this machine towards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) gateway: Ipv4Addr,
    pub(super) own: Ipv4Addr,
}

/// Finds both.
///
/// # Errors
/// When there is no default route.
pub(super) async fn find() -> io::Result<Network> {
    let routes = tokio::task::spawn_blocking(|| std::fs::read_to_string(ROUTES)).await;
    let gateway = default_gateway(&routes.map_err(io::Error::other)??)
        .ok_or_else(|| io::Error::other("this machine has no default route for IPv4"))?;
    // Connecting sends nothing, but chooses the address to send from.
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((gateway, crab_nat::GATEWAY_PORT)).await?;
    match socket.local_addr()? {
        SocketAddr::V4(own) => Ok(Network { gateway, own: *own.ip() }),
        SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_default_route_with_the_smallest_metric_leads_to_the_router() {
        let routes = format!(
            "{HEAD}wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t0000A8C0\t00000000\t0001\t0\t0\t50\t00FFFFFF\t0\t0\t0\n"
        );
        assert_eq!(default_gateway(&routes), Some(Ipv4Addr::new(192, 168, 0, 1)));
    }

    #[test]
    fn without_a_default_route_there_is_no_router() {
        for routes in [
            String::new(),
            HEAD.to_owned(),
            format!("{HEAD}eth0\t0000A8C0\t00000000\t0001\t0\t0\t50\t00FFFFFF\t0\t0\t0\n"),
            // Half of everything, as some tunnels have it; and a route that is down.
            format!("{HEAD}tun0\t00000000\t0100A8C0\t0003\t0\t0\t50\t00000080\t0\t0\t0\n"),
            format!("{HEAD}eth0\t00000000\t0100A8C0\t0002\t0\t0\t50\t00000000\t0\t0\t0\n"),
            "rubbish\n\u{1f600} x y z 0 0 0 0".to_owned(),
        ] {
            assert_eq!(default_gateway(&routes), None, "{routes}");
        }
    }
}
