//! A compose file with a drawpile-srv.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode as _, Yaml};

use super::command::{LOGIN, Surroundings};
use super::unit::PROGRAM;
use super::{Report, command};

/// Columns of indentation, and of `- - -`, at most: the parser calls itself for each level.
const MAX_NESTING: usize = 200;
/// Programs that may be proxies before the server.
const PROXIES: [&str; 4] = ["nginx", "caddy", "traefik", "haproxy"];

/// Checks the services that run drawpile-srv.
pub(super) fn check(path: &Path, text: &str, report: &mut Report) {
    report.begin(&format!("compose file: {}", path.display()));
    if text
        .lines()
        .any(|line| line.len() - line.trim_start_matches([' ', '-', '?', '\t']).len() > MAX_NESTING)
    {
        return report.unusable("it is nested too deeply");
    }
    let documents = match Yaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => return report.unusable(format!("it is no YAML: {error}")),
    };
    let services = documents.first().and_then(|file| file.as_mapping_get("services"));
    let services: Vec<(String, &Yaml<'_>)> = services.map(members).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let ours: Vec<&(String, &Yaml<'_>)> = services.iter().filter(|(_, service)| is_server(service)).collect();
    if ours.is_empty() {
        return report.unusable(format!("no service in it runs {PROGRAM}"));
    }
    let proxy =
        services.iter().find(|(_, service)| PROXIES.iter().any(|name| image_of(service).contains(name)));
    if let Some((name, _)) = proxy {
        report.differs(format!(
            "the proxy in the service {name} has to be trusted: add --trusted-proxy with the network of the containers"
        ));
    }
    for (name, service) in ours {
        report.differs(format!(
            "service {name}: the image becomes that of packaging/; its user is 10001, to whom the volumes must belong"
        ));
        let environment = service.as_mapping_get("environment").map(texts).unwrap_or_default();
        let has_login = environment.iter().any(|variable| variable.starts_with(LOGIN));
        if has_login || service.as_mapping_get("env_file").is_some() {
            report.same(format!("service {name}: {LOGIN} in its environment is read"));
        }
        let volumes = volumes_of(service);
        let locate = |inside: &Path| on_host(&volumes, inside);
        let place = Surroundings { base: folder, locate: &locate, has_login };
        command::check(&words_of(service), &place, report);
    }
}

/// Keys and values of a mapping.
fn members<'a, 'b>(mapping: &'a Yaml<'b>) -> Vec<(String, &'a Yaml<'b>)> {
    let entries = mapping.as_mapping().into_iter().flatten();
    entries.map(|(key, value)| (text_of(key).unwrap_or_default(), value)).collect()
}

/// A scalar as text.
fn text_of(value: &Yaml<'_>) -> Option<String> {
    let text = value.as_str().map(str::to_owned);
    let text = text.or_else(|| value.as_integer().map(|number| number.to_string()));
    text.or_else(|| value.as_bool().map(|value| value.to_string()))
}

/// The texts of a list, or the keys of a mapping.
fn texts(value: &Yaml<'_>) -> Vec<String> {
    match value.as_sequence() {
        Some(list) => list.iter().filter_map(text_of).collect(),
        None => members(value).into_iter().map(|(key, _)| key).collect(),
    }
}

fn image_of(service: &Yaml<'_>) -> String {
    service.as_mapping_get("image").and_then(text_of).unwrap_or_default()
}

/// The words of a command, which is a list or one text.
fn words(value: &Yaml<'_>) -> Vec<String> {
    match text_of(value) {
        Some(text) => shell_words::split(&text).unwrap_or_default(),
        None => texts(value),
    }
}

fn words_of(service: &Yaml<'_>) -> Vec<String> {
    let part = |key: &str| service.as_mapping_get(key).map(words).unwrap_or_default();
    let all = [part("entrypoint"), part("command")].concat();
    let begin = all.iter().position(|word| word.ends_with(PROGRAM)).unwrap_or(0);
    all[begin..].to_vec()
}

fn is_server(service: &Yaml<'_>) -> bool {
    image_of(service).contains(PROGRAM)
        || words_of(service).first().is_some_and(|word| word.ends_with(PROGRAM))
}

/// Directories of the host and where they are inside.
fn volumes_of(service: &Yaml<'_>) -> Vec<(PathBuf, PathBuf)> {
    let volumes = service.as_mapping_get("volumes").and_then(|list| list.as_sequence());
    let volumes = volumes.into_iter().flatten().filter_map(|volume| match text_of(volume) {
        Some(text) => {
            let mut parts = text.split(':').map(PathBuf::from);
            parts.next().zip(parts.next())
        }
        None => {
            let part = |key: &str| volume.as_mapping_get(key).and_then(text_of).map(PathBuf::from);
            part("source").zip(part("target"))
        }
    });
    // A name without a slash is a volume that the container daemon keeps.
    volumes.filter(|(host, _)| host.is_absolute() || host.starts_with(".")).collect()
}

/// Where a path of the container is on the host.
fn on_host(volumes: &[(PathBuf, PathBuf)], inside: &Path) -> Option<PathBuf> {
    let found = volumes.iter().filter_map(|(host, target)| {
        let rest = inside.strip_prefix(target).ok()?;
        Some(if rest.as_os_str().is_empty() { host.clone() } else { host.join(rest) })
    });
    found.max_by_key(|path| path.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_volumes_are_read_in_all_their_forms() {
        let text = "services:\n  a:\n    image: x/drawpile-srv:2\n    command: --port 1 --sessions '/data/my sessions'\n    \
            volumes:\n      - ./here:/data:ro\n      - named:/other\n      - type: bind\n        source: /abs\n        target: /abs2\n  \
            b:\n    entrypoint: [/bin/drawpile-srv]\n    command: [--port, 2]\n  c:\n    image: nginx\n";
        let documents = Yaml::load_from_str(text).unwrap();
        let services = members(documents[0].as_mapping_get("services").unwrap());
        let ours: Vec<bool> = services.iter().map(|(_, service)| is_server(service)).collect();
        assert_eq!(ours, [true, true, false]);
        assert_eq!(words_of(services[0].1), ["--port", "1", "--sessions", "/data/my sessions"]);
        assert_eq!(words_of(services[1].1), ["/bin/drawpile-srv", "--port", "2"]);
        let volumes = volumes_of(services[0].1);
        assert_eq!(on_host(&volumes, Path::new("/data/s")), Some("./here/s".into()));
        assert_eq!(on_host(&volumes, Path::new("/abs2")), Some("/abs".into()));
        assert_eq!(on_host(&volumes, Path::new("/other/x")), None);
    }
}
