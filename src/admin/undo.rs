//! Endpoints to take back what was drawn: `sessions/ID/people` and `sessions/ID/undo` for the newest actions
//! of a person, `sessions/ID/everybody` and `sessions/ID/remove` for all of them, `sessions/ID/generations` and
//! `sessions/ID/restore` for everybody's.

use serde_json::Value;

use super::operation::{Answer, Body, Field, Kind, Operation, Schema, bool, number, text};
use super::request::{Method, Request, bad, unsupported};
use crate::actors::messages::{HistoryRequest, RemovePerson, SessionHandle, ToSession};
use crate::rules::session::UndoRequest;
use crate::rules::session::admin::{ADMINISTRATOR, AdminAnswer, AdminError, AdminRequest};

const PERSON: Schema = Schema {
    name: "Person",
    fields: &[
        number("person", "Identifies the person in this session.").required(),
        number("id", "User id; after a leave somebody else may get it.").required(),
        text("name", "Name; empty if unknown.").required(),
        bool("auth", "An account.").required(),
        bool("online", "Still there.").required(),
        number("actions", "Actions since the last reset.").required(),
        number("undoable", "How many of the newest actions can be undone.").required(),
        number("redoable", "How many undone actions can be redone.").required(),
        text("reason", "Why nothing can be undone; empty if something can.").required(),
    ],
};

const PEOPLE: Schema = Schema {
    name: "People",
    fields: &[
        Field::new("people", Kind::ListOf(&PERSON), "Who is there, and who left and drew lately.").required(),
        number("undoDepth", "How many of the newest actions of everybody can be undone.").required(),
        bool("canvasLocked", "The canvas is locked.").required(),
    ],
};

const UNDONE: Schema = Schema {
    name: "Undone",
    fields: &[
        text("status", "\"ok\".").required(),
        number("count", "Actions that were undone or redone.").required(),
        number("left", "Actions that still can be.").required(),
    ],
};

const GENERATION: Schema = Schema {
    name: "Generation",
    fields: &[
        number("generation", "Number.").required(),
        number("size", "Size in bytes.").required(),
        text("until", "When a reset replaced it, UTC.").required(),
    ],
};

const GENERATIONS: Schema = Schema {
    name: "Generations",
    fields: &[
        Field::new("generations", Kind::ListOf(&GENERATION), "Newest first.").required(),
        bool("stored", "The session is stored; others have no earlier histories.").required(),
    ],
};

const EVERYBODY: Schema = Schema {
    name: "Everybody",
    fields: &[Field::new("people", Kind::ListOf(&SOMEBODY), "In the order of joining.").required()],
};

const SOMEBODY: Schema = Schema {
    name: "Somebody",
    fields: &[
        number("person", "Identifies the person in this session.").required(),
        number("id", "User id; after a leave somebody else may get it.").required(),
        text("name", "Name; empty if unknown.").required(),
        bool("auth", "An account.").required(),
        bool("online", "Still there.").required(),
        number("actions", "Actions since the last reset.").required(),
    ],
};

const REMOVAL_REPORT: Schema = Schema {
    name: "RemovalReport",
    fields: &[
        number("actions", "Actions that go.").required(),
        number("messages", "Messages that go.").required(),
        number("bytes", "Their size.").required(),
        number("layersBack", "Layers that the person deleted or merged, and that come back.").required(),
        number("layersKept", "Layers of the person that stay because others have used them.").required(),
        number("resizesKept", "Changes of the canvas size that stay because others have drawn since.")
            .required(),
        number("withoutEffect", "Messages of others that name something that is gone.").required(),
    ],
};

const REMOVED: Schema = Schema {
    name: "Removed",
    fields: &[
        text("status", "\"ok\".").required(),
        text("name", "Name of the person.").required(),
        Field::new("report", Kind::Is(&REMOVAL_REPORT), "What goes, and what that means.").required(),
        bool("stored", "The session is stored: one can go back to before it.").required(),
        number("size", "What everybody is sent in bytes; not in a report."),
    ],
};

const RESTORED: Schema = Schema {
    name: "Restored",
    fields: &[text("status", "\"ok\".").required(), number("size", "Size in bytes.").required()],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get(
        "sessions/{session}/people",
        "Who drew in it, also those who left, with what can be undone of each.",
        Answer::One(&PEOPLE),
    ),
    Operation::post(
        "sessions/{session}/undo",
        "Undoes or redoes the newest actions of a person for everybody.",
        Answer::One(&UNDONE),
    )
    .locked_by("sessions")
    .body(Body::Fields(&[
        number("person", "The person, from the list of people.").required(),
        text("name", "The person's name: refused if it is somebody else by now."),
        number("count", "How many actions; all that can be reached without it."),
        bool("redo", "Redo what was undone."),
    ])),
    Operation::get(
        "sessions/{session}/everybody",
        "Everybody who was in it since the last reset.",
        Answer::One(&EVERYBODY),
    ),
    Operation::post(
        "sessions/{session}/remove",
        "Removes what a person drew since the last reset, or reports what that would mean.",
        Answer::One(&REMOVED),
    )
    .locked_by("sessions")
    .body(Body::Fields(&[
        number("person", "The person, from a list of people.").required(),
        text("name", "The person's name: refused if it is somebody else by now."),
        bool("dryRun", "Only report."),
    ])),
    Operation::get(
        "sessions/{session}/generations",
        "Its earlier histories, which resets have replaced.",
        Answer::One(&GENERATIONS),
    ),
    Operation::post(
        "sessions/{session}/restore",
        "Goes back to an earlier history; the present one is kept as the newest earlier one.",
        Answer::One(&RESTORED),
    )
    .locked_by("sessions")
    .body(Body::Fields(&[number("generation", "Number; the newest without it.")])),
];

/// Answers a request that puts another history in place, or lists what can be; `None` if it is another request.
pub(super) async fn histories(
    request: &Request,
    session: &SessionHandle,
    rest: &[&str],
) -> Option<AdminAnswer> {
    let wanted = match (request.method, rest) {
        (Method::Get, ["generations"]) => HistoryRequest::ListGenerations,
        (Method::Post, ["restore"]) => {
            let generation = match request.body.get("generation") {
                None | Some(Value::Null) => None,
                Some(number) => match number.as_u64().and_then(|number| u32::try_from(number).ok()) {
                    Some(number) => Some(number),
                    None => return Some(Err(bad("generation must be a number"))),
                },
            };
            HistoryRequest::GoBack { generation, by: ADMINISTRATOR.to_owned() }
        }
        (Method::Get, ["everybody"]) => HistoryRequest::ListEverybody,
        (Method::Post, ["remove"]) => {
            let Some(person) = request.body.get("person").and_then(Value::as_i64) else {
                return Some(Err(bad("Missing or invalid person")));
            };
            let name = request.body.get("name").and_then(Value::as_str).map(str::to_owned);
            let dry_run = request.bool("dryRun").unwrap_or(false);
            HistoryRequest::RemovePerson(RemovePerson { person, name, dry_run, by: ADMINISTRATOR.to_owned() })
        }
        (_, ["everybody" | "remove" | "generations" | "restore", ..]) => return Some(Err(unsupported())),
        _ => return None,
    };
    let answer = session.ask(|answer| ToSession::Histories(wanted, answer)).await;
    Some(answer.unwrap_or_else(|| Err(AdminError::not_found())))
}

/// Parses a request below `sessions/ID` if it belongs here.
pub(super) fn parse(request: &Request, rest: &[&str]) -> Option<Result<AdminRequest, AdminError>> {
    match (request.method, rest) {
        (Method::Get, ["people"]) => Some(Ok(AdminRequest::People)),
        (Method::Post, ["undo"]) => Some(parse_undo(request)),
        (_, ["people" | "undo", ..]) => Some(Err(unsupported())),
        _ => None,
    }
}

fn parse_undo(request: &Request) -> Result<AdminRequest, AdminError> {
    let person = request.body.get("person").and_then(Value::as_i64);
    let count = match request.body.get("count") {
        None | Some(Value::Null) => None,
        Some(count) => {
            let count = count.as_u64().filter(|count| *count > 0);
            Some(count.ok_or_else(|| bad("count must be a number above 0"))? as usize)
        }
    };
    Ok(AdminRequest::Undo(UndoRequest {
        person: person.ok_or_else(|| bad("Missing or invalid person"))?,
        name: request.body.get("name").and_then(Value::as_str).map(str::to_owned),
        count,
        redo: request.bool("redo").unwrap_or(false),
        by: ADMINISTRATOR.to_owned(),
    }))
}
