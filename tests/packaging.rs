//! Options in packaging/ exist: in units, compose files and the Dockerfile. `.ci/packages` builds and runs the packages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use regex::Regex;

/// Variables of compose files that are no options.
const OWN_VARIABLES: [&str; 1] = ["DRAWHALL_NAME"];

fn help(subcommand: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_drawhall")).args(subcommand).arg("--help").output().unwrap();
    assert!(done.status.success(), "there is no subcommand {subcommand:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Long options that a help text names.
fn options(help: &str) -> BTreeSet<String> {
    Regex::new("--[a-z][a-z-]+").unwrap().find_iter(help).map(|found| found.as_str().to_owned()).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)).unwrap()
}

#[test]
fn commands_of_units_have_options_that_exist() {
    for (unit, subcommand) in
        [("systemd/drawhall.service", None), ("systemd/drawhall-backup.service", Some("backup"))]
    {
        let text = read(unit);
        let command =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/drawhall ")).unwrap();
        let mut words = command.split(' ').peekable();
        if subcommand.is_some() {
            assert_eq!(words.next(), subcommand, "{unit}");
        }
        let known = options(&help(&subcommand.into_iter().collect::<Vec<_>>()));
        let unknown: Vec<&str> =
            words.filter(|word| word.starts_with("--") && !known.contains(*word)).collect();
        assert!(unknown.is_empty(), "{unit}: {unknown:?}");
    }
}

#[test]
fn options_and_variables_of_containers_exist() {
    let known = options(&help(&[]));
    // An option as a word of a list, in either form of YAML.
    let option = Regex::new(r#"(?:- |\[|, |")(--[a-z-]+)"#).unwrap();
    let variable = Regex::new("DRAWHALL_[A-Z_]+").unwrap();
    let mut found = 0;
    for file in
        ["compose.yaml", "compose.caddy.yaml", "compose.one-port.yaml", "compose.cluster.yaml", "Dockerfile"]
    {
        let text = read(&format!("container/{file}"));
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines.filter(|line| file != "Dockerfile" || line.contains("DRAWHALL_")) {
            let options = option.captures_iter(line).map(|found| found[1].to_owned());
            let variables = variable.find_iter(line).map(|found| found.as_str());
            let variables = variables.filter(|name| !OWN_VARIABLES.contains(name));
            let as_option = |name: &str| name.replacen("DRAWHALL_", "--", 1).to_lowercase().replace('_', "-");
            for name in options.chain(variables.map(as_option)) {
                assert!(known.contains(&name), "{file}: there is no {name}");
                found += 1;
            }
        }
    }
    assert!(found > 10, "only {found} options were found");
}

#[test]
fn the_image_is_healthy_by_a_command_that_exists() {
    assert!(read("container/Dockerfile").contains(r#"CMD ["drawhall", "health"]"#));
    help(&["health"]);
}
