//! Documents are true about the files around them: what names a rule of the specification, links, and what can be
//! searched for.
//!
//! * `Source: docs/spec/session.md#kick-user` in comments, and `source docs/spec/session.md#commands` in rules of the
//!   compatibility suite: the document and its anchor exist. A document that is named without its path is an error.
//! * Relative links and anchors in Markdown exist, by GitHub's rule for anchors.
//! * No line of Markdown has more than 120 columns. Rows of tables are exempt, because a row cannot be broken.
//! * Each search of `docs/find.md` lands in the file that is named for it.
//!
//! What "lands" means: somebody searches for the words without case and sees files in the order of their hits, which
//! are lines, and the path as one more. Hyphens and underscores do not count, and a blank stands for a blank or
//! nothing, because that is how words are joined (`rate limit`: `rate_limit`, `RateLimit`; `backpressure`:
//! back-pressure). He looks at either code (`src`, `protocol/src`, `canvas/src`, without tests) or documents (`docs`, without
//! `docs/find.md` and `docs/GLOSSARY.md`, which name everything). The named file has a hit. For the fourteen searches
//! that have to land at the first or second hit, at most one file of the same kind has more hits.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

const MAX_COLUMNS: usize = 120;

/// Searches that land in the right file at the first or second hit.
const SEARCHES: [&str; 14] = [
    "fsync",
    "backpressure",
    "rate limit",
    "unload",
    "monotonic",
    "retry",
    "histogram",
    "idle timeout",
    "ban match",
    "X-Real-IP",
    "session expiry",
    "slow client",
    "certificate reload",
    "autoreset",
];

/// Rules that `docs/find.md` names a search for, besides the fourteen.
const RULES: usize = 12;

/// Directories of what is built or downloaded.
const SKIPPED: [&str; 5] = ["target", "node_modules", "corpus", "artifacts", "coverage"];

/// The text files of the repository, by their paths from its root.
fn files() -> BTreeMap<String, String> {
    fn walk(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".github";
            if hidden || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), files);
            } else {
                // A picture is no text, but links lead to it.
                files.insert(path, std::fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files
}

/// The lines of a Markdown text outside of blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    })
}

/// A line without what stands in backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The text of a heading as it is shown: links and code without their marks.
fn shown(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    (text + rest).replace('[', "")
}

/// GitHub's anchor for a heading: small letters, digits, `-` and `_`, and a hyphen for each blank.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let lower = shown(heading).trim().to_lowercase();
    lower.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// All anchors of a Markdown text; a heading that is there again has a number behind.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let plain = anchor(heading);
        let numbered = (1..).map(|n| format!("{plain}-{n}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|a| !anchors.contains(a));
        anchors.extend(free);
    }
    anchors
}

/// Why a path from the root, perhaps with an anchor, leads nowhere.
fn unresolved(files: &BTreeMap<String, String>, target: &str) -> Option<String> {
    let (path, wanted) = target.split_once('#').map_or((target, None), |(path, a)| (path, Some(a)));
    let path = path.trim_end_matches('/');
    let is_directory = path.is_empty() || files.keys().any(|f| f.starts_with(&format!("{path}/")));
    match (files.get(path), wanted) {
        (None, _) if !is_directory => Some(format!("there is no {path}")),
        (Some(text), Some(wanted)) if !anchors(text).contains(wanted) => {
            Some(format!("{path} has no heading for #{wanted}"))
        }
        (None, Some(wanted)) => Some(format!("{path} is no document with #{wanted}")),
        _ => None,
    }
}

/// The documents that a comment names: words that end in `.md`, perhaps with an anchor.
fn documents_of(comment: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
    comment.split(move |c| !is_part(c)).map(|word| word.trim_end_matches('.')).filter(|word| {
        let path = word.split('#').next().unwrap_or_default();
        path.ends_with(".md") && path.len() > 3
    })
}

/// What of a line names its sources: a comment of Rust or TOML, the `source` of rules.
fn naming<'a>(path: &str, line: &'a str) -> Option<&'a str> {
    let line = line.trim_start();
    match Path::new(path).extension()?.to_str()? {
        "rs" => line.strip_prefix("//"),
        "toml" => line.strip_prefix('#'),
        "rules" => line.strip_prefix("source "),
        _ => None,
    }
}

/// Where a link of a document leads, as a path from the root; `None` for one that leaves the repository.
fn resolved(document: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, String::new()), |(p, a)| (p, format!("#{a}")));
    if path.is_empty() {
        return Some(format!("{document}{anchor}"));
    }
    let mut whole = PathBuf::new();
    for part in Path::new(document).parent().unwrap().join(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    Some(format!("{}{anchor}", whole.to_str().unwrap()))
}

/// Targets of the links in a line.
fn links(line: &str) -> Vec<String> {
    let line = without_code(line);
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let target = |(target, _): (&str, &str)| target.split(' ').next().unwrap_or_default().to_owned();
    let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    targets.map(target).chain(definition.map(|(_, target)| target.trim().to_owned())).collect()
}

fn markdown(files: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.ends_with(".md"))
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn what_comments_and_rules_name_as_their_source_is_there() {
    let files = files();
    let mut problems = Vec::new();
    for (path, text) in &files {
        for (at, line) in text.lines().enumerate() {
            let Some(comment) = naming(path, line) else { continue };
            for document in documents_of(comment) {
                let place = format!("{path}:{}: {document}", at + 1);
                let no_anchor = document.starts_with("docs/spec/") && !document.contains('#');
                if !document.contains('/') && !files.contains_key(document) {
                    problems.push(format!("{place}: name it with its path and anchor"));
                } else if no_anchor {
                    problems.push(format!("{place}: name the rule, with its anchor"));
                } else if let Some(problem) = unresolved(&files, document) {
                    problems.push(format!("{place}: {problem}"));
                }
            }
            if path.ends_with(".rules") && documents_of(comment).next().is_none() {
                problems.push(format!("{path}:{}: this source is no document", at + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn links_lead_to_files_and_headings() {
    let files = files();
    let mut problems = Vec::new();
    for (path, text) in markdown(&files) {
        for (at, line) in prose(text) {
            for link in links(line) {
                let target = resolved(path, &link);
                let problem = target.and_then(|target| unresolved(&files, &target));
                problems.extend(problem.map(|p| format!("{path}:{at}: {link}: {p}")));
            }
        }
    }
    none(&problems);
}

/// What is in `docs` can be read in the book, and the book names nothing else. mdBook itself would not notice.
#[test]
fn the_book_has_every_page_of_docs_once() {
    let files = files();
    let summary = &files["docs/SUMMARY.md"];
    let mut named: Vec<String> = prose(summary)
        .map(|(_, line)| line.trim_start())
        .flat_map(|line| links(line.strip_prefix("- ").unwrap_or(line)))
        .filter_map(|link| resolved("docs/SUMMARY.md", &link))
        .collect();
    named.sort();
    let pages = markdown(&files).map(|(path, _)| path.as_str());
    let pages: Vec<&str> =
        pages.filter(|path| path.starts_with("docs/") && *path != "docs/SUMMARY.md").collect();
    assert_eq!(named, pages);
}

#[test]
fn no_line_has_more_than_120_columns() {
    let files = files();
    let lines = markdown(&files).flat_map(|(path, text)| {
        text.lines().enumerate().map(move |(at, line)| (path, at + 1, line, line.chars().count()))
    });
    let long = lines.filter(|(.., line, columns)| *columns > MAX_COLUMNS && !line.starts_with('|'));
    let problems: Vec<String> =
        long.map(|(path, at, _, columns)| format!("{path}:{at}: {columns} columns")).collect();
    none(&problems);
}

/// A search would find two rules, and an anchor would change with what stands before it.
#[test]
fn no_heading_of_the_specification_is_there_twice() {
    let files = files();
    let mut problems = Vec::new();
    for (path, text) in markdown(&files).filter(|(path, _)| path.starts_with("docs/spec/")) {
        let mut seen = BTreeSet::new();
        let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
        let again = headings.filter(|(_, line)| !seen.insert(anchor(line.trim_start_matches('#'))));
        problems.extend(again.map(|(at, line)| format!("{path}:{at}: {line}")));
    }
    none(&problems);
}

/// A text as it is searched: without case, hyphens and underscores.
fn searched(text: &str) -> String {
    text.to_lowercase().replace(['-', '_'], "")
}

/// Kind of a file that is searched, `None` if it is not.
fn kind_of(path: &str) -> Option<&'static str> {
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    let names_everything = ["docs/find.md", "docs/GLOSSARY.md"].contains(&path);
    match path {
        _ if is_test || names_everything => None,
        _ if ["src/", "protocol/src/", "canvas/src/"].iter().any(|start| path.starts_with(start)) => {
            Some("code")
        }
        _ if path.starts_with("docs/") => Some("documents"),
        _ => None,
    }
}

/// Files that are searched, as the lines in which a search is looked for.
type Searched<'a> = BTreeMap<&'a str, Vec<String>>;

fn searchable(files: &BTreeMap<String, String>) -> Searched<'_> {
    let kept = files.iter().filter(|(path, _)| kind_of(path).is_some());
    kept.map(|(path, text)| (path.as_str(), text.lines().chain([path.as_str()]).map(searched).collect()))
        .collect()
}

/// The files that a search hits, with their hits, the most first.
fn hits<'a>(files: &Searched<'a>, search: &str) -> Vec<(usize, &'a str)> {
    let search = searched(search);
    let joined = search.replace(' ', "");
    let is_hit = |line: &&String| line.contains(&search) || line.contains(&joined);
    let count = |lines: &Vec<String>| lines.iter().filter(is_hit).count();
    let mut hits: Vec<(usize, &str)> = files.iter().map(|(path, lines)| (count(lines), *path)).collect();
    hits.retain(|(count, _)| *count > 0);
    hits.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    hits
}

/// The rows of `docs/find.md`: searches and the files that they land in, of each table with these columns.
fn rows(text: &str) -> Vec<(String, String)> {
    let mut columns = None;
    let mut rows = Vec::new();
    for (_, line) in prose(text) {
        let Some(row) = line.strip_prefix('|') else {
            columns = None;
            continue;
        };
        let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let place = |name: &str| cells.iter().position(|cell| *cell == name);
        let Some((search, file)) = columns else {
            columns = place("search").zip(place("first file"));
            continue;
        };
        let (search, file): (&str, &str) = (cells[search], cells[file]);
        if search.starts_with("---") {
            continue;
        }
        let link = links(file).first().and_then(|link| resolved("docs/find.md", link));
        rows.push((search.trim_matches('`').to_owned(), link.unwrap_or(file.trim_matches('`').to_owned())));
    }
    rows
}

#[test]
fn each_search_lands_in_its_file() {
    let files = files();
    let rows = rows(files.get("docs/find.md").map_or("", String::as_str));
    let mut problems = Vec::new();
    for search in SEARCHES.iter().filter(|search| !rows.iter().any(|(row, _)| row == *search)) {
        problems.push(format!("docs/find.md does not name the search '{search}'"));
    }
    if rows.len() < SEARCHES.len() + RULES {
        problems.push(format!("docs/find.md names {} searches", rows.len()));
    }
    let searchable = searchable(&files);
    for (search, file) in &rows {
        let found = hits(&searchable, search);
        let Some((own, _)) = found.iter().find(|(_, path)| path == file) else {
            let first = &found[..found.len().min(3)];
            problems.push(format!("'{search}' does not land in {file}, but in {first:?}"));
            continue;
        };
        let mut before = found.clone();
        before.retain(|(count, path)| count > own && kind_of(path) == kind_of(file));
        if before.len() > 1 && SEARCHES.contains(&search.as_str()) {
            problems.push(format!("'{search}' has {own} hits in {file}; before it come {before:?}"));
        }
    }
    none(&problems);
}

#[test]
fn anchors_are_those_of_github() {
    for (heading, expected) in [
        (" Kick user", "kick-user"),
        (" `sessions/ID/N` (user id)", "sessionsidn-user-id"),
        (" OP, DEOP, TRUST, UNTRUST", "op-deop-trust-untrust"),
        (" What is *this*?", "what-is-this"),
        (" auto_reset", "auto_reset"),
        (" A [link](b.md#c) – and Ümlauts", "a-link--and-ümlauts"),
    ] {
        assert_eq!(anchor(heading), expected, "{heading}");
    }
    let text = "# A\n## A\n```\n# no heading\n```\n    # nor this\n#nor this\n### A\n";
    assert_eq!(anchors(text), ["a", "a-1", "a-2"].map(String::from).into());
}

#[test]
fn links_and_documents_are_found() {
    let line = "See [a](x.md#y) and [`b](c)`](../d.md \"title\"), `[no](link.md)`, ![p](p.png)";
    assert_eq!(links(line), ["x.md#y", "../d.md", "p.png"]);
    assert_eq!(links("[a]: b.md#c"), ["b.md#c"]);
    assert_eq!(resolved("docs/spec/a.md", "../b.md#c").as_deref(), Some("docs/b.md#c"));
    assert_eq!(resolved("docs/a.md", "#c").as_deref(), Some("docs/a.md#c"));
    assert_eq!(resolved("docs/a.md", "https://example.org/a.md"), None);
    let comment = "Sources: `docs/spec/a.md#b`, session.md, and docs/c.md.";
    assert_eq!(documents_of(comment).collect::<Vec<_>>(), ["docs/spec/a.md#b", "session.md", "docs/c.md"]);
}

#[test]
fn searches_find_joined_words() {
    let files = BTreeMap::from(
        [
            ("src/a.rs", "struct RateLimit;\nlet rate_limit = 1;\n// rate-limit\n"),
            ("src/b.rs", "// the rate\n// limit\n"),
            ("src/a/tests.rs", "// rate limit\n"),
            ("docs/find.md", "rate limit\n"),
            ("docs/c.md", "A Rate limit.\nBefore trying.\n"),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned())),
    );
    let files = searchable(&files);
    assert_eq!(hits(&files, "rate limit"), [(3, "src/a.rs"), (1, "docs/c.md")]);
    assert_eq!(hits(&files, "retry"), []);
    let table = "| rule | search | first file |\n| --- | --- | --- |\n| R | `a b` | [c](spec/c.md) |\n\n\
        | search | first file |\n| --- | --- |\n| fsync | `src/x.rs` |\n";
    let expected = [("a b", "docs/spec/c.md"), ("fsync", "src/x.rs")];
    assert_eq!(rows(table), expected.map(|(s, f)| (s.to_owned(), f.to_owned())));
}
