//! A session during a run: who is in it, who shows how far they are, and what all of them have seen at the end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::common::{Client, PATIENCE};
use super::member::{Member, Who};
use super::observed::{Connection, Journal, Observed, StrokeId};
use super::people::{Control, Done, MARKER, Seen, Strokes, artist, facts, moderator};
use super::site::{MODERATOR, Site};

/// Number of the first client that reads everything at the end.
const READER: u32 = MARKER + 1;
const ARTISTS: u32 = 3;
/// Pause of an artist between two strokes.
const PACE: Duration = Duration::from_millis(15);
/// Pause of a moderator between two changes.
const CHANGES: Duration = Duration::from_millis(150);
/// How long lists of a session are waited for that are not complete.
const LISTS: Duration = Duration::from_secs(10);

/// A session, a moderator and some artists in it, each in a thread.
pub(crate) struct Room {
    pub(crate) session: String,
    people: Vec<(JoinHandle<Done>, Seen)>,
    /// Draws marks.
    marker: Member,
    marks: Strokes,
}

impl Room {
    /// Hosts a session on a server, and lets people in.
    pub(crate) fn open(site: &Site, server: usize, seed: u64, control: &Arc<Control>) -> Room {
        let mut host = Client::connect(site.servers[server].address);
        let session = host.host_running("founder");
        host.close();
        let marker = Member::new(who(MARKER, "marker", site, &session), seed);
        let people = (0..=ARTISTS).map(|number| {
            let (control, seen) = (control.clone(), Seen::default());
            let seen_there = seen.clone();
            let who = match number {
                0 => moderator_in(number, site, &session),
                _ => who(number, &format!("artist {number}"), site, &session),
            };
            let thread = std::thread::spawn(move || match number {
                0 => moderator(who, seed, CHANGES, &control, &seen_there),
                _ => artist(who, seed, PACE, &control, &seen_there),
            });
            (thread, seen)
        });
        Room { people: people.collect(), session, marker, marks: Strokes::default() }
    }

    /// Waits until everybody sees what is drawn then, up to this moment.
    ///
    /// # Errors
    /// Who does not.
    pub(crate) fn everybody_is_in(&mut self, deadline: Instant) -> Result<(), String> {
        let session = self.session.clone();
        let Some(mark) = self.mark(deadline) else {
            let refusal = self.marker.refusals.last();
            return Err(format!("session {session} shows nothing; the last refusal was {refusal:?}"));
        };
        while let Some(missing) = self.people.iter().position(|(_, seen)| !seen.has(mark)) {
            if Instant::now() > deadline {
                return Err(format!("client {missing} does not see what is drawn in session {session}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Draws a stroke that the session shows, if it does.
    fn mark(&mut self, deadline: Instant) -> Option<StrokeId> {
        let mut drawn = None;
        while Instant::now() < deadline {
            let message = self.marker.poll();
            let is_drawn = drawn.is_some_and(|id: StrokeId| id.connection == self.marker.connection());
            match message.and_then(|message| message.stroke()) {
                Some(shown) if drawn == Some(shown) => return drawn,
                _ if !is_drawn => drawn = self.marks.draw(&mut self.marker),
                _ => {}
            }
        }
        None
    }

    /// Everybody goes, and somebody reads everything, once through each server. The second answer is the times that
    /// people needed to be in again.
    pub(crate) fn close(mut self, site: &Site) -> (Observed, Vec<Duration>) {
        let mut run = Observed::default();
        let mut absences = Vec::new();
        self.marker.leave();
        let people = self.people.into_iter().map(|(thread, _)| thread.join().unwrap()).collect::<Vec<_>>();
        let (member, strokes) = (self.marker, self.marks);
        let marker = Done { member, strokes, journal: Journal::default(), others: Vec::new() };
        for mut done in people.into_iter().chain([marker]) {
            run.sent.append(&mut done.strokes.sent);
            // The first time it came, the others it came back.
            absences.extend_from_slice(done.member.absences.get(1..).unwrap_or_default());
            run.connections.append(&mut done.member.connections);
            run.connections.append(&mut done.others);
            if !done.journal.titles.is_empty() {
                run.journal = done.journal;
            }
        }
        for (number, server) in (READER..).zip(&site.servers) {
            let servers = Arc::from([server.address]);
            let reader = Who { servers, ..moderator_in(number, site, &self.session) };
            let earlier = std::mem::take(&mut run.last);
            run.last = read(reader, &mut run);
            run.connections.push(earlier);
        }
        run.rows = site.rows(&self.session);
        run.stored = site.stored(&self.session);
        (run, absences)
    }
}

fn who(number: u32, name: &str, site: &Site, session: &str) -> Who {
    let (name, session) = (name.to_owned(), session.to_owned());
    Who { number, name, password: None, session, servers: site.addresses() }
}

fn moderator_in(number: u32, site: &Site, session: &str) -> Who {
    let (name, password) = MODERATOR;
    Who { password: Some(password), ..who(number, name, site, session) }
}

/// Reads a session from its beginning to a stroke of its own, and what a moderator is told of it.
fn read(who: Who, run: &mut Observed) -> Connection {
    let (mut member, mut strokes) = (Member::new(who, 0), Strokes::default());
    member.may_skip = false;
    let begin = Instant::now();
    let (mut mark, mut marked) = (None, false);
    // Lists come when they come; what is not there by then is lost.
    while !marked || (!run.journal.confirmed.is_subset(&run.journal.at_end) && begin.elapsed() < LISTS) {
        assert!(begin.elapsed() < PATIENCE, "the session can be read: {:?}", member.refusals.last());
        let message = member.poll();
        if mark.is_none_or(|mark: StrokeId| mark.connection != member.connection()) {
            mark = strokes.draw(&mut member);
            marked = false;
            run.journal.at_end.clear();
        }
        let Some(message) = message else { continue };
        marked |= message.stroke().is_some() && message.stroke() == mark;
        if let Some(reply) = message.reply() {
            run.journal.at_end.extend(facts(&reply));
            if let Some(title) = reply["config"]["title"].as_str() {
                title.clone_into(&mut run.journal.title_at_end);
            }
        }
    }
    member.leave();
    run.sent.append(&mut strokes.sent);
    member.connections.pop().unwrap()
}
