//! `thumbnail`: request for a thumbnail.

members! {
    /// `thumbnail`.
    Thumbnail {
        /// To be sent in front of the picture.
        correlator: String,
        /// Maximum width in pixels.
        #[serde(rename = "maxWidth", skip_serializing_if = "Option::is_none")]
        max_width: Option<u32>,
        /// Maximum height in pixels.
        #[serde(rename = "maxHeight", skip_serializing_if = "Option::is_none")]
        max_height: Option<u32>,
        /// Quality in percent.
        #[serde(skip_serializing_if = "Option::is_none")]
        quality: Option<u32>,
        /// `webp` or `jpeg`.
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn limits_that_are_not_set_are_left_out() {
        let request = Thumbnail { correlator: "c".into(), max_width: Some(256), ..Default::default() };
        let json = r#"{"type":"thumbnail","correlator":"c","maxWidth":256}"#;
        assert_round_trip(&ServerReply::Thumbnail(request), json);
    }
}
