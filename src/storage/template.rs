//! Templates: recordings and pictures from which a session is created when somebody joins it. Source:
//! docs/spec/storage.md#templates.
//!
//! The file name up to the first dot is the alias of the session. The header of a recording has the session's settings.
//! Pictures (`picture`) have none.

mod picture;

use crate::pictures::{PictureError, PictureImporter};
use crate::rules::metadata::is_valid_alias;
use crate::rules::template::Messages;
use crate::rules::template::Template;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::frames;
use drawhall_protocol::from_json;
use drawhall_protocol::message as m;
use drawhall_protocol::recording::dprec::{DprecError, DprecReader, MAGIC};
use drawhall_protocol::recording::dptxt::{DptxtError, DptxtReader};
use drawhall_protocol::text::legacy;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use self::picture::StoredMessages;
use crate::rules::metadata::{Flags, Metadata};

/// Default maximum number of users of a session from a template.
const DEFAULT_MAX_USERS: u32 = 25;
/// Maximum number of users.
const MAX_USERS: i64 = 254;
/// Maximum number of warnings per template.
const MAX_WARNINGS: usize = 20;

/// Why a file is not a usable template.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TemplateError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Malformed binary recording.
    #[error("{0}")]
    Binary(#[from] DprecError),
    /// Malformed text recording.
    #[error("{0}")]
    Text(#[from] DptxtError),
    /// Its version is malformed, or one for which this server starts no session.
    #[error("protocol version {0} cannot be started by this server")]
    Version(String),
    #[error("the header names no protocol version")]
    NoVersion,
    #[error("there is no message in it")]
    Empty,
    #[error(transparent)]
    Picture(#[from] PictureError),
}

impl TemplateError {
    /// Whether a retry may succeed: the file may be intact but is unreadable at present.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Io(_)
                | Self::Binary(DprecError::Io { .. })
                | Self::Text(DptxtError::Io { .. })
                | Self::Picture(PictureError::Start(_))
        )
    }
}

impl Template {
    fn is_unchanged(&self, path: &Path, file: &fs::Metadata) -> bool {
        self.path == path && self.len == file.len() && self.modified == file.modified().ok()
    }
}

impl Messages {
    fn add(&mut self, frame: &[u8]) {
        for frame in frames(frame).filter(|f| is_content(f.header.kind)) {
            self.bytes.extend_from_slice(frame.bytes);
            self.count += 1;
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else if self.warnings.len() == MAX_WARNINGS {
            self.warnings.push("more warnings are left out".into());
        }
    }
}

/// Whether messages of a type are content. Messages about users and chat are not.
fn is_content(kind: u8) -> bool {
    let control = kind < 32 && kind != m::KeepAlive::TYPE;
    let people = matches!(
        kind,
        m::Join::TYPE
            | m::Leave::TYPE
            | m::SessionOwner::TYPE
            | m::TrustedUsers::TYPE
            | m::Chat::TYPE
            | m::PrivateChat::TYPE
            | m::UserACL::TYPE
            | m::Data::TYPE
    );
    !control && !people
}

enum Source {
    Binary(DprecReader<BufReader<File>>, Map<String, Value>),
    Text(DptxtReader<BufReader<File>>),
}

impl Source {
    fn open(path: &Path) -> Result<Source, TemplateError> {
        let mut magic = [0; MAGIC.len()];
        let mut file = File::open(path)?;
        let len = file.read(&mut magic)?;
        let input = BufReader::new(File::open(path)?);
        if &magic[..len] == MAGIC {
            let reader = DprecReader::new(input)?;
            let mut json = vec![0; reader.offset() as usize - MAGIC.len() - 2];
            let mut start = [0; 2];
            file.read_exact(&mut start)?;
            file.read_exact(&mut json)?;
            // The reader has parsed this object successfully.
            Ok(Source::Binary(reader, from_json(&json).unwrap_or_default()))
        } else {
            Ok(Source::Text(DptxtReader::new(input)?))
        }
    }

    /// The protocol version of the session. Legacy text is converted to messages of a later version.
    fn protocol(&self) -> Result<ProtocolVersion, TemplateError> {
        let (header, binary) = match self {
            Source::Binary(reader, _) => (reader.header(), true),
            Source::Text(reader) if reader.begins_legacy() => {
                let (server, major, minor) = legacy::VERSION;
                return Ok(ProtocolVersion::dp(server, major, minor));
            }
            Source::Text(reader) => (reader.header(), false),
        };
        let text = header.get("version").ok_or(TemplateError::NoVersion)?;
        let version =
            header.version().filter(|v| if binary { v.is_template_binary() } else { v.is_template_text() });
        version.ok_or_else(|| TemplateError::Version(text.to_owned()))
    }

    fn metadata(&self) -> Metadata {
        let text = |key: &str| match self {
            Source::Binary(_, json) => json.get(key).and_then(Value::as_str).map(str::to_owned),
            Source::Text(reader) => reader.header().get(key).map(str::to_owned),
        };
        let number = |key: &str| match self {
            Source::Binary(_, json) => json.get(key).and_then(as_number),
            Source::Text(reader) => reader.header().get(key).and_then(|v| v.trim().parse().ok()),
        };
        let flag = |key: &str| match self {
            Source::Binary(_, json) => json.get(key).is_some_and(is_true),
            Source::Text(reader) => reader.header().get(key).is_some_and(is_true_text),
        };
        let plain =
            |key: &str| text(key).unwrap_or_default().chars().filter(|c| !c.is_control()).collect::<String>();
        // `maxUsers` is the legacy name.
        let max_users = number("maxUserCount").or_else(|| number("maxUsers")).filter(|n| *n > 0);
        let founder = plain("founder");
        Metadata {
            founder: if founder.is_empty() { "-".to_owned() } else { founder },
            title: plain("title"),
            password: plain("password"),
            opword: plain("opword"),
            max_users: max_users.map_or(DEFAULT_MAX_USERS, |n| n.min(MAX_USERS) as u32),
            announcements: Some(plain("announce")).filter(|a| !a.is_empty()).into_iter().collect(),
            flags: Flags {
                persistent: flag("persistent"),
                preserve_chat: flag("preserveChat"),
                nsfm: flag("nsfm"),
                deputies: flag("deputies"),
                auth_only: flag("authOnly"),
                idle_override: flag("idleOverride"),
                allow_web: flag("allowWeb"),
                auto_title: false,
                invites: flag("invites"),
                unlisted: flag("unlisted"),
            },
            ..Metadata::default()
        }
    }

    fn messages(self) -> Result<Messages, TemplateError> {
        let mut messages = Messages::default();
        match self {
            Source::Binary(mut reader, _) => {
                while let Some(frame) = reader.next_frame()? {
                    messages.add(frame.as_bytes());
                }
                if let Some(truncation) = reader.truncation() {
                    messages
                        .warn(format!("truncated: the message at offset {} is not whole", truncation.offset));
                }
            }
            Source::Text(mut reader) => loop {
                let next = reader.next_frame();
                for warning in reader.take_warnings() {
                    messages.warn(warning);
                }
                match next {
                    Ok(Some(frame)) => messages.add(frame.as_bytes()),
                    Ok(None) => break,
                    Err(error @ DptxtError::Line { .. }) => messages.warn(error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            },
        }
        if messages.count == 0 { Err(TemplateError::Empty) } else { Ok(messages) }
    }
}

fn as_number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64().map(|n| n as i64),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::String(text) => is_true_text(text),
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        _ => false,
    }
}

fn is_true_text(text: &str) -> bool {
    !text.is_empty() && !text.eq_ignore_ascii_case("false")
}

/// The templates of a directory.
#[derive(Debug, Default)]
pub struct Templates {
    importer: PictureImporter,
    by_alias: BTreeMap<String, Template>,
    /// Messages of pictures as they were at the scan, by alias: decoding takes seconds.
    stored: BTreeMap<String, Arc<StoredMessages>>,
    /// Locked while a picture is decoded: one at a time.
    decoding: Arc<Mutex<()>>,
    /// Unusable files with their size and time, so that each is logged only once.
    rejected: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    /// Unreadable files with the logged text. They are retried at each scan.
    unreadable: BTreeMap<PathBuf, String>,
}

impl Templates {
    /// No templates yet; `importer` reads those that are pictures.
    pub fn new(importer: PictureImporter) -> Templates {
        Templates { importer, ..Templates::default() }
    }

    /// Reads the messages of one of them; blocks.
    ///
    /// # Errors
    /// When the file is no longer a usable template.
    pub fn messages(&self, template: &Template) -> Result<Messages, TemplateError> {
        let path = &template.path;
        if !picture::is_picture(path) {
            return Source::open(path)?.messages();
        }
        let is_unchanged = fs::metadata(path).is_ok_and(|file| template.is_unchanged(path, &file));
        let stored = self.stored.get(&template.alias).filter(|_| is_unchanged);
        if let Some(messages) = stored.and_then(|stored| stored.read().ok()) {
            return Ok(messages);
        }
        self.decode(path)
    }

    /// Makes the messages of a picture.
    fn decode(&self, path: &Path) -> Result<Messages, TemplateError> {
        let _one_at_a_time = self.decoding.lock();
        picture::messages(path, &self.importer)
    }

    /// All usable templates, in the order of their aliases.
    pub fn all(&self) -> impl Iterator<Item = &Template> {
        self.by_alias.values()
    }

    /// The template with this alias.
    pub fn find(&self, alias: &str) -> Option<&Template> {
        self.by_alias.get(alias)
    }

    /// Scans the directory again; blocks. Unchanged files are not read again. Of two files with the same alias the
    /// one whose name sorts last is used, and a recording before a picture. Returns new warnings, with file and line.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn scan(&self, directory: &Path) -> std::io::Result<(Templates, Vec<String>)> {
        let (mut found, mut warnings) = (Templates::new(self.importer.clone()), Vec::new());
        found.decoding = self.decoding.clone();
        let names = super::session_dir::file_names(directory)?;
        // Pictures last, as they may only be there to show what is in recordings. The first one of an alias is used:
        // the others are not decoded.
        let (pictures, recordings): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| picture::is_picture(Path::new(name)));
        for name in recordings.into_iter().chain(pictures.into_iter().rev()) {
            let lower = name.to_ascii_lowercase();
            let is_recording = [".dprec", ".dptxt"]
                .iter()
                .any(|extension| lower.ends_with(extension) || lower.contains(&format!("{extension}.")));
            let path = directory.join(&name);
            if !is_recording && !picture::is_picture(&path) {
                continue;
            }
            let alias = name.split('.').next().unwrap_or_default();
            if picture::is_picture(&path) && found.find(alias).is_some() {
                continue;
            }
            let Ok(file) = fs::metadata(&path) else { continue };
            let (len, modified) = (file.len(), file.modified().ok());
            if let Some(known) = self.find(alias).filter(|t| t.is_unchanged(&path, &file)) {
                found.take(known, self);
                continue;
            }
            let known_bad = self.rejected.get(&path) == Some(&(len, modified));
            let read = if known_bad {
                Err(None)
            } else if !is_valid_alias(alias) {
                Err(Some(format!("'{alias}' is not a valid session alias (1 to 32 letters, digits and -)")))
            } else {
                match found.read(alias, &path, len, modified, &mut warnings) {
                    Err(error) if error.is_transient() => {
                        self.keep_unreadable(alias, path, &error, &mut found, &mut warnings);
                        continue;
                    }
                    read => read.map_err(|e| Some(e.to_string())),
                }
            };
            match read {
                Ok(()) => {}
                Err(reason) => {
                    warnings.extend(reason.map(|r| format!("template {}: {r}", path.display())));
                    found.rejected.insert(path, (len, modified));
                }
            }
        }
        Ok((found, warnings))
    }

    /// Handles an unreadable file: its previous state stays in use, and a new error is logged once.
    fn keep_unreadable(
        &self,
        alias: &str,
        path: PathBuf,
        error: &TemplateError,
        found: &mut Templates,
        warnings: &mut Vec<String>,
    ) {
        if let Some(known) = self.find(alias).filter(|t| t.path == path) {
            found.take(known, self);
        }
        let text = format!("template {}: {error}", path.display());
        if self.unreadable.get(&path) != Some(&text) {
            warnings.push(text.clone());
        }
        found.unreadable.insert(path, text);
    }

    /// Whether two scans have found the same templates.
    pub fn same_as(&self, other: &Templates) -> bool {
        let key = |t: &Template| (t.path.clone(), t.len, t.modified);
        self.by_alias.values().map(key).eq(other.by_alias.values().map(key))
    }
}

impl Templates {
    /// Takes over a template of another scan.
    fn take(&mut self, template: &Template, other: &Templates) {
        let alias = &template.alias;
        self.stored.extend(other.stored.get(alias).map(|stored| (alias.clone(), stored.clone())));
        self.by_alias.insert(alias.clone(), template.clone());
    }

    /// Reads a template from its file.
    fn read(
        &mut self,
        alias: &str,
        path: &Path,
        len: u64,
        modified: Option<SystemTime>,
        warnings: &mut Vec<String>,
    ) -> Result<(), TemplateError> {
        let mut warn = |warning: &str| warnings.push(format!("template {}: {warning}", path.display()));
        let (protocol, mut metadata, messages) = if picture::is_picture(path) {
            let messages = self.decode(path)?;
            match StoredMessages::new(&messages) {
                Ok(stored) => drop(self.stored.insert(alias.to_owned(), Arc::new(stored))),
                Err(error) => {
                    warn(&format!("it is decoded for each session, as a copy cannot be kept: {error}"))
                }
            }
            (picture::protocol(), picture::metadata(alias), messages)
        } else {
            let source = Source::open(path)?;
            (source.protocol()?, source.metadata(), source.messages()?)
        };
        messages.warnings.iter().for_each(|warning| warn(warning));
        metadata.alias = alias.to_owned();
        let template =
            Template { alias: alias.to_owned(), path: path.to_owned(), modified, len, metadata, protocol };
        self.by_alias.insert(alias.to_owned(), template);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
