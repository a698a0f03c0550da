//! Nodes, in the SQL of PostgreSQL.

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Text};

use super::{Engine, Sql, Value, Writes, int, text};
use crate::db::DbError;
use crate::db::nodes::{NODE_TIMEOUT_SECS, Node, NodeStore};

#[derive(QueryableByName)]
struct NodeLine {
    #[diesel(sql_type = Text)]
    incarnation: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Bool)]
    shares_sessions: bool,
    #[diesel(sql_type = Bool)]
    is_draining: bool,
}

impl From<NodeLine> for Node {
    fn from(NodeLine { incarnation, name, address, shares_sessions, is_draining }: NodeLine) -> Node {
        Node { incarnation, name, address, shares_sessions, is_draining }
    }
}

fn live(connection: &mut impl Sql) -> QueryResult<Vec<Node>> {
    let lines: Vec<NodeLine> = connection.rows(
        "SELECT incarnation, name, address, shares_sessions, is_draining FROM drawhall_nodes \
         WHERE seen > now() - ?1 * INTERVAL '1 second' ORDER BY name, incarnation",
        &[int(NODE_TIMEOUT_SECS.into())],
    )?;
    Ok(lines.into_iter().map(Node::from).collect())
}

impl<E: Engine> NodeStore for E {
    fn announce_node(&self, node: &Node) -> Result<(), DbError> {
        self.autocommit(|connection| {
            let Node { incarnation, name, address, shares_sessions, is_draining: _ } = node;
            connection.execute(
                "INSERT INTO drawhall_nodes (incarnation, name, address, shares_sessions) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (incarnation) DO UPDATE SET seen = now()",
                &[text(incarnation), text(name), text(address), Value::Bool(*shares_sessions)],
            )?;
            Ok(())
        })
    }

    fn remove_old_nodes(&self) -> Result<(), DbError> {
        self.write(Writes::Records, |connection| {
            connection.execute("DELETE FROM drawhall_nodes WHERE seen < now() - INTERVAL '1 day'", &[])?;
            Ok(())
        })
    }

    fn live_nodes(&self) -> Result<Vec<Node>, DbError> {
        self.autocommit(|connection| Ok(live(connection)?))
    }

    fn remove_node(&self, incarnation: &str) -> Result<(), DbError> {
        self.write(Writes::Records, |connection| {
            connection.execute("DELETE FROM drawhall_nodes WHERE incarnation = ?1", &[text(incarnation)])?;
            Ok(())
        })
    }

    fn set_draining(&self, incarnation: &str, is_draining: bool) -> Result<(), DbError> {
        self.autocommit(|connection| {
            let sql = "UPDATE drawhall_nodes SET is_draining = ?2 WHERE incarnation = ?1";
            connection.execute(sql, &[text(incarnation), Value::Bool(is_draining)])?;
            Ok(())
        })
    }
}
