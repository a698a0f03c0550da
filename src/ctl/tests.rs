//! Tests of `ctl`.

use super::undo::{find_person, time_of};
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
fn times_are_absolute_or_ago() {
    let now: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    for (text, expected) in [
        ("2026-01-01T10:00:00+01:00", Some("2026-01-01T09:00:00Z")),
        ("10m", Some("2026-01-01T11:50:00Z")),
        ("1h 30m", Some("2026-01-01T10:30:00Z")),
        ("90s", Some("2026-01-01T11:58:30Z")),
        ("-10m", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(time_of(text, now).ok().as_deref(), expected, "{text}");
    }
}
