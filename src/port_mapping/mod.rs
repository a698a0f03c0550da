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

/// Maps these TCP ports until `stop` is told or dropped, and then takes the mappings back. `reload` renews at once.
pub async fn run(ports: Vec<NonZeroU16>, mut stop: oneshot::Receiver<()>, mut reload: watch::Receiver<()>) {
    // An error is logged once, not at each attempt.
    let mut logged = String::new();
    let mut mappings: Option<Mappings> = None;
    loop {
        let attempt = async {
            match mappings.take() {
                Some(mut old) => old.renew(&ports).await.map(|()| (old, false)),
                None => Mappings::make(&ports).await.map(|new| (new, true)),
            }
        };
        let pause = match timeout(ATTEMPT, attempt).await.unwrap_or(Err(MapError::NoRouter)) {
            Ok((current, new)) => {
                if new {
                    current.log(&ports).await;
                }
                logged.clear();
                let pause = current.renewal();
                mappings = Some(current);
                pause
            }
            Err(error) => {
                let text = error.to_string();
                if text != logged {
                    tracing::warn!("--port-mapping: {text}{}", remedy(&error, &ports));
                }
                logged = text;
                RETRY
            }
        };
        tokio::select! {
            _ = &mut stop => break,
            () = tokio::time::sleep(pause) => {}
            Ok(()) = reload.changed() => {}
        }
    }
    if let Some(mappings) = mappings
        && timeout(REMOVAL, mappings.remove()).await.is_err()
    {
        tracing::warn!("the router does not answer: it may keep its port mappings for an hour");
    }
}
