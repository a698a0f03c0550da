//! A client between actors that nobody runs.

use crate::actors::messages::ToClient;
use crate::actors::server::Server;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::ServerCommand;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::rules::login::{LoginInput, LookupAnswer};
use crate::rules::session::ClientOp;
use crate::transport::connection_limiter::ConnectionLimiter;

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

impl Unanswered {
    async fn connect() -> Unanswered {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        let (server, auth) = (Context::<Server>::new(), Context::<Auth>::new());
        let rules = Arc::new(Rules::default());
        let permit = ConnectionLimiter::default().enter(peer.ip(), rules.settings()).unwrap();
        let context = ClientContext {
            rules,
            server: server.address().into(),
            auth: auth.address(),
            certificate: None,
            trace: None,
            websocket_port: None,
            metrics: Arc::default(),
        };
        let client = Client::start(Opened::Tcp(accepted), 1, permit, context);
        Unanswered { stream, client, _server: server, _auth: auth }
    }

    async fn command(&mut self, json: &str) {
        let frame = drawhall_protocol::Frame::new(ServerCommand::TYPE, 0, json.as_bytes()).unwrap();
        self.stream.write_all(frame.as_bytes()).await.unwrap();
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
