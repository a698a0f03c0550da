//! Serving: from options to a server that runs until it is told to stop.

use std::io::IsTerminal as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall::acme::AcmeOptions;
use drawhall::admin::AccessRules;
use drawhall::app::{RunningServer, ServeOptions, start};
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::metrics::Metrics;
use drawhall::renderer::{DEFAULT_FFMPEG, DEFAULT_PROGRAM, find_program};
use drawhall::transport::accept::WebSocketRules;
use drawhall::transport::tls::{CertificateFiles, KeyAlgorithm};
use drawhall::transport::trust::Trusted;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use crate::Failure;
use crate::cli::{KeyKind, Serve, items};
use crate::data_paths::{DataPaths, initial_settings, last_backup_in};
use crate::gui;
use crate::log_output;
use crate::options::is_set;
use crate::start_summary::StartSummary;
use crate::systemd;

/// Sent to a process that writes beyond its limit for file sizes.
const SIGXFSZ: i32 = 25;

/// Where the rules come from.
pub(crate) fn rule_source(options: &Serve, paths: &DataPaths) -> RuleSource {
    RuleSource {
        config: options.config.clone(),
        database: paths.database.clone(),
        cluster: options.cluster.clone(),
        initial_settings: initial_settings(options.database.as_deref(), options.cluster.is_some()),
        crypt_key: options.crypt_key,
        local_host: options.local_host.clone().unwrap_or_default(),
        extauth: options.extauth.clone(),
        report_url: options.report_url.clone(),
        page_url: page_url(options),
        sync: options.sync,
        profile: options.profile,
        ..RuleSource::default()
    }
}

/// The public URL of the admin page, if there is one.
fn page_url(options: &Serve) -> Option<String> {
    let has_page = options.web_admin_port > 0 || options.gui || options.web_admin_on_websocket;
    options.web_admin_url.clone().filter(|_| has_page)
}

/// Host names of the admin page.
fn page_hosts(options: &Serve) -> Vec<String> {
    let url = page_url(options).and_then(|url| Url::parse(&url).ok());
    let of_url = url.and_then(|url| url.host_str().map(str::to_owned));
    options.local_host.iter().chain(items(&options.web_admin_host)).cloned().chain(of_url).collect()
}

fn copied<T: Copy>(list: &[Option<T>]) -> Vec<T> {
    items(list).copied().collect()
}

/// The certificate, if there is one.
pub(crate) fn certificate(options: &Serve) -> Option<CertificateFiles> {
    let algorithm = match options.ssl_key_algorithm {
        KeyKind::Guess => KeyAlgorithm::Guess,
        KeyKind::Rsa => KeyAlgorithm::Rsa,
        KeyKind::Ec => KeyAlgorithm::Ec,
        KeyKind::Dsa => KeyAlgorithm::Dsa,
        KeyKind::Dh => KeyAlgorithm::Dh,
    };
    match (&options.ssl_cert, &options.ssl_key) {
        (Some(certificate), Some(key)) => {
            Some(CertificateFiles { certificate: certificate.clone(), key: key.clone(), algorithm })
        }
        (None, None) => None,
        _ => {
            tracing::warn!("--ssl-cert and --ssl-key are needed both: connections are not encrypted");
            None
        }
    }
}

/// How to get certificates from an authority, if they are to be got.
fn acme(options: &Serve, paths: &DataPaths) -> Result<Option<AcmeOptions>, Failure> {
    let names: Vec<String> = items(&options.acme).cloned().collect();
    if names.is_empty() {
        return Ok(None);
    }
    let data =
        paths.data.clone().ok_or("--acme needs a directory for account and certificate; give --data DIR")?;
    Ok(Some(AcmeOptions {
        names,
        email: options.acme_email.clone(),
        directory: options.acme_directory.clone(),
        ca: options.acme_ca.clone(),
        http_port: Some(options.acme_http_port).filter(|port| *port > 0),
        data,
    }))
}

/// Whether the program may serve as this user. Nothing that it does needs root, so what breaks into it should not
/// have that; in a container there is often nobody else.
fn may_serve(root: bool, allowed: bool, container: bool) -> bool {
    !root || allowed || container
}

fn in_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| std::path::Path::new(path).exists());
    marked || is_set("container") || is_set("KUBERNETES_SERVICE_HOST")
}

/// Each connection needs an open file: takes as many as there may be.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// What a server with these options and paths is started with.
///
/// # Errors
/// When the sockets of a service manager cannot be used.
pub(crate) fn server_options(options: &Serve, paths: &DataPaths) -> Result<ServeOptions, Failure> {
    let search = std::env::var_os("PATH");
    Ok(ServeOptions {
        source: rule_source(options, paths),
        sessions: paths.sessions.clone(),
        // A directory of drawpile-srv's is used as drawpile-srv would.
        events: paths.data.as_ref().map(|data| data.join("events")),
        keep_ended: paths.data.is_some() && options.sessions.is_none(),
        last_backup: paths.data.as_deref().map(last_backup_in),
        templates: options.templates.clone(),
        picture_program: None,
        canvas_renderer: find_program(options.canvas_renderer.as_deref(), DEFAULT_PROGRAM, search.as_deref()),
        ffmpeg: find_program(options.ffmpeg.as_deref(), DEFAULT_FFMPEG, search.as_deref()),
        record: options.record.clone(),
        trace_input: options.trace_input.clone(),
        extauth_provider: options.extauth_provider,
        admin_port: match options.web_admin_port {
            0 if options.gui => Some(gui::PORT),
            port => Some(port).filter(|port| *port > 0),
        },
        admin_on_websocket: options.web_admin_on_websocket,
        admin_tls: options.web_admin_tls,
        admin_access: AccessRules {
            credentials: options.web_admin_auth.clone(),
            networks: items(&options.web_admin_access).copied().collect(),
            login_required: options.web_admin_login,
            allowed_origin: options.web_admin_allowed_origin.clone(),
            open: options.web_admin_open,
            hosts: page_hosts(options),
            operator_links: page_url(options).is_some(),
        },
        admin_listen: options.web_admin_listen,
        first_admin_file: paths.data.as_ref().map(|data| data.join("first-admin-link")),
        announce_port: options.announce_port.unwrap_or(0),
        announce_private: options.announce_private,
        listen: options.listen,
        port: options.port,
        no_tcp: options.port == 0,
        websocket_listen: options.websocket_listen.or(options.listen),
        websocket_port: Some(options.websocket_port).filter(|port| *port > 0),
        port_mapping: options.port_mapping,
        inherited: systemd::listeners()?.map(Arc::new),
        certificate: certificate(options),
        acme: acme(options, paths)?,
        websocket_rules: WebSocketRules {
            allowed_origins: items(&options.websocket_allowed_origin).cloned().collect(),
            secure: options.secure,
        },
        trusted: Trusted::with_headers(&copied(&options.trusted_proxy), &copied(&options.proxy_header)),
        cluster_listen: options.cluster_listen,
        cluster_sessions: options.cluster_sessions,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        metrics: Arc::default(),
    })
}

/// Serves until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub(crate) fn serve(options: &Serve) -> Result<(), Failure> {
    if options.generate_crypt_key {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        crate::output::outln!("{}", BASE64.encode(key));
        return Ok(());
    }
    if let Some(url) = &options.remote {
        gui::show(url);
        return Ok(());
    }
    if !may_serve(rustix::process::geteuid().is_root(), options.allow_root, in_container()) {
        return Err("this program should not run as root; use another user, or --allow-root".into());
    }
    let metrics = Arc::<Metrics>::default();
    let log = log_output::init(options, metrics.clone());
    let shows_summary = log_output::shows_summary(options);
    let paths = DataPaths::of(options)?;
    raise_open_files();
    let shows_page = options.gui;
    let options = ServeOptions { metrics, ..server_options(options, &paths)? };
    let serving = async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // A limit for file sizes is to be an error of writing, not the end of the program.
        let _too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
        let mut restart = signal(SignalKind::user_defined1())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        // Sent when the terminal is closed; whoever is at none sends it to have files read again.
        let at_terminal = std::io::stdin().is_terminal();
        let mut running = start(&options)?;
        let rules = running.rules();
        let log = log.write_to(running.log().clone(), move || rules.borrow().settings().log_max_size)?;
        if shows_summary {
            eprint!("{}", StartSummary::of(&running, &options, &paths));
        }
        log_places(&running, &paths, options.admin_on_websocket);
        if let Some(address) = running.admin_address().filter(|_| shows_page) {
            let scheme = if options.admin_tls { "https" } else { "http" };
            gui::show(&format!("{scheme}://localhost:{}/", address.port()));
        }
        let manager = systemd::Manager::start(running.server().clone(), options.inherited.is_some());
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = running.stop_requested() => break,
                _ = hang_up.recv() => {
                    if at_terminal {
                        break tracing::info!("the terminal was closed");
                    }
                    running.read_again();
                }
                () = manager.idle() => break tracing::info!("nobody is here any more"),
                _ = restart.recv() => {
                    if let Err(error) = running.restart_admin().await {
                        tracing::error!("{error}");
                    }
                }
            }
        }
        manager.stopping();
        running.stop().await;
        log.stop();
        Ok(())
    };
    actix_rt::System::new().block_on(in_task(serving))
}

/// Runs a future in a task of its own: one that `block_on` is given is polled whenever anything happens on its thread.
async fn in_task(future: impl Future<Output = Result<(), Failure>> + 'static) -> Result<(), Failure> {
    let ended = actix_rt::spawn(future).await;
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Err(error.into()),
    })
}

/// Logs what is used, and where to connect to.
fn log_places(running: &RunningServer, paths: &DataPaths, on_websocket: bool) {
    tracing::info!("drawhall {} listening on {}", env!("CARGO_PKG_VERSION"), running.address());
    if let Some(address) = running.websocket_address() {
        let with_page = if on_websocket { ", with the admin page and API" } else { "" };
        tracing::info!("listening for WebSocket on {address}{with_page}");
    }
    let database = running.database();
    if paths.data.is_some() || database.is_some_and(Database::is_shared) {
        let place = database.map_or_else(|| "in memory only".to_owned(), Database::location);
        tracing::info!("settings and accounts: {place}");
    }
    // The directory of stored sessions was logged with their number.
    if paths.sessions.is_none() {
        tracing::info!("sessions: in memory only");
    }
    for path in paths.exposed() {
        let path = path.display();
        tracing::warn!(
            "every user of this machine can read {path}, with what is secret in it: chmod -R o= {path}"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn links_need_a_page_and_its_host_is_a_known_name() {
        let serve = |args: &[&str]| Cli::parse_from([&["drawhall"], args].concat()).serve;
        let url = ["--web-admin-url", "https://draw.example.org/admin/"];
        let without = serve(&url);
        assert_eq!((page_url(&without), page_hosts(&without)), (None, Vec::new()));
        let shared = ["--websocket-port", "27751", "--web-admin-on-websocket"];
        for port in [&["--web-admin-port", "27780"][..], &["--gui"][..], &shared[..]] {
            let with = serve(&[&url[..], port].concat());
            assert_eq!(page_url(&with).as_deref(), Some(url[1]));
            assert_eq!(page_hosts(&with), ["draw.example.org"]);
        }
    }

    #[test]
    fn root_serves_only_if_it_is_allowed_to_or_in_a_container() {
        assert!(may_serve(false, false, false));
        assert!(!may_serve(true, false, false));
        assert!(may_serve(true, true, false));
        assert!(may_serve(true, false, true));
    }
}
