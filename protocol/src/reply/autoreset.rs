//! `autoreset`: query for clients that can perform an autoreset, or the request for one.

members! {
    /// `autoreset`.
    AutoReset {
        /// Size limit in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// Query, as opposed to the request.
        query: bool,
        /// To be returned in the answer (query).
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        /// To be returned in `stream-reset-start` (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        correlator: Option<String>,
        /// Compression, `gzip1` (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_query_has_a_payload_and_a_streamed_request_a_correlator() {
        let query = AutoReset { max_size: 9, query: true, payload: Some("p".into()), ..Default::default() };
        let json = r#"{"type":"autoreset","maxSize":9,"query":true,"payload":"p"}"#;
        assert_round_trip(&ServerReply::AutoReset(query), json);
        let request = AutoReset {
            max_size: 9,
            correlator: Some("c".into()),
            stream: Some("gzip1".into()),
            ..Default::default()
        };
        let json = r#"{"type":"autoreset","maxSize":9,"query":false,"correlator":"c","stream":"gzip1"}"#;
        assert_round_trip(&ServerReply::AutoReset(request), json);
    }
}
