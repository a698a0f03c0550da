//! Who is in a session during a run: artists who draw, and a moderator who changes what its journal keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::member::{Member, Who};
use super::observed::{Connection, Journal, Message, STROKE, StrokeId};

/// Number of the client whose strokes mark how far everybody is.
pub(crate) const MARKER: u32 = 1000;
/// Number of the first one who is banned.
const TROLLS: u32 = 2000;

/// What the run tells those who are in the session.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Whether artists draw.
    pub(crate) drawing: AtomicBool,
    /// Whether everybody is to go.
    pub(crate) ended: AtomicBool,
}

/// The latest mark that somebody has received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<AtomicU64>);

impl Seen {
    fn note(&self, message: &Message) {
        if let Some(id) = message.stroke().filter(|id| id.client == MARKER) {
            self.0.fetch_max(number(id), Ordering::SeqCst);
        }
    }

    /// Whether it was this mark or a later one.
    pub(crate) fn has(&self, mark: StrokeId) -> bool {
        self.0.load(Ordering::SeqCst) >= number(mark)
    }
}

fn number(mark: StrokeId) -> u64 {
    (u64::from(mark.connection) << 32) | u64::from(mark.counter)
}

/// The strokes of one client.
#[derive(Debug, Default)]
pub(crate) struct Strokes {
    pub(crate) sent: BTreeMap<StrokeId, Arc<[u8]>>,
    connection: u32,
    next: u32,
}

impl Strokes {
    /// Draws a stroke of 16 to 600 random bytes, if the member is in the session.
    pub(crate) fn draw(&mut self, member: &mut Member) -> Option<StrokeId> {
        if !member.is_in() {
            return None;
        }
        if self.connection != member.connection() {
            (self.connection, self.next) = (member.connection(), 0);
        }
        let id = StrokeId { client: member.who.number, connection: self.connection, counter: self.next };
        self.next += 1;
        let length = 16 + member.numbers.below(585);
        let content: Vec<u8> = (0..length).map(|_| member.numbers.below(256) as u8).collect();
        let payload = id.payload(&content);
        // It may arrive although sending fails.
        self.sent.insert(id, payload.clone().into());
        member.send(STROKE, &payload).then_some(id)
    }
}

/// Somebody whose part in a run is over.
pub(crate) struct Done {
    pub(crate) member: Member,
    pub(crate) strokes: Strokes,
    pub(crate) journal: Journal,
    /// Of others that it has made.
    pub(crate) others: Vec<Connection>,
}

/// Draws a stroke each `pace` until the end.
pub(crate) fn artist(who: Who, seed: u64, pace: Duration, control: &Control, seen: &Seen) -> Done {
    let (mut member, mut strokes) = (Member::new(who, seed), Strokes::default());
    let mut due = Instant::now();
    while !control.ended.load(Ordering::SeqCst) {
        if let Some(message) = member.poll() {
            seen.note(&message);
        }
        let now = Instant::now();
        if now >= due && control.drawing.load(Ordering::SeqCst) {
            strokes.draw(&mut member);
            // After a pause nothing is made up for.
            due = (due + pace).max(now);
        }
    }
    member.leave();
    Done { member, strokes, journal: Journal::default(), others: Vec::new() }
}

/// Changes titles, invites, trusted accounts and bans until the end, one thing each `pace`.
pub(crate) fn moderator(who: Who, seed: u64, pace: Duration, control: &Control, seen: &Seen) -> Done {
    let mut done = Done {
        member: Member::new(who, seed),
        strokes: Strokes::default(),
        journal: Journal::default(),
        others: Vec::new(),
    };
    let (mut due, mut n) = (Instant::now(), 0);
    let mut troll = None;
    while !control.ended.load(Ordering::SeqCst) {
        if let Some(message) = done.member.poll() {
            seen.note(&message);
            note(&message, &mut done.journal);
        }
        let now = Instant::now();
        if now >= due && control.drawing.load(Ordering::SeqCst) && done.member.is_in() {
            let last = troll.replace(change(&mut done, n)).flatten();
            done.others.extend(last.into_iter().flat_map(|troll: Member| troll.connections));
            n += 1;
            due = now + pace;
        }
    }
    done.member.leave();
    done
}

/// The nth change: each kind in turn. Returns who is banned, and is to stay that long.
fn change(done: &mut Done, n: u32) -> Option<Member> {
    let member = &mut done.member;
    match n % 4 {
        0 => {
            let title = format!("title {n}");
            done.journal.titles.push(title.clone());
            member.command("sessionconf", &json!([]), &json!({"title": title, "invites": true}));
        }
        // A session has fifty at most.
        1 if n < 180 => {
            member.command("invite-create", &json!([]), &json!({"maxUses": 1}));
        }
        2 => {
            let name = format!("troll {n}");
            let mut troll = Member::new(
                Who { number: TROLLS + n, name: name.clone(), password: None, ..member.who.clone() },
                u64::from(n),
            );
            troll.poll();
            if troll.is_in() {
                member.command("kick-user", &json!([name]), &json!({"ban": true}));
                return Some(troll);
            }
        }
        _ => {
            let account =
                json!({"a": format!("site:{n}"), "o": false, "t": true, "u": format!("account {n}")});
            member.command("auth-list", &json!([[account]]), &json!({}));
        }
    }
    None
}

/// Notes what a message confirms.
fn note(message: &Message, journal: &mut Journal) {
    let Some(reply) = message.reply() else { return };
    if let Some(title) = reply["config"]["title"].as_str()
        && let Some(n) = journal.titles.iter().position(|given| given == title)
    {
        journal.confirmed_titles = journal.confirmed_titles.max(n + 1);
    }
    journal.confirmed.extend(facts(&reply));
}

/// What the lists in a reply say, a text for each entry.
pub(crate) fn facts(reply: &Value) -> BTreeSet<String> {
    let config = &reply["config"];
    let entries = |list: &str| config[list].as_array().cloned().unwrap_or_default();
    let invites = entries("invitelist").into_iter().map(|invite| format!("invite {}", invite["secret"]));
    let trusted = entries("auth").into_iter().filter(|account| account["trusted"] == true);
    let trusted = trusted.map(|account| format!("trusted {}", account["authId"]));
    let bans = entries("banlist").into_iter().map(|ban| format!("ban {}", ban["username"]));
    invites.chain(trusted).chain(bans).collect()
}
