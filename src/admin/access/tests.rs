//! Tests of access control.

use actix_web::test::TestRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

fn access(rules: AccessRules) -> Access {
    Access::new(rules, Trusted::default())
}

fn status(access: &Access, request: TestRequest) -> u16 {
    let request = request.to_http_request();
    let admitted = access.client_addr_of(&request).and_then(|source| access.admit(&request, source));
    match admitted {
        Ok(Admission::As(_)) => 200,
        // There are no accounts here.
        Ok(Admission::Unverified { .. }) => 401,
        Err(response) => response.status().as_u16(),
    }
}

fn from(peer: &str) -> TestRequest {
    let peer = format!("{peer}:5").parse().unwrap();
    TestRequest::get().peer_addr(peer).insert_header(("host", "localhost:27780"))
}

fn networks(texts: &[&str]) -> Vec<IpRange> {
    texts.iter().map(|text| IpRange::parse(text).unwrap()).collect()
}

#[test]
fn access_depends_on_the_client_address() {
    let basic = format!("Basic {}", BASE64.encode("admin:secret"));
    let credentials = Credentials::parse("admin:secret").ok();
    let (real, many) = ("x-real-ip", "x-forwarded-for");
    let (local, there, far) = ("127.0.0.1", "192.0.2.1", "203.0.113.9");
    // Peer, proxy headers, and the statuses: no login required; login required and no network, one network, all.
    for (peer, headers, expected) in [
        (local, &[][..], [200, 200, 200, 200]),
        (there, &[][..], [403, 403, 200, 200]),
        (far, &[][..], [403, 403, 403, 200]),
        (local, &[(real, there)][..], [403, 403, 200, 200]),
        (local, &[(many, there)], [403, 403, 200, 200]),
        (local, &[(many, "192.0.2.1:5000")], [403, 403, 200, 200]),
        (local, &[("forwarded", "for=192.0.2.1")], [403, 403, 200, 200]),
        (local, &[(real, far)], [403, 403, 403, 200]),
        (local, &[(many, "192.0.2.1, 203.0.113.9")], [403, 403, 403, 200]),
        // A proxied request is never local, whatever the proxy says.
        (local, &[(real, local)], [403, 403, 403, 200]),
        (local, &[("via", "1.1 proxy")], [403, 403, 403, 200]),
        (local, &[("x-forwarded-proto", "https")], [403, 403, 403, 200]),
        // An ambiguous client address.
        (local, &[(real, there), (many, far)], [400, 400, 400, 400]),
        (local, &[(many, "unknown")], [400, 400, 400, 400]),
        (local, &[(real, "nonsense")], [400, 400, 400, 400]),
        // Headers of other peers than trusted proxies are ignored.
        (there, &[(real, local)], [403, 403, 200, 200]),
        (far, &[(many, there)], [403, 403, 403, 200]),
    ] {
        let status_of = |access: &Access| {
            let request = from(peer).insert_header(("authorization", basic.clone()));
            let with =
                |request: TestRequest, header: &(&'static str, &'static str)| request.insert_header(*header);
            status(access, headers.iter().fold(request, with))
        };
        let with_login = |networks| {
            status_of(&access(AccessRules {
                credentials: credentials.clone(),
                networks,
                ..AccessRules::default()
            }))
        };
        let answers = [
            status_of(&access(AccessRules::default())),
            with_login(Vec::new()),
            with_login(networks(&["192.0.2.0/24"])),
            with_login(networks(&["::/0"])),
        ];
        assert_eq!(answers, expected, "{peer} {headers:?}");
    }
}

#[test]
fn without_a_login_only_loopback_has_access_unless_open() {
    let rules = |texts: &[&str]| AccessRules { networks: networks(texts), ..AccessRules::default() };
    assert!(!rules(&[]).is_open_by_mistake() && !rules(&["127.0.0.0/8", "::1"]).is_open_by_mistake());
    for elsewhere in ["192.0.2.0/24", "::/0", "0.0.0.0/0", "10.0.0.1"] {
        let rules = rules(&[elsewhere]);
        assert!(rules.is_open_by_mistake(), "{elsewhere}");
        assert!(!AccessRules { login_required: true, ..rules.clone() }.is_open_by_mistake());
        assert!(!AccessRules { open: true, ..rules.clone() }.is_open_by_mistake());
        assert_eq!(status(&access(rules.clone()), from("10.0.0.1")), 403, "{elsewhere}");
    }
    let open = access(AccessRules { open: true, ..rules(&["192.0.2.0/24"]) });
    assert_eq!(status(&open, from("192.0.2.1")), 200);
    assert_eq!(status(&open, from("127.0.0.1").insert_header(("x-real-ip", "192.0.2.1"))), 200);
    assert_eq!(status(&open, from("198.51.100.1")), 403);
}

#[test]
fn http_1_0_counts_as_proxied() {
    let old = || from("127.0.0.1").version(Version::HTTP_10);
    assert_eq!(status(&access(AccessRules::default()), old().uri("/healthz")), 200);
    assert_eq!(status(&access(AccessRules::default()), old()), 403);
    assert_eq!(status(&access(AccessRules { open: true, ..AccessRules::default() }), old()), 200);
}

#[test]
fn passwords_are_required_and_failed_logins_rate_limited() {
    let credentials = Credentials::parse("admin:se:cret").ok();
    let networks = networks(&["192.0.2.0/24", "2001:db8::/32"]);
    let access = access(AccessRules { credentials, networks, ..AccessRules::default() });
    let with = |client: &'static str, text: &str| {
        let request = from("127.0.0.1").insert_header(("x-forwarded-for", client));
        request.insert_header(("authorization", format!("Basic {}", BASE64.encode(text))))
    };
    assert_eq!(status(&access, from("127.0.0.1")), 401);
    assert_eq!(status(&access, with("192.0.2.1", "admin:se:cret")), 200);
    for _ in 0..20 {
        assert_eq!(status(&access, with("192.0.2.1", "admin:wrong")), 401);
    }
    assert_eq!(status(&access, with("192.0.2.1", "admin:se:cret")), 429);
    assert_eq!(status(&access, with("192.0.2.2", "admin:se:cret")), 200, "behind the same proxy");
    for n in 0..20 {
        let client = ["2001:db8::1", "2001:db8::2"][n % 2];
        assert_eq!(status(&access, with(client, "admin:wrong")), 401);
    }
    assert_eq!(status(&access, with("2001:db8::3", "admin:se:cret")), 429, "a /64 network is one address");
    let here = from("127.0.0.1")
        .insert_header(("authorization", format!("Basic {}", BASE64.encode("admin:se:cret"))));
    assert_eq!(status(&access, here), 200);
}

#[test]
fn credentials_may_be_in_utf_8_or_iso_8859_1() {
    let credentials = Credentials::parse("müller:größe").ok();
    let access = access(AccessRules { credentials, ..AccessRules::default() });
    for bytes in ["müller:größe".as_bytes(), b"m\xfcller:gr\xf6\xdfe"] {
        let header = format!("Basic {}", BASE64.encode(bytes));
        assert_eq!(status(&access, from("127.0.0.1").insert_header(("authorization", header))), 200);
    }
}

#[test]
fn credentials_need_user_and_password() {
    for bad in ["", "x", ":x", "x:"] {
        assert!(Credentials::parse(bad).is_err(), "{bad}");
    }
}
