//! `result`: success of a login command.

use serde_json::Value;

members! {
    /// `result`.
    ResultReply {
        /// Display text.
        message: String,
        /// Subject: `identOk`, `needPassword`, `intentMismatch`, `needExtAuth`, `host`, `join`.
        #[serde(skip_serializing_if = "String::is_empty")]
        state: String,
        /// The TLS handshake follows.
        #[serde(rename = "startTls", skip_serializing_if = "std::ops::Not::not")]
        start_tls: bool,
        /// Answer to `cinfo`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cinfo: Option<ClientInfoResult>,
        /// Answer to `lookup`: `host` or `join`.
        #[serde(skip_serializing_if = "String::is_empty")]
        lookup: String,
        /// The session that was looked up.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<Value>,
        /// Account flags (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<Vec<String>>,
        /// User name (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        ident: Option<String>,
        /// Logged in without an account (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<bool>,
        /// Login method that the client intended (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        intent: String,
        /// Login method that is required (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        method: String,
        /// Guest login only because the auth server is down (`intentMismatch`).
        #[serde(rename = "extauthfallback", skip_serializing_if = "std::ops::Not::not")]
        extauth_fallback: bool,
        /// URL for requesting a token (`needExtAuth`).
        #[serde(rename = "extauthurl", skip_serializing_if = "String::is_empty")]
        extauth_url: String,
        /// Nonce for the token, in hex (`needExtAuth`).
        #[serde(skip_serializing_if = "String::is_empty")]
        nonce: String,
        /// Group that the account must be in, empty for any (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// An avatar is requested (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        avatar: Option<bool>,
        /// The session that was hosted or joined.
        #[serde(skip_serializing_if = "Option::is_none")]
        join: Option<JoinResult>,
    }
}

members! {
    /// Answer to `cinfo`.
    ClientInfoResult {
        /// The client runs in a browser.
        browser: bool,
    }
}

members! {
    /// The session that a client has hosted or joined.
    JoinResult {
        /// Session alias or id.
        id: String,
        /// Session id.
        #[serde(rename = "uniqueId")]
        unique_id: String,
        /// The client's user id.
        user: u8,
        /// `NOAUTORESET`, `SKIP`.
        flags: Vec<String>,
        /// The client's account id, empty for guests.
        #[serde(rename = "authId")]
        auth_id: String,
        /// The history starts at the history index that the client sent (`join` only).
        #[serde(skip_serializing_if = "Option::is_none")]
        skip: Option<bool>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn only_members_of_the_state_are_written() {
        let tls = ResultReply { message: "Start TLS now!".into(), start_tls: true, ..Default::default() };
        let json = r#"{"type":"result","message":"Start TLS now!","startTls":true}"#;
        assert_round_trip(&ServerReply::Result(Box::new(tls)), json);
        let joined = ResultReply {
            message: "m".into(),
            state: "join".into(),
            join: Some(JoinResult { id: "a".into(), unique_id: "u".into(), user: 2, ..Default::default() }),
            ..Default::default()
        };
        let json = concat!(
            r#"{"type":"result","message":"m","state":"join","#,
            r#""join":{"id":"a","uniqueId":"u","user":2,"flags":[],"authId":""}}"#
        );
        assert_round_trip(&ServerReply::Result(Box::new(joined)), json);
    }
}
