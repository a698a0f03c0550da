//! `outofspace`: the session has reached its size limit.

members! {
/// No members.
Empty {}}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn it_has_no_members() {
        assert_round_trip(&ServerReply::OutOfSpace(Empty {}), r#"{"type":"outofspace"}"#);
    }
}
