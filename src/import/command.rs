//! A command line of drawpile-srv.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::{Report, files};
use crate::cli::{Cli, Serve, items};
use crate::options::in_one_line;

/// Where a path on the command line is, seen from here; `None` if that is not known.
pub(super) type Locate<'a> = &'a dyn Fn(&Path) -> Option<PathBuf>;

/// Checks a file or directory that an option names.
type CheckFile = fn(&Path, &mut Report);

/// Where a command line is run.
pub(super) struct Surroundings<'a> {
    /// Directory that relative paths begin at.
    pub(super) base: &'a Path,
    pub(super) locate: Locate<'a>,
    /// The environment has user and password of the admin API.
    pub(super) has_login: bool,
}

/// Options whose values are not shown.
const SECRET: [&str; 2] = ["--web-admin-auth", "--crypt-key"];
/// Variable with user and password of the admin API.
pub(super) const LOGIN: &str = "DRAWPILESRV_WEB_ADMIN_AUTH";

/// Checks a command line, whose first word may be the program, and the files that it names.
pub(super) fn check(words: &[String], place: &Surroundings<'_>, report: &mut Report) {
    let is_program = words.first().is_some_and(|word| !word.starts_with('-'));
    let arguments = &words[usize::from(is_program)..];
    report.begin(&format!("command line: {}", shown(arguments)));
    let secrets = secrets_of(arguments);
    let arguments: Vec<OsString> =
        std::iter::once("drawhall".into()).chain(arguments.iter().map(OsString::from)).collect();
    let options = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.serve,
        Err(error) => return report.unusable(without_secrets(in_one_line(&error), &secrets)),
    };
    report.same("replace drawpile-srv by drawhall; all options are known");
    differences(&options, place.has_login, report);
    follow(&options, place, report);
}

/// Values of options that are not shown.
fn secrets_of(arguments: &[String]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (at, word) in arguments.iter().enumerate() {
        match word.split_once('=') {
            Some((option, value)) if SECRET.contains(&option) => secrets.push(value.to_owned()),
            None if SECRET.contains(&word.as_str()) => secrets.extend(arguments.get(at + 1).cloned()),
            _ => {}
        }
    }
    secrets
}

/// An error message, which may have a value in it.
fn without_secrets(message: String, secrets: &[String]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(message, |message, secret| message.replace(secret.as_str(), "(not shown)"))
}

/// The arguments without the password.
fn shown(arguments: &[String]) -> String {
    let mut hide_next = false;
    let words = arguments.iter().map(|word| {
        let hidden = std::mem::replace(&mut hide_next, SECRET.contains(&word.as_str()));
        match word.split_once('=') {
            _ if hidden => "(not shown)".to_owned(),
            Some((option, _)) if SECRET.contains(&option) => format!("{option}=(not shown)"),
            _ => word.clone(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Options that mean something else here.
fn differences(options: &Serve, has_login: bool, report: &mut Report) {
    if options.listen.is_some() && options.websocket_port > 0 && options.websocket_listen.is_none() {
        report.differs("--listen is also the address for WebSocket; --websocket-listen :: is as before");
    }
    if options.web_admin_port > 0 {
        let has_login = has_login || options.web_admin_auth.is_some() || options.web_admin_login;
        if items(&options.web_admin_access).next().is_some() && !has_login {
            report.differs(
                "--web-admin-access without a login: other machines are refused; add --web-admin-auth, \
                 --web-admin-login, or --web-admin-open behind a proxy that asks for a login",
            );
        }
        report.differs("the admin page is at the port of the admin API, which answers as before");
    }
    if options.websocket_port > 0 {
        report.differs(
            "a proxy that is not on this machine has to be named with --trusted-proxy, or bans do not see clients",
        );
    }
    if options.ssl_cert.is_some() != options.ssl_key.is_some() {
        report.differs("--ssl-cert and --ssl-key are needed both: nothing is encrypted, here and there");
    }
    if options.sessions.is_none() {
        let stored = options.config.is_some() || options.database.is_some();
        if stored {
            report.same("without --sessions sessions are in memory only");
        } else {
            report.differs(
                "without --config, --database and --sessions everything is stored in the user's data directory; \
                 --in-memory is as before",
            );
        }
    }
}

/// Checks the files that options name.
fn follow(options: &Serve, place: &Surroundings<'_>, report: &mut Report) {
    let kinds: [(&str, &Option<PathBuf>, CheckFile); 4] = [
        ("--config", &options.config, files::config),
        ("--database", &options.database, files::database),
        ("--sessions", &options.sessions, files::sessions),
        ("--templates", &options.templates, files::templates),
    ];
    for (option, path, check) in kinds {
        let Some(path) = path else { continue };
        match (place.locate)(path).filter(|path| !is_placeholder(path)) {
            Some(path) => check(&place.base.join(path), report),
            None => report.differs(format!(
                "{option} {}: where it is cannot be told from here; check it by itself",
                path.display()
            )),
        }
    }
}

/// Whether a path has variables that only the service manager knows.
fn is_placeholder(path: &Path) -> bool {
    path.to_string_lossy().contains(['%', '$'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let words = ["--web-admin-auth", "a:b", "--port", "1", "--web-admin-auth=a:b"].map(str::to_owned);
        assert_eq!(shown(&words), "--web-admin-auth (not shown) --port 1 --web-admin-auth=(not shown)");
    }
}
