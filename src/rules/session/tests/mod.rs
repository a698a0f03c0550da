//! The rules of a session, tried without sockets, clocks or tasks.

mod accidents;
mod chat_commands;
mod commands;
mod compaction;
mod draw_rates;
mod hand_over;
mod joining;
mod lists;
mod misuse;
mod model;
mod odd_resets;
mod resets;
mod restrictions;
mod restrictions_stored;
mod rollback;
mod settings;
mod space;
mod stored;
mod stream;
mod table;
mod thumbnail;
mod times;
mod traffic;
mod user_locks;

use std::collections::BTreeMap;
use std::sync::Arc;

use drawhall_protocol::command::{Host, RawCommand};
use drawhall_protocol::frame::frames;
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::{Value, json};

use super::bans::Identity;
use super::*;
use crate::config::Settings;
use crate::history::Cursor;
use crate::rules::batch::Batch;

/// A client as the rules see it, with everything that it was sent.
#[derive(Default)]
struct Seat {
    direct: Vec<Value>,
    /// Direct messages that are no server replies: type, user, payload.
    frames: Vec<(u8, u8, Vec<u8>)>,
    /// What came from the history since the last look.
    history: Vec<(u8, u8, Vec<u8>)>,
    cursor: Option<Cursor>,
    user: u8,
    refused: Option<Refusal>,
    gone: Option<(DisconnectReason, String)>,
    /// Its writer is blocked: what it is sent waits.
    blocked: bool,
    waiting: Vec<ClientOp>,
    draw_rate: crate::rules::limits::DrawRate,
}

/// A session and its clients.
struct Table {
    machine: SessionMachine,
    rng: Rng,
    seats: BTreeMap<ConnId, Seat>,
    /// The connections of people who have come again over another one.
    rejoined: BTreeMap<u8, ConnId>,
    now: Timestamp,
    changed: usize,
    ended: bool,
}

const A: ConnId = 1;
const B: ConnId = 2;
const C: ConnId = 3;

fn client(conn: ConnId, name: &str) -> AuthenticatedClient {
    let identity = Identity {
        name: name.into(),
        address: "192.0.2.1".parse().ok(),
        auth_id: String::new(),
        sid: format!("sid-{conn}"),
    };
    let flags = ["HOST", "WEB", "WEBSESSION", "WEBHOST"].map(str::to_owned).to_vec();
    AuthenticatedClient { conn, identity, flags, ..AuthenticatedClient::default() }
}

fn account(conn: ConnId, name: &str) -> AuthenticatedClient {
    let mut client = client(conn, name);
    client.identity.auth_id = format!("internal:{name}");
    client
}

fn moderator(conn: ConnId, name: &str) -> AuthenticatedClient {
    AuthenticatedClient { moderator: true, ..account(conn, name) }
}

impl Table {
    /// A session that A has hosted and is still uploading.
    fn hosting(settings: Settings) -> Table {
        let (names, _) = crate::config::name_rules::NameRules::new(&settings);
        let shared = ServerSettings {
            settings: Arc::new(settings),
            names: Arc::new(names),
            ..ServerSettings::default()
        };
        let now = Timestamp { monotonic_ms: 1_000_000, utc_ms: 1_795_241_572_000 };
        let version = ProtocolVersion::dp(4, 24, 0);
        let machine = SessionMachine::new(shared, "id".into(), String::new(), version, "A".into(), now);
        let mut table = Table {
            machine,
            rng: Rng::from_seed([7; 32]),
            seats: BTreeMap::new(),
            rejoined: BTreeMap::new(),
            now,
            changed: 0,
            ended: false,
        };
        table.host(client(A, "A"), Host::default());
        table
    }

    /// A session that runs, with A as its operator.
    fn running(settings: Settings) -> Table {
        let mut table = Self::hosting(settings);
        table.send(A, &[canvas()]);
        table.command(A, "init-complete", json!([]), json!({}));
        table
    }

    /// The same with B and C in it.
    fn of_three() -> Table {
        let mut table = Self::running(Settings::default());
        table.join(client(B, "B"));
        table.join(client(C, "C"));
        table.forget();
        table
    }

    fn host(&mut self, client: AuthenticatedClient, host: Host) {
        self.seats.insert(client.conn, Seat::default());
        self.act(|machine, cx| {
            machine.set_up(&host, &client);
            machine.host(client, 1, cx);
        });
    }

    fn join(&mut self, client: AuthenticatedClient) -> Option<Refusal> {
        self.join_as(JoinRequest { client, ..JoinRequest::default() })
    }

    fn join_as(&mut self, request: JoinRequest) -> Option<Refusal> {
        let conn = request.client.conn;
        self.seats.insert(conn, Seat::default());
        self.act(|machine, cx| machine.join(request, cx));
        self.seats[&conn].refused.clone()
    }

    fn leave(&mut self, conn: ConnId) {
        self.act(|machine, cx| machine.leave(conn, cx));
    }

    fn send(&mut self, conn: ConnId, messages: &[Frame]) {
        let bytes = messages.iter().map(Frame::as_bytes).collect::<Vec<_>>().concat();
        self.act(|machine, cx| {
            machine.batch(conn, Batch::new(bytes), cx);
        });
    }

    fn command(&mut self, conn: ConnId, cmd: &str, args: Value, kwargs: Value) {
        let raw = RawCommand {
            cmd: cmd.into(),
            args: args.as_array().cloned().unwrap_or_default(),
            kwargs: kwargs.as_object().cloned().unwrap_or_default(),
        };
        let json = serde_json::to_vec(&raw).unwrap();
        self.send(conn, &[Frame::new(0, 0, &json).unwrap()]);
    }

    fn wait(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.utc_ms += ms as i64;
        self.act(SessionMachine::tick);
    }

    fn act(&mut self, input: impl FnOnce(&mut SessionMachine, &mut Cx<'_>)) {
        let attached: Vec<ConnId> = self
            .seats
            .iter()
            .filter(|(_, s)| s.cursor.is_some() && !s.blocked)
            .map(|(conn, _)| *conn)
            .collect();
        let mut cx = Cx::new(self.now, &mut self.rng);
        input(&mut self.machine, &mut cx);
        let effects = cx.effects;
        self.changed += usize::from(effects.iter().any(|e| matches!(e, Effect::DescriptionChanged)));
        let mut exchanges = Vec::new();
        for effect in effects {
            match effect {
                Effect::Client(conn, op) => {
                    let seat = self.seats.get_mut(&conn).expect("a seat");
                    if seat.blocked { seat.waiting.push(op) } else { seat.apply(op) }
                }
                Effect::End(_) => self.ended = true,
                Effect::ExchangeBans(exchange) => exchanges.push(exchange),
                _ => {}
            }
        }
        self.machine.publish();
        self.exchange_bans(exchanges);
        let mut news = BTreeMap::new();
        for (conn, seat) in &mut self.seats {
            let known = seat.history.len();
            if !seat.blocked {
                seat.read_history();
            }
            if seat.cursor.is_some() && !seat.blocked {
                news.insert(*conn, seat.history[known..].to_vec());
            }
        }
        // Whatever is tried here: those who had the history before have the same news of it now.
        let mut same = attached.iter().filter_map(|conn| news.get(conn));
        let first = same.next();
        assert!(same.all(|other| Some(other) == first), "everybody is told the same");
    }

    /// What an input wants done, not performed.
    fn effects(&mut self, input: impl FnOnce(&mut SessionMachine, &mut Cx<'_>)) -> Vec<Effect> {
        let mut cx = Cx::new(self.now, &mut self.rng);
        input(&mut self.machine, &mut cx);
        cx.effects
    }

    /// Reads and writes ban lists, as the actor has done elsewhere.
    fn exchange_bans(&mut self, exchanges: Vec<BanExchange>) {
        for exchange in exchanges {
            let done = exchange.perform(self.machine.crypt_key().as_ref());
            self.act(|machine, cx| machine.bans_exchanged(done, cx));
        }
    }

    fn seat(&mut self, conn: ConnId) -> &mut Seat {
        self.seats.get_mut(&conn).expect("a seat")
    }

    /// Everything that was received so far does not count any more.
    fn forget(&mut self) {
        for seat in self.seats.values_mut() {
            seat.direct.clear();
            seat.frames.clear();
            seat.history.clear();
        }
        self.changed = 0;
    }

    /// Types and users of what came from the history, in order.
    fn history(&self, conn: ConnId) -> Vec<(u8, u8)> {
        self.seats[&conn].history.iter().map(|(kind, user, _)| (*kind, *user)).collect()
    }

    /// Direct replies of a type.
    fn replies(&self, conn: ConnId, kind: &str) -> Vec<Value> {
        self.seats[&conn].direct.iter().filter(|v| v["type"] == kind).cloned().collect()
    }

    /// The last refusal of a command.
    fn error(&self, conn: ConnId) -> String {
        let last = self.replies(conn, "error").pop();
        last.map_or(String::new(), |v| v["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Keys of notices and alerts.
    fn keys(&self, conn: ConnId) -> Vec<String> {
        let notices = self.seats[&conn].direct.iter().filter(|v| v["type"] == "msg" || v["type"] == "alert");
        notices.filter_map(|v| v["T"].as_str().map(str::to_owned)).collect()
    }

    /// The last partial `sessionconf` with this member.
    fn part(&self, conn: ConnId, member: &str) -> Option<Value> {
        let confs = self.replies(conn, "sessionconf");
        confs.iter().rev().find_map(|v| v["config"].get(member).cloned())
    }

    /// The newest complete settings in the history.
    fn settings(&mut self) -> Value {
        let bytes = self.machine.history().to_bytes();
        let confs = frames(&bytes).filter(|f| f.header.kind == 0);
        let confs = confs.filter_map(|f| serde_json::from_slice::<Value>(f.payload()).ok());
        let last = confs.filter(|v| v["type"] == "sessionconf").last();
        last.expect("settings")["config"].clone()
    }

    fn member(&self, conn: ConnId) -> &Member {
        self.machine.members().iter().find(|m| m.conn() == conn).expect("a member")
    }
}

impl Seat {
    /// Takes what has waited.
    fn unblock(&mut self) {
        self.blocked = false;
        for op in std::mem::take(&mut self.waiting) {
            self.apply(op);
        }
        self.read_history();
    }

    fn apply(&mut self, op: ClientOp) {
        assert!(self.gone.is_none(), "nothing is sent after a goodbye");
        match op {
            ClientOp::Direct(bytes) => {
                for frame in frames(&bytes) {
                    match frame.header.kind {
                        0 => self.direct.push(serde_json::from_slice(frame.payload()).unwrap()),
                        kind => self.frames.push((kind, frame.header.user, frame.payload().to_vec())),
                    }
                }
            }
            ClientOp::Joined { user } => self.user = user,
            ClientOp::Refused(refusal) => self.refused = Some(refusal),
            ClientOp::Attach(cursor) => self.cursor = Some(cursor),
            ClientOp::FollowReset { epoch } => {
                if let Some(cursor) = &mut self.cursor {
                    cursor.follow_reset(epoch);
                }
            }
            ClientOp::Quiet | ClientOp::Pause | ClientOp::Moved(_) => {}
            ClientOp::Disconnect { reason, message } => {
                self.gone = Some((reason, message));
                self.cursor = None;
            }
            ClientOp::DrawRate(rate) => self.draw_rate = rate,
            ClientOp::Released => {}
        }
    }

    fn read_history(&mut self) {
        let Some(cursor) = &mut self.cursor else { return };
        let mut out = Vec::new();
        while matches!(cursor.read(1 << 20, &mut out), crate::history::Read::Some) {}
        let bytes = out.concat();
        let messages = frames(&bytes).map(|f| (f.header.kind, f.header.user, f.payload().to_vec()));
        self.history.extend(messages);
    }
}

fn canvas() -> Frame {
    Frame::new(129, 1, &[0; 16]).unwrap()
}

/// A stroke of `len` bytes.
fn dab(len: usize) -> Frame {
    Frame::new(148, 99, &vec![7; len]).unwrap()
}

fn chat(text: &str, bypass: bool) -> Frame {
    Frame::new(35, 99, &[&[u8::from(bypass), 0], text.as_bytes()].concat()).unwrap()
}
