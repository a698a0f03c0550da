//! `invitecreated`: an invite was created.

members! {
    /// `invitecreated`.
    InviteCreated {
        /// The invite's secret.
        secret: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn it_has_the_secret() {
        let created = ServerReply::InviteCreated(InviteCreated { secret: "s".into() });
        assert_round_trip(&created, r#"{"type":"invitecreated","secret":"s"}"#);
    }
}
