//! How many connections, logins and passwords are let in, in all and from one address.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits; wider networks count as well ([`super::network`]).
//! Connections of trusted proxies that do not say whom they speak for count in all only: else one proxy would lock
//! everybody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use super::network::narrowest as network;
use super::network::networks;
use super::trust::Trusted;
use crate::clock::Now;
use crate::config::Settings;
use crate::limits::{Bucket, Rate};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;

/// How often the same limit is logged for the same address, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;
/// Addresses that are remembered; beyond them those that have done nothing for a while are forgotten.
const MAX_PLACES: usize = 10_000;

/// A limit of connections or addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `connectionLimit`
    Connections,
    /// `connectionsPerAddress`
    Address,
    /// `connectionRateLimit`
    ConnectionRate,
    /// `loginRateLimit`
    LoginRate,
    /// `passwordRateLimit`
    PasswordRate,
}

impl Limit {
    const ALL: [Limit; 5] =
        [Self::Connections, Self::Address, Self::ConnectionRate, Self::LoginRate, Self::PasswordRate];

    /// For people who run into it.
    pub fn message(self) -> &'static str {
        match self {
            Self::Connections => "The server is full",
            Self::Address => "Too many connections from your address",
            Self::ConnectionRate => "Too many connections from your address, try again in a minute",
            Self::LoginRate => "Too many logins from your address, try again in a minute",
            Self::PasswordRate => "Too many passwords from your address, try again in a minute",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Connections => "connectionLimit",
            Self::Address => "connectionsPerAddress",
            Self::ConnectionRate => "connectionRateLimit",
            Self::LoginRate => "loginRateLimit",
            Self::PasswordRate => "passwordRateLimit",
        }
    }

    /// What comes back, for those that are rates; `None` without a limit. `factor`: of so many addresses together.
    fn rate(self, settings: &Settings, factor: u32) -> Option<Rate> {
        let count = match self {
            Self::ConnectionRate => settings.connection_rate_limit.0,
            Self::LoginRate => settings.login_rate_limit.0,
            Self::PasswordRate => settings.password_rate_limit.0,
            Self::Connections | Self::Address => 0,
        };
        (count > 0).then(|| Rate::per_minute(count.saturating_mul(factor)))
    }
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Place {
    open: u32,
    buckets: [Bucket; Limit::ALL.len()],
    /// When a limit was logged last, on the forward clock in milliseconds.
    logged: [Option<u64>; Limit::ALL.len()],
}

#[derive(Debug, Default)]
struct State {
    open: u32,
    places: HashMap<IpAddr, Place>,
    /// What is logged of connections that belong to no address.
    nowhere: Place,
}

/// Lets connections in, and counts them.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    trusted: Trusted,
}

/// A connection that was let in; it counts until this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
    address: IpAddr,
    place: Option<IpAddr>,
}

impl Gate {
    /// A gate that believes these proxies.
    pub fn new(trusted: Trusted) -> Gate {
        Gate { state: Arc::default(), trusted }
    }

    /// The proxies that are believed.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Connections that are open.
    pub fn open(&self) -> u32 {
        self.lock().open
    }

    /// Lets a connection of this address in.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn enter(&self, peer: IpAddr, settings: &Settings) -> Result<Pass, Limit> {
        let peer = peer.to_canonical();
        let limit = settings.connection_limit.0;
        let mut state = self.lock();
        if limit > 0 && state.open >= limit {
            return Err(state.nowhere.hit(Limit::Connections, peer));
        }
        let place = (!self.trusted.contains(peer)).then(|| network(peer));
        if let Some(place) = place {
            state.enter(place, peer, settings)?;
        }
        state.open += 1;
        METRICS.connections.count();
        drop(state);
        Ok(Pass { gate: self.clone(), address: peer, place })
    }

    /// A thread that panicked while it held the lock has changed numbers at most.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, place: IpAddr, address: IpAddr, settings: &Settings) -> Result<(), Limit> {
        if self.places.len() + networks(place).count() > MAX_PLACES {
            self.forget(settings);
        }
        let limit = settings.connections_per_address.0;
        for network in networks(place) {
            let place = self.places.entry(network.key).or_default();
            if limit > 0 && place.open >= limit.saturating_mul(network.factor) {
                return Err(place.hit(Limit::Address, address));
            }
        }
        self.take(Limit::ConnectionRate, place, address, settings)?;
        for network in networks(place) {
            self.places.entry(network.key).or_default().open += 1;
        }
        Ok(())
    }

    /// Uses one of what comes back, in all networks of a place.
    fn take(
        &mut self,
        limit: Limit,
        place: IpAddr,
        address: IpAddr,
        settings: &Settings,
    ) -> Result<(), Limit> {
        networks(place).try_for_each(|network| {
            let Some(rate) = limit.rate(settings, network.factor) else { return Ok(()) };
            self.places.entry(network.key).or_default().take(limit, address, rate)
        })
    }

    /// Forgets addresses that have done nothing for a while; if they all have, those without a connection.
    fn forget(&mut self, settings: &Settings) {
        let now = Now::get().ms;
        let rested = |place: &mut Place| {
            Limit::ALL
                .iter()
                .zip(&mut place.buckets)
                .all(|(limit, bucket)| limit.rate(settings, 1).is_none_or(|rate| bucket.is_full(rate, now)))
        };
        self.places.retain(|_, place| place.open > 0 || !rested(place));
        if self.places.len() >= MAX_PLACES {
            self.places.retain(|_, place| place.open > 0);
        }
    }

    fn leave(&mut self, place: Option<IpAddr>) {
        for network in place.into_iter().flat_map(networks) {
            if let Some(place) = self.places.get_mut(&network.key) {
                place.open = place.open.saturating_sub(1);
            }
        }
    }
}

impl Place {
    fn take(&mut self, limit: Limit, address: IpAddr, rate: Rate) -> Result<(), Limit> {
        let taken = self.buckets[limit as usize].take(rate, Now::get().ms);
        if taken { Ok(()) } else { Err(self.hit(limit, address)) }
    }

    /// Logs that a limit is reached, once in a while.
    fn hit(&mut self, limit: Limit, address: IpAddr) -> Limit {
        METRICS.limits_hit.count(limit.setting());
        let now = Now::get();
        let logged = &mut self.logged[limit as usize];
        if logged.is_none_or(|at| now.ms >= at + LOG_INTERVAL) {
            *logged = Some(now.ms);
            let user = LogUser { id: 0, address: Some(address), name: String::new() };
            let text = format!("{} ({}); told once a minute", limit.message(), limit.setting());
            LogEntry::new(now, Level::Warn, Topic::RuleBreak, text).about(user).emit("");
        }
        limit
    }
}

impl Pass {
    /// Whose connection it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether what the peer says about whom it speaks for is believed.
    pub fn is_proxy(&self) -> bool {
        self.gate.trusted.contains(self.address)
    }

    /// The proxies that are believed.
    pub fn trusted(&self) -> &Trusted {
        &self.gate.trusted
    }

    /// A proxy has said that it speaks for this address.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn speaks_for(&mut self, source: IpAddr, settings: &Settings) -> Result<(), Limit> {
        let source = source.to_canonical();
        let place = network(source);
        let mut state = self.gate.lock();
        if source != self.address && !self.gate.trusted.contains(source) {
            state.enter(place, source, settings)?;
            state.leave(self.place.replace(place));
        }
        drop(state);
        self.address = source;
        Ok(())
    }

    /// Somebody logs in, or gives a password.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn take(&self, limit: Limit, settings: &Settings) -> Result<(), Limit> {
        let Some(place) = self.place else { return Ok(()) };
        self.gate.lock().take(limit, place, self.address, settings)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.open = state.open.saturating_sub(1);
        state.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::config::ini::IpRange;

    fn gate() -> Gate {
        Gate::new(Trusted::new(&[IpRange::parse("127.0.0.0/8").unwrap()]))
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        settings
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_count_in_all_until_they_are_gone() {
        let (gate, settings) = (gate(), settings(&[("connectionLimit", "2")]));
        let first = gate.enter(ip("192.0.2.1"), &settings).unwrap();
        let _second = gate.enter(ip("127.0.0.1"), &settings).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.3"), &settings).unwrap_err(), Limit::Connections);
        drop(first);
        assert!(gate.enter(ip("192.0.2.3"), &settings).is_ok());
        assert_eq!(gate.open(), 1);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let (gate, settings) = (gate(), settings(&[("connectionsPerAddress", "1")]));
        let enter = |text: &str| gate.enter(ip(text), &settings);
        let _first = enter("2001:db8::1").unwrap();
        assert_eq!(enter("2001:db8::ffff:2").unwrap_err(), Limit::Address);
        let _other = enter("2001:db8:0:1::1").unwrap();
        let _v4 = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Limit::Address);
    }

    #[test]
    fn wider_networks_count_some_times_over() {
        let settings = settings(&[
            ("connectionsPerAddress", "1"),
            ("passwordRateLimit", "2"),
            ("connectionRateLimit", "0"),
        ]);
        let gate = gate();
        // 256 networks of 64 bits in each of 256 of 56 bits, all of one of 48 bits.
        let all = (0..=0xffff_u32).map(|n| format!("2001:db8:0:{n:x}::1"));
        let let_in: Vec<Pass> = all.filter_map(|text| gate.enter(ip(&text), &settings).ok()).collect();
        assert_eq!(let_in.len(), 16, "4 in each of 56 bits");
        let guesses =
            |pass: &Pass| (0..9).filter(|_| pass.take(Limit::PasswordRate, &settings).is_ok()).count();
        assert_eq!(let_in.iter().map(guesses).sum::<usize>(), 32);
        assert!(gate.enter(ip("2001:db8:1::1"), &settings).is_ok(), "somebody else");
        drop(let_in);
        assert!(gate.enter(ip("2001:db8:0:7777::1"), &settings).is_ok());
    }

    #[test]
    fn a_proxy_counts_for_whom_it_speaks() {
        let (gate, settings) = (gate(), settings(&[("connectionsPerAddress", "1")]));
        let proxied = |source: &str| {
            let mut pass = gate.enter(ip("127.0.0.1"), &settings).unwrap();
            pass.speaks_for(ip(source), &settings).map(|()| pass)
        };
        let (_a, _b) = (gate.enter(ip("127.0.0.1"), &settings), gate.enter(ip("127.0.0.1"), &settings));
        let first = proxied("192.0.2.1").unwrap();
        assert_eq!(first.address(), ip("192.0.2.1"));
        assert!(!first.is_proxy());
        assert_eq!(proxied("192.0.2.1").unwrap_err(), Limit::Address);
        drop(first);
        assert!(proxied("192.0.2.1").is_ok());
    }

    #[test]
    fn logins_and_passwords_come_back_over_time_and_for_each_address_alone() {
        let settings = settings(&[("loginRateLimit", "2"), ("passwordRateLimit", "1")]);
        let gate = gate();
        let enter = |text: &str| gate.enter(ip(text), &settings).unwrap();
        let (one, other, local) = (enter("192.0.2.1"), enter("192.0.2.2"), enter("127.0.0.1"));
        let take = |pass: &Pass, limit| pass.take(limit, &settings);
        assert!(take(&one, Limit::LoginRate).is_ok() && take(&one, Limit::LoginRate).is_ok());
        assert_eq!(take(&one, Limit::LoginRate), Err(Limit::LoginRate));
        assert!(take(&one, Limit::PasswordRate).is_ok(), "each limit alone");
        drop(one);
        assert_eq!(take(&enter("192.0.2.1"), Limit::PasswordRate), Err(Limit::PasswordRate), "also later");
        assert!(take(&other, Limit::LoginRate).is_ok());
        assert!((0..9).all(|_| take(&local, Limit::PasswordRate).is_ok()));
    }

    #[test]
    fn zero_is_no_limit() {
        let settings = settings(&[
            ("connectionLimit", "0"),
            ("connectionsPerAddress", "0"),
            ("connectionRateLimit", "0"),
            ("loginRateLimit", "0"),
        ]);
        let gate = gate();
        let passes: Vec<Pass> = (0..2000).map(|_| gate.enter(ip("192.0.2.1"), &settings).unwrap()).collect();
        assert!(passes.iter().all(|p| p.take(Limit::LoginRate, &settings).is_ok()));
    }

    #[test]
    fn many_addresses_do_not_take_memory_for_ever() {
        let (gate, settings) = (gate(), Settings::default());
        let _stays = gate.enter(ip("192.0.2.1"), &settings).unwrap();
        for n in 0..3 * MAX_PLACES as u128 {
            let address = Ipv6Addr::from_bits(0x2001 << 112 | n << 80);
            gate.enter(address.into(), &settings).unwrap();
        }
        let state = gate.lock();
        assert!(state.places.len() <= MAX_PLACES);
        assert_eq!(state.places[&ip("192.0.2.1")].open, 1);
    }
}
