//! Sessions as they are described in lists and answers to look-ups.

members! {
    /// A session or template in a session list.
    SessionDescription {
        /// Unique id.
        id: String,
        /// Alias; empty for none.
        alias: String,
        /// Protocol version.
        protocol: String,
        /// Number of users, ghosts included.
        #[serde(rename = "userCount")]
        user_count: u32,
        /// Users that drew in the last 5 minutes.
        #[serde(rename = "activeDrawingUserCount")]
        active_drawing_user_count: u32,
        /// Maximum number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Founder's name.
        founder: String,
        /// Title.
        title: String,
        /// The title is updated with the founder's name.
        autotitle: bool,
        /// A password is needed.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// New users are refused.
        closed: bool,
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// ISO 8601, UTC.
        #[serde(rename = "startTime")]
        start_time: String,
        /// Size of the history in bytes.
        size: u64,
        /// Kept when empty.
        persistent: bool,
        /// Operators may create invites.
        invites: bool,
        /// Listed for moderators only.
        unlisted: bool,
        /// Exempt from the idle limit; left out if the server does not allow that.
        #[serde(rename = "idleOverride", skip_serializing_if = "Option::is_none")]
        idle_override: Option<bool>,
        /// Browsers may join; left out without WebSockets.
        #[serde(rename = "allowWeb", skip_serializing_if = "Option::is_none")]
        allow_web: Option<bool>,
        /// WebSockets are preferred.
        #[serde(rename = "preferWebSockets", skip_serializing_if = "std::ops::Not::not")]
        prefer_web_sockets: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_offer_is_left_out() {
        let written = serde_json::to_value(SessionDescription::default()).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 18);
        let offered = SessionDescription {
            idle_override: Some(false),
            allow_web: Some(false),
            prefer_web_sockets: true,
            ..Default::default()
        };
        let written = serde_json::to_value(offered).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 21);
    }
}
