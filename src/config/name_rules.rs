//! Forbidden user names and session titles: `forbiddenNameRegex`, applied after `filterNameRegex`.

use regex::{Regex, RegexBuilder};

use super::Settings;
use crate::rules::username;

/// The compiled regular expressions of the settings.
#[derive(Debug, Clone, Default)]
pub struct NameRules {
    forbidden: Option<Regex>,
    filter: Option<Regex>,
}

impl NameRules {
    /// Compiles the expressions. Returns an error message for each invalid one, which is then ignored.
    pub fn new(settings: &Settings) -> (NameRules, Vec<String>) {
        let mut errors = Vec::new();
        let mut compile = |key: &str, pattern: &str| {
            if pattern.is_empty() {
                return None;
            }
            let built = RegexBuilder::new(pattern).case_insensitive(true).dot_matches_new_line(true).build();
            built.map_err(|e| errors.push(format!("{key}: {e}"))).ok()
        };
        let rules = NameRules {
            forbidden: compile("forbiddenNameRegex", &settings.forbidden_name_regex),
            filter: compile("filterNameRegex", &settings.filter_name_regex),
        };
        (rules, errors)
    }

    /// Whether a name or title is forbidden, either as written or in its visible, normalized form
    /// ([`username::plain`]).
    pub fn forbids(&self, name: &str) -> bool {
        let Some(forbidden) = &self.forbidden else { return false };
        let matches = |text: &str| match &self.filter {
            Some(filter) => forbidden.is_match(&filter.replace_all(text, "")),
            None => forbidden.is_match(text),
        };
        matches(name) || (!name.is_ascii() && matches(&username::plain(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(forbidden: &str, filter: &str) -> (NameRules, Vec<String>) {
        NameRules::new(&Settings {
            forbidden_name_regex: forbidden.into(),
            filter_name_regex: filter.into(),
            ..Settings::default()
        })
    }

    #[test]
    fn filtered_parts_of_a_name_are_not_matched() {
        let (rules, errors) = rules("evil", "medieval");
        assert!(errors.is_empty());
        assert!(rules.forbids("xEVILx"));
        assert!(!rules.forbids("medieval"));
        assert!(rules.forbids("medieval evil"));
        assert!(!rules.forbids("good"));
        for disguised in ["ｅｖｉｌ", "e\u{200b}vil", "\u{202e}ev\u{ad}il"] {
            assert!(rules.forbids(disguised), "{disguised}");
        }
        assert!(!rules.forbids("ｍｅｄｉｅｖａｌ"));
    }

    #[test]
    fn without_an_expression_every_name_is_allowed() {
        assert!(!rules("", "x").0.forbids("x"));
    }

    #[test]
    fn an_invalid_expression_is_reported_and_ignored() {
        let (rules, errors) = rules("(", "");
        assert!(errors[0].starts_with("forbiddenNameRegex:"));
        assert!(!rules.forbids("("));
    }
}
