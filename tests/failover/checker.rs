//! Judges what a run has observed: the verdicts on a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::observed::{Connection, Journal, Message, Observed, Row, StrokeId};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// What any client received is in the history at the end, as it was sent.
    NoLoss,
    /// What each connection received is a contiguous piece of that history, at the positions that were named.
    Order,
    /// Nothing is there twice, and of each connection's strokes nothing is missing before the last that is there.
    Once,
    /// Rows of a file touch, and their epochs do not fall.
    OneWriter,
    /// Who came back was sent exactly what was missing.
    Skip,
    /// What moderators were told holds.
    Journal,
    /// Everybody gets in again, and sees what is drawn then.
    InAgain,
}

/// How a verdict does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) verdict: Verdict,
    pub(crate) what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.verdict, self.what)
    }
}

/// What does not hold of a session that nobody gets into any more.
pub(crate) fn check_rows(rows: &[Row]) -> Vec<Violation> {
    let mut found = Found::default();
    one_writer(rows, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, verdict: Verdict, what: impl Into<String>) {
        self.0.push(Violation { verdict, what: what.into() });
    }
}

/// Everything that does not hold; of each connection and verdict the first thing.
pub(crate) fn check(run: &Observed) -> Vec<Violation> {
    let mut found = Found::default();
    let beginning = base_of(&run.last, &mut found).unwrap_or_else(|| {
        found.add(Verdict::Order, "the last client was told no position");
        0
    });
    no_loss(run, &mut found);
    stored(run, &mut found);
    for connection in &run.connections {
        order(connection, &run.last, beginning, &mut found);
    }
    once(run, &mut found);
    one_writer(&run.rows, &mut found);
    skip(run, beginning, &mut found);
    journal(&run.journal, &mut found);
    found.0
}

/// Index of the message before the first that a connection received, by all that was said about it.
fn base_of(connection: &Connection, found: &mut Found) -> Option<i64> {
    let mut base = connection.asked.filter(|_| connection.skipped);
    for (n, message) in (0i64..).zip(&connection.messages) {
        let Some((_, before)) = message.anchor() else { continue };
        let named = before - n;
        match base {
            Some(base) if base != named => {
                let what =
                    format!("{connection}: {message} is the {}th message, which was behind {base}", n + 1);
                found.add(Verdict::Order, what);
                break;
            }
            _ => base = Some(named),
        }
    }
    base
}

fn no_loss(run: &Observed, found: &mut Found) {
    let last: BTreeSet<StrokeId> = run.last.messages.iter().filter_map(Message::stroke).collect();
    for connection in run.connections.iter().chain([&run.last]) {
        let strokes = connection.messages.iter().filter_map(|message| Some((message.stroke()?, message)));
        for (id, message) in strokes {
            if run.sent.get(&id).is_none_or(|sent| **sent != *message.payload) {
                found.add(Verdict::NoLoss, format!("{connection}: {id} is not what was sent"));
                break;
            }
            if !last.contains(&id) {
                found.add(Verdict::NoLoss, format!("{connection}: {id} was received and is lost"));
                break;
            }
        }
    }
}

/// What the last client was sent is what is stored, behind a head and before what came later.
fn stored(run: &Observed, found: &mut Found) {
    let Some(first) = run.last.messages.first().map(Message::frame) else { return };
    let Some(begin) = run.stored.windows(first.len()).position(|bytes| bytes == first) else {
        return found.add(Verdict::NoLoss, "the beginning of the history is not stored");
    };
    let mut rest = &run.stored[begin..];
    for message in &run.last.messages {
        match rest.strip_prefix(&message.frame()[..]) {
            Some(behind) => rest = behind,
            None => return found.add(Verdict::NoLoss, format!("{message} is not stored where it was sent")),
        }
    }
}

fn order(connection: &Connection, last: &Connection, beginning: i64, found: &mut Found) {
    let base = base_of(connection, found).unwrap_or(beginning);
    if base < beginning || (base > beginning && !connection.skipped) {
        found.add(Verdict::Order, format!("{connection} begins at {base}, the history at {beginning}"));
        return;
    }
    for (index, message) in (base - beginning..).zip(&connection.messages) {
        let there = usize::try_from(index).ok().and_then(|index| last.messages.get(index));
        if there == Some(message) {
            continue;
        }
        let is_elsewhere = last.messages.contains(message);
        let place = there.map_or("nothing".to_owned(), Message::to_string);
        let what = format!("{connection}: {message} was at {}, where {place} is", beginning + index + 1);
        found.add(if is_elsewhere { Verdict::Order } else { Verdict::NoLoss }, what);
        return;
    }
}

fn once(run: &Observed, found: &mut Found) {
    let mut next: HashMap<(u32, u32), u32> = HashMap::new();
    let mut latest: HashMap<u32, u32> = HashMap::new();
    let mut seen = BTreeSet::new();
    for id in run.last.messages.iter().filter_map(Message::stroke) {
        if !seen.insert(id) {
            found.add(Verdict::Once, format!("{id} is there twice"));
            continue;
        }
        let expected = next.entry((id.client, id.connection)).or_default();
        if id.counter != *expected {
            found.add(Verdict::Once, format!("{id} is there without stroke {expected} before it"));
        }
        *expected = id.counter + 1;
        let connection = latest.entry(id.client).or_default();
        if id.connection < *connection {
            found.add(Verdict::Once, format!("{id} is behind those of connection {connection}"));
        }
        *connection = id.connection.max(*connection);
    }
}

fn one_writer(rows: &[Row], found: &mut Found) {
    let mut files: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        files.entry(&row.file).or_default().push(row);
    }
    for (file, mut rows) in files {
        rows.sort_by_key(|row| row.start);
        if rows[0].start != 0 {
            found.add(Verdict::OneWriter, format!("{file} begins at {}", rows[0].start));
        }
        for pair in rows.windows(2) {
            let [a, b] = pair else { continue };
            if a.start + a.bytes != b.start {
                let what = format!("{file}: {} bytes at {}, then a row at {}", a.bytes, a.start, b.start);
                found.add(Verdict::OneWriter, what);
            }
            if a.epoch > b.epoch {
                let what = format!("{file}: epoch {} at {} behind {}", b.epoch, b.start, a.epoch);
                found.add(Verdict::OneWriter, what);
            }
        }
    }
}

fn skip(run: &Observed, beginning: i64, found: &mut Found) {
    // Up to where each client has the history.
    let mut has: HashMap<u32, i64> = HashMap::new();
    for connection in &run.connections {
        match connection.asked {
            Some(asked) if !connection.skipped => {
                found.add(Verdict::Skip, format!("{connection} had all up to {asked} and is sent it again"));
            }
            Some(asked) if has.get(&connection.client) != Some(&asked) => {
                found.add(Verdict::Skip, format!("{connection} did not have all up to {asked}"));
            }
            None if connection.skipped => {
                found.add(Verdict::Skip, format!("{connection} did not ask to skip"));
            }
            _ => {}
        }
        let base = connection.asked.filter(|_| connection.skipped).unwrap_or(beginning);
        has.insert(connection.client, base + connection.messages.len() as i64);
    }
}

fn journal(journal: &Journal, found: &mut Found) {
    let mut may_be = journal.titles.iter().skip(journal.confirmed_titles.saturating_sub(1));
    let none_given = journal.confirmed_titles == 0;
    if !none_given && !may_be.any(|title| *title == journal.title_at_end) {
        let told = &journal.titles[journal.confirmed_titles - 1];
        let what = format!("the title was {told}, and is {}", journal.title_at_end);
        found.add(Verdict::Journal, what);
    }
    for lost in journal.confirmed.difference(&journal.at_end) {
        found.add(Verdict::Journal, format!("{lost} is lost"));
    }
}
