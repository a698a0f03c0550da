//! Tests of `connection_limiter`.

use super::*;
use crate::config::ip_range::IpRange;
use crate::rules::limits::DrawRate;

fn limiter() -> ConnectionLimiter {
    ConnectionLimiter::new(Trusted::new(&[IpRange::parse("127.0.0.0/8").unwrap()]), Arc::default())
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
fn connections_count_in_total_until_they_are_closed() {
    let (limiter, settings) = (limiter(), settings(&[("connectionLimit", "2")]));
    let first = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
    let _second = limiter.enter(ip("127.0.0.1"), &settings).unwrap();
    assert_eq!(limiter.enter(ip("192.0.2.3"), &settings).unwrap_err(), Limit::Connections);
    drop(first);
    assert!(limiter.enter(ip("192.0.2.3"), &settings).is_ok());
    assert_eq!(limiter.open(), 1);
}

#[test]
fn an_ipv6_64_network_is_one_address() {
    let (limiter, settings) = (limiter(), settings(&[("connectionsPerAddress", "1")]));
    let enter = |text: &str| limiter.enter(ip(text), &settings);
    let _first = enter("2001:db8::1").unwrap();
    assert_eq!(enter("2001:db8::ffff:2").unwrap_err(), Limit::Address);
    let _other = enter("2001:db8:0:1::1").unwrap();
    let _v4 = enter("::ffff:192.0.2.1").unwrap();
    assert_eq!(enter("192.0.2.1").unwrap_err(), Limit::Address);
}

#[test]
fn wider_ipv6_networks_have_a_multiple_of_the_limits() {
    let settings =
        settings(&[("connectionsPerAddress", "1"), ("passwordRateLimit", "2"), ("connectionRateLimit", "0")]);
    let limiter = limiter();
    // 256 networks of 64 bits in each of 256 of 56 bits, all of one of 48 bits.
    let all = (0..=0xffff_u32).map(|n| format!("2001:db8:0:{n:x}::1"));
    let admitted: Vec<ConnectionPermit> =
        all.filter_map(|text| limiter.enter(ip(&text), &settings).ok()).collect();
    assert_eq!(admitted.len(), 16, "4 in each of 56 bits");
    let guesses = |permit: &ConnectionPermit| {
        (0..9).filter(|_| permit.try_acquire(Limit::PasswordRate, &settings).is_ok()).count()
    };
    assert_eq!(admitted.iter().map(guesses).sum::<usize>(), 32);
    assert!(limiter.enter(ip("2001:db8:1::1"), &settings).is_ok(), "somebody else");
    drop(admitted);
    assert!(limiter.enter(ip("2001:db8:0:7777::1"), &settings).is_ok());
}

#[test]
fn a_proxied_connection_counts_for_the_client_address() {
    let (limiter, settings) = (limiter(), settings(&[("connectionsPerAddress", "1")]));
    let proxied = |source: &str| {
        let mut permit = limiter.enter(ip("127.0.0.1"), &settings).unwrap();
        permit.follow_proxy_header(Some(ip(source)), &settings).map(|()| permit)
    };
    let (_a, _b) = (limiter.enter(ip("127.0.0.1"), &settings), limiter.enter(ip("127.0.0.1"), &settings));
    let first = proxied("192.0.2.1").unwrap();
    assert_eq!(first.address(), ip("192.0.2.1"));
    assert!(!first.client_addr().is_trusted_proxy());
    assert_eq!(proxied("192.0.2.1").unwrap_err(), Limit::Address);
    drop(first);
    assert!(proxied("192.0.2.1").is_ok());
}

#[test]
fn the_proxy_protocol_is_accepted_unless_only_other_headers_are_trusted() {
    let networks = [IpRange::parse("127.0.0.0/8").unwrap()];
    let may = |headers: &[ProxyHeader], peer: &str| {
        let limiter = ConnectionLimiter::new(Trusted::with_headers(&networks, headers), Arc::default());
        limiter.enter(ip(peer), &Settings::default()).unwrap().may_speak_proxy()
    };
    assert!(may(&[], "127.0.0.1") && !may(&[], "192.0.2.1"));
    assert!(!may(&[ProxyHeader::ForwardedFor], "127.0.0.1"));
    assert!(may(&[ProxyHeader::ForwardedFor, ProxyHeader::ProxyProtocol], "127.0.0.1"));
}

#[test]
fn login_and_password_rate_limits_are_separate_and_per_address() {
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
fn zero_is_unlimited() {
    let settings = settings(&[
        ("connectionLimit", "0"),
        ("connectionsPerAddress", "0"),
        ("connectionRateLimit", "0"),
        ("loginRateLimit", "0"),
    ]);
    let limiter = limiter();
    let permits: Vec<ConnectionPermit> =
        (0..2000).map(|_| limiter.enter(ip("192.0.2.1"), &settings).unwrap()).collect();
    assert!(permits.iter().all(|p| p.try_acquire(Limit::LoginRate, &settings).is_ok()));
}

#[test]
fn command_budgets_are_shared_by_an_address_but_not_by_a_proxy() {
    let (limiter, settings) = (limiter(), Settings::default());
    let accepted = |address: &str| {
        let mut permit = limiter.enter(ip(address), &settings).unwrap();
        (0..100).take_while(|_| permit.spend(Budget::Commands, 1, &settings).is_ok()).count()
    };
    let counts: Vec<usize> = (0..6).map(|_| accepted("192.0.2.1")).collect();
    // Some tokens are refilled meanwhile.
    assert!(counts[..5].iter().all(|n| *n >= 50) && counts[5] < 50, "{counts:?}");
    assert!((0..6).all(|_| accepted("127.0.0.1") >= 50));
}

#[test]
fn suppressed_log_entries_are_counted_and_reported_once() {
    let (limiter, settings) = (limiter(), Settings::default());
    let mut permit = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
    let logged = (0..1000).filter(|_| permit.log_line(&settings).is_some()).count();
    assert!((50..60).contains(&logged), "{logged}");
    assert_eq!(permit.take_suppressed(&settings), 1000 - logged as u64);
    assert_eq!(permit.take_suppressed(&settings), 0);
    drop(permit);
    let mut next = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
    assert_eq!(next.log_line(&settings), Some(0));
}

#[test]
fn many_connections_from_loopback_are_warned_about_once() {
    let (limiter, settings) = (limiter(), Settings::default());
    let enter = |_| limiter.enter(ip("127.0.0.1"), &settings).unwrap();
    let mut permits: Vec<ConnectionPermit> = (1..MANY_LOCAL).map(enter).collect();
    permits[0].follow_proxy_header(Some(ip("192.0.2.1")), &settings).unwrap();
    let local = || {
        let state = limiter.lock();
        (state.local, state.local_warned)
    };
    permits.push(enter(0));
    assert_eq!(local(), (MANY_LOCAL - 1, false));
    assert!(permits[0].is_proxied() && !permits[1].is_proxied());
    permits.push(enter(0));
    assert_eq!(local(), (MANY_LOCAL, true));
    assert!(permits.iter().all(ConnectionPermit::is_proxied), "there must be a proxy that names no clients");
    drop(permits);
    assert_eq!(local().0, 0);
}

#[test]
fn the_number_of_addresses_is_bounded() {
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

#[test]
fn what_was_drawn_over_a_connection_counts_for_the_next_one_of_its_address() {
    let (limiter, settings) = (limiter(), Settings::default());
    let rate = DrawRate { messages: 1000, bytes: 0 };
    let mut drawing = DrawLimiter::default();
    drawing.set_rate(rate);
    drawing.charge(60_000, 0, 1000);
    let first = limiter.enter(ip("2001:db8::1"), &settings).unwrap();
    first.keep_drawn(&drawing, 1000);
    drop(first);
    let next = |address: &str| {
        let permit = limiter.enter(ip(address), &settings).unwrap();
        let mut drawing = DrawLimiter::default();
        drawing.set_rate(rate);
        drawing.take_over(permit.drawn().unwrap(), 1000);
        drawing.charge(1000, 0, 1000).wait_ms
    };
    assert_eq!(next("2001:db8::2"), 1000);
    assert_eq!(next("2001:db8:1::1"), 0, "somebody else");
    let proxy = limiter.enter(ip("127.0.0.1"), &settings).unwrap();
    assert!(proxy.drawn().is_none());
}

#[test]
fn the_connections_of_an_address_share_a_limit_of_bytes_that_are_drawn() {
    let (limiter, settings) = (limiter(), Settings::default());
    let limit = settings.guest_draw_byte_rate_limit;
    let wait = |address: &str, bytes: u64| {
        let permit = limiter.enter(ip(address), &settings).unwrap();
        permit.charge_drawn(bytes, limit, &settings, 1000).wait_ms
    };
    // Each uses what one client may draw at once.
    assert_eq!([0; 3].map(|_| wait("192.0.2.1", 5 * limit)), [0, 1250, 2500]);
    assert_eq!(
        [wait("192.0.2.2", 5 * limit), wait("127.0.0.1", 50 * limit)],
        [0, 0],
        "somebody else, and a proxy"
    );
    let permit = limiter.enter(ip("192.0.2.1"), &settings).unwrap();
    assert_eq!(permit.charge_drawn(1 << 40, 0, &settings, 1000).wait_ms, 0, "who has no limit");
    assert_eq!(
        permit.charge_drawn(0, 10, &settings, 3500).wait_ms,
        0,
        "who is slowed down does not slow others down"
    );
    assert_eq!(permit.charge_drawn(limit, limit, &settings, 3500).wait_ms, 250);
}
