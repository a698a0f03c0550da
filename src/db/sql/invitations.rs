//! Invitations.

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::accounts::insert_new;
use super::{Engine, Number, Sql, Writes, int, text};
use crate::db::invitations::{Invitation, InvitationStore, UsedInvitation};
use crate::db::{Account, Database, DbError};

#[derive(QueryableByName)]
struct InvitationLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    flags: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    author: String,
    #[diesel(sql_type = Text)]
    created: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    used: String,
    #[diesel(sql_type = Text)]
    used_by: String,
}

impl From<InvitationLine> for Invitation {
    fn from(line: InvitationLine) -> Invitation {
        let InvitationLine { id, flags, name, author, created, expires, used, used_by } = line;
        Invitation { id, flags: Account::parse_flags(&flags), name, author, created, expires, used, used_by }
    }
}

fn find(connection: &mut impl Sql, digest: &str) -> QueryResult<Option<Invitation>> {
    let lines: Vec<InvitationLine> =
        connection.rows("SELECT * FROM drawhall_invitations WHERE digest = ?1", &[text(digest)])?;
    Ok(lines.into_iter().next().map(Invitation::from))
}

fn add(connection: &mut impl Sql, invitation: &Invitation, digest: &str) -> QueryResult<Option<Invitation>> {
    // Those that were used or are over make room.
    connection.execute(
        "DELETE FROM drawhall_invitations WHERE (used <> '' OR expires <= ?1) AND id NOT IN \
         (SELECT id FROM drawhall_invitations ORDER BY id DESC LIMIT ?2)",
        &[text(&invitation.created), int(Database::MAX_INVITATIONS - 1)],
    )?;
    let count: Number = connection.row("SELECT COUNT(*) AS n FROM drawhall_invitations", &[])?;
    if count.n >= Database::MAX_INVITATIONS {
        return Ok(None);
    }
    connection.execute(
        "INSERT INTO drawhall_invitations (digest, flags, name, author, created, expires) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            text(digest),
            text(invitation.flags.join(",")),
            text(&invitation.name),
            text(&invitation.author),
            text(&invitation.created),
            text(&invitation.expires),
        ],
    )?;
    find(connection, digest)
}

fn use_once(
    connection: &mut impl Sql,
    digest: &str,
    account: &Account,
    now: &str,
) -> Result<UsedInvitation, DbError> {
    let Some(invitation) = find(connection, digest)?.filter(|invitation| invitation.is_valid(now)) else {
        return Ok(UsedInvitation::Invalid);
    };
    let account = Account { flags: invitation.flags, ..account.clone() };
    let made = match insert_new(connection, &account) {
        Err(DbError::AccountExists(_)) => return Ok(UsedInvitation::NameTaken),
        made => made?,
    };
    connection.execute(
        "UPDATE drawhall_invitations SET used = ?1, used_by = ?2 WHERE id = ?3",
        &[text(now), text(&made.name), int(invitation.id)],
    )?;
    Ok(UsedInvitation::Made(made))
}

impl<E: Engine> InvitationStore for E {
    fn invitations(&self) -> Result<Vec<Invitation>, DbError> {
        self.autocommit(|connection| {
            let lines: Vec<InvitationLine> =
                connection.rows("SELECT * FROM drawhall_invitations ORDER BY id DESC", &[])?;
            Ok(lines.into_iter().map(Invitation::from).collect())
        })
    }

    fn add_invitation(&self, invitation: &Invitation, digest: &str) -> Result<Option<Invitation>, DbError> {
        self.write(Writes::Records, |connection| Ok(add(connection, invitation, digest)?))
    }

    fn find_invitation(&self, digest: &str) -> Result<Option<Invitation>, DbError> {
        self.autocommit(|connection| Ok(find(connection, digest)?))
    }

    fn remove_invitation(&self, id: i64) -> Result<bool, DbError> {
        let sql = "DELETE FROM drawhall_invitations WHERE id = ?1";
        self.autocommit(|connection| Ok(connection.execute(sql, &[int(id)])? > 0))
    }

    fn use_invitation(&self, digest: &str, account: &Account, now: &str) -> Result<UsedInvitation, DbError> {
        self.write(Writes::Rules, |connection| use_once(connection, digest, account, now))
    }
}
