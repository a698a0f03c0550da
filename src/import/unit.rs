//! A systemd unit that runs drawpile-srv.

use std::path::{Path, PathBuf};

use super::command::{LOGIN, Surroundings};
use super::{Report, command};

/// Name of the program in command lines.
pub(super) const PROGRAM: &str = "drawpile-srv";

/// Checks a unit and the command line in it.
pub(super) fn check(path: &Path, text: &str, report: &mut Report) {
    report.begin(&format!("systemd unit: {}", path.display()));
    let entries = entries(text);
    let get =
        |wanted: &str| entries.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let is_true = |key: &str| get(key).is_some_and(|value| ["yes", "true", "on", "1"].contains(&value));
    if get("ListenStream").is_some() {
        report.differs("a socket unit: Drawhall takes its sockets; those for WebSocket need FileDescriptorName=websocket");
    }
    let Some(start) = get("ExecStart") else {
        if get("ListenStream").is_none() {
            report.unusable("there is no ExecStart= in it");
        }
        return;
    };
    match get("User") {
        None | Some("root") if !is_true("DynamicUser") => {
            report.differs("it runs as root, which Drawhall refuses: set User=, or add --allow-root");
        }
        _ => report.same("its user stays; the files have to belong to it"),
    }
    match get("Type") {
        Some("notify" | "notify-reload") => report.same("Type=notify and a watchdog work"),
        _ => report.differs("Type=notify and WatchdogSec=30 are recommended"),
    }
    if get("ExecReload").is_some_and(|reload| reload.contains("HUP")) {
        report
            .differs("SIGHUP of ExecReload= has settings and certificate read again; it ended drawpile-srv");
    }
    let has_login = entries.iter().any(|(key, value)| key == "Environment" && value.contains(LOGIN));
    if has_login || get("EnvironmentFile").is_some() {
        report.same(format!("{LOGIN} in its environment is read"));
    }
    match shell_words::split(start.trim_start_matches(['@', '-', ':', '+', '!'])) {
        Err(error) => report.unusable(format!("ExecStart= cannot be split into words: {error}")),
        Ok(words) => {
            let begin = words.iter().position(|word| word.ends_with(PROGRAM)).unwrap_or(0);
            let base = get("WorkingDirectory").map_or_else(|| PathBuf::from("/"), PathBuf::from);
            let locate = |path: &Path| Some(path.to_owned());
            command::check(
                &words[begin..],
                &Surroundings { base: &base, locate: &locate, has_login },
                report,
            );
        }
    }
}

/// Keys and values, without comments; lines that end with a backslash go on.
fn entries(text: &str) -> Vec<(String, String)> {
    let (mut found, mut whole) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if whole.is_empty() && (line.starts_with(['#', ';', '[']) || line.is_empty()) {
            continue;
        }
        if let Some(begin) = line.strip_suffix('\\') {
            whole.push_str(begin);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        if let Some((key, value)) = whole.split_once('=') {
            found.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        whole.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn lines_go_on_behind_a_backslash_and_comments_are_left_out() {
        let found = entries("[Service]\n# no\nExecStart=a \\\n  --b=c\n\nUser = x\n");
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("ExecStart", "a  --b=c"), ("User", "x")]);
    }
}
