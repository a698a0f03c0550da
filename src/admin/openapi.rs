//! Endpoint `openapi.json`: the OpenAPI document, made from the endpoints and their types.

use std::sync::Arc;

use actix_web::http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::endpoint::{Api, Call, Effect, Endpoint, Json, Types};
use super::error::ApiError;
use super::login::COOKIE;
use super::routes::api;

/// An OpenAPI document.
#[derive(Debug, Serialize, JsonSchema)]
struct OpenApi {
    /// The version of OpenAPI.
    openapi: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

pub(super) fn endpoints(api: &mut Api) {
    api.get("openapi.json", "This description.", openapi);
}

async fn openapi(_: Arc<AdminState>, _: Call) -> Result<Json<OpenApi>, ApiError> {
    let mut members = document().as_object().cloned().unwrap_or_default();
    let openapi = members.remove("openapi").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    Ok(Json(OpenApi { openapi, members }))
}

/// The members of an object schema that is made of parameters: name, schema, whether it must be given.
fn parameters(schema: &Schema) -> Vec<(String, Value, bool)> {
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    properties
        .into_iter()
        .map(|(name, value)| (name.clone(), value, required.contains(&name.as_str())))
        .collect()
}

fn parameter(place: &str, (name, mut schema, required): (String, Value, bool)) -> Value {
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut value =
        json!({"name": name, "in": place, "required": required || place == "path", "schema": schema});
    if let Some(description) = description {
        value["description"] = description;
    }
    value
}

/// How a picture is sent.
const PICTURES: &str = " With the content type image/png or image/openraster the body is a picture of at most 64 MiB, \
    and the members are a JSON object in the header X-Session. The session begins with it on its canvas; width, height and layers are \
    those of the picture.";

fn operation(endpoint: &Endpoint, read: &mut SchemaGenerator, written: &mut SchemaGenerator) -> Value {
    let Types { path, query, body, status, content } = (endpoint.types)(read, written);
    let path = parameters(&path).into_iter().map(|p| parameter("path", p));
    let query = parameters(&query).into_iter().map(|p| parameter("query", p));
    let mut response = json!({"description": "Done."});
    if let Some(content) = content {
        response["content"] = content;
    }
    let error = json!({"description": "An error.", "content": {"application/json": {"schema":
        {"$ref": "#/components/schemas/Error"}}}});
    let mut value = json!({
        "summary": endpoint.summary,
        "tags": [endpoint.path.split('/').next()],
        "parameters": path.chain(query).collect::<Vec<Value>>(),
        "responses": {status.as_str(): response, "default": error},
    });
    let has_body = body.get("properties").is_some() || body.get("$ref").is_some();
    if has_body {
        // A POST without a body is one without members.
        let needs_body = endpoint.method != Method::POST || body.get("required").is_some();
        value["requestBody"] =
            json!({"required": needs_body, "content": {"application/json": {"schema": body}}});
    }
    let mut description = String::new();
    if let Some(section) = endpoint.section {
        description = format!("Refused with 403 while the section {section} is locked.");
    }
    if endpoint.takes_pictures {
        description.push_str(PICTURES);
    }
    if !description.is_empty() {
        value["description"] = description.into();
    }
    match endpoint.effect {
        Effect::None | Effect::Change => {}
        Effect::Login => value["security"] = json!([]),
        Effect::Link => value["security"] = json!([{"link": []}]),
    }
    value
}

/// An error response.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
#[allow(dead_code, reason = "its schema is used")]
struct ErrorBody {
    /// error.
    #[schemars(extend("const" = "error"))]
    status: String,
    /// What was wrong.
    message: String,
    /// The same, where frontends of drawpile-srv read it from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
}

/// The OpenAPI document.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut read = settings.clone().for_deserialize().into_generator();
    let mut written = settings.for_serialize().into_generator();
    written.subschema_for::<ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in api().endpoints {
        let path = paths.entry(format!("/{}", endpoint.path)).or_insert_with(|| json!({}));
        let method = endpoint.method.as_str().to_ascii_lowercase();
        path[method] = operation(&endpoint, &mut read, &mut written);
    }
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
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
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "link": {"type": "http", "scheme": "bearer", "description": "The token of a link of an operator."},
            },
        },
    })
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

    #[test]
    fn names_of_schemas_mean_one_thing() {
        let names = |document: &Value| {
            document["components"]["schemas"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        // schemars numbers types of the same name.
        let numbered: Vec<String> = names(&document())
            .into_iter()
            .filter(|name| name.ends_with(|c: char| c.is_ascii_digit()))
            .collect();
        assert_eq!(numbered, Vec::<String>::new());
    }
}
