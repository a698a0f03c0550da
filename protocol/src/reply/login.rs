//! `login`: greeting, welcome, and updates of the session list.

use super::SessionDescription;

members! {
    /// `login`.
    LoginReply {
        /// Display text.
        message: String,
        /// Server number of the protocol (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// Features and requirements of the server (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<Vec<String>>,
        /// Session id or alias; empty if the client has not chosen a session yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        methods: Option<Methods>,
        /// URL of a page about the server (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        info: String,
        /// Rules that users must agree to (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        rules: String,
        /// WebSockets are preferred (greeting).
        #[serde(rename = "preferWebSockets", skip_serializing_if = "std::ops::Not::not")]
        prefer_web_sockets: bool,
        /// Title of the server (welcome).
        #[serde(skip_serializing_if = "String::is_empty")]
        title: String,
        /// New and changed sessions.
        #[serde(skip_serializing_if = "Option::is_none")]
        sessions: Option<Vec<SessionDescription>>,
        /// Ids of sessions that ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        remove: Option<Vec<String>>,
    }
}

members! {
    /// Login methods.
    Methods {
        /// Guest login.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<Method>,
        /// With an account of this server.
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<Method>,
        /// With an account of the auth server.
        #[serde(skip_serializing_if = "Option::is_none")]
        extauth: Option<Method>,
    }
}

members! {
    /// A login method.
    Method {
        /// Permitted actions: `join`, `host`.
        actions: Vec<String>,
        /// URL of the auth server.
        #[serde(skip_serializing_if = "String::is_empty")]
        url: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_greeting_and_an_update_of_the_session_list_have_their_own_members() {
        let greeting = LoginReply {
            message: "hi".into(),
            version: Some(4),
            flags: Some(vec!["SECURE".into()]),
            methods: Some(Methods {
                guest: Some(Method { actions: vec!["join".into()], url: String::new() }),
                ..Default::default()
            }),
            prefer_web_sockets: true,
            ..Default::default()
        };
        let json = concat!(
            r#"{"type":"login","message":"hi","version":4,"flags":["SECURE"],"#,
            r#""methods":{"guest":{"actions":["join"]}},"preferWebSockets":true}"#
        );
        assert_round_trip(&ServerReply::Login(Box::new(greeting)), json);
        let update = LoginReply { remove: Some(vec!["a".into()]), ..Default::default() };
        let json = r#"{"type":"login","message":"","remove":["a"]}"#;
        assert_round_trip(&ServerReply::Login(Box::new(update)), json);
    }
}
