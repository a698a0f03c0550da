//! How many connections, logins and passwords are let in, in all and from one address.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits; wider networks count as well ([`super::network`]).
//! Connections of trusted proxies that do not say whom they speak for count in all only: else one proxy would lock
//! everybody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, Budgets, spend};
use super::forwarded::ProxyHeader;
use super::network::networks;
use super::trust::Trusted;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::limits::{Bucket, Rate};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;

/// How often the same limit is logged for the same address, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;
/// Connections from this machine, of which no proxy has said whom it speaks for, at which that is worth a warning.
const MANY_LOCAL: u32 = 20;
/// Addresses that are remembered; beyond them those that have done nothing for a while are forgotten.
const MAX_ADDRESSES: usize = 10_000;

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
    /// `hostRateLimit`
    HostRate,
}

impl Limit {
    const ALL: [Limit; 6] = [
        Self::Connections,
        Self::Address,
        Self::ConnectionRate,
        Self::LoginRate,
        Self::PasswordRate,
        Self::HostRate,
    ];

    /// For people who run into it.
    pub fn message(self) -> &'static str {
        match self {
            Self::Connections => "The server is full",
            Self::Address => "Too many connections from your address",
            Self::ConnectionRate => "Too many connections from your address, try again in a minute",
            Self::LoginRate => "Too many logins from your address, try again in a minute",
            Self::PasswordRate => "Too many passwords from your address, try again in a minute",
            Self::HostRate => "Too many new sessions from your address, try again in a minute",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Connections => "connectionLimit",
            Self::Address => "connectionsPerAddress",
            Self::ConnectionRate => "connectionRateLimit",
            Self::LoginRate => "loginRateLimit",
            Self::PasswordRate => "passwordRateLimit",
            Self::HostRate => "hostRateLimit",
        }
    }

    /// What comes back, for those that are rates; `None` without a limit. `factor`: of so many addresses together.
    fn rate(self, settings: &Settings, factor: u32) -> Option<Rate> {
        let count = match self {
            Self::ConnectionRate => settings.connection_rate_limit.0,
            Self::LoginRate => settings.login_rate_limit.0,
            Self::PasswordRate => settings.password_rate_limit.0,
            Self::HostRate => settings.host_rate_limit.0,
            Self::Connections | Self::Address => 0,
        };
        (count > 0).then(|| Rate::per_minute(count.saturating_mul(factor)))
    }
}

/// What is known of an address.
#[derive(Debug, Default)]
struct AddressState {
    open: u32,
    buckets: [Bucket; Limit::ALL.len()],
    /// When a limit was logged last, on the forward clock in milliseconds.
    logged: [Option<u64>; Limit::ALL.len()],
    budgets: Budgets,
}

#[derive(Debug, Default)]
struct LimiterState {
    open: u32,
    /// Connections from this machine of which no proxy has said whom it speaks for, and whether that was told.
    local: u32,
    local_told: bool,
    addresses: HashMap<IpAddr, AddressState>,
    /// What is logged of connections that belong to no address.
    nowhere: AddressState,
}

/// Lets connections in, and counts them.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimiter {
    state: Arc<Mutex<LimiterState>>,
    trusted: Trusted,
}

/// A connection that was let in; it counts until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: ConnectionLimiter,
    address: IpAddr,
    place: Option<IpAddr>,
    /// It came by a proxy.
    proxied: bool,
    /// It is counted among those from this machine of which no proxy has said whom it speaks for.
    is_local: bool,
    budgets: Budgets,
}

impl ConnectionLimiter {
    /// A gate that believes these proxies.
    pub fn new(trusted: Trusted) -> ConnectionLimiter {
        ConnectionLimiter { state: Arc::default(), trusted }
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
    pub fn enter(&self, peer: IpAddr, settings: &Settings) -> Result<ConnectionPermit, Limit> {
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
        let is_local = place.is_none() && peer.is_loopback();
        if is_local {
            state.count_local();
        }
        drop(state);
        Ok(ConnectionPermit {
            limiter: self.clone(),
            address: peer,
            place,
            proxied: false,
            is_local,
            budgets: Budgets::default(),
        })
    }

    /// A thread that panicked while it held the lock has changed numbers at most.
    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimiterState {
    fn enter(&mut self, place: IpAddr, address: IpAddr, settings: &Settings) -> Result<(), Limit> {
        if self.addresses.len() + networks(place).count() > MAX_ADDRESSES {
            self.forget(settings);
        }
        let limit = settings.connections_per_address.0;
        for network in networks(place) {
            let place = self.addresses.entry(network.key).or_default();
            if limit > 0 && place.open >= limit.saturating_mul(network.factor) {
                return Err(place.hit(Limit::Address, address));
            }
        }
        self.try_acquire(Limit::ConnectionRate, place, address, settings)?;
        for network in networks(place) {
            self.addresses.entry(network.key).or_default().open += 1;
        }
        Ok(())
    }

    /// Uses one of what comes back, in all networks of a place.
    fn try_acquire(
        &mut self,
        limit: Limit,
        place: IpAddr,
        address: IpAddr,
        settings: &Settings,
    ) -> Result<(), Limit> {
        networks(place).try_for_each(|network| {
            let Some(rate) = limit.rate(settings, network.factor) else { return Ok(()) };
            self.addresses.entry(network.key).or_default().try_acquire(limit, address, rate)
        })
    }

    /// A proxy on this machine that keeps to itself whom it speaks for makes all its clients one that has no limits.
    fn count_local(&mut self) {
        self.local += 1;
        if self.local < MANY_LOCAL || std::mem::replace(&mut self.local_told, true) {
            return;
        }
        let text = "many clients come from this machine, and no proxy says whom it speaks for: limits and bans of \
                    addresses do not count for them. If there is a reverse proxy, have it send X-Real-IP, \
                    X-Forwarded-For or the PROXY protocol (see INTERNET.md, Behind proxies); told once";
        LogEntry::new(Timestamp::now(), Level::Warn, Topic::Status, text).emit("");
    }

    /// Forgets addresses that have done nothing for a while; if they all have, those without a connection.
    fn forget(&mut self, settings: &Settings) {
        let now = Timestamp::now().monotonic_ms;
        let rested =
            |place: &mut AddressState| {
                Limit::ALL.iter().zip(&mut place.buckets).all(|(limit, bucket)| {
                    limit.rate(settings, 1).is_none_or(|rate| bucket.is_full(rate, now))
                }) && place.budgets.have_rested(settings, now)
            };
        self.addresses.retain(|_, place| place.open > 0 || !rested(place));
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.retain(|_, place| place.open > 0);
        }
    }

    fn leave(&mut self, place: Option<IpAddr>) {
        for network in place.into_iter().flat_map(networks) {
            if let Some(place) = self.addresses.get_mut(&network.key) {
                place.open = place.open.saturating_sub(1);
            }
        }
    }
}

impl AddressState {
    fn try_acquire(&mut self, limit: Limit, address: IpAddr, rate: Rate) -> Result<(), Limit> {
        let taken = self.buckets[limit as usize].take(rate, Timestamp::now().monotonic_ms);
        if taken { Ok(()) } else { Err(self.hit(limit, address)) }
    }

    /// Logs that a limit is reached, once in a while.
    fn hit(&mut self, limit: Limit, address: IpAddr) -> Limit {
        METRICS.limits_hit.count(limit.setting());
        let now = Timestamp::now();
        let logged = &mut self.logged[limit as usize];
        if logged.is_none_or(|at| now.monotonic_ms >= at + LOG_INTERVAL) {
            *logged = Some(now.monotonic_ms);
            let user = LogUser { id: 0, address: Some(address), name: String::new() };
            let text = format!("{} ({}); told once a minute", limit.message(), limit.setting());
            LogEntry::new(now, Level::Warn, Topic::RuleBreak, text).about(user).emit("");
        }
        limit
    }
}

impl ConnectionPermit {
    /// Whose connection it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What it counts for, if it counts for an address: all connections of that have the same.
    pub fn place(&self) -> Option<IpAddr> {
        self.place
    }

    /// Whether what the peer says about whom it speaks for is believed.
    pub fn is_proxy(&self) -> bool {
        self.limiter.trusted.contains(self.address)
    }

    /// Whether the peer may say in the PROXY protocol whom it speaks for.
    pub fn may_speak_proxy(&self) -> bool {
        self.is_proxy() && self.limiter.trusted.believes(ProxyHeader::ProxyProtocol)
    }

    /// Whether it came by a proxy: the client is not where the connection is from, whatever its address is. Once so many
    /// come from this machine that there must be a proxy that keeps silent, that counts for all of them.
    pub fn is_proxied(&self) -> bool {
        self.proxied || (self.is_local && self.limiter.lock().local_told)
    }

    /// The proxies that are believed.
    pub fn trusted(&self) -> &Trusted {
        &self.limiter.trusted
    }

    /// A proxy has said that it speaks for this address.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn set_client_addr(&mut self, source: IpAddr, settings: &Settings) -> Result<(), Limit> {
        let source = source.to_canonical();
        let place = network(source);
        let mut state = self.limiter.lock();
        if source != self.address && !self.limiter.trusted.contains(source) {
            state.enter(place, source, settings)?;
            state.leave(self.place.replace(place));
            state.local -= u32::from(std::mem::take(&mut self.is_local));
        }
        drop(state);
        self.proxied = true;
        self.address = source;
        Ok(())
    }

    /// Somebody logs in, or gives a password.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn try_acquire(&self, limit: Limit, settings: &Settings) -> Result<(), Limit> {
        let Some(place) = self.place else { return Ok(()) };
        self.limiter.lock().try_acquire(limit, place, self.address, settings)
    }

    /// Uses some of what this connection and its address may use, if both have as much left.
    ///
    /// # Errors
    /// After how many milliseconds they will have.
    pub fn spend(&mut self, budget: Budget, count: u64, settings: &Settings) -> Result<(), u64> {
        let now = Timestamp::now().monotonic_ms;
        let Some(place) = self.place else {
            return spend(&mut self.budgets, None, budget, count, settings, now);
        };
        let mut state = self.limiter.lock();
        let address = &mut state.addresses.entry(place).or_default().budgets;
        spend(&mut self.budgets, Some(address), budget, count, settings, now)
    }

    /// Whether a line about this connection may be logged; if so, how many were left out since the last one.
    pub fn log_line(&mut self, settings: &Settings) -> Option<u64> {
        let may = self.spend(Budget::LogLines, 1, settings).is_ok();
        METRICS.log_left_out.add(u64::from(!may));
        self.with_unlogged(|unlogged| {
            if may {
                return Some(std::mem::take(unlogged));
            }
            *unlogged += 1;
            None
        })
    }

    /// How many lines about this connection were left out, to be said at its end if a line may still be logged.
    pub fn left_out(&mut self, settings: &Settings) -> u64 {
        if self.with_unlogged(|unlogged| *unlogged) == 0 {
            return 0;
        }
        // The connection has used up its own lines: what its address has left decides.
        self.budgets.renew();
        if self.spend(Budget::LogLines, 1, settings).is_err() {
            return 0;
        }
        self.with_unlogged(std::mem::take)
    }

    /// Lines that were left out are counted for the address, which may have other connections, if there is one.
    fn with_unlogged<T>(&mut self, with: impl FnOnce(&mut u64) -> T) -> T {
        let Some(place) = self.place else { return with(&mut self.budgets.unlogged) };
        let mut state = self.limiter.lock();
        with(&mut state.addresses.entry(place).or_default().budgets.unlogged)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.open = state.open.saturating_sub(1);
        state.local -= u32::from(self.is_local);
        state.leave(self.place);
    }
}

/// What counts as one address.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ip_range::IpRange;

    fn limiter() -> ConnectionLimiter {
        ConnectionLimiter::new(Trusted::new(&[IpRange::parse("127.0.0.0/8").unwrap()]))
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
        let (limiter, settings) = (limiter(), settings(&[("connectionLimit", "2")]));
        let first = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
        let _second = limiter.enter(ip("127.0.0.1"), &settings).unwrap();
        assert_eq!(limiter.enter(ip("192.0.2.3"), &settings).unwrap_err(), Limit::Connections);
        drop(first);
        assert!(limiter.enter(ip("192.0.2.3"), &settings).is_ok());
        assert_eq!(limiter.open(), 1);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let (limiter, settings) = (limiter(), settings(&[("connectionsPerAddress", "1")]));
        let enter = |text: &str| limiter.enter(ip(text), &settings);
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
        let limiter = limiter();
        // 256 networks of 64 bits in each of 256 of 56 bits, all of one of 48 bits.
        let all = (0..=0xffff_u32).map(|n| format!("2001:db8:0:{n:x}::1"));
        let let_in: Vec<ConnectionPermit> =
            all.filter_map(|text| limiter.enter(ip(&text), &settings).ok()).collect();
        assert_eq!(let_in.len(), 16, "4 in each of 56 bits");
        let guesses = |permit: &ConnectionPermit| {
            (0..9).filter(|_| permit.try_acquire(Limit::PasswordRate, &settings).is_ok()).count()
        };
        assert_eq!(let_in.iter().map(guesses).sum::<usize>(), 32);
        assert!(limiter.enter(ip("2001:db8:1::1"), &settings).is_ok(), "somebody else");
        drop(let_in);
        assert!(limiter.enter(ip("2001:db8:0:7777::1"), &settings).is_ok());
    }

    #[test]
    fn a_proxy_counts_for_whom_it_speaks() {
        let (limiter, settings) = (limiter(), settings(&[("connectionsPerAddress", "1")]));
        let proxied = |source: &str| {
            let mut permit = limiter.enter(ip("127.0.0.1"), &settings).unwrap();
            permit.set_client_addr(ip(source), &settings).map(|()| permit)
        };
        let (_a, _b) = (limiter.enter(ip("127.0.0.1"), &settings), limiter.enter(ip("127.0.0.1"), &settings));
        let first = proxied("192.0.2.1").unwrap();
        assert_eq!(first.address(), ip("192.0.2.1"));
        assert!(!first.is_proxy());
        assert_eq!(proxied("192.0.2.1").unwrap_err(), Limit::Address);
        drop(first);
        assert!(proxied("192.0.2.1").is_ok());
    }

    #[test]
    fn the_proxy_protocol_is_believed_unless_another_way_is_named() {
        let networks = [IpRange::parse("127.0.0.0/8").unwrap()];
        let may = |headers: &[ProxyHeader], peer: &str| {
            let limiter = ConnectionLimiter::new(Trusted::with_headers(&networks, headers));
            limiter.enter(ip(peer), &Settings::default()).unwrap().may_speak_proxy()
        };
        assert!(may(&[], "127.0.0.1") && !may(&[], "192.0.2.1"));
        assert!(!may(&[ProxyHeader::ForwardedFor], "127.0.0.1"));
        assert!(may(&[ProxyHeader::ForwardedFor, ProxyHeader::ProxyProtocol], "127.0.0.1"));
    }

    #[test]
    fn logins_and_passwords_come_back_over_time_and_for_each_address_alone() {
        let settings = settings(&[("loginRateLimit", "2"), ("passwordRateLimit", "1")]);
        let limiter = limiter();
        let enter = |text: &str| limiter.enter(ip(text), &settings).unwrap();
        let (one, other, local) = (enter("192.0.2.1"), enter("192.0.2.2"), enter("127.0.0.1"));
        let take = |permit: &ConnectionPermit, limit| permit.try_acquire(limit, &settings);
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
        let limiter = limiter();
        let passes: Vec<ConnectionPermit> =
            (0..2000).map(|_| limiter.enter(ip("192.0.2.1"), &settings).unwrap()).collect();
        assert!(passes.iter().all(|p| p.try_acquire(Limit::LoginRate, &settings).is_ok()));
    }

    #[test]
    fn commands_of_an_address_are_slowed_down_and_those_of_a_proxy_only_one_by_one() {
        let (limiter, settings) = (limiter(), Settings::default());
        let passed = |address: &str| {
            let mut permit = limiter.enter(ip(address), &settings).unwrap();
            (0..100).take_while(|_| permit.spend(Budget::Commands, 1, &settings).is_ok()).count()
        };
        let counts: Vec<usize> = (0..6).map(|_| passed("192.0.2.1")).collect();
        // Some come back meanwhile.
        assert!(counts[..5].iter().all(|n| *n >= 50) && counts[5] < 50, "{counts:?}");
        assert!((0..6).all(|_| passed("127.0.0.1") >= 50));
    }

    #[test]
    fn lines_of_the_log_that_were_left_out_are_counted_and_told_once() {
        let (limiter, settings) = (limiter(), Settings::default());
        let mut permit = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
        let logged = (0..1000).filter(|_| permit.log_line(&settings).is_some()).count();
        assert!((50..60).contains(&logged), "{logged}");
        assert_eq!(permit.left_out(&settings), 1000 - logged as u64);
        assert_eq!(permit.left_out(&settings), 0);
        drop(permit);
        let mut next = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
        assert_eq!(next.log_line(&settings), Some(0));
    }

    #[test]
    fn many_clients_of_this_machine_are_told_of_once() {
        let (limiter, settings) = (limiter(), Settings::default());
        let enter = |_| limiter.enter(ip("127.0.0.1"), &settings).unwrap();
        let mut passes: Vec<ConnectionPermit> = (1..MANY_LOCAL).map(enter).collect();
        passes[0].set_client_addr(ip("192.0.2.1"), &settings).unwrap();
        let local = || {
            let state = limiter.lock();
            (state.local, state.local_told)
        };
        passes.push(enter(0));
        assert_eq!(local(), (MANY_LOCAL - 1, false));
        assert!(passes[0].is_proxied() && !passes[1].is_proxied());
        passes.push(enter(0));
        assert_eq!(local(), (MANY_LOCAL, true));
        assert!(passes.iter().all(ConnectionPermit::is_proxied), "there must be a proxy that keeps silent");
        drop(passes);
        assert_eq!(local().0, 0);
    }

    #[test]
    fn many_addresses_do_not_take_memory_for_ever() {
        let (limiter, settings) = (limiter(), Settings::default());
        let _stays = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
        for n in 0..3 * MAX_ADDRESSES as u128 {
            let address = Ipv6Addr::from_bits(0x2001 << 112 | n << 80);
            limiter.enter(address.into(), &settings).unwrap();
        }
        let state = limiter.lock();
        assert!(state.addresses.len() <= MAX_ADDRESSES);
        assert_eq!(state.addresses[&ip("192.0.2.1")].open, 1);
    }
}
