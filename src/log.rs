//! The server's event log: entries about users and sessions.
//!
//! Entries are shown to the members of their session and are emitted through `tracing`, in the text form of
//! docs/spec/config.md#text-form-of-the-log:
//! `<time> <Level>/<Topic> <user>@{session}: message`.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::rules::identity::Identity;
use crate::rules::time::{Timestamp, iso_of};
use crate::text::one_line;

/// Target of events that are not for the database: administrators read the log there.
pub const NOT_STORED: &str = "drawhall::not_stored";

/// Maximum length of an entry's text in characters; many contain text from clients.
const MAX_TEXT: usize = 1000;

/// Severity of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    /// A failure of the server or its environment.
    Error,
    /// A user or client broke a rule.
    Warn,
    Info,
    Debug,
}

/// The subject of an entry, by the names that the protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the protocol's own words")]
pub enum Topic {
    Join,
    Leave,
    Kick,
    Ban,
    Unban,
    Op,
    Deop,
    Mute,
    Unmute,
    Trust,
    Untrust,
    BadData,
    RuleBreak,
    PubList,
    Status,
    ClientInfo,
    ExtBan,
    BanImpEx,
    AdminChat,
    Invite,
    Report,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 21] = [
        Topic::Join,
        Topic::Leave,
        Topic::Kick,
        Topic::Ban,
        Topic::Unban,
        Topic::Op,
        Topic::Deop,
        Topic::Mute,
        Topic::Unmute,
        Topic::Trust,
        Topic::Untrust,
        Topic::BadData,
        Topic::RuleBreak,
        Topic::PubList,
        Topic::Status,
        Topic::ClientInfo,
        Topic::ExtBan,
        Topic::BanImpEx,
        Topic::AdminChat,
        Topic::Invite,
        Topic::Report,
    ];

    /// The name that the protocol, the database and the API use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "Join",
            Self::Leave => "Leave",
            Self::Kick => "Kick",
            Self::Ban => "Ban",
            Self::Unban => "Unban",
            Self::Op => "Op",
            Self::Deop => "Deop",
            Self::Mute => "Mute",
            Self::Unmute => "Unmute",
            Self::Trust => "Trust",
            Self::Untrust => "Untrust",
            Self::BadData => "BadData",
            Self::RuleBreak => "RuleBreak",
            Self::PubList => "PubList",
            Self::Status => "Status",
            Self::ClientInfo => "ClientInfo",
            Self::ExtBan => "ExtBan",
            Self::BanImpEx => "BanImpEx",
            Self::AdminChat => "AdminChat",
            Self::Invite => "Invite",
            Self::Report => "Report",
        }
    }

    /// By its [name](Topic::name).
    pub fn parse(name: &str) -> Option<Topic> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// Whether only moderators may see it.
    pub fn is_sensitive(self) -> bool {
        matches!(self, Self::ClientInfo | Self::Report)
    }

    /// Whether only operators and moderators see it in the log that a new member is sent.
    pub fn is_moderation(self) -> bool {
        matches!(self, Self::Kick | Self::Ban | Self::Unban)
    }
}

/// The user that an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LogUser {
    /// User id in the session, 0 before it has joined.
    pub id: u8,
    pub address: Option<IpAddr>,
    /// Name, empty before it is known.
    pub name: String,
}

/// Somebody who has not joined yet.
impl From<&Identity> for LogUser {
    fn from(identity: &Identity) -> LogUser {
        LogUser { id: 0, address: identity.address, name: identity.name.clone() }
    }
}

/// `id;address;name`, as drawpile-srv writes it.
impl fmt::Display for LogUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.id)?;
        self.address.map_or(Ok(()), |a| write!(f, "{}", a.to_canonical()))?;
        write!(f, ";{}", self.name)
    }
}

/// An entry of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LogEntry {
    /// Milliseconds since 1970, UTC.
    pub utc_ms: i64,
    pub level: Level,
    pub topic: Topic,
    pub user: Option<LogUser>,
    pub message: String,
}

impl LogEntry {
    /// An entry that is about no user. Texts longer than `MAX_TEXT` are cut.
    pub fn new(now: Timestamp, level: Level, topic: Topic, message: impl Into<String>) -> Self {
        Self { utc_ms: now.utc_ms, level, topic, user: None, message: shortened(message.into()) }
    }

    /// Sets the user that the entry is about.
    pub fn about(mut self, user: LogUser) -> Self {
        self.user = Some(user);
        self
    }

    /// Emits the entry through `tracing`; `session` is the session's id, empty for none.
    pub fn emit(&self, session: &str) {
        // As texts: each layer would format other values anew.
        let user = || self.user.as_ref().map_or_else(String::new, LogUser::to_string);
        macro_rules! emit_at {
            ($level:ident) => {
                tracing::event!(
                    tracing::Level::$level,
                    topic = self.topic.name(),
                    user = user().as_str(),
                    session,
                    message = self.message.as_str(),
                )
            };
        }
        match self.level {
            Level::Error => emit_at!(ERROR),
            Level::Warn => emit_at!(WARN),
            Level::Info => emit_at!(INFO),
            Level::Debug => emit_at!(DEBUG),
        }
    }
}

/// Formats events of `tracing` in the text form of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextForm;

/// The fields of a `tracing` event.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    topic: String,
    pub(crate) user: String,
    pub(crate) session: String,
    message: String,
    others: String,
}

impl Fields {
    pub(crate) fn of(event: &tracing::Event<'_>) -> Fields {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields
    }

    /// The topic, `Status` for events without one.
    pub(crate) fn topic(&self) -> &str {
        if self.topic.is_empty() { "Status" } else { &self.topic }
    }

    /// The message, followed by the other fields as `name=value`.
    pub(crate) fn into_text(self) -> String {
        let mut text = self.message;
        text.push_str(&self.others);
        shortened(text)
    }

    /// Writes topic, user, session and text as one line.
    fn write_line(self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(self.topic())?;
        if !self.user.is_empty() {
            write!(writer, " {}", one_line(&self.user))?;
        }
        if !self.session.is_empty() {
            let blank = if self.user.is_empty() { " " } else { "" };
            write!(writer, "{blank}@{{{}}}", one_line(&self.session))?;
        }
        writeln!(writer, ": {}", one_line(&self.into_text()))
    }

    /// Where the value of a field is kept.
    fn value_of(&mut self, field: &Field) -> &mut String {
        match field.name() {
            "topic" => &mut self.topic,
            "user" => &mut self.user,
            "session" => &mut self.session,
            "message" => &mut self.message,
            name => {
                self.others.extend([" ", name, "="]);
                &mut self.others
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text fails only if the value refuses to be formatted.
        let _ = write!(self.value_of(field), "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value_of(field).push_str(value);
    }
}

impl<S, N> FormatEvent<S, N> for TextForm
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "Error",
            tracing::Level::WARN => "Warn",
            tracing::Level::INFO => "Info",
            _ => "Debug",
        };
        write!(writer, "{} {level}/", iso_of(Timestamp::now().utc_ms))?;
        Fields::of(event).write_line(&mut writer)
    }
}

/// Formats events for the systemd journal: a priority (sd-daemon(3)) instead of the time and the level, which the
/// journal has of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct JournalForm;

impl<S, N> FormatEvent<S, N> for JournalForm
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        Fields::of(event).write_line(&mut writer)
    }
}

/// Cuts a text to [`MAX_TEXT`] characters, with an ellipsis.
fn shortened(mut text: String) -> String {
    // No text has more characters than bytes.
    if text.len() > MAX_TEXT
        && let Some((end, _)) = text.char_indices().nth(MAX_TEXT)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(write: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(TextForm).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, write);
        let bytes = sink.0.lock().unwrap().clone();
        // Without the time at the beginning.
        String::from_utf8(bytes).unwrap().lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn entries_have_the_text_form_of_drawpile_srv() {
        let user = LogUser { id: 2, address: "::ffff:192.0.2.1".parse().ok(), name: "B".into() };
        let now = Timestamp::now();
        let written = lines(|| {
            LogEntry::new(now, Level::Info, Topic::Join, "Joined session").about(user).emit("01abc");
            LogEntry::new(now, Level::Warn, Topic::Status, "hm").emit("01abc");
            tracing::info!(port = 7, "listening");
        });
        assert_eq!(
            written,
            [
                "Info/Join 2;192.0.2.1;B@{01abc}: Joined session",
                "Warn/Status @{01abc}: hm",
                "Info/Status: listening port=7"
            ]
        );
    }

    #[test]
    fn long_texts_are_cut_with_an_ellipsis() {
        let (longest, long) = ("ä".repeat(MAX_TEXT), "ä".repeat(60_000));
        let entry = |text: &str| LogEntry::new(Timestamp::now(), Level::Info, Topic::Report, text);
        assert_eq!(entry(&longest).message, longest);
        assert_eq!(entry(&long).message, format!("{longest}…"));
        let written = lines(|| {
            entry(&long).emit("");
            tracing::warn!(error = %long, "hm");
        });
        assert!(written.iter().all(|line| line.chars().count() < MAX_TEXT + 20), "{written:?}");
    }

    #[test]
    fn a_topic_is_found_by_its_name() {
        for topic in Topic::ALL {
            assert_eq!((topic.name(), Topic::parse(topic.name())), (&*format!("{topic:?}"), Some(topic)));
        }
        assert_eq!(Topic::parse("join"), None);
    }

    #[test]
    fn a_name_with_line_breaks_forges_no_line() {
        let user = LogUser { id: 1, address: None, name: "x\n2026 Error/Status: forged".into() };
        let written =
            lines(|| LogEntry::new(Timestamp::now(), Level::Info, Topic::Join, "a\nb").about(user).emit(""));
        assert_eq!(written, ["Info/Join 1;;x 2026 Error/Status: forged: a b"]);
    }
}
