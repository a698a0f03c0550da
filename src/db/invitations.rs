//! Invitations by link, each of which makes one account.

use super::{Account, Database, DbError, time_text};

/// An invitation. The token is not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Invitation {
    pub id: i64,
    /// Flags of the account that it makes.
    pub flags: Vec<String>,
    /// Whom it is for, as whoever invites knows them.
    pub name: String,
    pub author: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub created: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// When it was used; empty if it was not.
    pub used: String,
    /// Name of the account that it has made.
    pub used_by: String,
}

impl Invitation {
    /// Whether it can be used. `now` is UTC, `yyyy-MM-dd HH:mm:ss`.
    pub fn is_valid(&self, now: &str) -> bool {
        self.used.is_empty() && self.expires.as_str() > now
    }
}

/// What became of the use of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsedInvitation {
    /// It has made this account.
    Made(Account),
    /// There is no such invitation, or it was used, or is over.
    Invalid,
    /// There is an account of that name, or one that looks the same.
    NameTaken,
}

/// Invitations in a database engine.
pub(super) trait InvitationStore {
    fn invitations(&self) -> Result<Vec<Invitation>, DbError>;
    fn add_invitation(&self, invitation: &Invitation, digest: &str) -> Result<Option<Invitation>, DbError>;
    fn find_invitation(&self, digest: &str) -> Result<Option<Invitation>, DbError>;
    fn remove_invitation(&self, id: i64) -> Result<bool, DbError>;
    fn use_invitation(&self, digest: &str, account: &Account, now: &str) -> Result<UsedInvitation, DbError>;
}

impl Database {
    /// Maximum number of invitations that are kept.
    pub const MAX_INVITATIONS: i64 = 200;

    /// Invitations, newest first; those that were used or are over are kept for a while.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn invitations(&self) -> Result<Vec<Invitation>, DbError> {
        self.backend.invitations()
    }

    /// Adds an invitation; `digest` is that of its token. `None` if there are too many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_invitation(
        &self,
        invitation: &Invitation,
        digest: &str,
    ) -> Result<Option<Invitation>, DbError> {
        self.backend.add_invitation(invitation, digest)
    }

    /// The valid invitation whose token has this digest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn valid_invitation(&self, digest: &str, utc_ms: i64) -> Result<Option<Invitation>, DbError> {
        let found = self.backend.find_invitation(digest)?;
        Ok(found.filter(|invitation| invitation.is_valid(&time_text(utc_ms))))
    }

    /// Removes an invitation. Returns whether it existed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_invitation(&self, id: i64) -> Result<bool, DbError> {
        self.backend.remove_invitation(id)
    }

    /// Uses an invitation: makes an account with this name and password hash, and the flags of the invitation. In one
    /// transaction, so that it works once.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn use_invitation(
        &self,
        digest: &str,
        account: &Account,
        utc_ms: i64,
    ) -> Result<UsedInvitation, DbError> {
        self.backend.use_invitation(digest, account, &time_text(utc_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::databases::databases;

    fn account(name: &str) -> Account {
        Account { id: 0, name: name.into(), hash: "*".into(), locked: false, flags: Vec::new() }
    }

    #[test]
    fn an_invitation_makes_one_account_with_its_flags() {
        for database in databases() {
            let invitation = Invitation {
                flags: vec!["ADMINMOD".into()],
                name: "Juniper".into(),
                author: "rowan".into(),
                created: "2026-01-01 00:00:00".into(),
                expires: "2026-01-08 00:00:00".into(),
                ..Invitation::default()
            };
            let added = database.add_invitation(&invitation, "d").unwrap().unwrap();
            assert_eq!(database.invitations().unwrap(), [added]);
            let (before, after) = (1_767_225_600_000, 1_767_900_000_000);
            database.add_account(&account("rowan")).unwrap();
            let used = |digest, name, now| database.use_invitation(digest, &account(name), now).unwrap();
            assert_eq!(used("other", "juniper", before), UsedInvitation::Invalid);
            assert_eq!(used("d", "Rowan", before), UsedInvitation::NameTaken);
            assert_eq!(used("d", "juniper", after), UsedInvitation::Invalid, "it is over");
            assert!(database.valid_invitation("d", before).unwrap().is_some());
            let UsedInvitation::Made(made) = used("d", "juniper", before) else { panic!("it is valid") };
            assert_eq!((made.name.as_str(), made.flags), ("juniper", vec!["ADMINMOD".to_owned()]));
            assert_eq!(used("d", "another", before), UsedInvitation::Invalid, "it was used");
            assert!(database.valid_invitation("d", before).unwrap().is_none());
            assert_eq!(database.invitations().unwrap()[0].used_by, "juniper");
            assert!(database.remove_invitation(1).unwrap() && !database.remove_invitation(1).unwrap());
        }
    }
}
