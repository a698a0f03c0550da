//! Copying a configuration database of SQLite to PostgreSQL: everything but the log and the records of people.

use crate::db::sql::{Engine, Number, Pair, Sql, Value, Writes};
use crate::db::sqlite::Sqlite;
use crate::db::{DbError, postgres::Postgres};

/// Type of a column on PostgreSQL.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Int,
    Bool,
    Bytes,
}

/// Where a table has the number of its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    /// None that matters: rows are numbered as they come.
    Order,
    /// It is copied: sessions, scripts and other tables know rows by it.
    Kept,
    /// It is copied, and PostgreSQL numbers further rows after it.
    Counted,
    /// None.
    No,
}

struct Table {
    name: &'static str,
    id: Id,
    columns: &'static [(&'static str, Kind)],
}

const BAN: [(&str, Kind); 5] = [
    ("reaction", Kind::Text),
    ("expires", Kind::Text),
    ("comment", Kind::Text),
    ("reason", Kind::Text),
    ("added", Kind::Text),
];

use Kind::{Bool, Bytes, Int, Text};

const TABLES: &[Table] = &[
    Table { name: "settings", id: Id::Order, columns: &[("key", Text), ("value", Text)] },
    Table { name: "listingservers", id: Id::Order, columns: &[("url", Text)] },
    Table {
        name: "ipbans",
        id: Id::Kept,
        columns: &[("ip", Text), ("subnet", Int), ("expires", Text), ("comment", Text), ("added", Text)],
    },
    Table {
        name: "systembans",
        id: Id::Kept,
        columns: &[("sid", Text), BAN[0], BAN[1], BAN[2], BAN[3], BAN[4]],
    },
    Table {
        name: "userbans",
        id: Id::Kept,
        columns: &[("userid", Text), BAN[0], BAN[1], BAN[2], BAN[3], BAN[4]],
    },
    Table {
        name: "drawhall_accountbans",
        id: Id::Kept,
        columns: &[("account", Text), BAN[0], BAN[1], BAN[2], BAN[3], BAN[4]],
    },
    Table {
        name: "users",
        id: Id::Kept,
        columns: &[("username", Text), ("password", Text), ("locked", Bool), ("flags", Text)],
    },
    Table { name: "disabledextbans", id: Id::No, columns: &[("id", Int)] },
    Table { name: "drawhall_keys", id: Id::No, columns: &[("name", Text), ("secret", Bytes)] },
    Table { name: "drawhall_ids", id: Id::No, columns: &[("name", Text), ("last", Int)] },
    Table {
        name: "drawhall_bans",
        id: Id::Counted,
        columns: &[
            ("name", Text),
            ("reason", Text),
            ("note", Text),
            ("author", Text),
            ("created", Text),
            ("expires", Text),
            ("ended", Text),
            ("ended_by", Text),
        ],
    },
    Table {
        name: "drawhall_ban_parts",
        id: Id::No,
        columns: &[("kind", Text), ("row_id", Int), ("subject", Text), ("subnet", Int), ("ban", Int)],
    },
    Table {
        name: "drawhall_ban_changes",
        id: Id::Counted,
        columns: &[
            ("ban", Int),
            ("at", Text),
            ("author", Text),
            ("field", Text),
            ("before", Text),
            ("after", Text),
        ],
    },
    Table {
        name: "drawhall_notes",
        id: Id::Counted,
        columns: &[("device", Text), ("account", Text), ("at", Text), ("author", Text), ("note", Text)],
    },
    Table {
        name: "drawhall_reports",
        id: Id::Counted,
        columns: &[
            ("at", Text),
            ("session", Text),
            ("title", Text),
            ("reason", Text),
            ("reporter", Text),
            ("about", Text),
            ("users", Text),
            ("state", Text),
            ("handler", Text),
            ("handled_at", Text),
            ("outcome", Text),
            ("reporter_device", Text),
            ("reporter_account", Text),
            ("about_device", Text),
            ("about_account", Text),
        ],
    },
    Table {
        name: "drawhall_invitations",
        id: Id::Counted,
        columns: &[
            ("digest", Text),
            ("flags", Text),
            ("name", Text),
            ("author", Text),
            ("created", Text),
            ("expires", Text),
            ("used", Text),
            ("used_by", Text),
        ],
    },
];

impl Table {
    fn has_id(&self) -> bool {
        matches!(self.id, Id::Kept | Id::Counted)
    }

    /// SQL that reads the rows, each as a JSON array of texts. What has no value is empty, or 0.
    fn select(&self, row_id: &str) -> String {
        let id = self.has_id().then(|| format!("CAST({row_id} AS TEXT)"));
        let columns = self.columns.iter().map(|(name, kind)| match kind {
            Text => format!("COALESCE(CAST({name} AS TEXT), '')"),
            Int => format!("CAST(COALESCE(CAST({name} AS INTEGER), 0) AS TEXT)"),
            Bool => {
                format!("CASE WHEN COALESCE(CAST({name} AS INTEGER), 0) <> 0 THEN 'true' ELSE 'false' END")
            }
            Bytes => format!("hex({name})"),
        });
        let columns: Vec<String> = id.into_iter().chain(columns).collect();
        format!(
            "SELECT json_array({}) AS a, '' AS b FROM {} WHERE {} IS NOT NULL ORDER BY {row_id}",
            columns.join(", "),
            self.name,
            self.columns[0].0
        )
    }

    /// SQL that inserts a row of texts.
    fn insert(&self) -> String {
        let columns = self.has_id().then_some(("id", Int)).into_iter().chain(self.columns.iter().copied());
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (number, (name, kind)) in columns.enumerate() {
            names.push(name);
            let number = number + 1;
            values.push(match kind {
                Text => format!("?{number}"),
                Int => format!("CAST(?{number} AS BIGINT)"),
                Bool => format!("CAST(?{number} AS BOOLEAN)"),
                Bytes => format!("DECODE(?{number}, 'hex')"),
            });
        }
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), values.join(", "))
    }
}

/// A table's name, and its rows as texts.
type Rows = (&'static Table, Vec<Vec<String>>);

fn read(source: &Sqlite) -> Result<Vec<Rows>, DbError> {
    source.autocommit(|connection| {
        let row_id = connection.dialect().row_id;
        let mut tables = Vec::new();
        for table in TABLES {
            let lines: Vec<Pair> = connection.rows(&table.select(row_id), &[])?;
            let rows = lines.iter().map(|line| serde_json::from_str(&line.a));
            let rows = rows.collect::<Result<_, _>>().map_err(|error| {
                DbError::Query(format!("a row of the table {} cannot be read: {error}", table.name))
            })?;
            tables.push((table, rows));
        }
        Ok(tables)
    })
}

/// Whether none of the tables has a row.
fn is_empty(connection: &mut impl Sql) -> Result<bool, DbError> {
    for table in TABLES {
        let count: Number = connection.row(&format!("SELECT COUNT(*) AS n FROM {}", table.name), &[])?;
        if count.n > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(connection: &mut impl Sql, tables: &[Rows]) -> Result<(), DbError> {
    for (table, rows) in tables {
        let sql = table.insert();
        for row in rows {
            let values: Vec<Value<'_>> = row.iter().map(|text| Value::Text(text.into())).collect();
            connection.execute(&sql, &values)?;
        }
        if table.id == Id::Counted {
            let name = table.name;
            connection.rows::<Number>(
                &format!(
                    "SELECT SETVAL(PG_GET_SERIAL_SEQUENCE('{name}', 'id'), COALESCE(MAX(id), 0) + 1, FALSE) AS n \
                     FROM {name}"
                ),
                &[],
            )?;
        }
    }
    Ok(())
}

/// Copies the content of a database to one that has none. Returns the number of rows of each table that has some;
/// `None` if the other has rows already.
pub(super) fn import(
    source: &Sqlite,
    target: &Postgres,
) -> Result<Option<Vec<(&'static str, usize)>>, DbError> {
    let tables = read(source)?;
    let is_done = target.write(Writes::Rules, |connection| {
        if !is_empty(connection)? {
            return Ok(false);
        }
        write(connection, &tables)?;
        Ok(true)
    })?;
    let counts = tables.iter().map(|(table, rows)| (table.name, rows.len()));
    Ok(is_done.then(|| counts.filter(|(_, rows)| *rows > 0).collect()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Tables that are not copied: the log, who was in a session, and which migrations were applied.
    const LEFT_OUT: [&str; 3] = ["serverlog", "drawhall_sightings", "__diesel_schema_migrations"];

    #[test]
    fn every_column_of_the_database_is_copied() {
        let source = Sqlite::open(Path::new(":memory:")).unwrap();
        let columns: Vec<Pair> = source
            .autocommit(|connection| {
                Ok(connection.rows(
                    "SELECT t.name AS a, c.name AS b FROM sqlite_master AS t, pragma_table_info(t.name) AS c \
                     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
                    &[],
                )?)
            })
            .unwrap();
        let mut found: Vec<(&str, &str)> = columns.iter().map(|pair| (&*pair.a, &*pair.b)).collect();
        found.retain(|(table, _)| !LEFT_OUT.contains(table));
        let mut copied: Vec<(&str, &str)> = Vec::new();
        for table in TABLES {
            let has_id_column = found.contains(&(table.name, "id"));
            copied.extend((table.has_id() && has_id_column).then_some((table.name, "id")));
            copied.extend(table.columns.iter().map(|(column, _)| (table.name, *column)));
        }
        found.sort_unstable();
        copied.sort_unstable();
        assert_eq!(found, copied);
    }
}
