//! The table of operations: the endpoints of the API. Requests are dispatched by it, and `openapi.json` is generated
//! from it.
//!
//! Each handler file has its own rows. An endpoint without a row cannot be reached.

use super::request::{Method, not_found, unsupported};
use super::{
    accounts, bans, events, extbans, log, login, openapi, overview, server, sessions, settings, undo, users,
    whitelist,
};
use crate::rules::session::admin::AdminError;

/// Type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// An integer.
    Number,
    Bool,
    /// An array of strings.
    Texts,
    /// An object with arbitrary members.
    Object,
    /// An object with this schema.
    Is(&'static Schema),
    /// An array of objects with this schema.
    ListOf(&'static Schema),
}

/// A member of an object, or a query parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) description: &'static str,
    /// In responses: always present. In requests: must be given.
    pub(super) required: bool,
    pub(super) nullable: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind, description: &'static str) -> Field {
        Field { name, kind, description, required: false, nullable: false }
    }

    pub(super) const fn required(self) -> Field {
        Field { required: true, ..self }
    }

    pub(super) const fn nullable(self) -> Field {
        Field { nullable: true, ..self }
    }
}

// Shorthands for `Field::new`, used in the tables.

pub(super) const fn text(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Text, description)
}

pub(super) const fn number(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Number, description)
}

pub(super) const fn bool(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Bool, description)
}

pub(super) const fn texts(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Texts, description)
}

/// Schema of an object.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// Request body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    None,
    /// An object with these members.
    Fields(&'static [Field]),
    /// An object with this schema.
    Is(&'static Schema),
}

/// Response body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Empty,
    /// `{"status": "ok"}`, possibly with more members.
    Done,
    One(&'static Schema),
    /// An array; with `v=2` an object with the array under this name, and `_locked`.
    Many(&'static Schema, &'static str),
    /// A stream of server-sent events.
    Events,
}

/// An endpoint with its method.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// Below `/api/`; parts in braces match anything.
    pub(super) path: &'static str,
    pub(super) description: &'static str,
    /// The section whose lock forbids it.
    pub(super) section: Option<&'static str>,
    pub(super) query: &'static [Field],
    pub(super) body: Body,
    pub(super) answer: Answer,
}

impl Operation {
    const fn new(method: Method, path: &'static str, description: &'static str, answer: Answer) -> Operation {
        Operation { method, path, description, section: None, query: &[], body: Body::None, answer }
    }

    pub(super) const fn get(path: &'static str, description: &'static str, answer: Answer) -> Operation {
        Self::new(Method::Get, path, description, answer)
    }

    pub(super) const fn post(path: &'static str, description: &'static str, answer: Answer) -> Operation {
        Self::new(Method::Post, path, description, answer)
    }

    pub(super) const fn put(path: &'static str, description: &'static str, answer: Answer) -> Operation {
        Self::new(Method::Put, path, description, answer)
    }

    pub(super) const fn delete(path: &'static str, description: &'static str, answer: Answer) -> Operation {
        Self::new(Method::Delete, path, description, answer)
    }

    pub(super) const fn query(self, query: &'static [Field]) -> Operation {
        Operation { query, ..self }
    }

    pub(super) const fn body(self, body: Body) -> Operation {
        Operation { body, ..self }
    }

    pub(super) const fn locked_by(self, section: &'static str) -> Operation {
        Operation { section: Some(section), ..self }
    }

    /// The typed members of the body. Settings are parsed by the settings themselves.
    pub(super) fn members(&self) -> &'static [Field] {
        match self.body {
            Body::Fields(fields) => fields,
            Body::None | Body::Is(_) => &[],
        }
    }

    /// Whether a request path matches.
    fn matches(&self, path: &[&str]) -> bool {
        let mut parts = self.path.split('/');
        path.iter().all(|segment| parts.next().is_some_and(|part| part.starts_with('{') || part == *segment))
            && parts.next().is_none()
    }
}

/// All operations.
pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    let tables: [&[Operation]; 14] = [
        server::OPERATIONS,
        settings::OPERATIONS,
        // Before the sessions, whose users have paths that match these too.
        undo::OPERATIONS,
        sessions::OPERATIONS,
        users::OPERATIONS,
        bans::OPERATIONS,
        extbans::OPERATIONS,
        accounts::OPERATIONS,
        whitelist::OPERATIONS,
        log::OPERATIONS,
        overview::OPERATIONS,
        events::OPERATIONS,
        login::OPERATIONS,
        openapi::OPERATIONS,
    ];
    tables.into_iter().flatten()
}

/// Finds the operation of a request.
///
/// # Errors
/// 404 if no operation matches the path, 400 if none has this method.
pub(super) fn find(method: Method, path: &[&str]) -> Result<&'static Operation, AdminError> {
    let mut candidates = all().filter(|operation| operation.matches(path)).peekable();
    candidates.peek().ok_or_else(not_found)?;
    candidates.find(|operation| operation.method == method).ok_or_else(unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_method_and_path() {
        let found = |method, path: &str| {
            let parts: Vec<&str> = path.split('/').collect();
            find(method, &parts).map(|o| o.path).map_err(|e| e.status)
        };
        assert_eq!(found(Method::Get, "sessions/abc"), Ok("sessions/{session}"));
        assert_eq!(found(Method::Post, "sessions/abc/auth/op"), Ok("sessions/{session}/auth/op"));
        assert_eq!(found(Method::Post, "status"), Err(400));
        assert_eq!(found(Method::Get, "status/more"), Err(404));
        assert_eq!(found(Method::Get, "nonsense"), Err(404));
    }

    #[test]
    fn operations_are_unique() {
        let mut rows: Vec<_> = all().map(|o| (o.path, format!("{:?}", o.method))).collect();
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }
}
