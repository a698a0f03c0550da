//! Searching the files of events: by time, session, topic and person, page by page without reading a page twice.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::FromStr;

use memchr::memmem::Finder;

use super::{EventStore, HOUR_MS, SessionEvent};
use crate::rules::lookalike::folded;

/// Names of which a search remembers whether they are the person's.
const MAX_NAMES: usize = 10_000;

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Not before this time, milliseconds since 1970.
    pub from_ms: i64,
    /// Before this time.
    pub to_ms: i64,
    /// Only of this session; of all if it is empty.
    pub session: String,
    /// Only of these topics; of all if there are none.
    pub topics: Vec<String>,
    /// Only about the person with this name (look-alikes count), account, device or address; all if it is empty.
    pub person: String,
    /// Only about whoever has one of these accounts or devices; all if there are none.
    pub ids: Vec<String>,
    /// Only about somebody at this address who has neither account nor device; all if it is empty.
    pub guest_address: String,
    /// Only what was written after another answer.
    pub after: Option<EventPosition>,
    /// The newest of those that fit, instead of the oldest.
    pub newest: bool,
    /// How many at most.
    pub count: usize,
}

/// Where an answer ended in the files. Its text form is for clients, which give it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventPosition {
    /// Hour since 1970.
    hour: i64,
    /// Of the file. One that was rewritten meanwhile, because a person was erased, has another.
    inode: u64,
    /// In the file, in bytes.
    offset: u64,
    /// Time of the last event, milliseconds since 1970.
    at: i64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order in which they came.
    pub events: Vec<SessionEvent>,
    /// There are more that fit: later ones or, of the newest, earlier ones.
    pub more: bool,
    /// Where this ended.
    pub next: EventPosition,
}

/// The text is no position.
#[derive(Debug, thiserror::Error)]
#[error("no position of an answer")]
pub struct NoPosition;

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.hour, self.inode, self.offset, self.at)
    }
}

impl FromStr for EventPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<EventPosition, NoPosition> {
        let mut parts = text.split('.').map(|part| part.parse::<u64>().map_err(|_| NoPosition));
        let mut next = || parts.next().unwrap_or(Err(NoPosition));
        let signed = |number: u64| i64::try_from(number).map_err(|_| NoPosition);
        let (hour, inode, offset, at) = (signed(next()?)?, next()?, next()?, signed(next()?)?);
        if parts.next().is_some() { Err(NoPosition) } else { Ok(EventPosition { hour, inode, offset, at }) }
    }
}

impl SessionEvent {
    /// Whether it is about somebody at this address who has neither account nor device.
    fn is_of_guest_at(&self, address: &str) -> bool {
        self.ip == address && self.sid.is_empty() && self.account.is_empty()
    }

    /// Whether it is about this person: by name, account, device or address.
    pub(super) fn is_about(&self, person: &str, person_key: &str) -> bool {
        self.has_id(person) || (!person_key.is_empty() && folded(&self.name) == person_key)
    }

    /// Whether this is the account, device or address of whom it is about.
    fn has_id(&self, id: &str) -> bool {
        let same = |own: &str| !own.is_empty() && own == id;
        same(&self.account) || same(&self.sid) || same(&self.ip)
    }
}

/// The events of a file, read one by one. Lines that are not whole, as after a full disk, are left out.
pub(super) struct EventLines {
    file: BufReader<File>,
    inode: u64,
    /// Size of the file in bytes, when it was opened.
    len: u64,
    /// Up to where whole lines were read, in bytes.
    offset: u64,
    line: Vec<u8>,
}

impl EventLines {
    /// Opens a file; `None` if it is gone.
    pub(super) fn open(path: &Path) -> io::Result<Option<EventLines>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        let (inode, len) = (metadata.ino(), metadata.len());
        Ok(Some(EventLines { file: BufReader::new(file), inode, len, offset: 0, line: Vec::new() }))
    }

    fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.offset = self.file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    /// The next line with its end; false at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.file.read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.ends_with(b"\n");
        if is_whole {
            self.offset += self.line.len() as u64;
        }
        // What has no end may still be written.
        Ok(is_whole)
    }
}

impl Iterator for EventLines {
    type Item = io::Result<SessionEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(true) => {
                    if let Ok(event) = serde_json::from_slice(&self.line) {
                        return Some(Ok(event));
                    }
                }
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A query that is made ready for many lines.
struct Filter<'a> {
    query: &'a EventQuery,
    /// The person's name, folded.
    person: String,
    /// Whether names that were met are the person's: the same few are there again and again.
    names: RefCell<HashMap<String, bool>>,
    /// What a line has if it fits: one text of each list.
    texts: Vec<Vec<Finder<'static>>>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a EventQuery) -> Filter<'a> {
        let member = |key: &str, text: &str| format!("\"{key}\":{}", serde_json::Value::from(text));
        let session = Some(&query.session).filter(|session| !session.is_empty());
        let lists: [Vec<String>; 3] = [
            session.map(|session| member("session", session)).into_iter().collect(),
            query.topics.iter().map(|topic| member("topic", topic)).collect(),
            query.ids.iter().map(|id| serde_json::Value::from(id.as_str()).to_string()).collect(),
        ];
        let finders = |list: Vec<String>| list.iter().map(|text| Finder::new(text).into_owned()).collect();
        let texts = lists.into_iter().filter(|list| !list.is_empty()).map(finders).collect();
        Filter { query, person: folded(&query.person), names: RefCell::default(), texts }
    }

    fn is_about_person(&self, event: &SessionEvent) -> bool {
        if let Some(known) = self.names.borrow().get(&event.name) {
            return *known || event.has_id(&self.query.person);
        }
        let is_theirs = !self.person.is_empty() && folded(&event.name) == self.person;
        let mut names = self.names.borrow_mut();
        if names.len() < MAX_NAMES {
            names.insert(event.name.clone(), is_theirs);
        }
        is_theirs || event.has_id(&self.query.person)
    }

    /// The event of a line, if it fits.
    fn event(&self, line: &[u8]) -> Option<SessionEvent> {
        // Most lines are sorted out by this, without being parsed.
        if self.texts.iter().any(|list| list.iter().all(|text| text.find(line).is_none())) {
            return None;
        }
        let query = self.query;
        let event: SessionEvent = serde_json::from_slice(line).ok()?;
        let fits = (query.from_ms..query.to_ms).contains(&event.at)
            && (query.session.is_empty() || event.session == query.session)
            && (query.topics.is_empty() || query.topics.contains(&event.topic))
            && (query.ids.is_empty() || query.ids.contains(&event.sid) || query.ids.contains(&event.account))
            && (query.guest_address.is_empty() || event.is_of_guest_at(&query.guest_address))
            && (query.person.is_empty() || self.is_about_person(&event));
        fits.then_some(event)
    }

    /// Opens the file of an hour behind what an earlier answer has had. Returns with it the time before which events
    /// are left out, too.
    fn open(&self, hour: i64, path: &Path) -> io::Result<Option<(EventLines, i64)>> {
        let Some(mut lines) = EventLines::open(path)? else { return Ok(None) };
        match self.query.after {
            Some(after) if after.hour == hour && after.inode == lines.inode && after.offset <= lines.len => {
                lines.seek(after.offset)?;
            }
            // Another file, or an offset that no answer had.
            Some(after) if after.hour == hour => return Ok(Some((lines, after.at))),
            _ => {}
        }
        Ok(Some((lines, i64::MIN)))
    }
}

impl EventStore {
    /// Events in the order in which they came.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(&self, query: &EventQuery) -> io::Result<Found> {
        let first = query.from_ms.div_euclid(HOUR_MS);
        let first = query.after.map_or(first, |after| after.hour.max(first));
        let last = query.to_ms.div_euclid(HOUR_MS).max(first);
        let filter = Filter::new(query);
        let hours = self.hours()?;
        let next = query.after.unwrap_or(EventPosition { hour: first.max(0), ..EventPosition::default() });
        let mut found = Found { next, ..Found::default() };
        if query.newest {
            let mut newest = VecDeque::new();
            for (hour, path) in hours.range(first..=last).rev() {
                let end = add_newest(&filter, *hour, path, &mut newest)?;
                if found.next == next {
                    found.next = end.unwrap_or(next);
                }
                if newest.len() > query.count {
                    newest.pop_front();
                    found.more = true;
                    break;
                }
            }
            found.events = newest.into();
            return Ok(found);
        }
        for (hour, path) in hours.range(first..=last) {
            add_oldest(&filter, *hour, path, &mut found)?;
            if found.more {
                break;
            }
        }
        Ok(found)
    }
}

/// Adds the oldest events of a file that fit behind those that were found, as many as are missing.
fn add_oldest(filter: &Filter<'_>, hour: i64, path: &Path, found: &mut Found) -> io::Result<()> {
    let Some((mut lines, not_before)) = filter.open(hour, path)? else { return Ok(()) };
    let mut next = EventPosition { hour, inode: lines.inode, offset: lines.offset, at: found.next.at };
    while lines.read_line()? {
        if let Some(event) = filter.event(&lines.line).filter(|event| event.at >= not_before) {
            if found.events.len() == filter.query.count {
                found.more = true;
                break;
            }
            next.at = event.at;
            found.events.push(event);
        }
        next.offset = lines.offset;
    }
    found.next = next;
    Ok(())
}

/// Adds the newest events of a file that fit before those that were found, up to one more than are wanted. Returns where
/// the file ends.
fn add_newest(
    filter: &Filter<'_>,
    hour: i64,
    path: &Path,
    newest: &mut VecDeque<SessionEvent>,
) -> io::Result<Option<EventPosition>> {
    let Some((mut lines, not_before)) = filter.open(hour, path)? else { return Ok(None) };
    let missing = (filter.query.count + 1).saturating_sub(newest.len());
    let (mut of_file, mut at) = (VecDeque::new(), 0);
    while lines.read_line()? {
        if let Some(event) = filter.event(&lines.line).filter(|event| event.at >= not_before) {
            at = event.at;
            of_file.push_back(event);
            if of_file.len() > missing {
                of_file.pop_front();
            }
        }
    }
    while let Some(event) = of_file.pop_back() {
        newest.push_front(event);
    }
    Ok(Some(EventPosition { hour, inode: lines.inode, offset: lines.offset, at }))
}
