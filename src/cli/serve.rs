//! Options of the server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use drawhall::acme::LETS_ENCRYPT;
use drawhall::admin::Credentials;
use drawhall::config::ip_range::IpRange;
use drawhall::config::{Profile, SettingValue as _};
use drawhall::db::ClusterUrl;
use drawhall::transport::forwarded::ProxyHeader;
use drawhall::transport::{origin, trust};

use super::values::{
    ClusterUrlParser, access_network, crypt_key, dns_name, duration, email, host_name, http_url, item, items,
    link_address, network, page_url, port_or_off, profile,
};
use crate::log_output::{LogFormat, LogLevel};

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

    /// Program that makes pictures of sessions [default: drawpile-cmd, where it is in PATH].
    #[arg(long, value_name = "FILE", help_heading = "Sessions")]
    pub(crate) canvas_renderer: Option<PathBuf>,

    /// Program that makes videos of time-lapses [default: ffmpeg, where it is in PATH].
    #[arg(long, value_name = "FILE", help_heading = "Sessions")]
    pub(crate) ffmpeg: Option<PathBuf>,

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

    /// Serve the admin page and API at --web-admin-port by HTTPS, with the certificate of --ssl-cert or --acme.
    #[arg(long, requires_all = ["certificate_source", "key_source"], help_heading = "Administration")]
    pub(crate) web_admin_tls: bool,

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

    /// Configuration database on PostgreSQL, which several servers can share, such as
    /// postgres://drawhall@db.example.org/drawhall?sslmode=verify-full. Other users of this machine see the command line:
    /// give an address with a password in DRAWHALL_CLUSTER or in the file of --options.
    #[arg(long, value_name = "URL", value_parser = ClusterUrlParser, help_heading = "Configuration",
          conflicts_with_all = ["config", "database", "in_memory"])]
    pub(crate) cluster: Option<ClusterUrl>,

    /// Address and port where other servers of the cluster reach this one, such as 192.0.2.1:27752. Clients of each
    /// server then see and join the sessions of all. Only servers with the same --cluster can connect.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = link_address, help_heading = "Configuration")]
    pub(crate) cluster_listen: Option<SocketAddr>,

    /// Keep sessions in the database of --cluster, too: what is drawn is committed there before anybody sees it, and when
    /// this server is gone, another one goes on with its sessions. Needs --cluster-listen and --sessions, whose directory
    /// has copies in its folder cluster.
    #[arg(long, help_heading = "Configuration", requires = "cluster_listen")]
    pub(crate) cluster_sessions: bool,

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
            ("web-admin-tls", Some(self.web_admin_tls.to_string())),
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
            ("cluster-listen", self.cluster_listen.map(|a| a.to_string())),
            ("cluster-sessions", Some(self.cluster_sessions.to_string())),
            ("cluster", self.cluster.as_ref().map(ToString::to_string)),
            ("profile", self.profile.map(|p| p.write())),
            ("sessions", path(&self.sessions)),
            ("templates", path(&self.templates)),
            ("canvas-renderer", path(&self.canvas_renderer)),
            ("ffmpeg", path(&self.ffmpeg)),
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
