//! Random conversations against what must always hold.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;
use crate::storage::metadata::Metadata;

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
    Wait(u16),
    Settings(u8, bool),
    Title(u8, u8),
    Invite(u8, bool),
    Uninvite(u8),
    RemoveBan(u8, u8),
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
        2 => (1u16..40_000).prop_map(Step::Wait),
        1 => (who(), any::<bool>()).prop_map(|(w, on)| Step::Settings(w, on)),
        1 => (who(), 0u8..9).prop_map(|(w, n)| Step::Title(w, n)),
        1 => (who(), any::<bool>()).prop_map(|(w, op)| Step::Invite(w, op)),
        1 => who().prop_map(Step::Uninvite),
        1 => (who(), 1u8..4).prop_map(|(w, id)| Step::RemoveBan(w, id)),
    ]
}

fn one_stroke() -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(dab(2).as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Table {
    /// Performs a step if the client is there; those who were sent away are forgotten.
    fn step(&mut self, step: &Step) {
        let here = |t: &Table, who: u8| t.machine.members().iter().any(|m| m.conn() == u64::from(who));
        let command = |t: &mut Table, who: u8, cmd: &str, args: Value, kwargs: Value| {
            t.command(who.into(), cmd, args, kwargs);
        };
        match step {
            Step::Join(who) if !here(self, *who) => {
                let visitor = match who {
                    5 => moderator(5, "M"),
                    4 => account(4, "D"),
                    n => visitor((*n).into(), &format!("u{n}")),
                };
                self.join(visitor);
            }
            Step::Wait(ms) => self.wait((*ms).into()),
            Step::Leave(who) if here(self, *who) => {
                self.leave((*who).into());
                self.seats.remove(&u64::from(*who));
            }
            Step::Draw(who, n) if here(self, *who) => self.send((*who).into(), &[dab(usize::from(*n))]),
            Step::Op(who, ids) if here(self, *who) => {
                self.send((*who).into(), &[Frame::new(34, 0, ids).unwrap()]);
            }
            Step::Kick(who, id, ban) if here(self, *who) => {
                command(self, *who, "kick-user", json!([id]), json!({"ban": ban}));
            }
            Step::Reset(who) if here(self, *who) => {
                command(self, *who, "reset-session", json!([]), json!({}))
            }
            Step::Image(who) if here(self, *who) => self.send((*who).into(), &[canvas()]),
            Step::Complete(who) if here(self, *who) => {
                command(self, *who, "init-complete", json!([]), json!({}))
            }
            Step::Cancel(who) if here(self, *who) => command(self, *who, "init-cancel", json!([]), json!({})),
            Step::Ready(who, stream) if here(self, *who) => {
                let capabilities = if *stream { json!(["gzip1"]) } else { json!([]) };
                command(self, *who, "ready-to-autoreset", json!([]), json!({"capabilities": capabilities}));
            }
            Step::StreamStart(who) if here(self, *who) => {
                let correlator = self.machine.requested_correlator().unwrap_or("").to_owned();
                command(self, *who, "stream-reset-start", json!([correlator]), json!({}));
            }
            Step::StreamChunk(who) if here(self, *who) => {
                self.send((*who).into(), &[Frame::new(39, 0, &one_stroke()).unwrap()]);
            }
            Step::StreamFinish(who, right) if here(self, *who) => {
                command(self, *who, "stream-reset-finish", json!([if *right { 1 } else { 3 }]), json!({}));
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
                let secret = self.machine.invites.entries().first().map(|i| i.secret.clone());
                command(self, *who, "invite-remove", json!([secret.unwrap_or_default()]), json!({}));
            }
            Step::RemoveBan(who, id) if here(self, *who) => {
                command(self, *who, "remove-ban", json!([id]), json!({}));
            }
            _ => {}
        }
        self.seats.retain(|conn, _| self.machine.members().iter().any(|m| m.conn() == *conn));
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
        if somebody && !self.machine.accounts.has_operators() {
            assert!(members.iter().any(Member::is_operator), "there is an operator");
        }
        assert!(self.machine.uploader.is_none_or(|id| ids.contains(&id)), "who uploads is here");
        let bytes = self.machine.history().to_bytes();
        assert_eq!(bytes.len() as u64, self.machine.history().size(), "the size is the sum");
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
    fn everybody_sees_the_same(steps in prop::collection::vec(step(), 1..80)) {
        let mut settings = Settings::default();
        settings.set("autoResetThreshold", "1kb").unwrap();
        settings.persistence = true;
        let mut table = Table::running(settings);
        table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
        for step in &steps {
            table.step(step);
            table.check();
        }
        // A newcomer has all that there is; the table compares everybody else at every step.
        if table.machine.state() == State::Running {
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
            table.machine.take_work().journal.iter().for_each(|entry| entry.write(&mut journal));
        }
        let mut work = table.machine.take_work();
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
        prop_assert_eq!(&metadata.founder, &machine.founder);
        // The journal's form keeps no blanks at the ends.
        prop_assert_eq!(metadata.title.as_str(), machine.title.trim());
        prop_assert_eq!((metadata.max_users, metadata.limit), (machine.max_users, machine.override_size));
        prop_assert_eq!(metadata.autoreset, Some(machine.reset_threshold));
        prop_assert_eq!((metadata.flags, metadata.catchup), (machine.flags, machine.catchup_key));
        let bans = BanList::restored(&metadata);
        prop_assert_eq!(json!(bans.entries(true)), json!(machine.bans.entries(true)));
        let invites = Invites::restored(std::mem::take(&mut metadata.invites), self.now);
        prop_assert_eq!(json!(invites.entries()), json!(machine.invites.entries()));
        prop_assert_eq!(Accounts::restored(&mut metadata).snapshot(), machine.accounts.snapshot());
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
