//! `sizelimit`: the session exceeds its autoreset threshold.

members! {
    /// `sizelimit`.
    SizeLimit {
        /// Size of the history in bytes.
        size: u64,
        /// Autoreset threshold in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn the_threshold_is_called_maxsize() {
        let limit = ServerReply::SizeLimit(SizeLimit { size: 9, max_size: 8 });
        assert_round_trip(&limit, r#"{"type":"sizelimit","size":9,"maxSize":8}"#);
    }
}
