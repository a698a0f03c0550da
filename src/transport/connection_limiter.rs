//! Limits of connections, logins and passwords: in total, and rate limits per address.
//!
//! An address is an IPv4 address or an IPv6 /64 network; wider networks are limited as well ([`crate::rules::network`]).
//! Connections of trusted proxies that name no client count in total only: else one proxy would lock everybody out.

mod drawing;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::budget::{Budget, Budgets, spend};
use super::forwarded::ProxyHeader;
use super::trust::{ClientAddr, Trusted};
use crate::config::Settings;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::Metrics;
use crate::rules::limits::{AddressDrawLimiter, Bucket, DrawLimiter, Rate};
use crate::rules::network::networks;
use crate::rules::time::Timestamp;

/// How often the same limit is logged for the same address, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;
/// Connections from loopback without a client address from a proxy at which a warning is logged.
const MANY_LOCAL: u32 = 20;
/// Addresses that are kept. Beyond, idle ones are dropped.
const MAX_ADDRESSES: usize = 10_000;

/// A limit of connections, or of attempts per minute and address.
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

    /// The text for the client.
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

    /// The rate limit per minute; `None` if it is off. `factor`: see [`super::network::Network`].
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

/// Usage of an address or network.
#[derive(Debug, Default)]
struct AddressState {
    open: u32,
    buckets: [Bucket; Limit::ALL.len()],
    /// When each limit was last logged: monotonic clock, milliseconds.
    logged: [Option<u64>; Limit::ALL.len()],
    budgets: Budgets,
    /// What was drawn over connections that have ended or were slowed down.
    drawn: DrawLimiter,
    /// What is drawn over all of them together.
    drawn_together: AddressDrawLimiter,
}

#[derive(Debug, Default)]
struct LimiterState {
    open: u32,
    /// Open connections from loopback for which no proxy has named a client, and whether a warning was logged.
    local: u32,
    local_warned: bool,
    addresses: HashMap<IpAddr, AddressState>,
    /// For logging of limits that are reached before an address is looked at.
    unattributed: AddressState,
}

/// Admits connections and counts them. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimiter {
    state: Arc<Mutex<LimiterState>>,
    trusted: Trusted,
    metrics: Arc<Metrics>,
}

/// An admitted connection; it counts until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: ConnectionLimiter,
    client: ClientAddr,
    limit_key: Option<IpAddr>,
    /// Counted in [`LimiterState::local`].
    is_local: bool,
    budgets: Budgets,
    is_counted: bool,
}

impl ConnectionLimiter {
    /// A limiter that trusts these proxies.
    pub fn new(trusted: Trusted, metrics: Arc<Metrics>) -> ConnectionLimiter {
        ConnectionLimiter { state: Arc::default(), trusted, metrics }
    }

    /// The trusted proxies.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Number of open connections.
    pub fn open(&self) -> u32 {
        self.lock().open
    }

    /// Admits a connection from this address.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(&self, peer: IpAddr, settings: &Settings) -> Result<ConnectionPermit, Limit> {
        self.counted(self.admit(peer, settings))
    }

    /// Counts a limit that is reached, in the metrics.
    fn counted<T>(&self, result: Result<T, Limit>) -> Result<T, Limit> {
        result.inspect_err(|limit| self.metrics.limits_hit.count(limit.setting()))
    }

    fn admit(&self, peer: IpAddr, settings: &Settings) -> Result<ConnectionPermit, Limit> {
        let client = self.trusted.peer(peer);
        let peer = client.ip();
        let limit = settings.connection_limit.0;
        let mut state = self.lock();
        if limit > 0 && state.open >= limit {
            return Err(state.unattributed.hit(Limit::Connections, peer));
        }
        let limit_key = (!client.is_trusted_proxy()).then(|| network(peer));
        if let Some(limit_key) = limit_key {
            state.enter(limit_key, peer, settings)?;
        }
        state.open += 1;
        self.metrics.connections.count();
        let is_local = limit_key.is_none() && peer.is_loopback();
        if is_local {
            state.count_local();
        }
        drop(state);
        Ok(ConnectionPermit {
            limiter: self.clone(),
            client,
            limit_key,
            is_local,
            budgets: Budgets::default(),
            is_counted: true,
        })
    }

    /// Admits a client whose connection another server has, and counts there. What it does is limited as usual.
    pub fn enter_relayed(&self, address: IpAddr, settings: &Settings) -> ConnectionPermit {
        self.lock().make_room(1, settings);
        ConnectionPermit {
            limiter: self.clone(),
            client: ClientAddr::relayed(address),
            limit_key: Some(network(address)),
            is_local: false,
            budgets: Budgets::default(),
            is_counted: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock()
    }
}

impl LimiterState {
    fn enter(&mut self, limit_key: IpAddr, address: IpAddr, settings: &Settings) -> Result<(), Limit> {
        self.make_room(networks(limit_key).count(), settings);
        let limit = settings.connections_per_address.0;
        for network in networks(limit_key) {
            let state = self.addresses.entry(network.key).or_default();
            if limit > 0 && state.open >= limit.saturating_mul(network.factor) {
                return Err(state.hit(Limit::Address, address));
            }
        }
        self.try_acquire(Limit::ConnectionRate, limit_key, address, settings)?;
        for network in networks(limit_key) {
            self.addresses.entry(network.key).or_default().open += 1;
        }
        Ok(())
    }

    /// Drops addresses that are not needed if so many new ones would be too many.
    fn make_room(&mut self, count: usize, settings: &Settings) {
        if self.addresses.len() + count > MAX_ADDRESSES {
            self.evict_idle(settings);
        }
    }

    /// Takes one token from the rate limit of each network around the address.
    fn try_acquire(
        &mut self,
        limit: Limit,
        limit_key: IpAddr,
        address: IpAddr,
        settings: &Settings,
    ) -> Result<(), Limit> {
        networks(limit_key).try_for_each(|network| {
            let Some(rate) = limit.rate(settings, network.factor) else { return Ok(()) };
            self.addresses.entry(network.key).or_default().try_acquire(limit, address, rate)
        })
    }

    /// Warns once: a reverse proxy on this machine that names no clients makes all of them one address without
    /// limits.
    fn count_local(&mut self) {
        self.local += 1;
        if self.local < MANY_LOCAL || std::mem::replace(&mut self.local_warned, true) {
            return;
        }
        let text = "many clients connect from this machine without a client address from a proxy: address limits and \
                    bans do not apply to them. If there is a reverse proxy, let it send X-Real-IP, \
                    X-Forwarded-For or the PROXY protocol (see INTERNET.md, Behind proxies); logged once";
        LogEntry::new(Timestamp::now(), Level::Warn, Topic::Status, text).emit("");
    }

    /// Drops addresses without connections whose buckets are full; if too many are left, all without connections.
    fn evict_idle(&mut self, settings: &Settings) {
        let now = Timestamp::now().monotonic_ms;
        let is_idle =
            |state: &mut AddressState| {
                Limit::ALL.iter().zip(&mut state.buckets).all(|(limit, bucket)| {
                    limit.rate(settings, 1).is_none_or(|rate| bucket.is_full(rate, now))
                }) && state.budgets.are_full(settings, now)
                    && state.drawn.is_full(now)
                    && state.drawn_together.is_full(now)
            };
        self.addresses.retain(|_, state| state.open > 0 || !is_idle(state));
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.retain(|_, state| state.open > 0);
        }
    }

    fn leave(&mut self, limit_key: Option<IpAddr>) {
        for network in limit_key.into_iter().flat_map(networks) {
            if let Some(state) = self.addresses.get_mut(&network.key) {
                state.open = state.open.saturating_sub(1);
            }
        }
    }
}

impl AddressState {
    fn try_acquire(&mut self, limit: Limit, address: IpAddr, rate: Rate) -> Result<(), Limit> {
        let acquired = self.buckets[limit as usize].take(rate, Timestamp::now().monotonic_ms);
        if acquired { Ok(()) } else { Err(self.hit(limit, address)) }
    }

    /// Logs that a limit is reached, at most once in [`LOG_INTERVAL`].
    fn hit(&mut self, limit: Limit, address: IpAddr) -> Limit {
        let now = Timestamp::now();
        let logged = &mut self.logged[limit as usize];
        if logged.is_none_or(|last| now.monotonic_ms >= last + LOG_INTERVAL) {
            *logged = Some(now.monotonic_ms);
            let user = LogUser { id: 0, address: Some(address), name: String::new() };
            let text = format!("{} ({}); logged once a minute", limit.message(), limit.setting());
            LogEntry::new(now, Level::Warn, Topic::RuleBreak, text).about(user).emit("");
        }
        limit
    }
}

impl ConnectionPermit {
    /// Address of the client; of the peer as long as no proxy has named a client.
    pub fn address(&self) -> IpAddr {
        self.client.ip()
    }

    /// The client, as far as proxies have named it so far.
    pub fn client_addr(&self) -> ClientAddr {
        self.client
    }

    /// The network that the limits count for (the address, or its /64 network), the same for all connections of it.
    /// `None` for a trusted proxy that has named no client.
    pub fn limit_key(&self) -> Option<IpAddr> {
        self.limit_key
    }

    /// Whether a PROXY protocol header of the peer is to be read and believed.
    pub fn may_speak_proxy(&self) -> bool {
        self.client.is_trusted_proxy() && self.limiter.trusted.believes(ProxyHeader::ProxyProtocol)
    }

    /// Whether the client is behind a proxy. After the warning of `MANY_LOCAL` all connections from loopback count
    /// as proxied: there must be a proxy that names no clients.
    pub fn is_proxied(&self) -> bool {
        !self.client.is_direct() || (self.is_local && self.limiter.lock().local_warned)
    }

    /// The trusted proxies.
    pub fn trusted(&self) -> &Trusted {
        &self.limiter.trusted
    }

    /// Sets the client to whom a trusted proxy has named, and moves the connection to the limits of that address.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn set_client_addr(&mut self, client: ClientAddr, settings: &Settings) -> Result<(), Limit> {
        let (address, limit_key) = (client.ip(), network(client.ip()));
        let mut state = self.limiter.lock();
        if address != self.client.ip() && !client.is_trusted_proxy() {
            self.limiter.counted(state.enter(limit_key, address, settings))?;
            state.leave(self.limit_key.replace(limit_key));
            state.local -= u32::from(std::mem::take(&mut self.is_local));
        }
        drop(state);
        self.client = client;
        Ok(())
    }

    /// Sets the client to whom a PROXY protocol header names.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn follow_proxy_header(&mut self, named: Option<IpAddr>, settings: &Settings) -> Result<(), Limit> {
        let client = self.trusted().after_proxy_header(self.client, named);
        self.set_client_addr(client, settings)
    }

    /// Takes one token from a rate limit of the address: for a login, a password, a new session.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn try_acquire(&self, limit: Limit, settings: &Settings) -> Result<(), Limit> {
        let Some(limit_key) = self.limit_key else { return Ok(()) };
        let acquired = self.limiter.lock().try_acquire(limit, limit_key, self.client.ip(), settings);
        self.limiter.counted(acquired)
    }

    /// Takes `count` from a budget of this connection and of its address; from neither if one has less.
    ///
    /// # Errors
    /// Milliseconds until both have enough.
    pub fn spend(&mut self, budget: Budget, count: u64, settings: &Settings) -> Result<(), u64> {
        let now = Timestamp::now().monotonic_ms;
        let Some(limit_key) = self.limit_key else {
            return spend(&mut self.budgets, None, budget, count, settings, now);
        };
        let mut state = self.limiter.lock();
        let address = &mut state.addresses.entry(limit_key).or_default().budgets;
        spend(&mut self.budgets, Some(address), budget, count, settings, now)
    }

    /// `None` if a log entry about this connection has to be suppressed; else how many were suppressed before it.
    pub fn log_line(&mut self, settings: &Settings) -> Option<u64> {
        let allowed = self.spend(Budget::LogLines, 1, settings).is_ok();
        self.limiter.metrics.log_left_out.add(u64::from(!allowed));
        self.with_suppressed(|suppressed| {
            if allowed {
                return Some(std::mem::take(suppressed));
            }
            *suppressed += 1;
            None
        })
    }

    /// The number of suppressed log entries, to be logged when the connection ends; 0 if that may not be logged.
    pub fn take_suppressed(&mut self, settings: &Settings) -> u64 {
        if self.with_suppressed(|suppressed| *suppressed) == 0 {
            return 0;
        }
        // The connection has used up its own budget: what is left of the address's decides.
        self.budgets.refill();
        if self.spend(Budget::LogLines, 1, settings).is_err() {
            return 0;
        }
        self.with_suppressed(std::mem::take)
    }

    /// Suppressed entries are counted per address if there is one, so that its other connections report them too.
    fn with_suppressed<T>(&mut self, with: impl FnOnce(&mut u64) -> T) -> T {
        let Some(limit_key) = self.limit_key else { return with(&mut self.budgets.suppressed) };
        let mut state = self.limiter.lock();
        with(&mut state.addresses.entry(limit_key).or_default().budgets.suppressed)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let mut state = self.limiter.lock();
        state.open = state.open.saturating_sub(1);
        state.local -= u32::from(self.is_local);
        state.leave(self.limit_key);
    }
}

/// The network that counts as one address: an IPv4 address, or an IPv6 /64 network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests;
