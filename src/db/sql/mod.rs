//! Queries on the configuration database, in the SQL that SQLite and PostgreSQL have in common.
//!
//! Parameters are written `?1`, `?2` ... Columns of drawpile-srv's tables have no types in SQLite and are edited by hand,
//! so every value is cast when it is read: a number that was entered as text is accepted, and so is text that was stored
//! as a blob. Both engines know the casts.

use std::borrow::Cow;

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Text};
use parking_lot::Mutex;

use super::{Account, DbError, SubjectBan};

mod accounts;
mod admin;
mod backend;
mod bans;
mod chunks;
mod ids;
mod invitations;
mod log;
mod nodes;
mod people;
mod reports;
mod sightings;
mod snapshot;
mod statement;

pub(super) use statement::Statement;

/// A parameter of a query.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Int32(i32),
    Bool(bool),
    Bytes(&'a [u8]),
}

#[cfg(feature = "cluster")]
impl Value<'_> {
    /// The same with U+FFFD in the place of NUL, which PostgreSQL has no text with.
    pub(super) fn without_nul(&self) -> Value<'_> {
        match self {
            Value::Text(text) if text.contains('\0') => Value::Text(text.replace('\0', "\u{fffd}").into()),
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Int(number) => Value::Int(*number),
            Value::Int32(number) => Value::Int32(*number),
            Value::Bool(is) => Value::Bool(*is),
            Value::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn text<'a>(value: impl Into<Cow<'a, str>>) -> Value<'a> {
    Value::Text(value.into())
}

fn int(value: i64) -> Value<'static> {
    Value::Int(value)
}

/// What differs between the engines.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Column that identifies a row in tables of drawpile-srv that have no column `id`.
    pub(super) row_id: &'static str,
    /// Operator that matches a pattern whatever the case of ASCII letters.
    pub(super) like: &'static str,
    /// The user id of a ban, from the text `?2`.
    pub(super) user_id: &'static str,
    /// Address of whoever has made a report; NULL if there is none.
    pub(super) reporter_address: &'static str,
}

/// A row of a result.
#[cfg(not(feature = "cluster"))]
pub(super) trait Line: QueryableByName<diesel::sqlite::Sqlite> + Send + 'static {}
#[cfg(not(feature = "cluster"))]
impl<T: QueryableByName<diesel::sqlite::Sqlite> + Send + 'static> Line for T {}
/// A row of a result.
#[cfg(feature = "cluster")]
pub(super) trait Line:
    QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + Send + 'static
{
}
#[cfg(feature = "cluster")]
impl<T> Line for T where
    T: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + Send + 'static
{
}

/// A connection that runs queries.
pub(super) trait Sql {
    fn dialect(&self) -> &'static Dialect;
    /// Runs a query and returns its rows.
    fn rows<T: Line>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<T>>;
    /// Runs a statement and returns the number of rows that it has changed.
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<usize>;

    /// Runs a query and returns its first row.
    fn row<T: Line>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<T> {
        self.rows(sql, values)?.into_iter().next().ok_or(diesel::result::Error::NotFound)
    }
}

/// What a transaction changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Something that is in the [`Snapshot`](super::Snapshot): [`Engine::change_count`] grows.
    Rules,
    /// Anything else.
    Records,
}

/// A database engine. Whoever implements it has a [`Backend`](super::Backend).
pub(super) trait Engine: Send + Sync {
    type Connection: Sql;

    /// Whether the change count may have grown since it was last read.
    fn may_have_changed(&self) -> bool {
        true
    }

    /// A number that changes with every commit that changes the rules, also one of another program.
    fn change_count(&self) -> Result<i64, DbError>;

    /// Where the engine keeps the maximum number of rows about people that there can be, `None` inside until they were
    /// counted; `None` if others write such rows, too.
    fn counted_sightings(&self) -> Option<&Mutex<Option<i64>>> {
        None
    }

    /// Runs statements that each commit on their own: reads that need not see the same state, or one write.
    fn autocommit<R>(
        &self,
        work: impl FnOnce(&mut Self::Connection) -> Result<R, DbError>,
    ) -> Result<R, DbError>;

    /// Runs queries in a transaction that sees one state.
    fn read_consistent<R>(
        &self,
        work: impl FnOnce(&mut Self::Connection) -> Result<R, DbError>,
    ) -> Result<R, DbError>;

    /// Runs a transaction while no other one writes; it is rolled back if `work` fails.
    fn write<R>(
        &self,
        writes: Writes,
        work: impl FnOnce(&mut Self::Connection) -> Result<R, DbError>,
    ) -> Result<R, DbError>;
}

impl From<diesel::result::Error> for DbError {
    fn from(error: diesel::result::Error) -> DbError {
        DbError::Query(error.to_string())
    }
}

#[derive(QueryableByName)]
pub(super) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(super) n: i64,
}

#[derive(QueryableByName)]
pub(super) struct Pair {
    #[diesel(sql_type = Text)]
    pub(super) a: String,
    #[diesel(sql_type = Text)]
    pub(super) b: String,
}

#[derive(QueryableByName)]
struct User {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    hash: String,
    #[diesel(sql_type = Bool)]
    locked: bool,
    #[diesel(sql_type = Text)]
    flags: String,
}

impl From<User> for Account {
    fn from(user: User) -> Account {
        let User { id, name, hash, locked, flags } = user;
        Account { id, name, hash, locked, flags: Account::parse_flags(&flags) }
    }
}

/// Escapes the wildcards of LIKE.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
