//! The program: dispatch of subcommands.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use drawhall::auth_server;
use drawhall::config::SettingValue as _;
use drawhall::db::{Account, Database};
use drawhall::storage::session_dir::SessionDirError;
use drawhall::text;
use drawhall::tools::{account, convert, inspect, sessions};
use drawhall::trace::replay;
use drawhall::transport::tls;

mod address_cli;
mod addresses;
mod backup;
mod canvas;
mod cli;
mod cluster_cli;
mod ctl;
mod data_paths;
mod doctor_cli;
mod gui;
mod health;
mod import;
mod log_output;
mod options;
mod output;
mod papers;
mod serve;
mod start_summary;
mod systemd;

use cli::{AccountAction, Cli, Command, Form, Serve};
use data_paths::DataPaths;
use options::Options;
use output::{out, outln};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Options { cli, sources } = match options::read(std::env::args_os().collect()) {
        Ok(options) => options,
        Err(error) if options::is_help(&error) => error.exit(),
        Err(error) => {
            eprintln!("drawhall: {}", text::shown(&options::in_one_line(&error)));
            return ExitCode::FAILURE;
        }
    };
    if !matches!(cli.command, Some(Command::Convert(_) | Command::Certificate { .. })) {
        // Files hold accounts, keys, invites, chat and addresses: only the owner may read them.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    }
    let done = match cli.command {
        None => serve::serve(&cli.serve),
        Some(Command::Serve(options)) => serve::serve(&options),
        Some(Command::Config(options)) => match options.example {
            Some(format) => {
                out!("{}", papers::example(format));
                Ok(())
            }
            None if options.check => check_config(&options.serve),
            None => print_config(&options.serve, &sources),
        },
        Some(Command::Doctor(options)) => match doctor_cli::run(&options) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Some(Command::Address(options)) => address_cli::run(&options),
        Some(Command::Import { paths, command_line, check: _ }) => match import::run(&paths, &command_line) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Some(Command::Man { dir }) => papers::man_pages(&dir).map_err(Failure::from),
        Some(Command::Completions { shell }) => {
            out!("{}", papers::completions(shell));
            Ok(())
        }
        Some(Command::Canvas { action }) => return canvas::run(&action),
        Some(Command::Health { address, timeout }) => health::check(&address, timeout),
        Some(Command::Ctl(ctl)) => ctl::run(ctl),
        Some(Command::Settings) => {
            out!("{}", drawhall::config::settings_page());
            Ok(())
        }
        Some(Command::Options) => {
            out!("{}", papers::options_page());
            Ok(())
        }
        Some(Command::Convert(options)) => run_convert(&options),
        Some(Command::Inspect { file }) => run_inspect(&file),
        Some(Command::Replay { file }) => run_replay(&file),
        Some(Command::Sessions { dir, restore: Some(id), .. }) => {
            sessions::restore_ended(&dir, &id).map(|text| show(&text)).map_err(Failure::from)
        }
        Some(Command::Sessions { dir, ended: true, .. }) => {
            sessions::list_ended(&dir).map(|text| show(&text)).map_err(Failure::from)
        }
        Some(Command::Sessions { dir, json, .. }) => {
            sessions::list(&dir, json).map(|text| show(&text)).map_err(Failure::from)
        }
        Some(Command::Check { dir }) => report(sessions::check(&dir), "some sessions have problems"),
        Some(Command::Account { action, location }) => run_account(&action, location),
        Some(Command::Cluster { action, cluster }) => cluster_cli::run(&action, cluster),
        Some(Command::ExtauthKey { location }) => print_key(location),
        Some(Command::Certificate { hosts, cert, key }) => {
            tls::make(&hosts, &cert, &key).map_err(Failure::from).map(|()| {
                let (cert, key) = (cert.display().to_string(), key.display().to_string());
                show(&format!("wrote {cert} and {key}: start with --ssl-cert {cert} --ssl-key {key}\n"));
            })
        }
        Some(Command::Repair { dir }) => {
            report(sessions::repair(&dir), "some problems could not be repaired")
        }
        Some(Command::Backup(options)) => backup::backup(options),
        Some(Command::Restore { archive, data }) => backup::restore(&archive, data),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drawhall: {}", text::shown_lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run_convert(options: &cli::Convert) -> Result<(), Failure> {
    let to_tools = |form: Option<Form>| {
        form.map(|f| if f == Form::Dprec { convert::Form::Dprec } else { convert::Form::Dptxt })
    };
    let job = convert::ConvertJob {
        input: &options.input,
        output: &options.output,
        from: to_tools(options.from),
        to: to_tools(options.to),
        progress: std::io::stderr().is_terminal(),
    };
    let report = convert::run(&job)?;
    for warning in &report.warnings {
        eprintln!("drawhall: {}", text::shown(warning));
    }
    if report.lost > 0 {
        return Err(
            format!("{} messages could not be converted, {} were", report.lost, report.messages).into()
        );
    }
    Ok(())
}

/// Prints every option and setting with its value and source.
fn print_config(options: &Serve, sources: &BTreeMap<String, String>) -> Result<(), Failure> {
    outln!("# options");
    let command = Cli::command();
    let values = options.values();
    for argument in command.get_arguments() {
        let Some(name) =
            argument.get_long().filter(|n| !["version", "help", "generate-crypt-key"].contains(n))
        else {
            continue;
        };
        let value = values.iter().find(|(n, _)| *n == name).map_or("-", |(_, v)| v.as_str());
        outln!("{name} = {value}  ({})", sources.get(name).map_or("default", String::as_str));
    }
    let paths = DataPaths::of(options)?;
    let mut source = serve::rule_source(options, &paths).open()?;
    let rules = source.read()?;
    let location = match (&options.cluster, paths.database.as_ref().or(options.config.as_ref())) {
        (Some(url), _) => url.to_string(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => String::new(),
    };
    for (name, path) in [("database", &paths.database), ("sessions", &paths.sessions)] {
        if let Some(path) = path.as_ref().filter(|_| !sources.contains_key(name)) {
            outln!("{name} = {}  (data directory)", path.display());
        }
    }
    let of_profile = rules.settings().profile.settings();
    let profile_name = format!("profile {}", rules.settings().profile.write());
    outln!("\n# settings");
    for (key, value) in rules.settings().values() {
        let set = rules.file().set.contains(key);
        let origin = match key {
            "syncInterval" if options.sync.is_some() => sources.get("sync").map_or("default", String::as_str),
            "profile" if options.profile.is_some() => {
                sources.get("profile").map_or("default", String::as_str)
            }
            _ if set => location.as_str(),
            _ if of_profile.iter().any(|(k, _)| *k == key) => profile_name.as_str(),
            _ => "default",
        };
        let secret = key == "reporttoken" && !value.is_empty();
        let value = if secret { "(not shown)" } else { &value };
        outln!("{key} = {}  ({origin})", text::one_line(value));
    }
    let locked = &rules.file().locked_sections;
    if !locked.is_empty() {
        let names: Vec<&str> = locked.iter().map(String::as_str).collect();
        outln!("\n# locked sections of the admin API\n{}", names.join(", "));
    }
    Ok(())
}

/// Reads what a start would read, without starting.
///
/// # Errors
/// When there are problems; they have been printed.
fn check_config(options: &Serve) -> Result<(), Failure> {
    let (mut source, _) = serve::rule_source(options, &DataPaths::selected(options)?).open_copy()?;
    source.read()?;
    let mut problems = source.problems().to_vec();
    problems.extend(serve::certificate(options).and_then(|files| files.load().err()).map(|e| e.to_string()));
    for problem in &problems {
        outln!("{}", text::shown(problem));
    }
    match problems.len() {
        0 => {
            outln!("no problems found");
            Ok(())
        }
        count => Err(format!("{count} problems found").into()),
    }
}

/// Opens the named or shared database, or that of the data directory.
fn open_database(location: cli::DatabaseLocation) -> Result<Database, Failure> {
    if let Some(url) = location.cluster()? {
        let settings = data_paths::initial_settings(location.database.as_deref(), true);
        return Ok(Database::connect(&url, settings)?);
    }
    let settings = data_paths::initial_settings(location.database.as_deref(), false);
    let path = match location.database {
        Some(path) => path,
        None => data_paths::database_of(location.data)?,
    };
    data_paths::become_owner_of(&path)?;
    Ok(Database::open_or_create(&path, settings)?)
}

fn print_key(location: cli::DatabaseLocation) -> Result<(), Failure> {
    let key = auth_server::signing_key(&open_database(location)?)?;
    outln!("{}", auth_server::public_text(&key));
    Ok(())
}

/// Flags without blanks and empty items, as after a comma at the end.
fn flags_of(flags: &[String]) -> Vec<String> {
    Account::parse_flags(&flags.join(","))
}

fn run_account(action: &AccountAction, location: cli::DatabaseLocation) -> Result<(), Failure> {
    if let AccountAction::Add { flags, force: false, .. }
    | AccountAction::Set { flags: Some(flags), force: false, .. } = action
    {
        account::check_flags(&flags_of(flags))?;
    }
    let database = open_database(location)?;
    let done = match action {
        AccountAction::Add { name, flags, .. } => {
            account::add(&database, name, &flags_of(flags), &account::ask_password(true)?)?;
            format!("added {name} to")
        }
        AccountAction::List { json } => {
            show(&account::list(&database, *json)?);
            return Ok(());
        }
        AccountAction::Set { name, password, flags, lock, unlock, .. } => {
            let password = if *password { Some(account::ask_password(true)?) } else { None };
            let locked = if *lock || *unlock { Some(*lock) } else { None };
            account::set(
                &database,
                name,
                account::Change { password, flags: flags.as_deref().map(flags_of), locked },
            )?;
            format!("changed {name} in")
        }
        AccountAction::Remove { name } => {
            database.remove_account(drawhall::db::AccountKey::Name(name))?;
            format!("removed {name} from")
        }
    };
    show(&format!("{done} {}\n", database.location()));
    Ok(())
}

/// Prints text that may contain input of strangers, without control characters.
fn show(text: &str) {
    out!("{}", text::shown_lines(text));
}

/// Prints a report; a problem that is left is a failure.
fn report(found: Result<(String, bool), SessionDirError>, otherwise: &str) -> Result<(), Failure> {
    let (text, sound) = found?;
    show(&text);
    if sound { Ok(()) } else { Err(otherwise.into()) }
}

/// Replays a trace. After a panic, standard error names the line.
fn run_replay(file: &std::path::Path) -> Result<(), Failure> {
    let trace = std::io::BufReader::new(std::fs::File::open(file)?);
    let line = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (at, report) = (line.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("at line {} of the trace:", at.load(std::sync::atomic::Ordering::Relaxed));
        report(panic);
    }));
    let done = replay::run(trace, |number| line.store(number, std::sync::atomic::Ordering::Relaxed))?;
    let replay::Replayed { sessions, logins, inputs, skipped, compared, different } = done;
    outln!("{sessions} sessions, {logins} logins, {inputs} inputs");
    if skipped > 0 {
        outln!("{skipped} inputs skipped: their login or session began before the trace");
    }
    match different.first() {
        None => outln!("{compared} effects are the same"),
        Some(first) => {
            let (count, first) = (different.len(), *first);
            return Err(format!("{count} of {compared} effects differ, the first at line {first}").into());
        }
    }
    Ok(())
}

fn run_inspect(file: &std::path::Path) -> Result<(), Failure> {
    show(&inspect::run(file)?.to_string());
    Ok(())
}
