//! `log`: an entry of the session's log.

members! {
    /// `log`.
    LogReply {
        /// ISO 8601, UTC.
        timestamp: String,
        /// Error, Warn or Info.
        level: String,
        /// Topic.
        topic: String,
        /// `<id>;<name>` of the user concerned; empty for none.
        #[serde(skip_serializing_if = "String::is_empty")]
        user: String,
        /// Log message.
        message: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn an_entry_about_nobody_has_no_user() {
        let entry = LogReply {
            timestamp: "t".into(),
            level: "Info".into(),
            topic: "Status".into(),
            message: "m".into(),
            ..Default::default()
        };
        let json = r#"{"type":"log","timestamp":"t","level":"Info","topic":"Status","message":"m"}"#;
        assert_round_trip(&ServerReply::Log(entry), json);
    }
}
