//! `catchup` and `caughtup`: beginning and end of the history that a client is sent.

members! {
    /// `catchup`.
    Catchup {
        /// Number of messages that follow.
        count: u64,
        /// Key of the matching `caughtup`; left out when none will follow, because the history is full.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
    }
}

members! {
    /// `caughtup`.
    CaughtUp {
        /// Key of the matching `catchup`, 0 after a reset.
        key: u32,
        /// History index.
        #[serde(skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_catchup_that_nothing_ends_has_no_key() {
        let catchup = ServerReply::Catchup(Catchup { count: 3, key: Some(7) });
        assert_round_trip(&catchup, r#"{"type":"catchup","count":3,"key":7}"#);
        let endless = ServerReply::Catchup(Catchup { count: 3, key: None });
        assert_round_trip(&endless, r#"{"type":"catchup","count":3}"#);
        let caught_up = ServerReply::CaughtUp(CaughtUp { key: 7, hidx: None });
        assert_round_trip(&caught_up, r#"{"type":"caughtup","key":7}"#);
    }
}
