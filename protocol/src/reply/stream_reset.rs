//! `sstart` and `sprogress`: the server's side of a streamed reset.

members! {
    /// `sstart`.
    StreamStart {
        /// Correlator of the request.
        correlator: String,
    }
}

members! {
    /// `sprogress`.
    StreamProgress {
        /// The stream was cancelled.
        cancel: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_stream_is_begun_by_its_correlator_and_acknowledged() {
        let start = ServerReply::SStart(StreamStart { correlator: "c".into() });
        assert_round_trip(&start, r#"{"type":"sstart","correlator":"c"}"#);
        let progress = ServerReply::SProgress(StreamProgress { cancel: true });
        assert_round_trip(&progress, r#"{"type":"sprogress","cancel":true}"#);
    }
}
