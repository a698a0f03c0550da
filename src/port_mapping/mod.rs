//! Port mapping at home (`--port-mapping`): asks the router to forward ports of its outer address to this machine,
//! renews that, and takes it back at the end.
//!
//! | file | what it does |
//! | --- | --- |
//! | `reach` | what the outer address means, when to renew: pure functions |
//! | `gateway` | the router's address |
//! | `router` | the protocols: PCP, NAT-PMP, UPnP |

mod gateway;
mod reach;
mod router;

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use reach::{Reach, renew_after};
use router::{MapError, Mapped, Router};

/// Time limit for mapping or renewing all ports. A router that answers does so within milliseconds.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5 * 60);
/// Time limit for taking mappings back at the end; routers forget them an hour later anyway.
const REMOVAL: Duration = Duration::from_secs(3);

/// Ports that are mapped, and the router that maps them.
struct Mappings {
    router: Router,
    mapped: Vec<Mapped>,
}

impl Mappings {
    async fn make(ports: &[NonZeroU16]) -> Result<Mappings, MapError> {
        let Some((first, others)) = ports.split_first() else { return Err(MapError::NoRouter) };
        let (router, mapped) = Router::find(*first).await?;
        let mut mappings = Mappings { router, mapped: vec![mapped] };
        for port in others {
            match mappings.router.map(*port).await {
                Ok(mapped) => mappings.mapped.push(mapped),
                Err(error) => {
                    mappings.remove().await;
                    return Err(error);
                }
            }
        }
        Ok(mappings)
    }

    async fn renew(&mut self, ports: &[NonZeroU16]) -> Result<(), MapError> {
        for (port, mapped) in ports.iter().zip(&mut self.mapped) {
            *mapped = self.router.map(*port).await?;
        }
        Ok(())
    }

    /// Whether this machine has still the address that the router forwards to, and the same router.
    async fn is_current(&self) -> bool {
        gateway::find().await.is_ok_and(|network| network == self.router.network())
    }

    async fn remove(self) {
        for mapped in self.mapped {
            let outer = mapped.outer;
            match self.router.unmap(mapped).await {
                Ok(()) => tracing::info!("port {outer} of the router is not mapped any more"),
                Err(error) => tracing::warn!("cannot remove the mapping of port {outer}: {error}"),
            }
        }
    }

    fn renewal(&self) -> Duration {
        let renewals = self.mapped.iter().map(|mapped| renew_after(mapped.lifetime_s));
        renewals.min().unwrap_or(RETRY)
    }

    /// Says what is reached at which address.
    async fn log(&self, ports: &[NonZeroU16]) {
        let Some(first) = self.mapped.first() else { return };
        let reach = self.router.reach(first).await;
        for (port, mapped) in ports.iter().zip(&self.mapped) {
            let address = match reach {
                Reach::Public(address) | Reach::Shared(address) | Reach::Private(address) => {
                    std::net::SocketAddr::new(address, mapped.outer).to_string()
                }
                Reach::None | Reach::Unknown => {
                    format!("port {} of the router's outer address", mapped.outer)
                }
            };
            tracing::info!("port {port} is reached at {address} (mapped by {})", mapped.protocol);
        }
        if let Some(problem) = reach.problem() {
            tracing::warn!("{problem}");
        }
    }
}

fn remedy(error: &MapError, ports: &[NonZeroU16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    match error {
        MapError::Unreachable(_) => String::new(),
        _ => format!(
            "; forward port {} to this machine in the router's settings, or switch UPnP on there",
            ports.join(" and ")
        ),
    }
}

/// What is mapped, over all attempts.
struct PortMapper {
    ports: Vec<NonZeroU16>,
    mappings: Option<Mappings>,
    /// The last error: it is logged once, not at each attempt.
    logged: String,
}

impl PortMapper {
    /// Maps the ports, or renews that. Returns the time until the next attempt. May be dropped at any time: what was
    /// mapped before stays known.
    async fn attempt(&mut self) -> Duration {
        match timeout(ATTEMPT, self.map()).await.unwrap_or(Err(MapError::NoRouter)) {
            Ok(renewal) => {
                self.logged.clear();
                renewal
            }
            Err(error) => {
                let text = error.to_string();
                if text != self.logged {
                    tracing::warn!("--port-mapping: {text}{}", remedy(&error, &self.ports));
                }
                self.logged = text;
                RETRY
            }
        }
    }

    async fn map(&mut self) -> Result<Duration, MapError> {
        let has_failed = !self.logged.is_empty();
        if let Some(mappings) = &mut self.mappings {
            let is_current = mappings.is_current().await;
            if is_current && !has_failed {
                mappings.renew(&self.ports).await?;
                return Ok(mappings.renewal());
            }
            if !is_current {
                tracing::info!("--port-mapping: this machine has another address or router");
            }
        }
        // What was mapped before leads nowhere, and a router may refuse its ports to the new address.
        if let Some(old) = self.mappings.take() {
            old.remove().await;
        }
        let mappings = self.mappings.insert(Mappings::make(&self.ports).await?);
        mappings.log(&self.ports).await;
        Ok(mappings.renewal())
    }
}

/// Maps these TCP ports until `stop` is told or dropped, and then takes the mappings back. `reload` renews at once.
pub async fn run(ports: Vec<NonZeroU16>, mut stop: oneshot::Receiver<()>, mut reload: watch::Receiver<()>) {
    let mut mapper = PortMapper { ports, mappings: None, logged: String::new() };
    loop {
        let attempt = async {
            let pause = mapper.attempt().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = reload.changed() => {}
            }
        };
        tokio::select! {
            _ = &mut stop => break,
            () = attempt => {}
        }
    }
    if let Some(mappings) = mapper.mappings
        && timeout(REMOVAL, mappings.remove()).await.is_err()
    {
        tracing::warn!("the router does not answer: it may keep its port mappings for an hour");
    }
}
