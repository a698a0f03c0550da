//! Shared by several targets: JSON that is nearly valid, and a session with users.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use drawhall::config::ServerSettings;
use drawhall::config::{Settings, name_rules::NameRules};
use drawhall::history::{Cursor, Read};
use drawhall::rules::batch::Batch;
use drawhall::rules::rng::Rng;
use drawhall::rules::session::bans::Identity;
use drawhall::rules::session::{
    AuthenticatedClient, ClientOp, ConnId, Cx, Effect, JoinRequest, SessionMachine,
};
use drawhall::rules::time::Timestamp;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::{Host, RawCommand};
use drawhall_protocol::frame::whole_frames_len;
use drawhall_protocol::{Frame, frame::frames};
use serde_json::{Map, Value};

/// Values of arguments with a meaning to some command, separated by blanks.
const WORDS: &str = "id A u1 guest auth extauth host join dp:4.25.1 dp:4.24.0 1 254 all image current secret pAAAA \
    0123456789abcdef0123456789abcdef KEEPALIVE,THUMBNAIL 2.3.1";
/// Names of arguments, separated by blanks.
const KEYS: &str = "intent avatar extauth protocol user_id alias password opword web capabilities s m app_version \
    protocol_version qt_version os nsfm persistent title maxUserCount resetThreshold authOnly preserveChat deputies \
    type reason id correlator data payload net pings messageCount trust op maxUses secret url session plain allowWeb \
    invites unlisted founder archive idleOverride sizeLimitOverride hidx oldv ban expires";

/// An item of a list that is separated by blanks.
pub fn pick(list: &str, index: u8) -> &str {
    let count = list.split_whitespace().count();
    list.split_whitespace().nth(usize::from(index) % count).unwrap_or_default()
}

/// A JSON value.
#[derive(Debug, Arbitrary)]
pub enum Json {
    Null,
    Bool(bool),
    Small(i8),
    Integer(i64),
    Float(f64),
    Word(u8),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(u8, Json)>),
}

impl From<Json> for Value {
    fn from(json: Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => value.into(),
            Json::Small(value) => value.into(),
            Json::Integer(value) => value.into(),
            Json::Float(value) => value.into(),
            Json::Word(index) => pick(WORDS, index).into(),
            Json::Text(text) => text.into(),
            Json::List(list) => list.into_iter().map(Value::from).collect(),
            Json::Object(members) => Value::Object(object(members)),
        }
    }
}

fn object(members: Vec<(u8, Json)>) -> Map<String, Value> {
    let key = |index: u8| pick(KEYS, index).to_owned();
    members.into_iter().map(|(index, value)| (key(index), value.into())).collect()
}

/// A command with a name of a list.
#[derive(Debug, Arbitrary)]
pub struct Command {
    name: u8,
    args: Vec<Json>,
    kwargs: Vec<(u8, Json)>,
}

impl Command {
    /// The command, with one of these names.
    pub fn into_raw(self, names: &str) -> RawCommand {
        RawCommand {
            cmd: pick(names, self.name).to_owned(),
            args: self.args.into_iter().map(Value::from).collect(),
            kwargs: object(self.kwargs),
        }
    }
}

/// A command as a frame.
pub fn command_frame(raw: &RawCommand) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(raw).ok()?;
    Some(Frame::new(0, 0, &json).ok()?.into_bytes().to_vec())
}

/// A session, and what its clients have received.
pub struct TestSession {
    pub machine: SessionMachine,
    rng: Rng,
    pub now: Timestamp,
    pub ended: bool,
    /// The last 50 JSON replies of the server, to all clients.
    pub replies: Vec<Value>,
    cursors: BTreeMap<ConnId, Cursor>,
}

/// A client that can join.
pub fn client(conn: ConnId) -> AuthenticatedClient {
    let identity = Identity {
        name: format!("u{conn}"),
        address: "192.0.2.1".parse().ok(),
        auth_id: if conn % 3 == 0 { format!("internal:{conn}") } else { String::new() },
        sid: format!("sid-{conn}"),
    };
    let flags = ["HOST", "WEB", "WEBSESSION", "WEBHOST"].map(str::to_owned).to_vec();
    AuthenticatedClient { conn, identity, flags, moderator: conn == 7, ..AuthenticatedClient::default() }
}

impl TestSession {
    /// A session that is hosted by `u1` on connection 1.
    pub fn running(settings: Settings) -> TestSession {
        let (names, _) = NameRules::new(&settings);
        let shared = ServerSettings {
            settings: Arc::new(settings),
            names: Arc::new(names),
            crypt_key: Some([7; 32]),
            ..ServerSettings::default()
        };
        let now = Timestamp { monotonic_ms: 1_000_000, utc_ms: 1_795_241_572_000 };
        let version = ProtocolVersion::dp(4, 25, 1);
        let machine = SessionMachine::new(shared, "id".into(), String::new(), version, "u1".into(), now);
        let (ended, replies, cursors) = (false, Vec::new(), BTreeMap::new());
        let mut session = TestSession { machine, rng: Rng::from_seed([7; 32]), now, ended, replies, cursors };
        session.act(|machine, cx| {
            let host = client(1);
            machine.set_up(&Host::default(), &host);
            machine.host(host, 1, cx);
        });
        session.command(1, &RawCommand { cmd: "init-complete".into(), ..RawCommand::default() });
        session
    }

    /// Runs an input on the session; all clients then receive the effects and read the history. Checks that frames
    /// are complete and user ids unique.
    pub fn act(&mut self, input: impl FnOnce(&mut SessionMachine, &mut Cx<'_>)) {
        if self.ended {
            return;
        }
        let mut cx = Cx::new(self.now, &mut self.rng);
        input(&mut self.machine, &mut cx);
        let effects = cx.effects;
        self.machine.publish();
        self.ended |= effects.iter().any(|effect| matches!(effect, Effect::End(_)));
        for effect in effects {
            let Effect::Client(conn, op) = effect else { continue };
            match op {
                ClientOp::Direct(bytes) => {
                    assert_eq!(whole_frames_len(&bytes), bytes.len(), "whole messages only");
                    for frame in frames(&bytes).filter(|f| f.header.kind == 0) {
                        self.replies.push(serde_json::from_slice(frame.payload()).expect("replies are JSON"));
                    }
                }
                ClientOp::Attach(cursor) => drop(self.cursors.insert(conn, cursor)),
                ClientOp::FollowReset { epoch } => {
                    if let Some(cursor) = self.cursors.get_mut(&conn) {
                        cursor.follow_reset(epoch);
                    }
                }
                ClientOp::Disconnect { .. } | ClientOp::Refused(_) | ClientOp::Quiet => {
                    drop(self.cursors.remove(&conn));
                }
                ClientOp::Joined { .. }
                | ClientOp::Released
                | ClientOp::DrawRate(_)
                | ClientOp::Pause
                | ClientOp::Moved(_) => {}
            }
        }
        self.replies.drain(..self.replies.len().saturating_sub(50));
        for cursor in self.cursors.values_mut() {
            let mut out = Vec::new();
            while matches!(cursor.read(1 << 20, &mut out), Read::Some) {
                let bytes = std::mem::take(&mut out).concat();
                assert_eq!(whole_frames_len(&bytes), bytes.len(), "whole messages only");
            }
        }
        let mut ids: Vec<u8> = self.machine.members().iter().map(|m| m.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), self.machine.members().len(), "user ids are unique");
        assert!(!ids.contains(&0) && !ids.contains(&255));
    }

    /// A client joins, unless it has already.
    pub fn join(&mut self, conn: ConnId, password: String, hidx: String) {
        if !self.machine.members().iter().any(|m| m.conn() == conn) {
            let request = JoinRequest { client: client(conn), password, hidx, ..JoinRequest::default() };
            self.act(|machine, cx| machine.join(request, cx));
        }
    }

    /// A client leaves.
    pub fn leave(&mut self, conn: ConnId) {
        self.cursors.remove(&conn);
        self.act(|machine, cx| machine.leave(conn, cx));
    }

    /// A client sends complete frames.
    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if self.machine.members().iter().any(|m| m.conn() == conn) {
            self.act(|machine, cx| {
                let _held = machine.batch(conn, Batch::new(bytes), cx);
            });
        }
    }

    /// A client sends a command.
    pub fn command(&mut self, conn: ConnId, raw: &RawCommand) {
        if let Some(frame) = command_frame(raw) {
            self.send(conn, frame);
        }
    }

    /// Advances the clocks and runs the timers.
    pub fn wait(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.utc_ms += ms as i64;
        self.act(SessionMachine::tick);
        self.act(SessionMachine::expire);
    }
}
