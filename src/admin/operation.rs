//! What can be asked of the API: a table, from which requests find their way and `openapi.json` is made.
//!
//! Each file of handlers has the rows of its own; what has no row cannot be reached.

use super::request::{Method, not_found, unsupported};
use super::{
    accounts, bans, events, extbans, log, login, openapi, overview, server, sessions, settings, users,
    whitelist,
};
use crate::session::admin::AdminError;

/// Type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Bool,
    /// A list of texts.
    Texts,
    /// An object with members of any name.
    Object,
    /// An object of this shape.
    Is(&'static Schema),
    /// A list of objects of this shape.
    ListOf(&'static Schema),
}

/// A member of an object, or a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) description: &'static str,
    /// It is always there, or must be given.
    pub(super) required: bool,
    /// It may be null.
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

/// A text.
pub(super) const fn text(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Text, description)
}

/// A whole number.
pub(super) const fn number(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Number, description)
}

/// True or false.
pub(super) const fn bool(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Bool, description)
}

/// A list of texts.
pub(super) const fn texts(name: &'static str, description: &'static str) -> Field {
    Field::new(name, Kind::Texts, description)
}

/// Shape of an object.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// An object with these members.
    Fields(&'static [Field]),
    /// An object of this shape.
    Is(&'static Schema),
}

/// What is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// Nothing.
    Empty,
    /// `{"status": "ok"}`, perhaps with more.
    Done,
    /// An object.
    One(&'static Schema),
    /// A list; with `v=2` an object whose member of this name it is, besides `_locked`.
    Many(&'static Schema, &'static str),
    /// A stream of events.
    Events,
}

/// Something that can be asked.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// Behind `/api/`; parts in braces stand for anything.
    pub(super) path: &'static str,
    pub(super) description: &'static str,
    /// The part of the API whose lock forbids it.
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

    /// The members of the body that have types of their own; those of settings are read by the settings.
    pub(super) fn members(&self) -> &'static [Field] {
        match self.body {
            Body::Fields(fields) => fields,
            Body::None | Body::Is(_) => &[],
        }
    }

    /// Whether it is asked at this path.
    fn is_at(&self, path: &[&str]) -> bool {
        let mut parts = self.path.split('/');
        path.iter().all(|given| parts.next().is_some_and(|part| part.starts_with('{') || part == *given))
            && parts.next().is_none()
    }
}

/// Everything that can be asked.
pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    let tables: [&[Operation]; 13] = [
        server::OPERATIONS,
        settings::OPERATIONS,
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

/// What a request asks for.
///
/// # Errors
/// When there is nothing at this path, or it cannot be asked so.
pub(super) fn find(method: Method, path: &[&str]) -> Result<&'static Operation, AdminError> {
    let mut there = all().filter(|operation| operation.is_at(path)).peekable();
    there.peek().ok_or_else(not_found)?;
    there.find(|operation| operation.method == method).ok_or_else(unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_what_they_ask_for() {
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
    fn nothing_is_in_the_table_twice() {
        let mut rows: Vec<_> = all().map(|o| (o.path, format!("{:?}", o.method))).collect();
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }
}
