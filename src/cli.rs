//! The command line. Source: docs/spec/config.md#command-line.

mod serve;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use drawhall::db::ClusterUrl;

pub(crate) use serve::{KeyKind, Serve};
pub(crate) use values::items;
use values::{ClusterUrlParser, duration};

use crate::canvas::CanvasAction;
use crate::ctl::Ctl;
use crate::health::DEFAULT_ADDRESS;

/// Version of the server and of the protocol, as `--version` prints them.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (protocol 25.1)");

/// Dedicated server for Drawpile: people draw together on one canvas over the network.
///
/// Without a subcommand it runs the server.
#[derive(Debug, Parser)]
#[command(name = "drawhall", version = VERSION, disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// Print the version of the server and of the protocol.
    #[arg(short = 'v', long, action = clap::ArgAction::Version, global = false)]
    version: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server (the default).
    Serve(Box<Serve>),
    /// Print every effective option and setting, with its source.
    Config(ConfigArgs),
    /// Look for faults of configuration, files and surroundings; takes the options of the server. Changes nothing. Exit
    /// status: 0 without findings, 1 with warnings, 2 with errors.
    Doctor(DoctorArgs),
    /// Print the addresses at which others reach the server, whether it runs or not; takes its options.
    Address(AddressArgs),
    /// Say what becomes of the files and options of a drawpile-srv; Drawhall uses them as they are. Exit status: 0 if
    /// all stays the same, 1 if something is different, 2 if something cannot be used.
    Import {
        /// Only check, which is all that there is to do.
        #[arg(long, required = true)]
        check: bool,
        /// Systemd unit, compose file, configuration file, database or session directory.
        paths: Vec<PathBuf>,
        /// Command line of drawpile-srv, behind --.
        #[arg(last = true, value_name = "COMMAND LINE")]
        command_line: Vec<String>,
    },
    /// Write man pages to a directory.
    Man {
        /// Directory, created if it does not exist.
        dir: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// Shell to complete for.
        shell: Shell,
    },
    /// Check that a server answers: exit status 0 if it greets, else 1.
    Health {
        /// Host and port of the drawing protocol.
        #[arg(
            long,
            value_name = "HOST:PORT",
            env = "DRAWHALL_HEALTH_ADDRESS",
            default_value = DEFAULT_ADDRESS
        )]
        address: String,
        /// Time to wait for the greeting.
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
        timeout: Duration,
    },
    /// Read pictures and canvases, with no access to files and network.
    Canvas {
        /// The command.
        #[command(subcommand)]
        action: CanvasAction,
    },
    /// Administer a running server over its admin API.
    Ctl(Ctl),
    /// Print the table of all settings.
    Settings,
    /// Print the tables of all options and subcommands.
    Options,
    /// Convert a recording between its binary (.dprec) and text form (.dptxt).
    Convert(Convert),
    /// Summarize a recording, and say where it is truncated.
    Inspect { file: PathBuf },
    /// Replay a trace of --trace-input and compare the effects.
    Replay { file: PathBuf },
    /// List the sessions stored in a directory.
    Sessions {
        /// Session directory.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// List ended sessions that can be restored, instead.
        #[arg(long, conflicts_with = "json")]
        ended: bool,
        /// Restore the ended session of this id. The server must be stopped; `drawhall ctl ended` does it while it runs.
        #[arg(long, value_name = "ID", conflicts_with_all = ["json", "ended"])]
        restore: Option<String>,
    },
    /// Verify the sessions stored in a directory.
    Check {
        /// Session directory.
        dir: PathBuf,
    },
    /// Manage the accounts of a configuration database.
    Account {
        #[command(subcommand)]
        action: AccountAction,
        #[command(flatten)]
        location: DatabaseLocation,
    },
    /// Databases on PostgreSQL that several servers share.
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
        /// Address of the database [default: that of DRAWHALL_CLUSTER].
        #[arg(long, value_name = "URL", global = true, value_parser = ClusterUrlParser)]
        cluster: Option<ClusterUrl>,
    },
    /// Print the public key of the auth server of a configuration database, for the setting extauthkey.
    ExtauthKey {
        #[command(flatten)]
        location: DatabaseLocation,
    },
    /// Create a self-signed certificate for --ssl-cert and --ssl-key.
    Certificate {
        /// Host names or addresses of the server.
        #[arg(required = true)]
        hosts: Vec<String>,
        /// Certificate file to write.
        #[arg(long, value_name = "FILE", default_value = "cert.pem")]
        cert: PathBuf,
        /// Private key file to write.
        #[arg(long, value_name = "FILE", default_value = "key.pem")]
        key: PathBuf,
    },
    /// Repair the sessions stored in a directory; changed files are copied first. The server must be stopped.
    Repair {
        /// Session directory.
        dir: PathBuf,
    },
    /// Back up database and stored sessions to one archive (.tar.gz). A server may be running.
    Backup(BackupArgs),
    /// Restore a backup to an empty data directory.
    Restore {
        /// Archive to restore; - for standard input.
        archive: PathBuf,
        /// Data directory, empty or new [default: the user's, such as ~/.local/share/drawhall].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

/// Options of `drawhall backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Archive to write; a directory for an archive named by the time; - for standard output.
    pub(crate) target: PathBuf,

    /// Number of archives to keep in the directory; older ones are removed [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep: Option<u16>,

    /// Restore the archive to a temporary directory beside it, and check that. Needs as much space as the data.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Data directory [default: the user's, such as ~/.local/share/drawhall].
    #[arg(long, value_name = "DIR", conflicts_with_all = ["database", "sessions"])]
    pub(crate) data: Option<PathBuf>,

    /// Configuration database to back up, instead of a data directory.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,

    /// Session directory to back up, instead of a data directory.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) sessions: Option<PathBuf>,
}

/// Options of `drawhall config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) serve: Box<Serve>,

    /// Only check options, configuration and certificate: print problems, exit with status 1 if there are any.
    #[arg(long)]
    pub(crate) check: bool,

    /// Print a commented example instead: a configuration file (ini) or an options file (toml).
    #[arg(long, value_name = "FORMAT", conflicts_with = "check")]
    pub(crate) example: Option<ExampleFormat>,
}

/// Options of `drawhall doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) serve: Box<Serve>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `drawhall address`.
#[derive(Debug, Args)]
pub(crate) struct AddressArgs {
    #[command(flatten)]
    pub(crate) serve: Box<Serve>,

    /// Print a QR code of the address that reaches farthest, too.
    #[arg(long)]
    pub(crate) qr: bool,
}

/// Format of an example configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExampleFormat {
    /// Settings, for --config.
    Ini,
    /// Options, for --options.
    Toml,
}

/// Operations on a database on PostgreSQL.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterAction {
    /// Copy a configuration database (SQLite) to an empty database: settings, accounts, bans, notes, reports,
    /// invitations and keys. The log and the records of who was in a session are not copied.
    Import {
        /// Configuration database, or the data directory that has one.
        from: PathBuf,
    },
    /// Copy the sessions of a session directory to the database, for servers with --cluster-sessions. The server that
    /// uses the directory must be stopped; its files stay as they are.
    ImportSessions {
        /// Session directory.
        from: PathBuf,
    },
    /// Write the sessions that servers share to a directory, which a server can use with --sessions.
    ExportSessions {
        /// Directory, which is made; one without sessions in it may exist.
        to: PathBuf,
    },
    /// Show which servers are connected, and what the database has.
    Status,
    /// Drain a server: move its sessions to other servers while it runs. Sessions with members who are connected to that
    /// server move when these have left. New sessions are refused, and /readyz of its admin API is 503. Waits until no
    /// session is left.
    Drain {
        /// Name or address of the server, as `drawhall cluster status` shows it.
        #[arg(value_name = "NAME")]
        server: String,
        /// Stop draining: the server takes sessions again.
        #[arg(long)]
        undo: bool,
        /// Exit with status 1 if sessions are left after this time.
        #[arg(long, value_name = "SECONDS", default_value_t = 60, conflicts_with = "undo")]
        wait: u32,
    },
}

/// Location of a configuration database.
#[derive(Debug, Args)]
pub(crate) struct DatabaseLocation {
    /// Configuration database [default: that of the data directory].
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) database: Option<PathBuf>,

    /// Data directory [default: the user's, such as ~/.local/share/drawhall].
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "database")]
    pub(crate) data: Option<PathBuf>,

    /// Configuration database on PostgreSQL, such as postgres://drawhall@db.example.org/drawhall [default: that of
    /// DRAWHALL_CLUSTER, without --database and --data].
    #[arg(long, value_name = "URL", global = true, value_parser = ClusterUrlParser,
          conflicts_with_all = ["database", "data"])]
    pub(crate) cluster: Option<ClusterUrl>,
}

impl DatabaseLocation {
    /// Address of the database on PostgreSQL, if it is there: that of the option or of the environment.
    ///
    /// # Errors
    /// When the variable has no such address.
    pub(crate) fn cluster(&self) -> Result<Option<ClusterUrl>, String> {
        if self.database.is_some() || self.data.is_some() {
            return Ok(None);
        }
        self.cluster.clone().map_or_else(cluster_of_environment, |url| Ok(Some(url)))
    }
}

/// The address in DRAWHALL_CLUSTER, for subcommands without the options of the server.
///
/// # Errors
/// When it is none.
pub(crate) fn cluster_of_environment() -> Result<Option<ClusterUrl>, String> {
    let text = std::env::var("DRAWHALL_CLUSTER").ok().filter(|text| !text.is_empty());
    let url = text.map(|text| text.parse()).transpose();
    url.map_err(|reason| format!("DRAWHALL_CLUSTER: {reason}"))
}

/// Operations on accounts. Passwords are asked for on the terminal, or read from standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountAction {
    /// Add an account.
    Add {
        /// User name.
        name: String,
        /// Flags, such as MOD,HOST.
        #[arg(long, value_delimiter = ',')]
        flags: Vec<String>,
        /// Allow flags that the server does not know, for groups of an auth server.
        #[arg(long)]
        force: bool,
    },
    /// List the accounts.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change an account.
    Set {
        /// User name.
        name: String,
        /// Ask for a new password.
        #[arg(long)]
        password: bool,
        /// Replace its flags.
        #[arg(long, value_delimiter = ',', num_args = 0..)]
        flags: Option<Vec<String>>,
        /// Allow flags that the server does not know, for groups of an auth server.
        #[arg(long)]
        force: bool,
        /// Lock the account: nobody can log in with it.
        #[arg(long, conflicts_with = "unlock")]
        lock: bool,
        /// Unlock the account.
        #[arg(long)]
        unlock: bool,
    },
    /// Remove an account.
    Remove {
        /// User name.
        name: String,
    },
}

/// Options of `drawhall convert`.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// Recording to read, - for standard input.
    pub(crate) input: PathBuf,

    /// Recording to write, - for standard output.
    pub(crate) output: PathBuf,

    /// Format of the input [default: by its extension].
    #[arg(long, value_name = "FORM")]
    pub(crate) from: Option<Form>,

    /// Format of the output [default: by its extension, or else the other one].
    #[arg(long, value_name = "FORM")]
    pub(crate) to: Option<Form>,
}

/// Format of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Binary.
    Dprec,
    /// Text.
    Dptxt,
}

#[cfg(test)]
mod tests;
