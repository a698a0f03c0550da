//! `drawhall import --check`: what becomes of a drawpile-srv's command line, unit, compose file and files. Changes
//! nothing.
//!
//! | file | what it checks |
//! | --- | --- |
//! | `command` | a command line, and the files that it names |
//! | `unit` | a systemd unit |
//! | `compose` | a compose file |
//! | `files` | configuration file, database, session directory, templates |

mod command;
mod compose;
mod files;
mod unit;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use command::Surroundings;
use drawhall::text;

use crate::Failure;
use crate::output::outln;

/// Exit status when something is different.
const DIFFERS: u8 = 1;
/// Exit status when something cannot be used.
const UNUSABLE: u8 = 2;
/// Where a file of SQLite begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Size of a text that is read at most, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It is used as it is, and means the same.
    Same,
    /// It works, but differently, or something has to be changed by hand.
    Differs,
    /// It cannot be used.
    Unusable,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Unusable => "unusable",
        })
    }
}

/// Collects what becomes of each thing.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<(Outcome, String)>,
    worst: Option<Outcome>,
    text: String,
}

impl Report {
    /// Begins the part about one thing.
    fn begin(&mut self, title: &str) {
        self.end();
        self.text.push_str(&text::shown(title));
        self.text.push('\n');
    }

    fn add(&mut self, outcome: Outcome, about: impl Into<String>) {
        self.worst = self.worst.max(Some(outcome));
        self.lines.push((outcome, about.into()));
    }

    fn same(&mut self, about: impl Into<String>) {
        self.add(Outcome::Same, about);
    }

    fn differs(&mut self, about: impl Into<String>) {
        self.add(Outcome::Differs, about);
    }

    fn unusable(&mut self, about: impl Into<String>) {
        self.add(Outcome::Unusable, about);
    }

    /// Ends a part.
    fn end(&mut self) {
        for (outcome, about) in self.lines.drain(..) {
            self.text.push_str(&format!("  {outcome:<8}  {}\n", text::one_line(&about)));
        }
    }
}

/// Checks files of a drawpile-srv, and a command line, and prints what becomes of each.
///
/// # Errors
/// When there is nothing to check.
pub(crate) fn run(paths: &[PathBuf], command_line: &[String]) -> Result<ExitCode, Failure> {
    if paths.is_empty() && command_line.is_empty() {
        return Err("name files of a drawpile-srv, or its command line behind --".into());
    }
    let mut report = Report::default();
    for path in paths {
        check_path(path, &mut report);
    }
    if !command_line.is_empty() {
        let has_login = std::env::var_os(command::LOGIN).is_some();
        let locate = |path: &Path| Some(path.to_owned());
        let place = Surroundings { base: Path::new(""), locate: &locate, has_login };
        command::check(command_line, &place, &mut report);
    }
    report.end();
    outln!("{}", report.text.trim_end());
    Ok(match report.worst {
        None | Some(Outcome::Same) => ExitCode::SUCCESS,
        Some(Outcome::Differs) => ExitCode::from(DIFFERS),
        Some(Outcome::Unusable) => ExitCode::from(UNUSABLE),
    })
}

/// Reads a file; of a database the beginning.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_TEXT && !bytes.starts_with(SQLITE) {
        return Err(std::io::Error::other("it is too large for a configuration"));
    }
    Ok(bytes)
}

/// Checks a file or directory of any kind, which its content tells.
fn check_path(path: &Path, report: &mut Report) {
    if path.is_dir() {
        return files::sessions(path, report);
    }
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.begin(&path.display().to_string());
            return report.unusable(format!("it cannot be read: {error}"));
        }
    };
    if bytes.starts_with(SQLITE) {
        return files::database(path, report);
    }
    let content = text::decode(&bytes);
    let has_line = |wanted: &str| content.lines().any(|line| line.trim_start().starts_with(wanted));
    if has_line("services:") {
        compose::check(path, &content, report);
    } else if has_line("ExecStart") || has_line("[Service]") || has_line("[Socket]") {
        unit::check(path, &content, report);
    } else {
        files::config(path, report);
    }
}
