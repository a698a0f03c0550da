//! Places for links of other servers that have not sent their request yet.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::rules::network::narrowest;

/// Such links of servers of the cluster, at most; others are closed.
const MAX_OF_SERVERS: usize = 256;
/// The same for peers at addresses that no server of the cluster is known to have.
const MAX_OF_UNKNOWN: usize = 64;
/// The same for those of one network.
const MAX_OF_NETWORK: usize = 4;
/// Addresses from which servers have come and which are not those in the database, at most; the first are forgotten.
const MAX_PROVEN: usize = 256;

/// The places. Those of servers of the cluster and those of unknown peers are apart, so that strangers keep no server
/// out.
#[derive(Clone, Default)]
pub(super) struct Setups {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    of_servers: usize,
    of_unknown: usize,
    of_networks: HashMap<IpAddr, usize>,
    /// Addresses from which somebody with the key of the cluster has come.
    proven: VecDeque<IpAddr>,
}

/// A place, until this is dropped.
pub(super) struct Setup {
    setups: Setups,
    address: IpAddr,
    is_server: bool,
}

impl Setups {
    /// A place for a link from this address. `is_known` if the database has it as that of a server.
    pub(super) fn place(&self, address: IpAddr, is_known: bool) -> Option<Setup> {
        let address = address.to_canonical();
        let mut guard = self.taken.lock();
        let taken = &mut *guard;
        let is_server = is_known || taken.proven.contains(&address);
        if is_server {
            if taken.of_servers >= MAX_OF_SERVERS {
                return None;
            }
            taken.of_servers += 1;
        } else {
            let of_network = taken.of_networks.get(&narrowest(address)).copied().unwrap_or_default();
            if taken.of_unknown >= MAX_OF_UNKNOWN || of_network >= MAX_OF_NETWORK {
                return None;
            }
            taken.of_unknown += 1;
            taken.of_networks.insert(narrowest(address), of_network + 1);
        }
        Some(Setup { setups: self.clone(), address, is_server })
    }
}

impl Setup {
    /// The peer has the key of the cluster and has sent its request. Its address is one of a server from now on.
    pub(super) fn done(self) {
        let mut taken = self.setups.taken.lock();
        if !self.is_server && !taken.proven.contains(&self.address) {
            if taken.proven.len() == MAX_PROVEN {
                taken.proven.pop_front();
            }
            taken.proven.push_back(self.address);
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let mut taken = self.setups.taken.lock();
        if self.is_server {
            taken.of_servers -= 1;
            return;
        }
        taken.of_unknown -= 1;
        let network = narrowest(self.address);
        if let Some(of_network) = taken.of_networks.get_mut(&network) {
            *of_network -= 1;
            if *of_network == 0 {
                taken.of_networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;
    use std::net::Ipv4Addr;

    use super::*;

    fn stranger(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn all_places(setups: &Setups, address: IpAddr, is_known: bool) -> Vec<Setup> {
        repeat_with(|| setups.place(address, is_known)).map_while(|place| place).collect()
    }

    #[test]
    fn strangers_take_no_place_of_a_server_nor_of_those_elsewhere() {
        let setups = Setups::default();
        let mut places = all_places(&setups, stranger(0), false);
        assert_eq!(places.len(), MAX_OF_NETWORK);
        let network = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, low]);
        places.extend((0..20).flat_map(|low| setups.place(network(low), false)));
        assert_eq!(places.len(), 2 * MAX_OF_NETWORK, "a /64 network counts as one address");
        places.extend((1..200).flat_map(|number| setups.place(stranger(number), false)));
        assert_eq!(places.len(), MAX_OF_UNKNOWN);
        assert!(setups.place(stranger(201), false).is_none());
        assert_eq!(all_places(&setups, stranger(202), true).len(), MAX_OF_SERVERS);
        drop(places);
        assert!(setups.place(stranger(0), false).is_some(), "they have gone");
        assert!(setups.taken.lock().of_networks.is_empty());
    }

    #[test]
    fn whoever_had_the_key_of_the_cluster_is_known_by_their_address() {
        let setups = Setups::default();
        setups.place(stranger(1), false).unwrap().done();
        let places: Vec<Setup> = (2..200).flat_map(|number| setups.place(stranger(number), false)).collect();
        assert_eq!(places.len(), MAX_OF_UNKNOWN);
        assert_eq!(all_places(&setups, stranger(1), false).len(), MAX_OF_SERVERS);
        drop(places);
        for low in 0..300u32 {
            let address = IpAddr::from([10, 0, (low >> 8) as u8, low as u8]);
            setups.place(address, false).unwrap().done();
            setups.place(address, false).unwrap().done();
        }
        assert_eq!(setups.taken.lock().proven.len(), MAX_PROVEN);
        assert_eq!(all_places(&setups, stranger(1), false).len(), MAX_OF_NETWORK, "it was long ago");
    }
}
