//! Random conversations against what must always hold.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;
use crate::rules::journal::Entry;
use crate::rules::metadata::Metadata;
use crate::rules::session::accounts::Accounts;
use crate::rules::session::bans::BanList;
use crate::rules::session::invites::Invites;

#[derive(Debug, Clone)]
enum Step {
    Join(u8),
    Leave(u8),
    Draw(u8, u8),
    Op(u8, Vec<u8>),
    Kick(u8, u8, bool),
    Reset(u8),
    Image(u8),
    Complete(u8),
    Cancel(u8),
    Ready(u8, bool),
    StreamStart(u8),
    StreamChunk(u8),
    StreamFinish(u8, bool),
    /// All of a streamed reset, as far as it goes.
    Stream(u8),
    Wait(u16),
    Settings(u8, bool),
    Title(u8, u8),
    Invite(u8, bool),
    Uninvite(u8),
    RemoveBan(u8, u8),
    /// Drawings and a command in one write.
    Burst(u8, Vec<u8>, Spoken),
    /// Nothing that is sent to the client is taken, until it is.
    Block(u8, bool),
    /// The client comes again over another connection while the old one still counts, with what it has of the history.
    Rejoin(u8),
}

/// What ends a [`Step::Burst`].
#[derive(Debug, Clone, Copy)]
enum Spoken {
    Kill,
    Complete,
    Cancel,
    Owners,
    Chat,
    Forbidden,
}

fn spoken() -> impl Strategy<Value = Spoken> {
    prop::sample::select(vec![
        Spoken::Kill,
        Spoken::Complete,
        Spoken::Cancel,
        Spoken::Owners,
        Spoken::Chat,
        Spoken::Forbidden,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 1u8..6;
    prop_oneof![
        4 => who().prop_map(Step::Join),
        2 => who().prop_map(Step::Leave),
        8 => (who(), 1u8..200).prop_map(|(w, n)| Step::Draw(w, n)),
        2 => (who(), prop::collection::vec(1u8..8, 0..4)).prop_map(|(w, ids)| Step::Op(w, ids)),
        1 => (who(), 1u8..8, any::<bool>()).prop_map(|(w, id, ban)| Step::Kick(w, id, ban)),
        1 => who().prop_map(Step::Reset),
        3 => who().prop_map(Step::Image),
        2 => who().prop_map(Step::Complete),
        1 => who().prop_map(Step::Cancel),
        3 => (who(), any::<bool>()).prop_map(|(w, s)| Step::Ready(w, s)),
        3 => who().prop_map(Step::StreamStart),
        3 => who().prop_map(Step::StreamChunk),
        3 => (who(), any::<bool>()).prop_map(|(w, right)| Step::StreamFinish(w, right)),
        3 => who().prop_map(Step::Stream),
        2 => (1u16..40_000).prop_map(Step::Wait),
        1 => (who(), any::<bool>()).prop_map(|(w, on)| Step::Settings(w, on)),
        1 => (who(), 0u8..9).prop_map(|(w, n)| Step::Title(w, n)),
        1 => (who(), any::<bool>()).prop_map(|(w, op)| Step::Invite(w, op)),
        1 => who().prop_map(Step::Uninvite),
        1 => (who(), 1u8..4).prop_map(|(w, id)| Step::RemoveBan(w, id)),
        4 => (who(), prop::collection::vec(1u8..250, 1..12), spoken()).prop_map(|(w, sizes, last)| {
            Step::Burst(w, sizes, last)
        }),
        3 => (who(), any::<bool>()).prop_map(|(w, blocked)| Step::Block(w, blocked)),
        3 => who().prop_map(Step::Rejoin),
    ]
}

/// Whoever has this number.
fn identity(who: u8) -> AuthenticatedClient {
    match who {
        5 => moderator(5, "M"),
        4 => account(4, "D"),
        1 => client(A, "A"),
        n => client(n.into(), &format!("u{n}")),
    }
}

pub(super) fn one_stroke() -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(dab(2).as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Table {
    /// Performs a step if the client is there; those who were sent away are forgotten.
    fn step(&mut self, step: &Step) {
        let here = |t: &Table, who: u8| t.machine.members().iter().any(|m| m.conn() == t.conn_of(who));
        let command = |t: &mut Table, who: u8, cmd: &str, args: Value, kwargs: Value| {
            t.command(t.conn_of(who), cmd, args, kwargs);
        };
        match step {
            Step::Join(who) if !here(self, *who) => {
                self.rejoined.remove(who);
                self.join(identity(*who));
            }
            Step::Rejoin(who) if here(self, *who) => self.rejoin(*who),
            Step::Block(who, true) if here(self, *who) => self.seat(self.conn_of(*who)).blocked = true,
            Step::Block(who, false) if here(self, *who) => self.seat(self.conn_of(*who)).unblock(),
            Step::Burst(who, sizes, last) if here(self, *who) => self.burst(*who, sizes, *last),
            Step::Wait(ms) => self.wait((*ms).into()),
            Step::Leave(who) if here(self, *who) => {
                let conn = self.conn_of(*who);
                self.leave(conn);
                self.seats.remove(&conn);
            }
            Step::Draw(who, n) if here(self, *who) => self.send(self.conn_of(*who), &[dab(usize::from(*n))]),
            Step::Op(who, ids) if here(self, *who) => {
                self.send(self.conn_of(*who), &[Frame::new(34, 0, ids).unwrap()]);
            }
            Step::Kick(who, id, ban) if here(self, *who) => {
                command(self, *who, "kick-user", json!([id]), json!({"ban": ban}));
            }
            Step::Reset(who) if here(self, *who) => {
                command(self, *who, "reset-session", json!([]), json!({}))
            }
            Step::Image(who) if here(self, *who) => self.send(self.conn_of(*who), &[canvas()]),
            Step::Complete(who) if here(self, *who) => {
                command(self, *who, "init-complete", json!([]), json!({}))
            }
            Step::Cancel(who) if here(self, *who) => command(self, *who, "init-cancel", json!([]), json!({})),
            Step::Ready(who, stream) if here(self, *who) => {
                let capabilities = if *stream { json!(["gzip1"]) } else { json!([]) };
                command(self, *who, "ready-to-autoreset", json!([]), json!({"capabilities": capabilities}));
            }
            Step::StreamStart(who) if here(self, *who) => {
                let correlator = self.machine.resets.requested_correlator().unwrap_or("").to_owned();
                command(self, *who, "stream-reset-start", json!([correlator]), json!({}));
            }
            Step::StreamChunk(who) if here(self, *who) => {
                self.send(self.conn_of(*who), &[Frame::new(39, 0, &one_stroke()).unwrap()]);
            }
            Step::StreamFinish(who, right) if here(self, *who) => {
                command(self, *who, "stream-reset-finish", json!([if *right { 1 } else { 3 }]), json!({}));
            }
            Step::Stream(who) if here(self, *who) => {
                self.send(self.conn_of(*who), &[dab(800), dab(800)]);
                let parts = [
                    Step::Ready(*who, true),
                    Step::Wait(3000),
                    Step::StreamStart(*who),
                    Step::StreamChunk(*who),
                    Step::StreamFinish(*who, true),
                ];
                parts.iter().for_each(|part| self.step(part));
            }
            Step::Settings(who, on) if here(self, *who) => {
                command(self, *who, "sessionconf", json!([]), json!({"deputies": on}));
            }
            Step::Title(who, n) if here(self, *who) => {
                let change = json!({"title": format!(" T {n} \n"), "maxUserCount": 200 + n, "resetThreshold": 3000 + u32::from(*n)});
                command(self, *who, "sessionconf", json!([]), change);
            }
            Step::Invite(who, op) if here(self, *who) => {
                command(self, *who, "invite-create", json!([]), json!({"maxUses": 3, "op": op}));
            }
            Step::Uninvite(who) if here(self, *who) => {
                let secret = self.machine.moderation.invites.entries().first().map(|i| i.secret.clone());
                command(self, *who, "invite-remove", json!([secret.unwrap_or_default()]), json!({}));
            }
            Step::RemoveBan(who, id) if here(self, *who) => {
                command(self, *who, "remove-ban", json!([id]), json!({}));
            }
            _ => {}
        }
        self.seats.retain(|conn, _| self.machine.members().iter().any(|m| m.conn() == *conn));
    }

    fn conn_of(&self, who: u8) -> ConnId {
        self.rejoined.get(&who).copied().unwrap_or(who.into())
    }

    /// Comes again with what the old connection has of the history, which is thrown out meanwhile.
    fn rejoin(&mut self, who: u8) {
        let (old, conn) = (self.conn_of(who), self.conn_of(who) + 100);
        let position = self.member(old).position();
        let start_id = self.machine.resets.start_ids().current();
        let history = self.machine.history();
        let hidx = position.map_or(String::new(), |position| {
            let mut unread = Vec::new();
            history.cursor(position).read(1 << 30, &mut unread);
            format!("{start_id}:{}:id", history.last_index() - frames(&unread.concat()).count() as i64)
        });
        self.rejoined.insert(who, conn);
        let client = AuthenticatedClient { conn, ..identity(who) };
        if self.join_as(JoinRequest { client, hidx, ..JoinRequest::default() }).is_some() {
            self.rejoined.insert(who, old);
            return;
        }
        if self.machine.state() == SessionState::Running {
            self.check_catchup(conn);
        }
    }

    /// What a newcomer was told of the history to come is what came, and it ends like the history.
    fn check_catchup(&mut self, conn: ConnId) {
        let bytes = self.machine.history().to_bytes();
        let all: Vec<_> =
            frames(&bytes).map(|f| (f.header.kind, f.header.user, f.payload().to_vec())).collect();
        let told = self.replies(conn, "catchup").pop().expect("a catchup");
        let count = told["count"].as_u64().expect("a number") as usize;
        let seen = &self.seats[&conn].history;
        assert!(all.ends_with(seen), "what came is the end of the history");
        if let Some(key) = told.get("key") {
            // Whoever begins at the beginning is not told of the first message.
            let skips = self.replies(conn, "result")[0]["join"]["skip"] == true;
            let last: Value = serde_json::from_slice(&seen[count - usize::from(skips)].2).expect("JSON");
            assert_eq!((&last["type"], &last["key"]), (&json!("caughtup"), key), "of so many messages");
        }
    }

    /// Drawings and what ends them in one write.
    fn burst(&mut self, who: u8, sizes: &[u8], last: Spoken) {
        let command = |cmd: &str| {
            let json = json!({"cmd": cmd, "args": [], "kwargs": {}}).to_string();
            Frame::new(0, 0, json.as_bytes()).unwrap()
        };
        let last = match last {
            // Moderators could.
            Spoken::Kill if who == 5 => command("nonsense"),
            Spoken::Kill => command("kill-session"),
            Spoken::Complete => command("init-complete"),
            Spoken::Cancel => command("init-cancel"),
            Spoken::Owners => Frame::new(34, 0, &[]).unwrap(),
            Spoken::Chat => chat("hello", false),
            Spoken::Forbidden => Frame::new(33, 0, &[]).unwrap(),
        };
        let mut messages: Vec<Frame> = sizes.iter().map(|n| dab(usize::from(*n) * 4)).collect();
        messages.push(last);
        messages.push(dab(1));
        let conn = self.conn_of(who);
        let refused = |t: &Table| -> usize {
            let others = t.seats.iter().filter(|(c, s)| **c != conn && !s.blocked);
            others.map(|(c, _)| t.replies(*c, "error").len()).sum()
        };
        let before = refused(self);
        self.send(conn, &messages);
        assert_eq!(refused(self), before, "nobody is answered what somebody else has asked");
    }

    /// What must always hold.
    fn check(&mut self) {
        let members = self.machine.members();
        let mut ids: Vec<u8> = members.iter().map(|m| m.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), members.len(), "no id twice");
        assert!(ids.iter().all(|id| (1..=254).contains(id)));
        let somebody = !members.is_empty() && !self.ended;
        if somebody && !self.machine.moderation.accounts.has_operators() {
            assert!(members.iter().any(Member::is_operator), "there is an operator");
        }
        assert!(self.machine.resets.uploader().is_none_or(|id| ids.contains(&id)), "who uploads is here");
        let bytes = self.machine.history().to_bytes();
        assert_eq!(bytes.len() as u64, self.machine.history().size(), "the size is the sum");
        assert!(!self.ended, "a persistent session ends only when somebody who may has ended it");
        let history = self.machine.history();
        let count = history.last_index() - history.first_index() + 1;
        assert_eq!(frames(&bytes).count() as i64, count, "indices count messages");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order: the invariants hold after each step, and those who are in the session
    /// have seen the same messages in the same order since they came.
    #[test]
    fn everybody_sees_the_same(
        steps in prop::collection::vec(step(), 1..80),
        limit in prop::sample::select(vec!["0", "4kb", "12kb"]),
    ) {
        let mut settings = Settings::default();
        settings.set("autoResetThreshold", "1kb").unwrap();
        settings.set("sessionSizeLimit", limit).unwrap();
        settings.persistence = true;
        let mut table = Table::running(settings);
        table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
        for step in &steps {
            table.step(step);
            table.check();
        }
        for seat in table.seats.values_mut() {
            seat.unblock();
        }
        // A newcomer has all that there is; the table compares everybody else at every step.
        if table.machine.state() == SessionState::Running {
            table.join(moderator(9, "Newcomer"));
            let bytes = table.machine.history().to_bytes();
            let all: Vec<_> =
                frames(&bytes).map(|f| (f.header.kind, f.header.user, f.payload().to_vec())).collect();
            prop_assert_eq!(&table.seats[&9].history, &all);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever happens: what is journaled piece by piece, replayed as a whole, is what the session is like.
    #[test]
    fn the_journal_replays_to_the_session(steps in prop::collection::vec(step(), 1..60)) {
        let mut settings = Settings::default();
        settings.set("autoResetThreshold", "1kb").unwrap();
        settings.persistence = true;
        let mut table = Table::running(settings);
        table.machine.store();
        table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
        let mut journal = String::new();
        for step in &steps {
            table.step(step);
            table.machine.drain_writes().journal.iter().for_each(|entry| entry.write(&mut journal));
        }
        let mut work = table.machine.drain_writes();
        table.machine.compact_journal(&mut work);
        let mut compact = String::new();
        work.snapshot.iter().flatten().for_each(|entry| entry.write(&mut compact));
        for journal in [journal, compact] {
            table.says(&journal)?;
        }
    }
}

impl Table {
    /// Whether a journal says what the session is like.
    fn says(&self, journal: &str) -> Result<(), TestCaseError> {
        let machine = &self.machine;
        let mut metadata = Metadata::replay(journal.as_bytes()).metadata;
        prop_assert_eq!(&metadata.founder, machine.properties.founder());
        // The journal's form keeps no blanks at the ends.
        prop_assert_eq!(metadata.title.as_str(), machine.properties.title().trim());
        prop_assert_eq!(
            (metadata.max_users, metadata.limit),
            (machine.properties.max_users(), machine.properties.override_size())
        );
        prop_assert_eq!(metadata.autoreset, Some(machine.properties.autoreset_threshold()));
        prop_assert_eq!(metadata.flags, machine.properties.flags());
        prop_assert!(machine.properties.snapshot().contains(&Entry::Catchup(metadata.catchup)));
        let bans = BanList::restored(&metadata);
        prop_assert_eq!(json!(bans.entries(true)), json!(machine.moderation.bans.entries(true)));
        let invites = Invites::restored(std::mem::take(&mut metadata.invites), self.now);
        prop_assert_eq!(json!(invites.entries()), json!(machine.moderation.invites.entries()));
        prop_assert_eq!(Accounts::restored(&mut metadata).snapshot(), machine.moderation.accounts.snapshot());
        for member in machine.members() {
            prop_assert!(
                metadata.users.iter().any(|(id, name)| (*id, &**name) == (member.id, member.name()))
            );
        }
        Ok(())
    }
}

/// Few cases in CI, more by `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256)
}
