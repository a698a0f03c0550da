use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;
use crate::rules::session::Refusal;

/// Two servers of one database, and the listener of the first.
async fn pair() -> (Cluster, Cluster, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (database, address) = (Database::in_memory().unwrap(), listener.local_addr().unwrap());
    let open = || Cluster::open(&database, "name".into(), address, true).unwrap();
    (open(), open(), listener)
}

#[actix_rt::test]
async fn servers_of_one_database_trust_one_another() {
    let (one, other, listener) = pair().await;
    assert_ne!(one.node.incarnation, other.node.incarnation);
    let accepting = async {
        let (mut link, request) = one.accept(listener.accept().await.unwrap().0).await.unwrap();
        assert!(matches!(request, LinkRequest::LookUp { session, .. } if session == "id"));
        reply(&mut link, &"found").await.unwrap();
    };
    let question = LinkRequest::LookUp { session: "id".into(), invite: String::new(), sid: String::new() };
    let (answer, ()) = tokio::join!(other.ask::<String>(&one.node, &question), accepting);
    assert_eq!(answer.unwrap(), "found");
}

#[actix_rt::test]
async fn servers_of_another_database_are_refused_and_not_told_anything() {
    let (one, _, listener) = pair().await;
    let (stranger, ..) = pair().await;
    let accepting = async { one.accept(listener.accept().await.unwrap().0).await };
    let (connected, accepted) = tokio::join!(stranger.connect(&one.node, &LinkRequest::Watch), accepting);
    assert!(connected.is_err() && accepted.is_err());
}

#[actix_rt::test]
async fn whoever_has_no_certificate_is_refused() {
    let (one, _, listener) = pair().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(one.identity.certificate()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("node.drawhall.internal").unwrap();
    let connecting = async {
        let stream = TcpStream::connect(&one.node.address).await.unwrap();
        // In TLS 1.3 the refusal comes after the handshake.
        let mut tls = TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await?;
        link::write(&mut tls, &LinkRequest::Watch).await?;
        tls.read_u8().await
    };
    let (told, accepted) =
        tokio::join!(connecting, async { one.accept(listener.accept().await.unwrap().0).await });
    assert!(told.is_err() && accepted.is_err());
}

#[actix_rt::test]
async fn what_is_framed_wrongly_is_refused() {
    for bytes in [&[0xff, 0xff, 0xff, 0xff, 1][..], &[0, 0, 0, 9, b'{'], &[0, 0, 0, 2, b'{', b']'], &[0]] {
        assert!(link::read::<LinkRequest>(&mut &bytes[..]).await.is_err(), "{bytes:?}");
    }
    let mut written = Vec::new();
    assert!(link::write(&mut written, &"x".repeat(5 << 20)).await.is_err());
    assert_eq!(written, b"", "nothing of what is too long");
}

#[actix_rt::test]
async fn the_answer_to_a_join_is_a_message_of_the_protocol() {
    let refused = JoinAnswer::Refused(Refusal::error("closed", "This session is closed"));
    for answer in [JoinAnswer::Joined(7), refused, JoinAnswer::Refused(Refusal::BadPassword)] {
        let frame = answer.to_frame().unwrap();
        assert_eq!(JoinAnswer::read(&mut &frame[..]).await.unwrap(), answer);
    }
    let stroke: &[u8] = &[0, 1, 140, 3, 0];
    assert!(JoinAnswer::read(&mut &stroke[..]).await.is_err());
}

#[actix_rt::test]
async fn of_a_server_that_was_started_again_only_the_newest_counts() {
    let (one, ..) = pair().await;
    let node = |incarnation: &str, address: &str| Node {
        incarnation: incarnation.into(),
        name: "n".into(),
        address: address.into(),
        ..Node::default()
    };
    let own = one.node.address.as_str();
    let nodes = vec![
        node("3", "192.0.2.2:1"),
        node("1", "192.0.2.2:1"),
        node("2", "[2001:db8::2]:1"),
        // An earlier start of this server, and itself.
        node("0", own),
        one.node.clone(),
    ];
    let found: Vec<String> = one.update_others(nodes).into_iter().map(|node| node.incarnation).collect();
    assert_eq!(found, ["2", "3"]);
    assert_eq!(one.others().len(), 2);
    let knows = |address: &str| one.knows(address.parse().unwrap());
    assert!(knows("192.0.2.2") && knows("::ffff:192.0.2.2") && knows("2001:db8::2"));
    assert!(!knows("192.0.2.3"));
    assert!(knows("127.0.0.1"), "it may open links to itself");
}

#[actix_rt::test]
async fn only_servers_that_share_sessions_and_are_not_drained_take_them_over() {
    let (one, ..) = pair().await;
    let node = |name: &str, shares_sessions: bool, is_draining: bool| Node {
        incarnation: name.into(),
        name: name.into(),
        address: name.into(),
        shares_sessions,
        is_draining,
    };
    one.update_others(vec![node("a", true, false), node("b", true, true), node("c", false, false)]);
    let takers: Vec<String> = one.takers().into_iter().map(|node| node.name).collect();
    assert_eq!(takers, ["a"]);
}
