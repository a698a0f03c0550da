//! Two clients and a session, without sockets, actors and threads: their login machines, the session machine and their
//! outboxes, driven in one thread by a clock that moves only when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drawhall_protocol::command::{Host, RawCommand};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Disconnect, Layout, Message};
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::{Value, json};

use crate::actors::client::outbox::{Next, Outbox};
use crate::config::{Rules, ini};
use crate::rules::batch::Batch;
use crate::rules::login::{
    AccountCheck, Arrival, LoginEffect, LoginInput, LoginMachine, LoginSource, LookupAnswer,
};
use crate::rules::password;
use crate::rules::rng::Rng;
use crate::rules::session::effects::{ClientOp, ConnId, Cx, Effect};
use crate::rules::session::input::Input;
use crate::rules::session::{AuthenticatedClient, SessionMachine};
use crate::rules::time::Timestamp;

/// The client that hosts.
pub(super) const A: ConnId = 1;
/// The other one.
pub(super) const B: ConnId = 2;

const EXPIRY_INTERVAL_MS: u64 = 15_000;
const SESSION_ID: &str = "session";

/// A message that a client has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) kind: u8,
    pub(super) user: u8,
    pub(super) payload: Vec<u8>,
}

impl Received {
    fn json(&self) -> Value {
        if self.kind == 0 { serde_json::from_slice(&self.payload).unwrap() } else { Value::Null }
    }
}

/// Where a client is.
enum Phase {
    Login(Box<LoginMachine>, LoginSource),
    Session,
    /// The server has disconnected it, or it has left.
    Over,
}

/// A client, seen from the server.
struct Side {
    phase: Phase,
    /// Frames that it has sent and nobody has read.
    sent: VecDeque<Frame>,
    outbox: Outbox,
    received: Vec<Received>,
    /// When its connection is cut, monotonic milliseconds.
    cut_at: Option<u64>,
}

/// Two clients at one server, which has at most one session.
pub(super) struct Pair {
    rules: Arc<Rules>,
    session: Option<SessionMachine>,
    clients: BTreeMap<ConnId, Side>,
    rng: Rng,
    now: Timestamp,
    expiry_due: u64,
}

impl Pair {
    /// Both have connected and have got the greeting.
    pub(super) fn connect(config: &str) -> Pair {
        let (rules, errors) = Rules::new(ini::parse(config.as_bytes()), None, String::new());
        assert!(errors.is_empty(), "{errors:?}");
        let now = Timestamp { monotonic_ms: 1_000_000, utc_ms: 1_795_241_572_000 };
        let mut pair = Pair {
            rules: Arc::new(rules),
            session: None,
            clients: BTreeMap::new(),
            rng: Rng::from_seed([7; 32]),
            now,
            expiry_due: now.monotonic_ms + EXPIRY_INTERVAL_MS,
        };
        pair.reconnect(A);
        pair.reconnect(B);
        pair
    }

    /// Both are in a session that A hosts.
    pub(super) fn in_session(config: &str) -> Pair {
        let mut pair = Pair::connect(config);
        pair.host(A);
        pair.join(B);
        pair.forget();
        pair
    }

    /// A client connects, again if it was connected before.
    pub(super) fn reconnect(&mut self, conn: ConnId) {
        let arrival = Arrival {
            conn,
            address: "192.0.2.7".parse().unwrap(),
            browser: false,
            encrypted: false,
            must_encrypt: false,
            proxied: false,
            rng_seed: conn,
            utc_ms: self.now.utc_ms,
        };
        let (machine, greeting) = LoginMachine::new(self.rules.clone(), &arrival);
        let side = Side {
            phase: Phase::Login(Box::new(machine), LoginSource::new(&arrival)),
            sent: VecDeque::new(),
            outbox: Outbox::default(),
            received: Vec::new(),
            cut_at: None,
        };
        self.clients.insert(conn, side);
        self.perform_login(conn, greeting);
        self.drive();
    }

    /// Logs a client in and hosts a session, which runs.
    pub(super) fn host(&mut self, conn: ConnId) {
        self.ident(conn);
        self.command(conn, "host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": sid(conn)}));
        self.command(conn, "init-complete", json!([]), json!({}));
    }

    /// Logs a client in and joins the session.
    pub(super) fn join(&mut self, conn: ConnId) {
        self.ident(conn);
        self.command(conn, "join", json!([SESSION_ID]), json!({"s": sid(conn)}));
    }

    fn ident(&mut self, conn: ConnId) {
        self.command(conn, "ident", json!([if conn == A { "A" } else { "B" }]), json!({}));
    }

    /// A client closes its connection.
    pub(super) fn leave(&mut self, conn: ConnId) {
        let phase = std::mem::replace(&mut self.side(conn).phase, Phase::Over);
        if matches!(phase, Phase::Session) {
            self.feed(Input::Leave(conn));
        }
        self.drive();
    }

    pub(super) fn command(&mut self, conn: ConnId, cmd: &str, args: Value, kwargs: Value) {
        let command = json!({"cmd": cmd, "args": args, "kwargs": kwargs}).to_string();
        self.send(conn, &[(0, command.as_bytes())]);
    }

    /// A client sends messages at once.
    pub(super) fn send(&mut self, conn: ConnId, messages: &[(u8, &[u8])]) {
        let sent = messages.iter().map(|(kind, payload)| Frame::new(*kind, 0, payload).unwrap());
        self.side(conn).sent.extend(sent);
        self.drive();
    }

    /// Time passes, with everything that happens meanwhile.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now.monotonic_ms + ms;
        loop {
            let deadline = self.session.as_ref().and_then(SessionMachine::next_deadline);
            let cut = self.clients.values().filter_map(|side| side.cut_at).min();
            let due = [deadline, cut, Some(self.expiry_due)].into_iter().flatten().min().unwrap_or(until);
            if due > until {
                return self.set_time(until);
            }
            self.set_time(due);
            if self.expiry_due <= due {
                self.expiry_due += EXPIRY_INTERVAL_MS;
                self.feed(Input::Expire);
            }
            if deadline.is_some_and(|deadline| deadline <= due) {
                self.feed(Input::Tick);
            }
            for side in self.clients.values_mut().filter(|side| side.cut_at.is_some_and(|at| at <= due)) {
                (side.phase, side.cut_at) = (Phase::Over, None);
            }
            self.drive();
        }
    }

    fn set_time(&mut self, monotonic_ms: u64) {
        let passed = monotonic_ms.saturating_sub(self.now.monotonic_ms);
        self.now.monotonic_ms += passed;
        self.now.utc_ms += passed as i64;
    }

    /// What was received so far does not count any more.
    pub(super) fn forget(&mut self) {
        self.clients.values_mut().for_each(|side| side.received.clear());
    }

    /// What a client has received of these types, in order.
    pub(super) fn received(&self, conn: ConnId, kinds: &[u8]) -> Vec<Received> {
        let received = self.clients[&conn].received.iter();
        received.filter(|message| kinds.contains(&message.kind)).cloned().collect()
    }

    /// Payloads that a client has received in messages of this type.
    pub(super) fn payloads(&self, conn: ConnId, kind: u8) -> Vec<Vec<u8>> {
        self.received(conn, &[kind]).into_iter().map(|message| message.payload).collect()
    }

    /// The last reply to a client that is like this.
    pub(super) fn reply(&self, conn: ConnId, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        self.clients[&conn].received.iter().rev().map(Received::json).find(is_it)
    }

    /// The text of the `Disconnect` with which the server has ended a client's connection.
    pub(super) fn goodbye(&self, conn: ConnId) -> Option<String> {
        let last = self.clients[&conn].received.last().filter(|last| last.kind == Disconnect::TYPE)?;
        Some(String::from_utf8_lossy(&last.payload[1..]).into_owned())
    }

    /// The session, while it is there.
    pub(super) fn session(&self) -> Option<&SessionMachine> {
        self.session.as_ref()
    }

    fn side(&mut self, conn: ConnId) -> &mut Side {
        self.clients.get_mut(&conn).unwrap()
    }

    /// Handles everything that was sent, and sends everything that follows, until all is quiet.
    fn drive(&mut self) {
        while let Some((conn, side)) = self.clients.iter_mut().find(|(_, side)| !side.sent.is_empty()) {
            let conn = *conn;
            match &side.phase {
                Phase::Over => side.sent.clear(),
                Phase::Login(..) => {
                    let frame = side.sent.pop_front().unwrap();
                    self.feed_login(conn, LoginInput::Command(RawCommand::parse(frame.payload())));
                }
                Phase::Session => {
                    let frames: Vec<Frame> = side.sent.drain(..).collect();
                    let bytes = frames.iter().map(Frame::as_bytes).collect::<Vec<_>>().concat();
                    self.feed(Input::Batch { conn, batch: Batch::new(bytes) });
                }
            }
        }
        self.clients.values_mut().for_each(Side::write);
    }

    fn feed_login(&mut self, conn: ConnId, input: LoginInput) {
        let Phase::Login(machine, source) = &mut self.side(conn).phase else { return };
        let mut cx = source.cx();
        machine.handle(input, &mut cx);
        for effect in cx.effects {
            self.perform_login(conn, effect);
        }
    }

    fn perform_login(&mut self, conn: ConnId, effect: LoginEffect) {
        match effect {
            LoginEffect::Send(reply) => self.side(conn).push(reply.to_frame().unwrap()),
            LoginEffect::Disconnect { message, .. } => self.side(conn).disconnect(0, message),
            LoginEffect::CutAfter(ms) => self.side(conn).cut_at = Some(self.now.monotonic_ms + ms),
            LoginEffect::CheckAccount { .. } => {
                self.feed_login(conn, LoginInput::Account(AccountCheck::NotFound));
            }
            LoginEffect::LookUp { session, invite, .. } => {
                let found = self.session.as_ref().filter(|s| s.id() == session);
                let answer = found.map(|s| s.description(!invite.is_empty(), self.now));
                let answer =
                    answer.map_or(LookupAnswer::NotFound, |found| LookupAnswer::Found(Box::new(found)));
                self.feed_login(conn, LoginInput::LookedUp(answer));
            }
            LoginEffect::FindSession { session } => {
                let found = self.session.as_ref().filter(|s| s.id() == session);
                let found = found.map(|s| (s.id().to_owned(), s.protocol().clone()));
                self.feed_login(conn, LoginInput::SessionFound(found));
            }
            LoginEffect::Join(request) => self.feed(Input::Join(request)),
            LoginEffect::Host { host, protocol, client } => self.start_session(host, protocol, client),
            LoginEffect::EnterLobby { .. } | LoginEffect::Log(..) | LoginEffect::Report { .. } => {}
            LoginEffect::StartTls | LoginEffect::QueryExtAuth { .. } => {
                panic!("this server has neither a certificate nor an auth server")
            }
        }
    }

    fn start_session(
        &mut self,
        host: Box<Host>,
        protocol: ProtocolVersion,
        client: Box<AuthenticatedClient>,
    ) {
        assert!(self.session.is_none(), "one session at a time");
        let (shared, founder) = (self.rules.shared.clone(), client.identity.name.clone());
        let machine =
            SessionMachine::new(shared, SESSION_ID.into(), host.alias.clone(), protocol, founder, self.now);
        self.session = Some(machine);
        self.feed(Input::Host { client, host });
    }

    /// Gives the session an input, and performs its effects.
    fn feed(&mut self, input: Input) {
        let Some(session) = &mut self.session else { return };
        session.snapshot_reader_offsets(&Input::Tick);
        let mut cx = Cx::new(self.now, &mut self.rng);
        session.handle(input, &mut cx);
        let effects = cx.effects;
        session.drain_writes();
        session.publish();
        let key = session.crypt_key();
        for effect in effects {
            match effect {
                Effect::Client(conn, op) => self.apply(conn, op),
                Effect::CheckOpword(check) => {
                    let is_right = password::verify(&check.opword, &check.hash);
                    self.feed(Input::OpwordChecked(check, is_right));
                }
                Effect::ExchangeBans(exchange) => {
                    self.feed(Input::BansExchanged(exchange.perform(key.as_ref())));
                }
                Effect::End(_) => self.session = None,
                _ => {}
            }
        }
    }

    fn apply(&mut self, conn: ConnId, op: ClientOp) {
        let side = self.side(conn);
        match op {
            ClientOp::Direct(bytes) => side.outbox.push(bytes, false).unwrap(),
            ClientOp::Joined { .. } => side.phase = Phase::Session,
            ClientOp::Refused(refusal) => self.feed_login(conn, LoginInput::Refused(refusal)),
            ClientOp::Attach(cursor) => side.outbox.attach(cursor),
            ClientOp::FollowReset { epoch } => side.outbox.follow_reset(epoch),
            ClientOp::Disconnect { reason, message } => side.disconnect(reason as u8, message),
            ClientOp::Pause
            | ClientOp::Moved(_)
            | ClientOp::Quiet
            | ClientOp::Released
            | ClientOp::DrawRate(_) => {}
        }
    }
}

/// The system id of a client.
fn sid(conn: ConnId) -> String {
    format!("{conn:032x}")
}

impl Side {
    fn push(&mut self, frame: Frame) {
        self.outbox.push(frame.into_bytes(), false).unwrap();
    }

    fn disconnect(&mut self, reason: u8, message: String) {
        let goodbye = Message::from(Disconnect { reason, message });
        self.push(goodbye.to_frame(0, Layout::V4_25).unwrap());
        self.outbox.close();
        self.phase = Phase::Over;
    }

    /// Sends what is in the outbox.
    fn write(&mut self) {
        loop {
            let mut out = Vec::new();
            let next = self.outbox.gather(1 << 20, &mut out);
            assert!(!matches!(next, Next::Lost | Next::Fetch(_)), "the history is in memory");
            for frame in out.iter().flat_map(|bytes| frames(bytes)) {
                let (kind, user) = (frame.header.kind, frame.header.user);
                self.received.push(Received { kind, user, payload: frame.payload().to_vec() });
            }
            if out.is_empty() || matches!(next, Next::End) {
                return;
            }
        }
    }
}
