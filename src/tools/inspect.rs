//! `drawhall inspect`: prints statistics of a recording.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use drawhall_protocol::message::{Interval, Join, Layout, Message, info_of};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::Truncation;

use super::convert::Form;
use super::{Input, Item, ToolError, describe};

/// Statistics of a recording.
#[derive(Debug, Default)]
pub struct Statistics {
    form: Option<Form>,
    header: Header,
    messages: u64,
    bytes: u64,
    by_type: BTreeMap<u8, u64>,
    /// Per user id: names that joined with it, and number of messages.
    users: BTreeMap<u8, (Vec<String>, u64)>,
    interval_ms: u64,
    bad_lines: Vec<String>,
    truncation: Option<Truncation>,
}

/// Reads a recording to its end.
///
/// # Errors
/// When it cannot be opened or read, or is not a recording.
pub fn run(path: &Path) -> Result<Statistics, ToolError> {
    let form = Form::of(path).ok_or_else(|| ToolError::UnknownForm(path.to_owned()))?;
    let mut input = Input::open(path, form)?;
    let mut statistics =
        Statistics { form: Some(form), header: input.header().clone(), ..Statistics::default() };
    while let Some(item) = input.next()? {
        match item {
            Item::Bad(reason) => statistics.bad_lines.push(reason),
            Item::Message(frame) => {
                let header = frame.header();
                statistics.messages += 1;
                statistics.bytes += frame.as_bytes().len() as u64;
                *statistics.by_type.entry(header.kind).or_default() += 1;
                statistics.users.entry(header.user).or_default().1 += 1;
                if matches!(header.kind, Join::TYPE | Interval::TYPE) {
                    statistics.count_message(
                        header.user,
                        Message::decode(header.kind, frame.payload(), Layout::V4_25),
                    );
                }
            }
        }
    }
    statistics.truncation = input.truncation();
    Ok(statistics)
}

impl Statistics {
    fn count_message<E>(&mut self, user: u8, message: Result<Message, E>) {
        match message {
            Ok(Message::Join(join)) => {
                let names = &mut self.users.entry(user).or_default().0;
                if !names.contains(&join.name) {
                    names.push(join.name);
                }
            }
            Ok(Message::Interval(interval)) => self.interval_ms += u64::from(interval.msecs),
            _ => {}
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.form == Some(Form::Dprec) { "binary" } else { "text" };
        let version = self.header.version();
        let series = version.as_ref().map_or("unknown", |v| v.client_series());
        let named = self.header.get("version").unwrap_or("not said");
        writeln!(f, "form:      {form}")?;
        writeln!(f, "version:   {named} (clients {series})")?;
        for (key, value) in self.header.members().iter().filter(|(k, _)| k != "version") {
            writeln!(f, "header:    {key}={}", value.escape_default())?;
        }
        writeln!(f, "messages:  {} ({} bytes)", self.messages, self.bytes)?;
        let seconds = self.interval_ms / 1000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        writeln!(f, "duration:  {hours}:{minutes:02}:{:02} (pauses that are recorded)", seconds % 60)?;
        for (id, (names, count)) in &self.users {
            let mut who = String::new();
            for name in names {
                let comma = if who.is_empty() { "" } else { ", " };
                write!(who, "{comma}{}", name.escape_debug())?;
            }
            writeln!(f, "user {id:>3}:  {count} messages  {who}")?;
        }
        for (kind, count) in &self.by_type {
            let name = info_of(*kind).map_or("unknown", |m| m.name);
            writeln!(f, "type {kind:>3}:  {count} {name}")?;
        }
        for bad in &self.bad_lines {
            writeln!(f, "bad:       {bad}")?;
        }
        match &self.truncation {
            Some(truncation) => writeln!(f, "end:       {}", describe(truncation)),
            None => writeln!(f, "end:       whole"),
        }
    }
}
