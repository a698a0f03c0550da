//! A statement with parameters.

use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, Bool, HasSqlType, Integer, Text, Untyped};

use super::Value;

/// A statement with parameters. Other than diesel's `sql_query` it stays prepared, under its text: there are not many
/// different ones.
pub(in crate::db) struct Statement<'a> {
    /// The text before each parameter, and its value. Diesel walks over a statement several times, so it is split once.
    parameters: Vec<(&'a str, Option<&'a Value<'a>>)>,
    /// The text behind the last parameter.
    rest: &'a str,
}

impl<'a> Statement<'a> {
    pub(in crate::db) fn new(sql: &'a str, values: &'a [Value<'a>]) -> Statement<'a> {
        let mut statement = Statement { parameters: Vec::with_capacity(values.len()), rest: sql };
        while let Some((before, number, behind)) = next_parameter(statement.rest) {
            statement.parameters.push((before, values.get(number.wrapping_sub(1))));
            statement.rest = behind;
        }
        statement
    }
}

/// The text before the first parameter, its number, and the text behind it.
fn next_parameter(sql: &str) -> Option<(&str, usize, &str)> {
    let (before, rest) = sql.split_once('?')?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    Some((before, rest[..end].parse().ok()?, &rest[end..]))
}

impl<DB> QueryFragment<DB> for Statement<'_>
where
    DB: Backend + HasSqlType<Bool>,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    i32: ToSql<Integer, DB>,
    bool: ToSql<Bool, DB>,
    [u8]: ToSql<Binary, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for (before, value) in &self.parameters {
            out.push_sql(before);
            match value {
                Some(Value::Text(text)) => out.push_bind_param::<Text, str>(text)?,
                Some(Value::Int(number)) => out.push_bind_param::<BigInt, i64>(number)?,
                Some(Value::Int32(number)) => out.push_bind_param::<Integer, i32>(number)?,
                Some(Value::Bool(is)) => out.push_bind_param::<Bool, bool>(is)?,
                Some(Value::Bytes(bytes)) => out.push_bind_param::<Binary, [u8]>(bytes)?,
                None => return Err(diesel::result::Error::QueryBuilderError("a value is missing".into())),
            }
        }
        out.push_sql(self.rest);
        Ok(())
    }
}

impl QueryId for Statement<'_> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement<'_> {
    type SqlType = Untyped;
}

impl<C: Connection> diesel::RunQueryDsl<C> for Statement<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_its_parameters_where_their_numbers_are() {
        let values = [Value::Int(7), Value::Text("a".into())];
        let sql = "SELECT ?2 WHERE ?1 < 0 OR id = ?1 LIMIT 1";
        let statement = Statement::new(sql, &values);
        let shown = diesel::debug_query::<diesel::sqlite::Sqlite, _>(&statement).to_string();
        assert_eq!(shown, "SELECT ? WHERE ? < 0 OR id = ? LIMIT 1 -- binds: [\"a\", 7, 7]");
        let [(_, second), (_, first), _] = Statement::new(sql, &values[..1]).parameters[..] else { panic!() };
        assert!(first.is_some() && second.is_none(), "a missing value is noticed");
    }
}
