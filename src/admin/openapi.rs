//! Endpoint `openapi.json`: the OpenAPI document, generated from the table of operations.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Kind, Operation, Schema, all};
use super::request::Method;
use crate::config::SETTINGS;
use crate::rules::session::admin::AdminAnswer;

pub(super) const OPERATIONS: &[Operation] = &[Operation::get(
    "openapi.json",
    "This description.",
    Answer::One(&Schema { name: "OpenAPI", fields: &[] }),
)];

/// JSON Schema of a type. Adds the named schemas that it refers to to `seen`.
fn schema_of(kind: Kind, seen: &mut BTreeMap<&'static str, &'static Schema>) -> Value {
    let mut reference = |schema: &'static Schema| {
        add_schema(schema, seen);
        json!({"$ref": format!("#/components/schemas/{}", schema.name)})
    };
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Number => json!({"type": "integer"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Object => json!({"type": "object"}),
        Kind::Is(schema) => reference(schema),
        Kind::ListOf(schema) => json!({"type": "array", "items": reference(schema)}),
    }
}

/// Adds a schema and all schemas that its fields refer to.
fn add_schema(schema: &'static Schema, seen: &mut BTreeMap<&'static str, &'static Schema>) {
    if seen.insert(schema.name, schema).is_none() {
        for field in schema.fields {
            if let Kind::Is(inner) | Kind::ListOf(inner) = field.kind {
                add_schema(inner, seen);
            }
        }
    }
}

fn field_schema(field: &Field, seen: &mut BTreeMap<&'static str, &'static Schema>) -> Value {
    let value = schema_of(field.kind, seen);
    let mut value = if field.nullable { json!({"anyOf": [value, {"type": "null"}]}) } else { value };
    value["description"] = field.description.into();
    value
}

fn object_schema(fields: &[Field], seen: &mut BTreeMap<&'static str, &'static Schema>) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), field_schema(field, seen))).collect();
    let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// Schema of the settings object, from the table of settings.
fn settings_schema() -> Value {
    let mut properties: Map<String, Value> = SETTINGS
        .iter()
        .map(|info| {
            let kind = match info.kind {
                "bool" => "boolean",
                "text" | "profile" => "string",
                _ => "number",
            };
            (info.key.to_owned(), json!({"type": kind, "description": info.help}))
        })
        .collect();
    properties.insert("_locked".into(), json!({"type": "boolean"}));
    json!({"type": "object", "properties": properties})
}

fn answer_schema(answer: Answer, seen: &mut BTreeMap<&'static str, &'static Schema>) -> Value {
    match answer {
        Answer::Empty => json!({"description": "Done."}),
        Answer::Done => {
            let shape = json!({"type": "object", "properties": {"status": {"type": "string"}}});
            json!({"description": "Done.", "content": {"application/json": {"schema": shape}}})
        }
        Answer::One(schema) => {
            let schema = schema_of(Kind::Is(schema), seen);
            json!({"description": "The result.", "content": {"application/json": {"schema": schema}}})
        }
        Answer::Many(schema, name) => {
            let list = schema_of(Kind::ListOf(schema), seen);
            let with_lock = json!({"type": "object", "properties": {name: list, "_locked": {"type": "boolean"}},
                "required": [name, "_locked"]});
            let either = json!({"anyOf": [list, with_lock]});
            json!({"description": "The list; with v=2 an object with it.",
                "content": {"application/json": {"schema": either}}})
        }
        Answer::Events => {
            json!({"description": "Server-sent events, until either side closes the connection.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}}})
        }
    }
}

fn operation_value(operation: &Operation, seen: &mut BTreeMap<&'static str, &'static Schema>) -> Value {
    let parts = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = parts
        .map(|part| json!({"name": part, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(operation.query.iter().map(|field| {
        json!({"name": field.name, "in": "query", "required": field.required, "description": field.description,
            "schema": schema_of(field.kind, seen)})
    }));
    if matches!(operation.answer, Answer::Many(..)) {
        let description = "2 for an object that also says whether this part of the API is locked.";
        parameters.push(
            json!({"name": "v", "in": "query", "description": description, "schema": {"type": "integer"}}),
        );
    }
    let is_accepted = operation.method == Method::Post && operation.path.ends_with("/thumbnail");
    let status = if is_accepted { "202" } else { "200" };
    let tag = operation.path.split('/').next().unwrap_or_default();
    let mut value = json!({
        "summary": operation.description,
        "tags": [tag],
        "parameters": parameters,
        "responses": {
            status: answer_schema(operation.answer, seen),
            "default": {"description": "An error.", "content": {"application/json": {"schema":
                {"$ref": "#/components/schemas/Error"}}}},
        },
    });
    let schema = match operation.body {
        Body::None => None,
        Body::Fields(fields) => Some(object_schema(fields, seen)),
        Body::Is(schema) => Some(schema_of(Kind::Is(schema), seen)),
    };
    if let Some(schema) = schema {
        value["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    }
    if let Some(section) = operation.section {
        value["description"] = format!("Refused with 403 while the section {section} is locked.").into();
    }
    value
}

/// The OpenAPI document.
pub(super) fn document() -> Value {
    let mut seen = BTreeMap::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in all() {
        let path = paths.entry(format!("/{}", operation.path)).or_insert_with(|| json!({}));
        path[operation.method.name()] = operation_value(operation, &mut seen);
    }
    let mut schemas: Map<String, Value> = Map::new();
    for (name, schema) in std::mem::take(&mut seen) {
        let value = object_schema(schema.fields, &mut seen);
        schemas.insert(name.to_owned(), value);
    }
    schemas.insert("Settings".into(), settings_schema());
    schemas.insert(
        "Error".into(),
        json!({"type": "object", "required": ["status", "message"], "properties": {
            "status": {"type": "string", "const": "error"},
            "message": {"type": "string", "description": "What was wrong."}}}),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Drawhall admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The admin API of drawpile-srv, and more. POST and PUT need the content type application/json.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/api"}],
        "security": [{"basic": []}, {"cookie": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": super::login::COOKIE},
            },
        },
    })
}

impl AdminState {
    pub(super) fn openapi(&self) -> AdminAnswer {
        Ok(document())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects every `$ref` in a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|inner| references(inner, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_resolves() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn path_placeholders_are_parameters() {
        let document = document();
        let parameters = &document["paths"]["/sessions/{session}/{user}"]["delete"]["parameters"];
        let names: Vec<&str> =
            parameters.as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(names, ["session", "user", "message"]);
    }
}
