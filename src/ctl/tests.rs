//! Tests of `ctl`.

use super::format::{log_line, shown_setting};
use super::log::one_second_before;
use super::settings::find_key;
use super::undo::find_person;
use super::*;

#[test]
fn table_columns_are_aligned() {
    let list = json!([{"title": "Häuser", "n": 5}, {"title": "x\ny", "n": null}]);
    assert_eq!(table(&list, &["title", "n"]), "title   n\nHäuser  5\nxy      -\n");
}

#[test]
fn people_are_found_by_number_or_by_a_name_that_only_one_has() {
    let list =
        json!([{"person": 7, "name": "Ann"}, {"person": 9, "name": "Bo"}, {"person": 12, "name": "Bo"}]);
    assert_eq!(find_person(&list, "Ann").unwrap()["person"], 7);
    assert_eq!(find_person(&list, "12").unwrap()["person"], 12);
    assert!(find_person(&list, "Bo").is_err() && find_person(&list, "nobody").is_err());
}

#[test]
fn bools_and_numbers_are_parsed_as_json() {
    assert_eq!(
        [parse_value("5"), parse_value("true"), parse_value("5mb")],
        [json!(5), json!(true), json!("5mb")]
    );
    assert_eq!(parse_value("{\"a\":1}"), json!("{\"a\":1}"));
}

#[test]
fn path_segments_are_percent_encoded() {
    assert_eq!(path_segment("a/../b c?"), "a%2F..%2Fb%20c%3F");
    assert_eq!(query(&[("reason", "a&b"), ("message", "")]), "reason=a%26b");
}

#[test]
fn log_lines_have_the_format_of_the_text_log() {
    let line = json!({"timestamp": "T", "level": "Info", "topic": "Join", "user": "1;::1;A", "session": "s",
        "message": "Joined"});
    assert_eq!(log_line(&line), "T Info/Join 1;::1;A@{s}: Joined");
    assert_eq!(one_second_before("2026-01-01T00:00:00Z"), "2025-12-31T23:59:59Z");
}

#[test]
fn settings_are_shown_in_the_units_that_are_typed_and_changed_ones_with_their_default() {
    let setting = |value: &str, unit: &str, changed: bool| {
        shown_setting(
            &json!({"key": "k", "value": value, "unit": unit, "default": "99mb", "changed": changed}),
        )
    };
    assert_eq!(setting("41943040", "bytes", true), "k = 40mb  (default: 99mb)");
    assert_eq!(setting("90", "seconds", false), "k = 90");
    assert_eq!(setting("7200", "seconds", false), "k = 2h");
    assert_eq!(setting("0", "bytes", false), "k = 0");
    assert_eq!(setting("a title", "", false), "k = a title");
}

#[test]
fn settings_are_found_in_any_case_and_similar_ones_are_named() {
    let settings = json!({"sessionCountLimit": 25, "sessionSizeLimit": 1, "_locked": false});
    assert_eq!(find_key(&settings, "sessioncountlimit").unwrap(), "sessionCountLimit");
    let error = |key: &str| find_key(&settings, key).unwrap_err().to_string();
    assert_eq!(error("Limit"), "there is no setting 'Limit'; there are sessionCountLimit, sessionSizeLimit");
    assert_eq!(error("_locked"), "there is no setting '_locked'; `drawhall ctl settings` lists all");
}
