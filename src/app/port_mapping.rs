//! Which ports are mapped, and the task that does it.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use actix_rt::task::JoinHandle;
use tokio::sync::{oneshot, watch};

use crate::port_mapping;

/// A running port mapping.
pub(super) struct PortMapping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The ports that a router can forward to: those of listeners that other machines reach.
fn mappable(addresses: &[Option<SocketAddr>]) -> Vec<NonZeroU16> {
    let reachable = addresses.iter().flatten().filter(|address| !address.ip().to_canonical().is_loopback());
    let mut ports: Vec<NonZeroU16> =
        reachable.filter_map(|address| NonZeroU16::new(address.port())).collect();
    ports.dedup();
    ports
}

impl PortMapping {
    /// Starts to map the ports of the listeners at these addresses; `None` if no other machine reaches one.
    pub(super) fn start<const N: usize>(
        addresses: [Option<SocketAddr>; N],
        reload: watch::Receiver<()>,
    ) -> Option<PortMapping> {
        let ports = mappable(&addresses);
        if ports.is_empty() {
            tracing::warn!("--port-mapping: no port is mapped, because --listen lets only this machine in");
            return None;
        }
        let (stop, stopped) = oneshot::channel();
        Some(PortMapping { stop, task: actix_rt::spawn(port_mapping::run(ports, stopped, reload)) })
    }

    /// Takes the mappings back. Takes some seconds if the router does not answer.
    pub(super) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "port mapping failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_that_other_machines_reach_are_mapped() {
        let ports = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().ok()).collect();
            mappable(&addresses).into_iter().map(NonZeroU16::get).collect::<Vec<u16>>()
        };
        assert_eq!(ports(&["[::]:27750", "0.0.0.0:27751"]), [27750, 27751]);
        assert_eq!(ports(&["192.168.1.2:27750", "none"]), [27750]);
        assert_eq!(ports(&["[::]:27751", "[::]:27751"]), [27751], "only a WebSocket port");
        assert!(
            ports(&["127.0.0.1:27750", "[::1]:27751", "[::ffff:127.0.0.1]:27752", "0.0.0.0:0"]).is_empty()
        );
    }
}
