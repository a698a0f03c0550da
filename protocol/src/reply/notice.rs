//! `msg` and `alert`: messages for the user.

use serde_json::{Map, Value};

members! {
    /// `msg` and `alert`.
    Notice {
        /// Display text.
        message: String,
        /// Translation key of a known text.
        #[serde(rename = "T", skip_serializing_if = "String::is_empty")]
        key: String,
        /// Parameters of the translation.
        #[serde(rename = "P", skip_serializing_if = "Map::is_empty")]
        params: Map<String, Value>,
        /// `prepare`, `cancel` or `failed`, in alerts about resets.
        #[serde(skip_serializing_if = "String::is_empty")]
        reset: String,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_notice_without_a_translation_is_a_text_only() {
        let plain = Notice { message: "hi".into(), ..Default::default() };
        assert_round_trip(&ServerReply::Msg(plain), r#"{"type":"msg","message":"hi"}"#);
        let translated = Notice {
            message: "hi".into(),
            key: "k".into(),
            params: Map::from_iter([("by".to_owned(), "A".into())]),
            reset: "prepare".into(),
        };
        let json = r#"{"type":"alert","message":"hi","T":"k","P":{"by":"A"},"reset":"prepare"}"#;
        assert_round_trip(&ServerReply::Alert(translated), json);
    }

    #[test]
    fn a_notice_that_is_too_long_is_refused() {
        let notice = Notice { message: "x".repeat(65536), ..Default::default() };
        assert!(ServerReply::Msg(notice).to_frame().is_err());
    }

    proptest! {
        #[test]
        fn a_notice_survives_encoding_and_parsing(message in ".{0,40}", key in "[a-z]{0,8}") {
            let notice = ServerReply::Alert(Notice { message, key, ..Default::default() });
            let frame = notice.to_frame().unwrap();
            prop_assert_eq!(ServerReply::parse(frame.payload()), notice);
        }
    }
}
