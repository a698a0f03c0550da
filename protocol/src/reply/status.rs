//! `status`: size of the history.

members! {
    /// `status`.
    Status {
        /// Size of the history in bytes.
        size: u64,
        /// History index.
        #[serde(rename = "hid*", skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn the_history_index_has_an_asterisk_in_its_name() {
        let status = ServerReply::Status(Status { size: 5, hidx: Some("1:2:x".into()) });
        assert_round_trip(&status, r#"{"type":"status","size":5,"hid*":"1:2:x"}"#);
    }

    #[test]
    fn a_mistyped_size_is_zero_and_other_members_are_ignored() {
        let found = ServerReply::parse(br#"{"type":"status","size":"large","more":1}"#);
        assert_eq!(found, ServerReply::Status(Status::default()));
    }
}
