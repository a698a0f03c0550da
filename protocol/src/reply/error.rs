//! `error`: failure of a login command, or refusal of a session command.

members! {
    /// `error`.
    ErrorReply {
        /// Display text.
        message: String,
        /// Machine-readable code; in the login phase only.
        #[serde(skip_serializing_if = "String::is_empty")]
        code: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn the_code_is_left_out_in_a_session() {
        let refusal = ServerReply::command_error("mute", "Not a session owner");
        assert_round_trip(&refusal, r#"{"type":"error","message":"mute: Not a session owner"}"#);
        let failure = ErrorReply { message: "m".into(), code: "c".into() };
        assert_round_trip(&ServerReply::Error(failure), r#"{"type":"error","message":"m","code":"c"}"#);
    }
}
