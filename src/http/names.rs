//! Looking up names of hosts, on threads of its own: a name server that does not answer holds a thread for half a minute,
//! and names come from strangers. Passwords are checked and files are read on other threads.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};

use super::address::{is_global, is_usable};

/// Names that are looked up at once: as many as can be stuck when 60 requests a minute begin, each for half a minute.
pub(super) const MAX_LOOKUPS: usize = 32;

/// Addresses of a name that are tried, of IPv4 and of IPv6 each: else a name with thousands of them would be a request to
/// thousands of machines.
const MAX_ADDRESSES: usize = 3;

/// How a name is looked up. Blocks.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Asks the system.
fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    (name, 0).to_socket_addrs().map(Iterator::collect)
}

/// Looks names up and leaves out addresses that no request goes to.
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
        Resolver { public_only, threads: Arc::new(Semaphore::new(MAX_LOOKUPS)), lookup: Arc::new(system) }
    }

    async fn addresses(self, name: String) -> io::Result<Vec<SocketAddr>> {
        // The thread has its turn until the system has answered, whether or not anybody still waits for that.
        let turn = self.threads.try_acquire_owned();
        let turn = turn.map_err(|_| io::Error::other("too many names are being looked up"))?;
        let (tell, told) = oneshot::channel();
        let (lookup, asked) = (self.lookup, name.clone());
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = lookup(&asked);
            drop(turn);
            // Nobody may wait any more.
            let _ = tell.send(found);
        })?;
        let mut found = told.await.map_err(io::Error::other)??;
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
    async fn of_a_names_addresses_only_those_are_used_that_may_be_asked() {
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
    async fn name_servers_that_do_not_answer_hold_a_bounded_number_of_threads_and_give_them_back() {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let slow = resolver(true, move |_| {
            // Until the test is over with it.
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
