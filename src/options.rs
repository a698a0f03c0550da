//! Options in layers: the command line overrides the environment, which overrides a TOML file, which overrides defaults.
//!
//! clap merges the layers, not the `config` crate: options of the file become arguments, so that a value is parsed,
//! checked and reported in the same way wherever it stands, and defaults and help have one definition (`cli`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use config::{Config, File, FileFormat, Value, ValueKind};
use drawhall::text;

use crate::cli::Cli;

/// What is asked for once, not set.
const NOT_IN_ENVIRONMENT: [&str; 3] = ["version", "help", "generate-crypt-key"];

/// Options, and where those that were given come from, by their long names.
pub(crate) struct Options {
    pub(crate) cli: Cli,
    pub(crate) sources: BTreeMap<String, String>,
}

/// A command whose options may be given again, the last of which counts, and also by the environment.
fn prepared(command: Command) -> Command {
    command.args_override_self(true).mut_args(|argument| {
        let variables = argument.get_long().map(variables_of).unwrap_or_default();
        match variables.into_iter().find(|variable| is_set(variable)) {
            Some(variable) => argument.env(variable).hide_env(true).hide_env_values(true),
            None => argument,
        }
    })
}

/// Variables of the environment for an option, the first that is set counts.
fn variables_of(name: &str) -> Vec<String> {
    if NOT_IN_ENVIRONMENT.contains(&name) {
        return Vec::new();
    }
    let own = format!("DRAWHALL_{}", name.to_uppercase().replace('-', "_"));
    // That of drawpile-srv.
    let other = (name == "web-admin-auth").then(|| "DRAWPILESRV_WEB_ADMIN_AUTH".to_owned());
    [own].into_iter().chain(other).collect()
}

/// Whether a variable has a value. An empty one is none: that is what `${X:-}` makes of one that is not there.
pub(crate) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Subcommands that take the options of the server.
const WITH_SERVER_OPTIONS: [&str; 4] = ["serve", "config", "doctor", "address"];

/// The part of the command line that options of the server belong to.
fn serving(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((name, matches)) if WITH_SERVER_OPTIONS.contains(&name) => matches,
        _ => matches,
    }
}

/// Reads all layers.
///
/// # Errors
/// When an option is wrong, wherever it stands; clap's errors know how to be shown.
pub(crate) fn read(args: Vec<OsString>) -> Result<Options, clap::Error> {
    let command = prepared(Cli::command());
    let command =
        WITH_SERVER_OPTIONS.iter().fold(command, |command, name| command.mut_subcommand(name, prepared));
    let first = command.clone().try_get_matches_from(&args)?;
    let mut sources = sources_of(&command, &first);
    let mut all = args;
    if let Some(path) = serving(&first).try_get_one::<std::path::PathBuf>("options").ok().flatten() {
        let from_file = read_file(path, &command, &sources).map_err(|reason| {
            let text = format!("--options {}: {reason}\n", path.display());
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text)
        })?;
        let at = if first.subcommand().is_some() { 2 } else { 1 };
        for (name, argument) in from_file.into_iter().rev() {
            all.insert(at.min(all.len()), argument);
            sources.insert(name, path.display().to_string());
        }
    }
    let cli = Cli::from_arg_matches(&command.try_get_matches_from(all)?)?;
    Ok(Options { cli, sources })
}

/// Whether clap was asked for text, such as help or the version.
pub(crate) fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// What is wrong with the command line, with clap's tips, in one line.
pub(crate) fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let line = lines.fold(String::new(), |line, more| match more.strip_prefix("tip: ") {
        Some(tip) => format!("{line}; {tip}"),
        None if line.is_empty() => more.to_owned(),
        None => format!("{line} {more}"),
    });
    format!("{}; see --help", line.strip_prefix("error: ").unwrap_or(&line))
}

fn sources_of(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let matches = serving(matches);
    let given = command.get_arguments().filter_map(|argument| {
        let name = argument.get_long()?;
        // Not every subcommand knows every option.
        matches.try_contains_id(argument.get_id().as_str()).ok()?;
        let source = match matches.value_source(argument.get_id().as_str())? {
            ValueSource::CommandLine => "command line".to_owned(),
            ValueSource::EnvVariable => "environment".to_owned(),
            _ => return None,
        };
        Some((name.to_owned(), source))
    });
    given.collect()
}

/// A syntax error without the line that it quotes, which may have a password in it.
fn without_quotations(error: &str) -> String {
    let is_told =
        |line: &&str| !line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    error.lines().filter(is_told).map(str::trim).collect::<Vec<_>>().join(": ")
}

/// Options of a TOML file that nothing overrides, as arguments.
fn read_file(
    path: &Path,
    command: &Command,
    given: &BTreeMap<String, String>,
) -> Result<Vec<(String, OsString)>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let file = Config::builder().add_source(File::from_str(&text::decode(&bytes), FileFormat::Toml)).build();
    let table: BTreeMap<String, Value> =
        file.and_then(Config::try_deserialize).map_err(|error| without_quotations(&error.to_string()))?;
    let mut arguments = Vec::new();
    for (key, value) in table {
        let known = command.get_arguments().find(|a| a.get_long() == Some(key.as_str()));
        let known =
            known.filter(|_| key != "options").ok_or_else(|| format!("there is no option '{key}'"))?;
        if given.contains_key(&key) {
            continue;
        }
        let takes_value = known.get_action().takes_values();
        let text = match &value.kind {
            ValueKind::Boolean(on) if !takes_value => {
                if *on {
                    arguments.push((key.clone(), format!("--{key}").into()));
                }
                continue;
            }
            ValueKind::Array(list) if known.get_value_delimiter().is_some() => {
                let items: Vec<String> = list.iter().map(ToString::to_string).collect();
                items.join(",")
            }
            ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                return Err(format!("'{key}' must be a text or a number"));
            }
            kind => kind.to_string(),
        };
        // An empty value is none, as in the environment.
        if text.is_empty() {
            continue;
        }
        arguments.push((key.clone(), format!("--{key}={text}").into()));
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(toml: &str, args: &[&str]) -> Result<Options, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.toml");
        std::fs::write(&path, toml).unwrap();
        let file = format!("--options={}", path.display());
        let args = [&["drawhall"], args, &[file.as_str()]].concat();
        read(args.into_iter().map(OsString::from).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_overrides_the_file_and_the_file_the_defaults() {
        let toml = "port = 4000\nlisten = \"127.0.0.1\"\nsync = \"100ms\"";
        let options = read_with(toml, &["--port", "5000"]).unwrap();
        assert_eq!((options.cli.serve.port, options.cli.serve.listen), (5000, "127.0.0.1".parse().ok()));
        assert_eq!(options.sources["port"], "command line");
        assert!(options.sources["listen"].ends_with("options.toml"));
        assert!(!options.sources.contains_key("announce-port"));
    }

    #[test]
    fn lists_may_have_blanks_and_empty_items() {
        let lists = [
            ("trusted-proxy", "10.0.0.0/8", "192.0.2.1/32"),
            ("proxy-header", "x-real-ip", "forwarded"),
            ("websocket-allowed-origin", "https://a.example", "https://b.example"),
            ("web-admin-access", "10.0.0.0/8", "192.0.2.1/32"),
            ("web-admin-host", "a.example", "b.example"),
        ];
        for (name, one, two) in lists {
            for text in [
                format!("{one},{two}"),
                format!("{one},{two},"),
                format!(" {one} , {two} , "),
                format!(",{one},,{two}"),
            ] {
                let toml = format!("{name} = \"{text}\"");
                let argument = format!("--{name}={text}");
                for options in [read_with("", &[argument.as_str()]), read_with(&toml, &[])] {
                    let values = options.unwrap_or_else(|e| panic!("{toml}: {e}")).cli.serve.values();
                    let value = values.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
                    assert_eq!(value, Some(format!("{one},{two}").as_str()), "{toml}");
                }
            }
            let toml = format!("{name} = [\"{one}\", \"{two}\"]");
            assert!(read_with(&toml, &[]).is_ok(), "{toml}");
        }
    }

    #[test]
    fn empty_values_are_none() {
        let options = read_with("listen = \"\"\nannounce-port = \"\"\nproxy-header = []", &[]).unwrap();
        assert_eq!((options.cli.serve.listen, options.cli.serve.announce_port), (None, None));
        assert!(options.cli.serve.proxy_header.is_empty());
        assert!(!options.sources.contains_key("listen"));
    }

    #[test]
    fn a_byte_order_mark_before_the_file_does_no_harm() {
        let options = read_with("\u{feff}port = 4000", &[]).unwrap();
        assert_eq!(options.cli.serve.port, 4000);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        for (toml, words) in [
            ("nonsense = 1", "there is no option 'nonsense'"),
            ("port = 70000", "'70000' for '--port"),
            ("port = [1]", "'port' must be a text or a number"),
            ("port = ", "options.toml"),
        ] {
            let error = read_with(toml, &[]).err().unwrap();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn errors_do_not_quote_lines_of_the_file() {
        for toml in [
            "cluster = \"postgres://u:Sekrit99@h/d",
            "port = 5\nweb-admin-auth = u:Sekrit99",
            "web-admin-auth = \"u:Sekrit99\"\nweb-admin-auth = \"u:Sekrit99\"",
        ] {
            let error = read_with(toml, &[]).err().unwrap();
            assert!(error.contains("line ") && !error.contains("Sekrit"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn serving_and_printing_take_the_same_options() {
        for command in ["serve", "config"] {
            let options = read_with("port = 4000", &[command]).unwrap();
            let port = match options.cli.command {
                Some(crate::cli::Command::Serve(serve)) => serve.port,
                Some(crate::cli::Command::Config(args)) => args.serve.port,
                _ => 0,
            };
            assert_eq!(port, 4000);
        }
    }
}
