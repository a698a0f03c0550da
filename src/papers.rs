//! Documents that the program makes of itself: man pages, shell completions, example configuration.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::roff::{Roff, bold, italic, roman};
use drawhall::config::SETTINGS;

use crate::cli::{Cli, ExampleFormat};

/// Writes a man page for the program, one for each subcommand, and `drawhall-settings.5`.
///
/// # Errors
/// When the directory or a file cannot be written.
pub(crate) fn man_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)?;
    fs::write(directory.join("drawhall-settings.5"), settings_page().to_roff())
}

fn settings_page() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["drawhall-settings", "5", "", concat!("drawhall ", env!("CARGO_PKG_VERSION"))]);
    page.control("SH", ["NAME"]);
    page.text([roman("drawhall-settings - settings of the Drawpile server drawhall")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Settings stand in the configuration file (drawhall --config), section [config], as key=value, or in the \
         configuration database, where the admin page and the admin API change them. Times are numbers with s, m, h or \
         d, sizes numbers with b, kb, mb or gb; longer forms such as 30 days are read, too.",
    )]);
    page.control("SH", ["SETTINGS"]);
    for setting in SETTINGS {
        page.control("TP", []);
        page.text([bold(setting.key), roman(" ("), italic(setting.kind), roman(")")]);
        let mut facts = vec![setting.help.to_owned()];
        if !setting.unit.is_empty() {
            facts.push(format!("In {} without a unit.", setting.unit));
        }
        if !setting.range.is_empty() {
            facts.push(format!("Range: {}.", setting.range));
        }
        facts.push(format!(
            "Default: {}.",
            if setting.default.is_empty() { "empty" } else { setting.default }
        ));
        page.text([roman(facts.join(" "))]);
    }
    page
}

/// A completion script.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "drawhall", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// An example configuration with everything at its default, commented out.
pub(crate) fn example(format: ExampleFormat) -> String {
    match format {
        ExampleFormat::Ini => example_ini(),
        ExampleFormat::Toml => example_toml(&Cli::command()),
    }
}

fn example_ini() -> String {
    let mut text = String::from(
        "# Settings of drawhall. Everything is at its default: remove the # at the beginning of a line to change it.\n\
         # The running server reads this file again when it changes.\n\n[config]\n",
    );
    let mut groups: Vec<_> = SETTINGS.iter().map(|setting| setting.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {}", group.title());
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let range =
                if setting.range.is_empty() { String::new() } else { format!(" Range: {}.", setting.range) };
            let _ = writeln!(text, "\n## {}{range}\n#{}={}", setting.help, setting.key, setting.default);
        }
    }
    text.push_str(
        "\n## Banned addresses and networks, one on each line.\n[ipbans]\n#192.0.2.7\n#198.51.100.0/24\n\
         \n## Allowed list servers, as regular expressions of their URLs.\n[announcewhitelist]\n\
         #^https://pub\\.drawpile\\.net/\n\
         \n## Accounts: name, password hash, flags. `drawhall account` manages those of a database.\n[users]\n\
         #alice:plain;secret:MOD,HOST\n",
    );
    text
}

fn example_toml(command: &Command) -> String {
    let mut text = String::from(
        "# Options of drawhall, for --options. Everything is at its default: remove the # at the beginning of a line to\n\
         # change it. The command line and variables such as DRAWHALL_PORT override this file.\n",
    );
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long().filter(|n| !NOT_IN_FILE.contains(n)) else { continue };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "\n## {}", help.replace('\n', "\n## "));
        let default = argument.get_default_values().iter().map(|v| v.to_string_lossy().into_owned());
        let default: Vec<String> = default.collect();
        let value = match (argument.get_action().takes_values(), default.as_slice()) {
            (false, _) => "false".to_owned(),
            (true, []) => "\"\"".to_owned(),
            (true, [one]) if one.parse::<u32>().is_ok() => one.clone(),
            (true, values) => format!("\"{}\"", values.join(",")),
        };
        let _ = writeln!(text, "#{name} = {value}");
    }
    text
}

/// Every option of the server and of the subcommands, as a page of the documentation: `docs/OPTIONS.md`.
pub(crate) fn options_page() -> String {
    let mut page = String::from(
        "# All options\n\nAn option `--websocket-port` of the server is also the variable `DRAWHALL_WEBSOCKET_PORT`, and \
         `websocket-port` in a\nfile of `--options`. `drawhall options` prints this page, `drawhall config` the values in \
         force.\n",
    );
    let mut command = Cli::command();
    command.build();
    let mut headings: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_help_heading).collect();
    let mut seen = std::collections::BTreeSet::new();
    headings.retain(|heading| seen.insert(*heading));
    for heading in headings {
        let _ = writeln!(page, "\n## {heading}");
        options_table(&mut page, command.get_arguments().filter(|a| a.get_help_heading() == Some(heading)));
    }
    page.push_str("\n## Others\n");
    options_table(&mut page, command.get_arguments().filter(|a| a.get_help_heading().is_none()));
    page.push_str("\n## Subcommands\n");
    for subcommand in command.get_subcommands().filter(|c| !["help", "serve"].contains(&c.get_name())) {
        subcommand_page(&mut page, subcommand, "drawhall");
    }
    page
}

/// The section of a subcommand, and of those below it.
fn subcommand_page(page: &mut String, command: &Command, above: &str) {
    let name = format!("{above} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "\n### {name}\n\n{}", wrapped(&format!("{about}.")));
    // Those of the server are in the tables above, those of `ctl` are told once.
    let is_own = |argument: &&clap::Arg| {
        let is_inherited = argument.is_global_set() && above != "drawhall";
        if is_inherited || argument.get_id() == "help" {
            return false;
        }
        argument.get_help_heading().is_none()
    };
    options_table(page, command.get_arguments().filter(is_own));
    for subcommand in command.get_subcommands().filter(|c| c.get_name() != "help") {
        subcommand_page(page, subcommand, &name);
    }
}

/// Words in lines of at most [`PAGE_COLUMNS`].
fn wrapped(text: &str) -> String {
    let (mut lines, mut columns) = (String::new(), 0);
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        if columns > 0 {
            let is_full = columns + width > PAGE_COLUMNS;
            lines.push(if is_full { '\n' } else { ' ' });
            columns = if is_full { 0 } else { columns };
        }
        lines.push_str(word);
        columns += width;
    }
    lines
}

/// A table of options and arguments; nothing if there are none.
fn options_table<'a>(page: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) {
    let mut head = "\n| option | default | meaning |\n| --- | --- | --- |\n";
    for argument in arguments {
        let values = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let values = values.unwrap_or_default().join(" ");
        let name = match (argument.get_short(), argument.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long} {values}"),
            (None, Some(long)) => format!("--{long} {values}"),
            _ => values,
        };
        let default: Vec<_> = argument.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
        let default = if argument.get_action().takes_values() { default.join(",") } else { String::new() };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(page, "{head}| `{}` | {default} | {help} |", name.trim_end());
        head = "";
    }
}

/// Longest line of text in a page of the documentation.
const PAGE_COLUMNS: usize = 118;

/// Options that an options file cannot have.
const NOT_IN_FILE: [&str; 5] = ["version", "help", "generate-crypt-key", "options", "no-gui"];

#[cfg(test)]
mod tests {
    use drawhall::config::{Settings, ini};

    use super::*;

    fn each_command(command: &Command, name: &str, check: &mut impl FnMut(&str, &Command)) {
        check(name, command);
        // Those that only the server itself starts are in no document.
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            each_command(subcommand, &format!("{name}-{}", subcommand.get_name()), check);
        }
    }

    #[test]
    fn man_pages_and_completions_have_every_option_of_every_subcommand() {
        let directory = tempfile::tempdir().unwrap();
        man_pages(directory.path()).unwrap();
        // That of fish knows subcommands of subcommands no further.
        let scripts = [Shell::Bash, Shell::Zsh].map(completions);
        each_command(&Cli::command(), "drawhall", &mut |name, command| {
            let page = fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
            let page = page.replace('\\', "");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "{name}: --{option}");
                for script in &scripts {
                    assert!(script.contains(option), "{name}: --{option}");
                }
            }
        });
        let settings = fs::read_to_string(directory.path().join("drawhall-settings.5")).unwrap();
        for setting in SETTINGS {
            assert!(settings.contains(setting.key), "{}", setting.key);
        }
    }

    #[test]
    fn the_page_of_options_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPTIONS.md");
        let page = options_page();
        let written = fs::read_to_string(path).unwrap();
        let changed = page.lines().zip(written.lines()).find(|(new, old)| new != old);
        assert_eq!(changed, None, "drawhall options > docs/OPTIONS.md");
        assert_eq!(page.len(), written.len(), "drawhall options > docs/OPTIONS.md");
        each_command(&Cli::command(), "drawhall", &mut |_, command| {
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "--{option}");
            }
        });
    }

    #[test]
    fn the_example_configuration_is_the_defaults() {
        let example = example(ExampleFormat::Ini);
        let file = ini::parse(example.as_bytes());
        assert!(file.errors.is_empty() && file.set.is_empty(), "{:?}", file.errors);
        let active = example.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(['#', ' ']) => setting,
            _ => line,
        });
        let file = ini::parse(active.collect::<Vec<_>>().join("\n").as_bytes());
        assert!(file.errors.is_empty(), "{:?}", file.errors);
        assert_eq!(file.settings, Settings::default());
        assert_eq!(file.set.len(), SETTINGS.len());
        assert_eq!((file.ip_bans.len(), file.announce_whitelist.len(), file.users.len()), (2, 1, 1));
    }
}
