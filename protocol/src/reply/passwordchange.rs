//! `passwordchange`: the session password has changed.

members! {
    /// `passwordchange`.
    PasswordChange {
        /// The new password; empty if it was removed.
        password: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn a_removed_password_is_empty() {
        let removed = ServerReply::PasswordChange(PasswordChange::default());
        assert_round_trip(&removed, r#"{"type":"passwordchange","password":""}"#);
    }
}
