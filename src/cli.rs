//! The command line. Source: docs/spec/config.md#command-line.

mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use drawhall::acme::LETS_ENCRYPT;
use drawhall::admin::Credentials;
use drawhall::config::ip_range::IpRange;
use drawhall::config::{Profile, SettingValue as _};
use drawhall::transport::forwarded::ProxyHeader;
use drawhall::transport::{origin, trust};

pub(crate) use values::items;
use values::{
    access_network, crypt_key, dns_name, duration, email, host_name, http_url, item, network, page_url,
    port_or_off, profile,
};

use crate::ctl::Ctl;
use crate::health::DEFAULT_ADDRESS;
use crate::log_output::{LogFormat, LogLevel};

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
        place: DatabasePlace,
    },
    /// Print the public key of the auth server of a configuration database, for the setting extauthkey.
    ExtauthKey {
        #[command(flatten)]
        place: DatabasePlace,
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

/// Format of an example configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExampleFormat {
    /// Settings, for --config.
    Ini,
    /// Options, for --options.
    Toml,
}

/// Location of a configuration database.
#[derive(Debug, Args)]
pub(crate) struct DatabasePlace {
    /// Configuration database [default: that of the data directory].
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) database: Option<PathBuf>,

    /// Data directory [default: the user's, such as ~/.local/share/drawhall].
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "database")]
    pub(crate) data: Option<PathBuf>,
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

/// Options of the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// TCP port to listen on; off to listen for WebSocket only.
    #[arg(short, long, value_name = "N", default_value = "27750", value_parser = port_or_off, help_heading = "Listening")]
    pub(crate) port: u16,

    /// Address to listen on, for all listeners without an address of their own [default: all interfaces].
    #[arg(short, long, value_name = "ADDRESS", help_heading = "Listening")]
    pub(crate) listen: Option<IpAddr>,

    /// Port for WebSocket connections, usually 27751; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Listening")]
    pub(crate) websocket_port: u16,

    /// Address for WebSocket connections [default: that of --listen].
    #[arg(long, value_name = "ADDRESS", help_heading = "Listening")]
    pub(crate) websocket_listen: Option<IpAddr>,

    /// Ask the router to forward these ports to this machine, by PCP, NAT-PMP or UPnP: for a server at home.
    #[arg(long, help_heading = "Listening")]
    pub(crate) port_mapping: bool,

    /// Web page origins that may open WebSocket connections, such as https://example.org, or * [default: any].
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = item(origin::normalize), help_heading = "Listening")]
    pub(crate) websocket_allowed_origin: Vec<Option<String>>,

    /// Networks of trusted proxies: only they may tell the address of a client.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = item(network), default_values = trust::LOOPBACK, help_heading = "Listening")]
    pub(crate) trusted_proxy: Vec<Option<IpRange>>,

    /// Headers by which trusted proxies tell the address of a client: x-real-ip, x-forwarded-for, forwarded,
    /// proxy-protocol [default: all of them; they must agree].
    #[arg(long, value_name = "HEADER", value_delimiter = ',', value_parser = item(ProxyHeader::parse), help_heading = "Listening")]
    pub(crate) proxy_header: Vec<Option<ProxyHeader>>,

    /// Certificate chain (PEM); with --ssl-key it enables TLS, which clients must then use.
    #[arg(long, value_name = "FILE", group = "certificate_source", help_heading = "Encryption")]
    pub(crate) ssl_cert: Option<PathBuf>,

    /// Private key of --ssl-cert (PEM).
    #[arg(long, value_name = "FILE", group = "key_source", help_heading = "Encryption")]
    pub(crate) ssl_key: Option<PathBuf>,

    /// Required key type of --ssl-key.
    #[arg(long, value_name = "KIND", value_enum, ignore_case = true, default_value_t = KeyKind::Guess, help_heading = "Encryption")]
    pub(crate) ssl_key_algorithm: KeyKind,

    /// Refuse unencrypted connections, WebSocket connections included.
    #[arg(long, requires_all = ["certificate_source", "key_source"], help_heading = "Encryption")]
    pub(crate) secure: bool,

    /// Host names of this server: order a certificate for them from a certificate authority (ACME), enable TLS with it,
    /// and renew it. Agrees to the terms of service of the authority.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = item(dns_name), groups = ["certificate_source", "key_source"], conflicts_with = "in_memory", help_heading = "Encryption")]
    pub(crate) acme: Vec<Option<String>>,

    /// E-mail address that the certificate authority of --acme may write to.
    #[arg(long, value_name = "ADDRESS", value_parser = email, help_heading = "Encryption")]
    pub(crate) acme_email: Option<String>,

    /// Directory of the certificate authority of --acme.
    #[arg(long, value_name = "URL", value_parser = http_url, default_value = LETS_ENCRYPT, help_heading = "Encryption")]
    pub(crate) acme_directory: String,

    /// Certificate (PEM) to trust for requests to the certificate authority of --acme, besides the usual ones.
    #[arg(long, value_name = "FILE", help_heading = "Encryption")]
    pub(crate) acme_ca: Option<PathBuf>,

    /// Port to answer HTTP-01 challenges of --acme, usually 80, where the authority connects; 0 for TLS-ALPN-01
    /// challenges only, for which the authority connects to port 443, which must lead to --websocket-port.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Encryption")]
    pub(crate) acme_http_port: u16,

    /// Keep database and sessions in this directory [default: the user's, such as ~/.local/share/drawhall, unless
    /// --config, --database or --sessions is given].
    #[arg(long, value_name = "DIR", conflicts_with = "in_memory", help_heading = "Configuration")]
    pub(crate) data: Option<PathBuf>,

    /// Store nothing: no database, sessions in memory only.
    #[arg(long, conflicts_with_all = ["database", "sessions"], help_heading = "Configuration")]
    pub(crate) in_memory: bool,

    /// Allow running as root, which is otherwise refused outside of containers.
    #[arg(long, help_heading = "Configuration")]
    pub(crate) allow_root: bool,

    /// Configuration file (INI), as of drawpile-srv.
    #[arg(short, long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,

    /// Set of default settings, such as public [default: the setting profile].
    #[arg(long, value_name = "NAME", value_parser = profile, help_heading = "Configuration")]
    pub(crate) profile: Option<Profile>,

    /// Store sessions in this directory, as drawpile-srv does [default: in memory only].
    #[arg(short, long, value_name = "DIR", help_heading = "Sessions")]
    pub(crate) sessions: Option<PathBuf>,

    /// Session templates: a session is created from one when a client joins it.
    #[arg(short, long, value_name = "DIR", help_heading = "Sessions")]
    pub(crate) templates: Option<PathBuf>,

    /// Record sessions to this directory or file. Placeholders: %d date, %t and %h time, %i id, %a alias or id.
    #[arg(long, value_name = "PATH", help_heading = "Sessions")]
    pub(crate) record: Option<String>,

    /// Record all inputs of logins and sessions to this new file, for `drawhall replay`. Contains passwords and chat.
    #[arg(long, value_name = "FILE", help_heading = "Sessions")]
    pub(crate) trace_input: Option<PathBuf>,

    /// Maximum time between fsyncs of session files, such as 100ms; 0 for an fsync before every send
    /// [default: the setting syncInterval].
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Sessions")]
    pub(crate) sync: Option<Duration>,

    /// Port to announce to list servers [default: that of --port].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "List servers and auth servers")]
    pub(crate) announce_port: Option<u16>,

    /// Allow list servers in private networks and on this machine; the white list should name them.
    #[arg(long, help_heading = "List servers and auth servers")]
    pub(crate) announce_private: bool,

    /// URL to forward abuse reports to (setting abusereport).
    #[arg(long, value_name = "URL", value_parser = http_url, help_heading = "List servers and auth servers")]
    pub(crate) report_url: Option<String>,

    /// URL of an auth server whose accounts may log in (setting extauth).
    #[arg(long, value_name = "URL", value_parser = drawhall::config::extauth::check_url, help_heading = "List servers and auth servers")]
    pub(crate) extauth: Option<String>,

    /// Run an auth server at this address, with the accounts of the configuration database.
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "List servers and auth servers")]
    pub(crate) extauth_provider: Option<SocketAddr>,

    /// Port of the admin API; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Administration")]
    pub(crate) web_admin_port: u16,

    /// Serve the admin page and API at the WebSocket port, too; a login is always needed there.
    #[arg(long, conflicts_with = "web_admin_open", help_heading = "Administration")]
    pub(crate) web_admin_on_websocket: bool,

    /// User name and password of the admin API.
    #[arg(long, value_name = "USER:PASSWORD", value_parser = Credentials::parse, help_heading = "Administration")]
    pub(crate) web_admin_auth: Option<Credentials>,

    /// Require a login for the admin API: an account with the flag ADMIN, or the user of --web-admin-auth.
    #[arg(long, help_heading = "Administration")]
    pub(crate) web_admin_login: bool,

    /// Open the admin page in a browser; implies --web-admin-port 27780 unless another port is given.
    #[arg(long, overrides_with = "no_gui", help_heading = "Administration")]
    pub(crate) gui: bool,

    /// Do not open a browser (the default).
    #[arg(long, overrides_with = "gui", help_heading = "Administration")]
    pub(crate) no_gui: bool,

    /// With --gui: open the admin page of another server instead of starting one.
    #[arg(long, value_name = "URL", value_parser = http_url, requires = "gui", help_heading = "Administration")]
    pub(crate) remote: Option<String>,

    /// Networks that may use the admin API, or all [default: this machine only].
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = item(access_network), help_heading = "Administration")]
    pub(crate) web_admin_access: Vec<Option<IpRange>>,

    /// Allow --web-admin-access without a login. Use it only behind a proxy that asks for one, on a port that nobody
    /// else can reach.
    #[arg(long, conflicts_with_all = ["web_admin_auth", "web_admin_login"], help_heading = "Administration")]
    pub(crate) web_admin_open: bool,

    /// Address of the admin API [default: that of --listen with --web-admin-access, else 127.0.0.1].
    #[arg(long, value_name = "ADDRESS", help_heading = "Administration")]
    pub(crate) web_admin_listen: Option<IpAddr>,

    /// Host names of the admin API, besides localhost, IP addresses and --local-host.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = item(host_name), help_heading = "Administration")]
    pub(crate) web_admin_host: Vec<Option<String>>,

    /// Public URL of the admin page, such as https://draw.example.org/admin/. Operators of a session then get a link
    /// after a kick or ban, to undo what somebody drew.
    #[arg(long, value_name = "URL", value_parser = page_url, help_heading = "Administration")]
    pub(crate) web_admin_url: Option<String>,

    /// Web page origin that may use the admin API, such as https://example.org, or *.
    #[arg(long, value_name = "ORIGIN", value_parser = origin::normalize, help_heading = "Administration")]
    pub(crate) web_admin_allowed_origin: Option<String>,

    /// Public host name of this server, for list servers, invites and clients.
    #[arg(long, value_name = "NAME", help_heading = "List servers and auth servers")]
    pub(crate) local_host: Option<String>,

    /// Configuration database (SQLite), as of drawpile-srv.
    #[arg(short, long, value_name = "FILE", conflicts_with = "config", help_heading = "Configuration")]
    pub(crate) database: Option<PathBuf>,

    /// Key for encrypted ban lists: 32 bytes in base64.
    #[arg(long, value_name = "BASE64", value_parser = crypt_key, help_heading = "Keys")]
    pub(crate) crypt_key: Option<[u8; 32]>,

    /// Options file (TOML); the command line and environment variables such as DRAWHALL_PORT override it.
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) options: Option<PathBuf>,

    /// Form of the log on standard error.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogFormat::Text, help_heading = "Log")]
    pub(crate) log_format: LogFormat,

    /// Least severe level that is logged to standard error [default: RUST_LOG, else info; warn on a terminal].
    #[arg(long, value_name = "LEVEL", value_enum, help_heading = "Log")]
    pub(crate) log_level: Option<LogLevel>,

    /// Generate a key for --crypt-key, print it and exit.
    #[arg(long, help_heading = "Keys")]
    pub(crate) generate_crypt_key: bool,
}

impl Serve {
    /// All options that have a value, by long name, with secrets hidden.
    pub(crate) fn values(&self) -> Vec<(&'static str, String)> {
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
        fn join<T: ToString>(list: &[Option<T>]) -> Option<String> {
            let items: Vec<String> = items(list).map(ToString::to_string).collect();
            (!items.is_empty()).then(|| items.join(","))
        }
        let values = [
            ("websocket-port", Some(self.websocket_port.to_string())),
            ("websocket-listen", self.websocket_listen.map(|a| a.to_string())),
            ("port-mapping", Some(self.port_mapping.to_string())),
            ("websocket-allowed-origin", join(&self.websocket_allowed_origin)),
            ("trusted-proxy", join(&self.trusted_proxy)),
            ("proxy-header", join(&items(&self.proxy_header).map(|h| Some(h.name())).collect::<Vec<_>>())),
            ("web-admin-port", Some(self.web_admin_port.to_string())),
            ("web-admin-on-websocket", Some(self.web_admin_on_websocket.to_string())),
            ("web-admin-auth", self.web_admin_auth.as_ref().map(|_| "(not shown)".to_owned())),
            ("web-admin-access", join(&self.web_admin_access)),
            ("web-admin-login", Some(self.web_admin_login.to_string())),
            ("web-admin-open", Some(self.web_admin_open.to_string())),
            ("web-admin-listen", self.web_admin_listen.map(|a| a.to_string())),
            ("web-admin-host", join(&self.web_admin_host)),
            ("web-admin-url", self.web_admin_url.clone()),
            ("gui", Some(self.gui.to_string())),
            ("remote", self.remote.clone()),
            ("web-admin-allowed-origin", self.web_admin_allowed_origin.clone()),
            ("ssl-cert", path(&self.ssl_cert)),
            ("ssl-key", path(&self.ssl_key)),
            ("ssl-key-algorithm", Some(format!("{:?}", self.ssl_key_algorithm).to_lowercase())),
            ("secure", Some(self.secure.to_string())),
            ("acme", join(&self.acme)),
            ("acme-email", self.acme_email.clone()),
            ("acme-directory", Some(self.acme_directory.clone())),
            ("acme-ca", path(&self.acme_ca)),
            ("acme-http-port", Some(self.acme_http_port.to_string())),
            ("data", path(&self.data)),
            ("in-memory", Some(self.in_memory.to_string())),
            ("allow-root", Some(self.allow_root.to_string())),
            ("port", Some(if self.port == 0 { "off".to_owned() } else { self.port.to_string() })),
            ("listen", self.listen.map(|a| a.to_string())),
            ("config", path(&self.config)),
            ("database", path(&self.database)),
            ("profile", self.profile.map(|p| p.write())),
            ("sessions", path(&self.sessions)),
            ("templates", path(&self.templates)),
            ("record", self.record.clone()),
            ("trace-input", path(&self.trace_input)),
            ("sync", self.sync.map(|s| format!("{}ms", s.as_millis()))),
            ("announce-port", self.announce_port.map(|p| p.to_string())),
            ("announce-private", Some(self.announce_private.to_string())),
            ("report-url", self.report_url.clone()),
            ("extauth", self.extauth.clone()),
            ("extauth-provider", self.extauth_provider.map(|a| a.to_string())),
            ("local-host", self.local_host.clone()),
            ("crypt-key", self.crypt_key.map(|_| "(not shown)".to_owned())),
            ("log-format", Some(format!("{:?}", self.log_format).to_lowercase())),
            ("log-level", self.log_level.map(|level| format!("{level:?}").to_lowercase())),
            ("options", path(&self.options)),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Key types, by drawpile-srv's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// Any type.
    Guess,
    /// RSA.
    Rsa,
    /// Elliptic curves.
    Ec,
    /// DSA; not usable with current TLS.
    Dsa,
    /// Diffie-Hellman; not usable with current TLS.
    Dh,
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
