//! Asks a router for port mappings: by PCP, else NAT-PMP, else UPnP.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp};
use igd_next::aio::tokio::Tokio;
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

use super::gateway::{self, Network};
use super::reach::Reach;

/// For how long mappings are asked for, in seconds; a router may give less.
const LIFETIME_S: u32 = 3600;
/// Time limit for finding a router that speaks PCP or NAT-PMP: an answer comes within milliseconds.
const NAT_PMP_TIMING: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 1,
    max_retry_timeout: Some(Duration::from_millis(500)),
};
/// Time limit for finding a router that speaks UPnP.
const UPNP_SEARCH: Duration = Duration::from_secs(2);
/// What the router shows for the mapping.
const DESCRIPTION: &str = "Drawhall";

/// Why there is no mapping.
#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    #[error("{0}")]
    Network(#[from] std::io::Error),
    /// Nobody answers.
    #[error("no router answers by PCP, NAT-PMP or UPnP")]
    NoRouter,
    #[error("the router refuses by {protocol}: {reason}")]
    Refused { protocol: &'static str, reason: String },
    /// It refuses because a mapping would be of no use.
    #[error("{0}")]
    Unreachable(String),
}

/// A router that maps ports.
pub(super) enum Router {
    /// PCP or NAT-PMP.
    NatPmp(Network),
    Upnp(Box<igd_next::aio::Gateway<Tokio>>, Network),
}

/// A mapped port.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The port of the router.
    pub(super) outer: u16,
    /// For how many seconds the router keeps it; 0 for ever.
    pub(super) lifetime_s: u32,
    pub(super) protocol: &'static str,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    NatPmp(Box<crab_nat::PortMapping>),
    Upnp,
}

impl Router {
    /// Finds the router and maps the first port, which tells what it speaks. Takes three seconds at most.
    ///
    /// # Errors
    /// When none answers, or it refuses.
    pub(super) async fn find(port: NonZeroU16) -> Result<(Router, Mapped), MapError> {
        let network = gateway::find().await?;
        let router = Router::NatPmp(network);
        let refused = match router.map(port).await {
            Ok(mapped) => return Ok((router, mapped)),
            Err(error) => error,
        };
        let mut search = SearchOptions::default();
        search.timeout = Some(UPNP_SEARCH);
        let refused = match igd_next::aio::tokio::search_gateway(search).await {
            Err(_) => refused,
            Ok(gateway) => {
                let router = Router::Upnp(Box::new(gateway), network);
                match router.map(port).await {
                    Ok(mapped) => return Ok((router, mapped)),
                    Err(error) => error,
                }
            }
        };
        match (&refused, reach_by_nat_pmp(network).await.problem()) {
            (MapError::Refused { .. }, Some(problem)) => Err(MapError::Unreachable(problem)),
            _ => Err(refused),
        }
    }

    /// Maps a port, or renews its mapping.
    ///
    /// # Errors
    /// When the router does not answer, or refuses.
    pub(super) async fn map(&self, port: NonZeroU16) -> Result<Mapped, MapError> {
        match self {
            Router::NatPmp(network) => map_nat_pmp(*network, port).await,
            Router::Upnp(gateway, network) => map_upnp(gateway, *network, port.get()).await,
        }
    }

    /// The network that it was found in.
    pub(super) fn network(&self) -> Network {
        match self {
            Router::NatPmp(network) | Router::Upnp(_, network) => *network,
        }
    }

    /// How the internet reaches the router.
    pub(super) async fn reach(&self, mapped: &Mapped) -> Reach {
        match (self, &mapped.handle) {
            (Router::Upnp(gateway, _), _) => Reach::of(gateway.get_external_ip().await.ok()),
            (Router::NatPmp(network), Handle::NatPmp(mapping)) => match mapping.mapping_type() {
                PortMappingType::Pcp { external_ip, .. } => Reach::of(Some(external_ip)),
                PortMappingType::NatPmp => reach_by_nat_pmp(*network).await,
            },
            (Router::NatPmp(_), Handle::Upnp) => Reach::Unknown,
        }
    }

    /// Removes a mapping.
    ///
    /// # Errors
    /// When the router does not answer, or refuses.
    pub(super) async fn unmap(&self, mapped: Mapped) -> Result<(), MapError> {
        let refused = |reason| MapError::Refused { protocol: mapped.protocol, reason };
        match (self, mapped.handle) {
            (_, Handle::NatPmp(mapping)) => mapping.try_drop().await.map_err(|(e, _)| refused(e.to_string())),
            (Router::Upnp(gateway, _), Handle::Upnp) => {
                let removed = gateway.remove_port(PortMappingProtocol::TCP, mapped.outer).await;
                removed.map_err(|e| refused(e.to_string()))
            }
            (Router::NatPmp(_), Handle::Upnp) => Ok(()),
        }
    }
}

async fn reach_by_nat_pmp(network: Network) -> Reach {
    match natpmp::external_address(network.gateway.into(), Some(NAT_PMP_TIMING)).await {
        Ok(address) => Reach::of(Some(address.into())),
        Err(natpmp::Failure::NetworkFailure) => Reach::None,
        Err(_) => Reach::Unknown,
    }
}

async fn map_nat_pmp(network: Network, port: NonZeroU16) -> Result<Mapped, MapError> {
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME_S),
        timeout_config: Some(NAT_PMP_TIMING),
    };
    let own = IpAddr::V4(network.own);
    let mapping =
        crab_nat::PortMapping::new(network.gateway.into(), own, InternetProtocol::Tcp, port, options).await;
    let mapping = mapping.map_err(|error| match error {
        crab_nat::MappingFailure::Pcp(
            crab_nat::pcp::Failure::Timeout | crab_nat::pcp::Failure::Socket(_),
        )
        | crab_nat::MappingFailure::NatPmp(natpmp::Failure::Timeout | natpmp::Failure::Socket(_)) => {
            MapError::NoRouter
        }
        error => MapError::Refused { protocol: "PCP or NAT-PMP", reason: error.to_string() },
    })?;
    let protocol = match mapping.mapping_type() {
        PortMappingType::Pcp { .. } => "PCP",
        PortMappingType::NatPmp => "NAT-PMP",
    };
    Ok(Mapped {
        outer: mapping.external_port().get(),
        lifetime_s: mapping.lifetime(),
        protocol,
        handle: Handle::NatPmp(Box::new(mapping)),
    })
}

async fn map_upnp(
    gateway: &igd_next::aio::Gateway<Tokio>,
    network: Network,
    port: u16,
) -> Result<Mapped, MapError> {
    let own = SocketAddr::from((network.own, port));
    let add = |lifetime| gateway.add_port(PortMappingProtocol::TCP, port, own, lifetime, DESCRIPTION);
    let (added, lifetime_s) = match add(LIFETIME_S).await {
        Err(AddPortError::OnlyPermanentLeasesSupported) => (add(0).await, 0),
        added => (added, LIFETIME_S),
    };
    added.map_err(|error| MapError::Refused { protocol: "UPnP", reason: error.to_string() })?;
    Ok(Mapped { outer: port, lifetime_s, protocol: "UPnP", handle: Handle::Upnp })
}
