//! Blocks of code in the pages of the book.

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The text of a page, by its path below `docs`.
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(docs().join(path)).unwrap()
}

/// Paths below `docs` of all pages, sorted.
pub(crate) fn pages() -> Vec<String> {
    fn walk(directory: &Path, pages: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, pages);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path.strip_prefix(docs()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut pages = Vec::new();
    walk(&docs(), &mut pages);
    pages.sort();
    pages
}

/// The blocks of code of a text whose fence has these words behind it.
pub(crate) fn blocks(text: &str, info: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(words), None) => block = Some((words.trim() == info, String::new())),
            (Some(_), Some(_)) => blocks.extend(block.take().filter(|(fits, _)| *fits).map(|(_, text)| text)),
            (None, Some((_, text))) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn blocks_are_found_by_the_words_behind_their_fence() {
    let text = "```sh run\na\nb\n```\ntext\n```sh\nc\n```\n\n```sh run\nd\n```\n";
    assert_eq!(blocks(text, "sh run"), ["a\nb\n", "d\n"]);
    assert_eq!(blocks(text, "nginx recipe"), [""; 0]);
}
