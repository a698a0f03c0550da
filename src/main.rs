//! The program: options, start-up, signals.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::CommandFactory as _;
use drawhall::auth::provider;
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::db::log::{LogQueue, log_layer};
use drawhall::server::run::{ServeOptions, start};
use drawhall::storage::folder::FolderError;
use drawhall::tools::{account, convert, inspect, sessions};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

mod cli;
mod options;

use cli::{AccountAction, Cli, Command, Form, Serve};
use options::Options;

/// Sent to a process that writes beyond its limit for file sizes.
const SIGXFSZ: i32 = 25;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Options { cli, sources } = options::read(std::env::args_os().collect()).unwrap_or_else(|e| e.exit());
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Config(options)) => print_config(&options, &sources),
        Some(Command::Convert(options)) => run_convert(&options),
        Some(Command::Inspect { file }) => run_inspect(&file),
        Some(Command::Sessions { dir, json }) => {
            sessions::list(&dir, json).map(|text| print!("{text}")).map_err(Failure::from)
        }
        Some(Command::Check { dir }) => report(sessions::check(&dir), "not everything is sound"),
        Some(Command::Account { action, database }) => run_account(&action, &database),
        Some(Command::ExtauthKey { database }) => print_key(&database),
        Some(Command::Repair { dir }) => report(sessions::repair(&dir), "not everything could be mended"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drawhall: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Begins logging to standard error; what is logged waits for the database in a queue, too.
fn init_log() -> LogQueue {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,actix_server=warn"));
    let (layer, queue) = log_layer();
    let text =
        tracing_subscriber::fmt::layer().event_format(drawhall::log::TextForm).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(text).with(layer).init();
    queue
}

fn rule_source(options: &Serve) -> RuleSource {
    RuleSource {
        config: options.config.clone(),
        database: options.database.clone(),
        crypt_key: options.crypt_key,
        local_host: options.local_host.clone().unwrap_or_default(),
        extauth: options.extauth.clone(),
        report_url: options.report_url.clone(),
        sync: options.sync,
    }
}

fn serve(options: &Serve) -> Result<(), Failure> {
    if options.generate_crypt_key {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        println!("{}", BASE64.encode(key));
        return Ok(());
    }
    let log = init_log();
    let options = ServeOptions {
        source: rule_source(options),
        sessions: options.sessions.clone(),
        templates: options.templates.clone(),
        record: options.record.clone(),
        extauth_provider: options.extauth_provider,
        announce_port: options.announce_port.unwrap_or(0),
        listen: options.listen,
        port: options.port,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    actix_rt::System::new().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // A limit for file sizes is to be an error of writing, not the end of the program.
        let _too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
        let running = start(&options)?;
        let log = running.database().cloned().map(|database| log.write_to(database)).transpose()?;
        tracing::info!("drawhall {} listening on {}", env!("CARGO_PKG_VERSION"), running.address());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.stop().await;
        if let Some(log) = log {
            log.finish();
        }
        Ok(())
    })
}

fn run_convert(options: &cli::Convert) -> Result<(), Failure> {
    let to_tools = |form: Option<Form>| {
        form.map(|f| if f == Form::Dprec { convert::Form::Dprec } else { convert::Form::Dptxt })
    };
    let job = convert::Job {
        input: &options.input,
        output: &options.output,
        from: to_tools(options.from),
        to: to_tools(options.to),
        progress: std::io::stderr().is_terminal(),
    };
    let report = convert::run(&job)?;
    for warning in &report.warnings {
        eprintln!("drawhall: {warning}");
    }
    if report.lost > 0 {
        return Err(
            format!("{} messages could not be converted, {} were", report.lost, report.messages).into()
        );
    }
    Ok(())
}

/// Every option and setting with its value and where it comes from.
fn print_config(options: &Serve, sources: &BTreeMap<String, String>) -> Result<(), Failure> {
    println!("# options");
    let command = Cli::command();
    let values = options.values();
    for argument in command.get_arguments() {
        let Some(name) =
            argument.get_long().filter(|n| !["version", "help", "generate-crypt-key"].contains(n))
        else {
            continue;
        };
        let value = values.iter().find(|(n, _)| *n == name).map_or("-", |(_, v)| v.as_str());
        println!("{name} = {value}  ({})", sources.get(name).map_or("default", String::as_str));
    }
    let mut source = rule_source(options).open()?;
    let rules = source.read()?;
    let place = match (&options.database, &options.config) {
        (Some(path), _) | (None, Some(path)) => path.display().to_string(),
        (None, None) => String::new(),
    };
    println!("\n# settings");
    for (key, value) in rules.settings().values() {
        let set = rules.file().set.contains(key);
        let origin = match key {
            "syncInterval" if options.sync.is_some() => sources.get("sync").map_or("default", String::as_str),
            _ if set => place.as_str(),
            _ => "default",
        };
        let secret = key == "reporttoken" && !value.is_empty();
        println!("{key} = {}  ({origin})", if secret { "(not shown)" } else { &value });
    }
    Ok(())
}

fn print_key(database: &std::path::Path) -> Result<(), Failure> {
    let key = provider::signing_key(&Database::open(database)?)?;
    println!("{}", provider::public_text(&key));
    Ok(())
}

fn run_account(action: &AccountAction, database: &std::path::Path) -> Result<(), Failure> {
    let database = Database::open(database)?;
    match action {
        AccountAction::Add { name, flags } => {
            account::add(&database, name, flags, &account::ask_password()?)?
        }
        AccountAction::List { json } => print!("{}", account::list(&database, *json)?),
        AccountAction::Set { name, password, flags, lock, unlock } => {
            let password = if *password { Some(account::ask_password()?) } else { None };
            let locked = if *lock || *unlock { Some(*lock) } else { None };
            account::set(&database, name, account::Change { password, flags: flags.clone(), locked })?;
        }
        AccountAction::Remove { name } => database.remove_account(name)?,
    }
    Ok(())
}

/// Prints what was found; that something is left is a failure.
fn report(found: Result<(String, bool), FolderError>, otherwise: &str) -> Result<(), Failure> {
    let (text, sound) = found?;
    print!("{text}");
    if sound { Ok(()) } else { Err(otherwise.into()) }
}

fn run_inspect(file: &std::path::Path) -> Result<(), Failure> {
    print!("{}", inspect::run(file)?);
    Ok(())
}
