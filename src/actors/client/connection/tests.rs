//! A client between actors that nobody runs.

use crate::actors::messages::ToClient;
use crate::actors::server::Server;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Ping, ServerCommand};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::rules::batch::Batch;
use crate::rules::limits::DrawRate;
use crate::rules::login::{LoginInput, LookupAnswer};
use crate::rules::session::ClientOp;
use crate::transport::connection_limiter::ConnectionLimiter;
use crate::transport::trust::Trusted;

/// A connection to a client, and the mailboxes of those whom it asks: nothing is ever answered.
struct Unanswered {
    stream: TcpStream,
    client: Addr<Client>,
    _server: Context<Server>,
    _auth: Context<Auth>,
}

/// An answer after all; returns whether the login goes on.
#[derive(Message)]
#[rtype(result = "bool")]
struct Answered(LoginInput);

impl Handler<Answered> for Client {
    type Result = bool;

    fn handle(&mut self, Answered(answer): Answered, ctx: &mut Self::Context) -> bool {
        self.answered(answer, ctx);
        matches!(self.phase, Phase::Login(_))
    }
}

/// The client draws so many messages under a rate limit; returns how long it is to pause, in milliseconds.
#[derive(Message)]
#[rtype(result = "u64")]
struct Draw(DrawRate, usize);

impl Handler<Draw> for Client {
    type Result = u64;

    fn handle(&mut self, Draw(rate, messages): Draw, ctx: &mut Self::Context) -> u64 {
        self.set_draw_rate(rate);
        let batch = Batch::new([0, 0, 148, 0].repeat(messages));
        let wait = self.charge_drawing(&batch, Timestamp::now().monotonic_ms, ctx);
        self.shared.pause_for(wait);
        wait
    }
}

impl Unanswered {
    async fn connect() -> Unanswered {
        Self::connect_within(&ConnectionLimiter::default()).await
    }

    async fn connect_within(limiter: &ConnectionLimiter) -> Unanswered {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        let (server, auth) = (Context::<Server>::new(), Context::<Auth>::new());
        let rules = Arc::new(Rules::default());
        let permit = limiter.enter(peer.ip(), rules.settings()).unwrap();
        let context = ClientContext {
            rules,
            server: server.address().into(),
            auth: auth.address(),
            certificate: None,
            trace: None,
            websocket_port: None,
            metrics: Arc::default(),
        };
        // The worker knows connections by their number.
        let client = Client::start(Opened::Tcp(accepted), u64::from(peer.port()), permit, context);
        Unanswered { stream, client, _server: server, _auth: auth }
    }

    async fn command(&mut self, json: &str) {
        let frame = drawhall_protocol::Frame::new(ServerCommand::TYPE, 0, json.as_bytes()).unwrap();
        self.stream.write_all(frame.as_bytes()).await.unwrap();
    }

    /// Sends a ping and reads until it is answered.
    async fn ping(&mut self) {
        self.stream.write_all(&[0, 1, Ping::TYPE, 0, 0]).await.unwrap();
        let mut received = Vec::new();
        while frames(&received).all(|frame| frame.header.kind != Ping::TYPE) {
            assert!(self.stream.read_buf(&mut received).await.unwrap() > 0, "the connection has ended");
        }
    }

    /// The text of the goodbye with which the connection ends.
    async fn goodbye(mut self) -> String {
        let mut received = Vec::new();
        self.stream.read_to_end(&mut received).await.unwrap();
        let last = frames(&received).last().unwrap();
        assert_eq!(last.header.kind, Disconnect::TYPE);
        String::from_utf8(last.payload()[1..].to_vec()).unwrap()
    }
}

#[actix_rt::test]
async fn a_login_without_an_answer_times_out_with_an_error() {
    let mut lookup = Unanswered::connect().await;
    lookup.command(r#"{"cmd":"lookup","args":["somewhere"]}"#).await;
    let mut join = Unanswered::connect().await;
    join.command(r#"{"cmd":"ident","args":["A"]}"#).await;
    join.command(r#"{"cmd":"join","args":["somewhere"]}"#).await;
    let mut host = Unanswered::connect().await;
    host.command(r#"{"cmd":"ident","args":["A"]}"#).await;
    host.command(r#"{"cmd":"host","kwargs":{"protocol":"dp:4.21.2","user_id":1}}"#).await;
    for waiting in [lookup, join, host] {
        assert_eq!(waiting.goodbye().await, "The server did not answer in time. Please try again.");
    }
}

#[actix_rt::test]
async fn a_too_long_reply_ends_the_login_with_an_error() {
    let mut lookup = Unanswered::connect().await;
    lookup.command(r#"{"cmd":"lookup","args":["somewhere"]}"#).await;
    let description = serde_json::json!({"title": "x".repeat(70_000)});
    let answer = LookupAnswer::Template { id: "id".into(), description };
    // What it asks must have arrived before the answer counts.
    while lookup.client.send(Answered(LoginInput::LookedUp(answer.clone()))).await.is_ok_and(|waits| waits) {
        tokio::task::yield_now().await;
    }
    assert_eq!(lookup.goodbye().await, "The server's answer is too long for a message");
}

#[actix_rt::test]
async fn operations_on_a_disconnected_client_have_no_effect() {
    let unanswered = Unanswered::connect().await;
    let text = |text: &'static [u8]| ClientOp::Direct(Bytes::from_static(text));
    let (reason, message) = (DisconnectReason::Error, "over".to_owned());
    let ops = vec![text(b"seen"), ClientOp::Disconnect { reason, message }, text(b"not seen")];
    let client = unanswered.client.clone();
    client.do_send(ToClient::Deliver { ops, session: None });
    client.do_send(ToClient::Deliver { ops: vec![text(b"not seen")], session: None });
    let Unanswered { mut stream, .. } = unanswered;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let received = String::from_utf8_lossy(&received);
    assert!(received.contains("seen") && received.ends_with("over") && !received.contains("not seen"));
}

#[actix_rt::test]
async fn who_connects_again_has_still_used_what_was_drawn_before() {
    let rate = DrawRate { messages: 10, bytes: 0 };
    let limiter = ConnectionLimiter::new(Trusted::new(&[]), Arc::default());
    let first = Unanswered::connect_within(&limiter).await;
    assert_eq!(first.client.send(Draw(rate, 600)).await.unwrap(), 0, "a burst");
    drop(first);
    while limiter.open() > 0 {
        tokio::task::yield_now().await;
    }
    let again = Unanswered::connect_within(&limiter).await;
    assert!(again.client.send(Draw(rate, 200)).await.unwrap() > 0);
}

#[actix_rt::test]
async fn a_pause_ends_with_the_rate_limit_that_demanded_it() {
    let mut slowed = Unanswered::connect().await;
    let wait = slowed.client.send(Draw(DrawRate { messages: 1, bytes: 0 }, 10_000)).await.unwrap();
    assert!(wait > 1_000_000);
    slowed.ping().await;
    let ops = vec![ClientOp::DrawRate(DrawRate::UNLIMITED)];
    slowed.client.do_send(ToClient::Deliver { ops, session: None });
    let answered = tokio::time::timeout(Duration::from_secs(60), slowed.ping()).await;
    assert!(answered.is_ok(), "it is read from again");
}

#[actix_rt::test]
async fn the_tasks_of_an_idle_connection_are_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let limits = TimeLimits::of(Rules::default().settings());
    let shared = ConnShared::new(1, Context::<Client>::new().address(), limits, Arc::default());
    let tls = Tls { certificate: None, limit_ms: 0 };
    let carrying = carry(Opened::Tcp(accepted), ProxyHeader::Possible, tls, shared);
    let size = size_of_val(&carrying);
    assert!(
        size <= 1024,
        "{size} bytes: what handshakes and batches need is not for every connection to hold"
    );
}
