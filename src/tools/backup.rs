//! `drawhall backup`: a consistent copy of database and stored sessions in one archive, also while a server runs.
//!
//! The archive is a tar file, compressed by gzip: `drawhall-backup.json` (format and time), `config.db`, and the files of
//! the session directory below `sessions/`. [`super::restore`] reads it.
//!
//! **Consistency**
//!
//! * The database is copied by SQLite, in one read transaction (`VACUUM INTO`, which keeps row ids).
//! * Of a session, journal and history fit: the history is the one that the journal names, and the journal is the same
//!   before and after the history's size is taken. That is a state which a crash at that time would leave.
//! * A history ends with its last whole message. Histories are only appended to, so it is a prefix of the live one.
//!
//! Nothing is locked, and nothing but a temporary copy of the database is written beside the data. Of a data directory
//! the program notes when it was backed up.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use drawhall_protocol::recording::dprec::DprecReader;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::restore;
use crate::rules::metadata::Metadata;
use crate::storage::file_names;

/// Name of the database in an archive.
pub(super) const DATABASE: &str = "config.db";
/// Directory of the stored sessions in an archive.
pub(super) const SESSIONS: &str = "sessions";
/// Name of the first entry of an archive.
pub(super) const MANIFEST: &str = "drawhall-backup.json";
/// Version of the archive's layout.
pub(super) const FORMAT: u64 = 1;
/// What the names of archives in a directory begin and end with; between is the time.
const NAME: (&str, &str) = ("drawhall-", ".tar.gz");
/// How often a session whose files are being replaced is read again.
const MAX_ATTEMPTS: usize = 100;
/// Size of buffers in bytes.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Mode of files in an archive.
const OWNER_ONLY: u32 = 0o600;

/// A backup cannot be made or restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum BackupError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the database {path} cannot be copied: {reason}")]
    Database { path: PathBuf, reason: String },
    #[error("there is nothing to back up: neither database nor sessions")]
    Nothing,
    #[error("--keep needs a directory to write to")]
    KeepWithoutDirectory,
    #[error("--verify needs a file or a directory to write to")]
    VerifyStream,
    #[error("this is no backup of drawhall: {0}")]
    NoBackup(String),
    #[error("this backup was made by a later version of drawhall (format {0})")]
    Newer(u64),
    #[error("{0} is in use by a server; restore to another directory")]
    InUse(PathBuf),
    #[error("{0} is not empty; restore to an empty or a new directory")]
    NotEmpty(PathBuf),
    #[error("the archive {path} is not what was backed up: {reason}")]
    Unsound { path: PathBuf, reason: String },
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    move |source| BackupError::File { path: path.to_owned(), source }
}

/// What to back up, and where to.
#[derive(Debug)]
pub struct BackupJob<'a> {
    /// A database that nobody writes, see [`super::database_copy`].
    pub database: Option<&'a Path>,
    /// Session directory.
    pub sessions: Option<&'a Path>,
    /// Archive to write, `-` for standard output, or an existing directory for an archive that is named by the time.
    pub target: &'a Path,
    /// How many archives to keep in the directory, at least 1.
    pub keep: Option<usize>,
    /// Whether to restore the archive to a temporary directory beside it afterwards, and to check that.
    pub verify: bool,
}

/// What was backed up.
#[derive(Debug, Default)]
pub struct Backup {
    /// The archive; `None` for standard output.
    pub archive: Option<PathBuf>,
    /// Number of sessions.
    pub sessions: usize,
    /// Sessions whose files do not fit together; they were copied as they are.
    pub damaged: Vec<String>,
    /// Older archives that were removed.
    pub removed: Vec<PathBuf>,
}

/// Makes a backup; blocks.
///
/// # Errors
/// When something cannot be read or written. An archive that existed before under the name stays then.
pub fn run(job: &BackupJob<'_>) -> Result<Backup, BackupError> {
    let is_directory = job.target.is_dir();
    if job.keep.is_some() && !is_directory {
        return Err(BackupError::KeepWithoutDirectory);
    }
    if job.database.is_none() && job.sessions.is_none() {
        return Err(BackupError::Nothing);
    }
    if job.target == Path::new("-") {
        if job.verify {
            return Err(BackupError::VerifyStream);
        }
        let (mut stdout, backup) = write_archive(job, io::stdout().lock())?;
        stdout.flush().map_err(file_error(job.target))?;
        return Ok(backup);
    }
    let archive = if is_directory { archive_in(job.target) } else { job.target.to_owned() };
    let mut backup = write_file(job, &archive)?;
    if let (Some(keep), true) = (job.keep, is_directory) {
        backup.removed = remove_old(job.target, keep)?;
    }
    backup.archive = Some(archive);
    Ok(backup)
}

/// A new name in a directory. Names in the order of the alphabet are in the order of time.
fn archive_in(directory: &Path) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    directory.join(format!("{}{time}{}", NAME.0, NAME.1))
}

/// Writes an archive beside its place, checks it if that was asked for, and renames it.
fn write_file(job: &BackupJob<'_>, archive: &Path) -> Result<Backup, BackupError> {
    let new = PathBuf::from(format!("{}{}", archive.display(), file_names::NEW));
    let written = (|| {
        let file = File::create(&new).map_err(file_error(&new))?;
        let (file, backup) = write_archive(job, file)?;
        file.sync_all().map_err(file_error(&new))?;
        if job.verify {
            restore::verify(&new, &backup)?;
        }
        fs::rename(&new, archive).map_err(file_error(archive))?;
        let parent = archive.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|d| d.sync_all()).map_err(file_error(parent))?;
        Ok(backup)
    })();
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Removes all but the newest archives of a directory.
fn remove_old(directory: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let is_time = |text: &str| text.starts_with('2') && text.ends_with('Z') && text.contains('T');
    let mut names = names_in(directory).map_err(file_error(directory))?;
    names.retain(|name| {
        let time = name.strip_prefix(NAME.0).and_then(|rest| rest.strip_suffix(NAME.1));
        time.is_some_and(is_time)
    });
    let old = names.len().saturating_sub(keep);
    let old: Vec<PathBuf> = names.iter().take(old).map(|name| directory.join(name)).collect();
    for path in &old {
        fs::remove_file(path).map_err(file_error(path))?;
    }
    Ok(old)
}

/// Names of the regular files of a directory, sorted.
pub(super) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn write_archive<W: Write>(job: &BackupJob<'_>, out: W) -> Result<(W, Backup), BackupError> {
    let target = file_error(job.target);
    let compressed = GzEncoder::new(BufWriter::with_capacity(BUFFER_BYTES, out), Compression::fast());
    let mut archive = Archive { tar: tar::Builder::new(compressed), backup: Backup::default() };
    let manifest = json!({
        "format": FORMAT,
        "program": concat!("drawhall ", env!("CARGO_PKG_VERSION")),
        "created": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
    .to_string();
    let entry = ArchivedFile { length: manifest.len() as u64, modified: SystemTime::now() };
    archive.append(MANIFEST, manifest.as_bytes(), entry).map_err(&target)?;
    if let Some(database) = job.database {
        archive.file(DATABASE, database).map_err(file_error(database))?;
    }
    if let Some(sessions) = job.sessions {
        archive.sessions(sessions)?;
    }
    let Archive { tar, backup } = archive;
    let finished = tar.into_inner().and_then(GzEncoder::finish);
    let out = finished.and_then(|buffer| buffer.into_inner().map_err(|e| e.into_error())).map_err(&target)?;
    Ok((out, backup))
}

/// Length and time of an entry.
struct ArchivedFile {
    length: u64,
    modified: SystemTime,
}

impl ArchivedFile {
    fn of(file: &File) -> io::Result<ArchivedFile> {
        let metadata = file.metadata()?;
        Ok(ArchivedFile { length: metadata.len(), modified: metadata.modified()? })
    }
}

/// Journal and history of a session at one time.
struct SessionFiles {
    journal: Vec<u8>,
    journal_modified: SystemTime,
    history_name: String,
    history: File,
    entry: ArchivedFile,
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    backup: Backup,
}

impl<W: Write> Archive<W> {
    fn append(&mut self, name: &str, content: impl Read, entry: ArchivedFile) -> io::Result<()> {
        let ArchivedFile { length, modified } = entry;
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(OWNER_ONLY);
        header.set_mtime(modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
        let mut content = content.take(length);
        self.tar.append_data(&mut header, name, &mut content)?;
        // The header has announced more than there was.
        if content.limit() > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn file(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let entry = ArchivedFile::of(&file)?;
        self.append(name, file, entry)
    }

    /// The same for a file that may be gone by now.
    fn file_if_there(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        match self.file(name, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(file_error(path)),
        }
    }

    fn sessions(&mut self, directory: &Path) -> Result<(), BackupError> {
        let names = names_in(directory).map_err(file_error(directory))?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o700);
        let made = self.tar.append_data(&mut header, format!("{SESSIONS}/"), io::empty());
        made.map_err(file_error(directory))?;
        for name in &names {
            let path = directory.join(name);
            if let Some(id) = file_names::journal_id(name) {
                self.session(directory, name, id)?;
            } else if name.ends_with(file_names::ARCHIVED) {
                self.file_if_there(&format!("{SESSIONS}/{name}"), &path)?;
            }
        }
        Ok(())
    }

    fn session(&mut self, directory: &Path, journal: &str, id: &str) -> Result<(), BackupError> {
        let path = directory.join(journal);
        match files_of(directory, journal).map_err(file_error(&path))? {
            Found::Ended => return Ok(()),
            Found::Whole(files) => {
                let SessionFiles { journal: bytes, journal_modified, history_name, history, entry } = files;
                let journal_entry = ArchivedFile { length: bytes.len() as u64, modified: journal_modified };
                let name = format!("{SESSIONS}/{journal}");
                self.append(&name, bytes.as_slice(), journal_entry).map_err(file_error(&path))?;
                let name = format!("{SESSIONS}/{history_name}");
                self.append(&name, history, entry).map_err(file_error(&directory.join(&history_name)))?;
            }
            Found::Damaged => {
                self.backup.damaged.push(id.to_owned());
                let names = names_in(directory).map_err(file_error(directory))?;
                let own = names.iter().filter(|n| n.as_str() == journal || file_names::is_history_of(n, id));
                for name in own {
                    self.file_if_there(&format!("{SESSIONS}/{name}"), &directory.join(name))?;
                }
            }
        }
        self.backup.sessions += 1;
        let thumbnail = file_names::thumbnail(id);
        self.file_if_there(&format!("{SESSIONS}/{thumbnail}"), &directory.join(&thumbnail))
    }
}

enum Found {
    Whole(SessionFiles),
    /// The session has ended since the directory was listed.
    Ended,
    /// Its files do not fit together.
    Damaged,
}

/// Journal and history of a session that a server may be writing.
fn files_of(directory: &Path, journal_name: &str) -> io::Result<Found> {
    let path = directory.join(journal_name);
    for attempt in 1..=MAX_ATTEMPTS {
        let Some((journal, journal_modified)) = read_journal(&path)? else { return Ok(Found::Ended) };
        let Some(history_name) = Metadata::replay(&journal).metadata.file.filter(|name| is_plain(name))
        else {
            return Ok(Found::Damaged);
        };
        let mut history = match File::open(directory.join(&history_name)) {
            Ok(history) => history,
            // A reset has replaced it, or it is lost.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut entry = ArchivedFile::of(&history)?;
        let is_same = read_journal(&path)?.is_some_and(|(now, _)| now == journal);
        if !is_same && attempt < MAX_ATTEMPTS {
            continue;
        }
        let Some(length) = whole_messages(&history, entry.length)? else { return Ok(Found::Damaged) };
        entry.length = length;
        history.rewind()?;
        return Ok(Found::Whole(SessionFiles { journal, journal_modified, history_name, history, entry }));
    }
    Ok(Found::Damaged)
}

/// The whole lines of a journal; `None` if it does not exist.
fn read_journal(path: &Path) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let modified = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
    Ok(Some((bytes, modified)))
}

fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|plain| plain == name)
}

/// Length of the header and the whole messages in the first `size` bytes of a history; `None` if it is not readable as
/// one.
fn whole_messages(history: &File, size: u64) -> io::Result<Option<u64>> {
    let input = BufReader::with_capacity(BUFFER_BYTES, history.take(size));
    let Ok(mut reader) = DprecReader::new(input) else { return Ok(None) };
    while let Some(_frame) = reader.next_frame().map_err(io::Error::other)? {}
    Ok(Some(reader.offset()))
}
