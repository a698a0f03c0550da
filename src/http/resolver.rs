//! DNS resolution on separate threads. A name server that does not answer blocks a thread for half a minute, and
//! names come from clients: they must not use up the threads for passwords and files.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};

use super::address::{is_global, is_usable};

/// Lookups in parallel: as many as can be stuck at a time if 60 requests per minute begin, each for half a minute.
pub(super) const MAX_LOOKUPS: usize = 32;

/// Addresses of a name that are tried, of IPv4 and of IPv6 each. Else one request to a name with thousands of
/// addresses would connect to thousands of hosts.
const MAX_ADDRESSES: usize = 3;

/// Resolves a name. Blocking.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves by the system.
fn system_lookup(name: &str) -> io::Result<Vec<SocketAddr>> {
    (name, 0).to_socket_addrs().map(Iterator::collect)
}

/// Resolves names, and drops addresses that requests must not go to.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) public_only: bool,
    threads: Arc<Semaphore>,
    lookup: Arc<Lookup>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("public_only", &self.public_only).finish_non_exhaustive()
    }
}

impl Resolver {
    pub(super) fn new(public_only: bool) -> Resolver {
        Resolver {
            public_only,
            threads: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            lookup: Arc::new(system_lookup),
        }
    }

    async fn addresses(self, name: String) -> io::Result<Vec<SocketAddr>> {
        // The thread keeps its permit until the system has answered, even if nobody waits for the result any more.
        let permit = self.threads.try_acquire_owned();
        let permit = permit.map_err(|_| io::Error::other("too many names are being looked up"))?;
        let (sender, receiver) = oneshot::channel();
        let (lookup, queried) = (self.lookup, name.clone());
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = lookup(&queried);
            drop(permit);
            // The receiver may be gone.
            let _ = sender.send(found);
        })?;
        let mut found = receiver.await.map_err(io::Error::other)??;
        found.retain(|a| if self.public_only { is_global(a.ip()) } else { is_usable(a.ip()) });
        let mut kept = [0; 2];
        found.retain(|a| {
            let count = &mut kept[usize::from(a.is_ipv6())];
            *count += 1;
            *count <= MAX_ADDRESSES
        });
        if found.is_empty() {
            return Err(io::Error::other(format!("{name} has no address that a request could go to")));
        }
        Ok(found)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, name) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found = resolver.addresses(name).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn resolver(
        public_only: bool,
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Resolver {
        Resolver { lookup: Arc::new(lookup), ..Resolver::new(public_only) }
    }

    #[actix_rt::test]
    async fn disallowed_addresses_of_a_name_are_dropped() {
        let both = |_: &str| Ok(vec!["127.0.0.1:0".parse().unwrap(), "8.8.8.8:0".parse().unwrap()]);
        let home = |_: &str| Ok(vec!["192.168.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]);
        let names = |found: io::Result<Vec<SocketAddr>>| found.map(|f| f.len()).map_err(|e| e.to_string());
        assert_eq!(names(resolver(true, both).addresses("x".into()).await), Ok(1));
        assert_eq!(names(resolver(false, both).addresses("x".into()).await), Ok(2));
        assert!(names(resolver(true, home).addresses("x".into()).await).is_err());
        assert_eq!(names(resolver(false, home).addresses("x".into()).await), Ok(2));
        let many = |_: &str| {
            let v4 = (1..200).map(|n| SocketAddr::from(([8, 8, 8, n], 0)));
            Ok(v4.chain(["[2606:4700::1111]:0".parse().unwrap()]).collect())
        };
        assert_eq!(names(resolver(true, many).addresses("x".into()).await), Ok(MAX_ADDRESSES + 1));
    }

    #[actix_rt::test]
    async fn lookups_without_an_answer_hold_a_bounded_number_of_threads() {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let slow = resolver(true, move |_| {
            // Blocks until the test drops `release`.
            let _ = released.lock().unwrap().recv();
            Ok(vec!["8.8.8.8:0".parse().unwrap()])
        });
        for _ in 0..MAX_LOOKUPS {
            let asked = slow.clone().addresses("slow.example".into());
            assert!(tokio::time::timeout(Duration::from_millis(1), asked).await.is_err(), "it waits");
        }
        let refused = slow.clone().addresses("other.example".into()).await.unwrap_err();
        assert!(refused.to_string().contains("too many names"), "{refused}");
        drop(release);
        let all = slow.threads.clone().acquire_many_owned(MAX_LOOKUPS as u32).await;
        assert!(all.is_ok(), "all threads have ended");
    }
}
