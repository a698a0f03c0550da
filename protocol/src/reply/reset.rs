//! `reset`: state of a reset.

members! {
    /// `reset`.
    Reset {
        /// Display text.
        message: String,
        /// `init`: the client must send the reset image; `reset`: the new history follows.
        state: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_reset_has_a_text_and_a_state() {
        let reset = ServerReply::Reset(Reset { message: "m".into(), state: "init".into() });
        assert_round_trip(&reset, r#"{"type":"reset","message":"m","state":"init"}"#);
    }
}
