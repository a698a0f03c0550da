//! Looks for faults of a server's configuration, files and surroundings: `drawhall doctor`, and the endpoint `checks`.
//! Reads only; a server may be running.
//!
//! | file | what it checks |
//! | --- | --- |
//! | `certificate` | certificate, chain and key |
//! | `acme` | names and certificate of `--acme` |
//! | `ports` | ports that other programs use |
//! | `files` | disk space, owner and permissions of files, clock, limit of open files |
//! | `configuration` | settings, database, accounts, stored sessions, templates |
//! | `access` | admin API, proxies, list servers, host name |
//! | `process` | the running server, and who listens where, from `/proc` |

mod access;
mod acme;
mod certificate;
mod configuration;
mod files;
mod ports;
mod process;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{OpenSource, RuleSource, Rules, SourceError};
use crate::db::{DatabaseState, DbError};
use crate::transport::tls::CertificateFiles;
use crate::transport::trust::Trusted;
use process::Process;

/// What a server runs with, or would.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where the rules come from.
    pub source: RuleSource,
    /// Session directory.
    pub sessions: Option<PathBuf>,
    /// Template directory.
    pub templates: Option<PathBuf>,
    /// Program that makes pictures of sessions.
    pub canvas_renderer: Option<PathBuf>,
    /// Makes videos of time-lapses.
    pub ffmpeg: Option<PathBuf>,
    /// Certificate of the drawing ports.
    pub certificate: Option<CertificateFiles>,
    /// Certificates of a certificate authority, if they are ordered.
    pub acme: Option<AcmeSetup>,
    /// Ports that it listens on.
    pub ports: Vec<Port>,
    /// The admin API, if it is on.
    pub admin: Option<AdminSetup>,
    /// Trusted proxies.
    pub trusted: Trusted,
    /// List servers in private networks are allowed.
    pub announce_private: bool,
    /// Ended sessions are kept for a while.
    pub keep_ended: bool,
    /// File whose modification time is that of the last backup.
    pub last_backup: Option<PathBuf>,
    /// The server itself makes the checks: the ports are its own.
    pub is_server: bool,
}

/// A port that a server listens on.
#[derive(Debug, Clone)]
pub struct Port {
    /// The option that says so.
    pub option: &'static str,
    /// Address; `None` for all.
    pub address: Option<IpAddr>,
    /// Port number.
    pub port: u16,
}

/// Certificates that the server orders by itself.
#[derive(Debug, Clone, Default)]
pub struct AcmeSetup {
    /// Host names of the certificate.
    pub names: Vec<String>,
    /// File of the certificate, there after the first order.
    pub certificate: PathBuf,
    /// There is a port at which the authority can check the names.
    pub has_port: bool,
}

/// Who may use the admin API.
#[derive(Debug, Clone, Default)]
pub struct AdminSetup {
    /// It listens on other addresses than loopback.
    pub is_reachable: bool,
    /// Clients of any address may use it.
    pub is_for_all: bool,
    /// Connections to it are encrypted.
    pub is_encrypted: bool,
    /// A login is required.
    pub needs_login: bool,
    /// Machines that may use it without a login are refused, because `--web-admin-open` is missing.
    pub is_open_by_mistake: bool,
    /// Access without a login was asked for.
    pub is_open: bool,
    /// Length of the password of `--web-admin-auth` in characters.
    pub password_length: Option<usize>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works, but something is unsafe or will fail.
    Warning,
    /// Something does not work, or anybody may do harm.
    Error,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Name of the kind of finding, which does not change between versions.
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// Result of all checks.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Report {
    /// What was checked.
    pub checks: Vec<&'static str>,
    /// What is wrong; the worst first.
    pub findings: Vec<Finding>,
}

impl Setup {
    /// When the last backup was made; `None` if there is none, or it is not known.
    pub fn last_backup(&self) -> Option<SystemTime> {
        std::fs::metadata(self.last_backup.as_deref()?).and_then(|file| file.modified()).ok()
    }
}

impl Report {
    /// The worst level; `None` if nothing is wrong.
    pub fn worst(&self) -> Option<Level> {
        self.findings.iter().map(|finding| finding.level).max()
    }
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, id: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Error, id, text.into(), remedy.into());
    }

    fn warning(&mut self, id: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, id, text.into(), remedy.into());
    }

    fn add(&mut self, level: Level, id: &'static str, text: String, remedy: String) {
        self.0.push(Finding { id, level, text, remedy });
    }
}

/// What checks look at.
struct Context<'a> {
    setup: &'a Setup,
    /// The source, if it could be opened.
    source: Option<OpenSource>,
    /// The rules, if they could be read.
    rules: Option<Rules>,
    database: DatabaseState,
    /// Why there are no rules.
    failure: Option<SourceError>,
    /// The running server.
    server: Option<Process>,
}

type Check = fn(&Context<'_>, &mut Findings);

const CHECKS: &[(&str, Check)] = &[
    ("certificate", certificate::check),
    ("certificate authority", acme::check),
    ("ports", ports::check),
    ("disk space", files::disk_space),
    ("owner of files", files::owner),
    ("permissions of files", files::permissions),
    ("clock", files::clock),
    ("backup", files::backup),
    ("limit of open files", files::open_files),
    ("database", configuration::database),
    ("settings", configuration::settings),
    ("accounts", configuration::accounts),
    ("stored sessions", configuration::sessions),
    ("templates", configuration::templates),
    ("pictures of sessions", configuration::canvas_renderer),
    ("videos of time-lapses", configuration::ffmpeg),
    ("admin API", access::admin),
    ("proxies", access::proxies),
    ("list servers", access::list_servers),
    ("host name", access::host_name),
];

/// Makes all checks; blocks, and reads the whole database.
pub fn run(setup: &Setup) -> Report {
    // What is wrong with the settings is a finding here; it has been logged at the start.
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
        let context = Context::new(setup);
        let mut findings = Findings::default();
        for (_, check) in CHECKS {
            check(&context, &mut findings);
        }
        let mut findings = findings.0;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Report { checks: CHECKS.iter().map(|(name, _)| *name).collect(), findings }
    })
}

impl<'a> Context<'a> {
    fn new(setup: &'a Setup) -> Context<'a> {
        let server = if setup.is_server { Some(Process::own()) } else { process::server_of(setup) };
        let mut context = Context {
            setup,
            source: None,
            rules: None,
            database: DatabaseState::default(),
            failure: None,
            server,
        };
        match setup.source.open_copy() {
            Ok((mut source, state)) if state.damage.is_none() => {
                context.database = state;
                match source.read() {
                    Ok(rules) => context.rules = Some(rules),
                    Err(error) => context.failure = Some(error),
                }
                context.source = Some(source);
            }
            Ok((_, state)) => context.database = state,
            Err(error) => context.failure = Some(error),
        }
        context
    }

    /// Why the database cannot be used.
    fn database_failure(&self) -> Option<&DbError> {
        match &self.failure {
            Some(SourceError::Cluster(error) | SourceError::Database(error)) => Some(error),
            _ => None,
        }
    }

    /// Directories that the server writes to.
    fn written_dirs(&self) -> Vec<PathBuf> {
        let database = self.setup.source.database.as_ref().and_then(|path| path.parent());
        let database =
            database.map(|dir| if dir.as_os_str().is_empty() { ".".into() } else { dir.to_owned() });
        self.setup.sessions.iter().cloned().chain(database).collect()
    }
}
