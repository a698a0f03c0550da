//! Sessions on other servers of the cluster, and clients that come from there.
//!
//! A client logs in where its connection is. When it joins a session of another server, its server opens a link to that
//! one (`crate::cluster`), says who it is, and carries its messages in both directions from then on. At the session it is
//! a client as all others.
//!
//! | file | what it does |
//! | --- | --- |
//! | `remote_session` | stands for a session on another server, towards the clients here |
//! | `relay` | carries the messages of one client over a link |
//! | `links` | accepts links of other servers, and answers them |
//! | `setups` | places for links that have not sent their request yet |
//! | `watch` | follows which servers there are, and which sessions they have |

mod links;
mod relay;
mod remote_session;
mod setups;
mod watch;

use std::sync::Arc;

use crate::metrics::{Gauge, Metrics};

pub(crate) use links::{LinkAcceptor, RelayedCall};
pub use remote_session::RemoteSession;
pub use watch::watch_nodes;

/// Counts one in a gauge until it is dropped.
struct Counted {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &Gauge,
}

impl Counted {
    fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &Gauge) -> Counted {
        gauge(metrics).increment();
        Counted { metrics: metrics.clone(), gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).decrement();
    }
}
