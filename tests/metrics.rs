//! The metrics of a live server are those that docs/METRICS.md lists, and dashboard and alerts use no others.
//!
//! The page is kept in `target/tmp/metrics.txt`, for promtool (`.ci/monitoring`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;

use common::{TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::transport::tls::{self, CertificateFiles, KeyAlgorithm};
use regex::Regex;
use serde_json::Value;

/// Type and labels of a family.
type Family = (String, BTreeSet<String>);

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What the table of the document lists.
fn documented() -> BTreeMap<String, Family> {
    let text = read("docs/METRICS.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let family = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels))
    };
    rows.map(family).collect()
}

/// The families of a page, with the labels of their samples.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for (name, kind) in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help");
        families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = if families.contains_key(name) { name } else { stem.unwrap() };
        let labels = label.captures_iter(line).map(|found| found[1].to_owned()).filter(|l| l != "le");
        families.get_mut(name).unwrap().1.extend(labels);
    }
    families
}

/// The page of a server with everything on, after somebody has logged in and somebody was refused.
fn page() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tls::make(&["localhost".to_owned()], &path("cert"), &path("key")).unwrap();
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(path("sessions")),
        certificate: Some(CertificateFiles {
            certificate: path("cert"),
            key: path("key"),
            algorithm: KeyAlgorithm::Guess,
        }),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("connectionLimit=1\n", options);
    let _first = TcpStream::connect(server.address).unwrap();
    let mut page = String::new();
    eventually("every label has a sample", || {
        let _refused = TcpStream::connect(server.address).unwrap();
        page = common::http::text(server.admin.unwrap(), "/metrics");
        ["setting=", "path=", "not_after_timestamp_seconds "].iter().all(|sample| page.contains(sample))
    });
    page
}

#[test]
fn metrics_are_those_of_the_document() {
    let page = page();
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt"), &page).unwrap();
    let (mut found, documented) = (families(&page), documented());
    // Logins need a client that gets in, pictures one that sends them, renders a program that makes them.
    for family in ["drawhall_logins_total", "drawhall_pictures_total", "drawhall_renders_total"] {
        found.get_mut(family).unwrap().1.insert("result".to_owned());
    }
    assert_eq!(found, documented);
    let expiry =
        page.lines().find_map(|l| l.strip_prefix("drawhall_certificate_not_after_timestamp_seconds "));
    // 4096-01-01, the end of certificates of `drawhall certificate`.
    assert_eq!(expiry, Some("67090118400"));
}

#[test]
fn two_servers_in_one_process_count_apart() {
    let options = || ServeOptions { admin_port: Some(0), ..ServeOptions::default() };
    let servers = ["", ""].map(|config| TestServer::start_with(config, options()));
    let accepted = |server: &TestServer| {
        let page = common::http::text(server.admin.unwrap(), "/metrics");
        page.lines().find_map(|line| line.strip_prefix("drawhall_connections_total ")).unwrap().to_owned()
    };
    let _clients: Vec<_> = (0..3).map(|_| servers[0].connect()).collect();
    eventually("all are counted", || accepted(&servers[0]) == "3");
    assert_eq!(accepted(&servers[1]), "0");
    let mut client = servers[1].connect();
    client.ident("A");
    eventually("it is counted", || accepted(&servers[1]) == "1");
    assert_eq!(accepted(&servers[0]), "3");
}

/// Names of metrics in an expression of Prometheus.
fn names(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:drawhall|process)_[a-z_]+").unwrap();
    name.find_iter(expression).map(|found| found.as_str().to_owned()).collect()
}

fn assert_known(place: &str, expression: &str) {
    let documented = documented();
    let names = names(expression);
    assert!(!names.is_empty() || expression.contains("up{"), "{place}: {expression} names no metric");
    for name in names {
        let is_histogram = name
            .strip_suffix("_bucket")
            .and_then(|stem| documented.get(stem))
            .is_some_and(|(kind, _)| kind == "histogram");
        assert!(documented.contains_key(&name) || is_histogram, "{place}: there is no {name}");
    }
}

#[test]
fn the_dashboard_uses_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("packaging/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            assert_known(title, target["expr"].as_str().unwrap());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().skip(1) {
        assert_known("variables", variable["query"].as_str().unwrap());
    }
}

#[test]
fn alerts_use_metrics_that_exist() {
    let text = read("packaging/monitoring/alerts.yml");
    let expressions: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(expressions.len() > 5);
    for expression in expressions {
        assert_known("alerts.yml", expression);
    }
}
