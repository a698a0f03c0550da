//! The boundaries between modules, as `docs/ARCHITECTURE.md` draws them: reads the paths in `src` and fails when one
//! crosses a boundary. Also that no file is too long.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the crate may use. Those without a row are the program itself and its tools: they may use
/// everything, and nothing may use them. `actors/mod.rs` and the like only name their modules.
///
/// `rules` has two rows. What logins and sessions share (`rules/*.rs`) is below the configuration, whose values the
/// two state machines use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("rules", &["text"]),
    ("rules machines", &["rules", "text", "log", "history", "config"]),
    ("text", &[]),
    ("clock", &["rules"]),
    ("entropy", &["rules"]),
    ("metrics", &[]),
    ("background", &[]),
    ("child_process", &["text"]),
    ("pictures", &["child_process", "rules", "metrics"]),
    ("renderer", &["child_process", "pictures", "blocking", "text", "metrics"]),
    ("log", &["rules", "text"]),
    ("history", &[]),
    ("http", &["metrics"]),
    ("db", &["background", "rules", "log", "metrics", "storage shared"]),
    ("cluster", &["rules machines", "log", "db"]),
    ("config", &["rules", "text", "db", "http", "clock"]),
    ("storage shared", &["background", "rules"]),
    (
        "storage",
        &["storage shared", "background", "rules", "rules machines", "history", "metrics", "pictures"],
    ),
    ("transport", &["rules", "text", "log", "config", "metrics", "clock"]),
    ("acme", &["rules", "clock", "http", "metrics", "storage", "storage shared", "transport"]),
    ("port_mapping", &["http"]),
    ("blocking", &["rules", "metrics"]),
    (
        "trace",
        &["background", "text", "rules", "rules machines", "config", "storage", "storage shared", "clock"],
    ),
    ("doctor", &["rules", "text", "db", "config", "storage", "storage shared", "transport", "renderer"]),
    ("web", &["rules", "metrics", "transport"]),
    ("auth_server", &["rules", "db", "web", "transport", "blocking", "clock", "metrics"]),
    ("actors in_flight", &["rules"]),
    (
        "actors messages",
        &["actors in_flight", "rules", "rules machines", "cluster", "config", "db", "log", "renderer"],
    ),
    ("actors auth", &["actors messages", "rules", "rules machines", "blocking", "config", "http"]),
    (
        "actors client",
        &[
            "actors messages",
            "actors in_flight",
            "actors auth",
            "rules",
            "rules machines",
            "cluster",
            "log",
            "history",
            "config",
            "transport",
            "trace",
            "metrics",
            "clock",
        ],
    ),
    (
        "actors session",
        &[
            "actors messages",
            "actors in_flight",
            "rules",
            "rules machines",
            "log",
            "history",
            "storage",
            "storage shared",
            "background",
            "blocking",
            "renderer",
            "trace",
            "metrics",
        ],
    ),
    (
        "actors nodes",
        &[
            "actors messages",
            "actors in_flight",
            "actors client",
            "rules",
            "rules machines",
            "cluster",
            "log",
            "config",
            "db",
            "transport",
            "blocking",
            "metrics",
            "clock",
        ],
    ),
    (
        "actors server",
        &[
            "actors messages",
            "actors client",
            "actors nodes",
            "actors session",
            "cluster",
            "db",
            "background",
            "entropy",
            "rules",
            "rules machines",
            "log",
            "history",
            "http",
            "config",
            "storage",
            "storage shared",
            "transport",
            "blocking",
            "renderer",
            "trace",
            "metrics",
        ],
    ),
    (
        "actors reload",
        &[
            "actors messages",
            "actors auth",
            "actors server",
            "rules",
            "http",
            "db",
            "config",
            "clock",
            "metrics",
        ],
    ),
    (
        "admin",
        &[
            "actors messages",
            "actors auth",
            "actors server",
            "actors reload",
            "actors nodes",
            "cluster",
            "rules",
            "rules machines",
            "text",
            "log",
            "http",
            "db",
            "config",
            "doctor",
            "pictures",
            "renderer",
            "storage",
            "storage shared",
            "transport",
            "blocking",
            "web",
            "metrics",
            "clock",
        ],
    ),
];

/// What `rules` must not name: everything that reads or changes the world outside.
const NOT_IN_RULES: &[&str] = &[
    "tokio",
    "actix",
    "actix_rt",
    "reqwest",
    "diesel",
    "rustix",
    "socket2",
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::thread",
    "std::time::Instant",
    "SystemTime::now",
    "Timestamp::now",
    "getrandom",
];

/// Salts of hashes and the key of digests in memory are random. No decision depends on them.
const RANDOM: &[&str] = &["src/rules/password.rs", "src/rules/session/password_verifier.rs"];

/// Modules that may name actix.
const ACTIX: &[&str] = &["actors", "admin", "app", "web", "auth_server"];

/// A line of code without its comment, with its place.
struct Line {
    place: String,
    module: String,
    text: String,
}

/// The row of [`MAY_USE`] that a path belongs to: `rules` has two, `actors` one for each module.
fn row(first: &str, second: Option<&str>) -> String {
    match (first, second) {
        ("rules", Some("login" | "session")) => "rules machines".to_owned(),
        // What the database needs of it, which is below the configuration.
        ("storage", Some("shared" | "file_names" | "syncer")) => "storage shared".to_owned(),
        ("actors", Some(module)) => format!("actors {module}"),
        _ => first.to_owned(),
    }
}

fn module_of(path: &Path) -> String {
    let mut parts = path.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs"));
    let first = parts.next().unwrap();
    row(first, parts.next())
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Tests may use everything.
            if path.file_name().is_some_and(|name| name != "tests") {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "rs")
            && path.file_stem().is_some_and(|s| s != "tests")
        {
            files.push(path);
        }
    }
}

/// A line of a file with its relative paths made absolute.
fn absolute(line: &str, file: &Path) -> String {
    let mut module: Vec<&str> =
        file.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs")).collect();
    module.retain(|part| *part != "mod");
    let mut line = line.to_owned();
    for above in (1..=module.len()).rev() {
        let root: String = module[..module.len() - above].iter().map(|part| format!("{part}::")).collect();
        line = line.replace(&"super::".repeat(above), &format!("crate::{root}"));
    }
    line
}

/// All lines of code of `src` before a file's tests.
fn lines() -> Vec<Line> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    let mut lines = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let text = absolute(line.split("//").next().unwrap(), relative);
            let place = format!("src/{}:{}", relative.display(), number + 1);
            lines.push(Line { place, module: module_of(relative), text });
        }
    }
    lines
}

/// The modules of this crate that a line names.
fn used(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, start) in line.match_indices("crate::") {
        let path = &line[at + start.len()..];
        let path: String =
            path.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
        let mut parts = path.split("::").filter(|part| !part.is_empty());
        modules.push(row(parts.next().unwrap_or_default(), parts.next()));
    }
    modules
}

#[test]
fn modules_use_only_those_below_them() {
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for line in lines() {
        let Some(allowed) = may.get(line.module.as_str()) else { continue };
        if line.text.contains("crate::{") {
            wrong.push(format!("{}: one `use` for each module, or this test cannot read it", line.place));
        }
        for module in used(&line.text) {
            if module != line.module && !allowed.contains(&module.as_str()) {
                wrong.push(format!("{}: {} uses {module}", line.place, line.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The program and its tools, which may use everything.
const PROGRAM: &[&str] = &[
    "address_cli",
    "addresses",
    "app",
    "backup",
    "canvas",
    "cli",
    "cluster_cli",
    "ctl",
    "data_paths",
    "doctor_cli",
    "gui",
    "health",
    "import",
    "lib",
    "log_output",
    "main",
    "options",
    "output",
    "papers",
    "serve",
    "start_summary",
    "systemd",
    "tools",
];

#[test]
fn each_module_has_a_row() {
    let there: BTreeSet<String> = lines().into_iter().map(|line| line.module).collect();
    let rows: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let new: Vec<&String> = there
        .iter()
        .filter(|module| !rows.contains(module.as_str()) && !PROGRAM.contains(&module.as_str()))
        .filter(|module| *module != "actors mod")
        .collect();
    assert!(new.is_empty(), "modules without a row: {new:?}");
    let gone: Vec<&&str> = rows.iter().filter(|row| !there.contains(**row)).collect();
    assert!(gone.is_empty(), "rows without a module: {gone:?}");
}

#[test]
fn only_the_process_that_reads_pictures_has_code_for_pixels() {
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|line| line.text.contains("drawhall_canvas") && line.module != "canvas")
        .map(|line| line.place)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_picture_has_no_circle() {
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(module, below)| (*module, below.iter().copied().collect())).collect();
    while !left.is_empty() {
        let lowest: Vec<&str> = left
            .iter()
            .filter(|(_, below)| below.iter().all(|b| !left.contains_key(b)))
            .map(|(m, _)| *m)
            .collect();
        assert!(!lowest.is_empty(), "a circle in {:?}", left.keys());
        lowest.iter().for_each(|module| {
            left.remove(module);
        });
    }
}

#[test]
fn the_rules_are_only_rules() {
    let wrong: Vec<String> = lines()
        .iter()
        .filter(|line| line.module.starts_with("rules"))
        .flat_map(|line| {
            let random = RANDOM.iter().any(|file| line.place.starts_with(file));
            let named = NOT_IN_RULES.iter().filter(|name| line.text.contains(**name));
            let named = named.filter(move |name| !(random && **name == "getrandom"));
            named.map(|name| format!("{}: {name}", line.place))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_actors_and_those_above_them_name_actix() {
    let program = ["main", "cli", "ctl", "log_output", "serve", "systemd"];
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|line| {
            line.text.contains("actix") && !ACTIX.contains(&line.module.split(' ').next().unwrap())
        })
        .filter(|line| !program.contains(&line.module.as_str()))
        .map(|line| line.place)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn locks_are_those_of_parking_lot() {
    let is_std = |text: &str| {
        text.contains("std::sync") && ["Mutex", "RwLock", "Condvar"].iter().any(|lock| text.contains(lock))
    };
    assert!(is_std("use std::sync::{Arc, Mutex};"));
    let wrong: Vec<String> =
        lines().into_iter().filter(|line| is_std(&line.text)).map(|line| line.place).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn only_the_database_names_diesel() {
    let named: Vec<Line> = lines().into_iter().filter(|line| line.text.contains("diesel")).collect();
    let wrong: Vec<&str> =
        named.iter().filter(|line| line.module != "db").map(|line| line.place.as_str()).collect();
    assert!(named.len() > wrong.len() && wrong.is_empty(), "{wrong:?}");
}

/// A long file does more than one thing.
const MAX_LINES: usize = 450;

/// Tables may be longer: the options of the command line.
const TABLES: &[&str] = &[];

#[test]
fn no_file_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "protocol/src", "canvas/src"] {
        rust_files(&root.join(directory), &mut files);
    }
    let long: Vec<String> = files
        .iter()
        .map(|file| (file.strip_prefix(root).unwrap(), fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(file, lines)| *lines > MAX_LINES && !TABLES.iter().any(|table| *file == Path::new(table)))
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
