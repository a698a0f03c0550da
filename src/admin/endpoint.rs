//! An endpoint of the API: a method of a path, with the types of its parameters and of its answer.
//!
//! Everything about an endpoint is said once, where [`Api::get`] and its like register it. Requests are routed by it
//! (`routes`), and the OpenAPI document describes it (`openapi`).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AdminState;
use super::error::{ApiError, connection_closed, not_found};
use super::request::{Request, Who, typed};
use super::value::Number;
use crate::web::disconnected;

/// Maximum request body in bytes.
const MAX_BODY: usize = 1 << 20;
/// The same without a login.
const MAX_PUBLIC_BODY: usize = 16 << 10;

/// No parameters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Nothing {}

/// A request with the types of an endpoint: of the placeholders in its path, of its query and of its body.
pub(super) struct Call<P = Nothing, Q = Nothing, B = Nothing> {
    pub(super) path: P,
    pub(super) query: Q,
    pub(super) body: B,
    /// Members that the body had, unknown ones included.
    pub(super) member_count: usize,
    /// A picture in place of a JSON body, whose members are in a header then.
    pub(super) picture: Option<Bytes>,
    pub(super) who: Who,
    pub(super) http: HttpRequest,
}

impl<P: Parameters, Q: Parameters, B: Parameters> Call<P, Q, B> {
    /// Gives a request its types.
    ///
    /// # Errors
    /// 404 if the path has a placeholder with an invalid value, 400 if another parameter is invalid.
    async fn of(request: Request) -> Result<Self, ApiError> {
        let Request { http, who, query, body, picture } = request;
        let path = web::Path::<P>::extract(&http).await.map_err(|_| not_found())?.into_inner();
        let (query, member_count) = (typed(&query)?, body.len());
        Ok(Call { path, query, body: typed(&body)?, member_count, picture, who, http })
    }
}

/// The answer of an endpoint.
pub(super) trait IntoAnswer {
    /// Status of the response.
    const STATUS: StatusCode = StatusCode::OK;

    /// The response without its status.
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse;

    /// The `content` of the response in the OpenAPI document; `None` for an empty body.
    fn content(schemas: &mut SchemaGenerator) -> Option<Value>;
}

/// A JSON object. Its members are sorted by name, as those of drawpile-srv.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// The `content` of a JSON response.
fn json_content(schema: Schema) -> Option<Value> {
    Some(json!({"application/json": {"schema": schema}}))
}

/// Sends JSON with sorted members.
fn respond_json(mut response: HttpResponseBuilder, value: &impl Serialize) -> HttpResponse {
    match serde_json::to_value(value) {
        Ok(value) => response.content_type("application/json").body(value.to_string()),
        Err(error) => ApiError::internal(error).response(),
    }
}

impl<T: Serialize + JsonSchema> IntoAnswer for Json<T> {
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        respond_json(response, &self.0)
    }

    fn content(schemas: &mut SchemaGenerator) -> Option<Value> {
        json_content(schemas.subschema_for::<T>())
    }
}

/// A JSON object that browsers save as a file.
pub(super) struct Download<T> {
    pub(super) file_name: &'static str,
    pub(super) value: T,
}

impl<T: Serialize + JsonSchema> IntoAnswer for Download<T> {
    fn respond(self, mut response: HttpResponseBuilder) -> HttpResponse {
        let disposition = format!("attachment; filename=\"{}\"", self.file_name);
        response.insert_header((CONTENT_DISPOSITION, disposition));
        respond_json(response, &self.value)
    }

    fn content(schemas: &mut SchemaGenerator) -> Option<Value> {
        json_content(schemas.subschema_for::<T>())
    }
}

/// Answers with a file, which browsers save under this name: letters, digits, hyphens and a dot only.
pub(super) fn respond_file(
    mut response: HttpResponseBuilder,
    media_type: &str,
    name: &str,
    bytes: Vec<u8>,
) -> HttpResponse {
    let disposition = format!("attachment; filename=\"{name}\"");
    response.content_type(media_type).insert_header((CONTENT_DISPOSITION, disposition)).body(bytes)
}

/// Describes an answer that is a file of one of these media types.
pub(super) fn file_content(media_types: &[&str]) -> Option<Value> {
    let schema = || json!({"schema": {"type": "string", "format": "binary"}});
    Some(media_types.iter().map(|media_type| ((*media_type).to_owned(), schema())).collect())
}

/// A JSON object with status 202: somebody else has yet to do what was asked for.
pub(super) struct Accepted<T>(pub(super) T);

impl<T: Serialize + JsonSchema> IntoAnswer for Accepted<T> {
    const STATUS: StatusCode = StatusCode::ACCEPTED;

    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        respond_json(response, &self.0)
    }

    fn content(schemas: &mut SchemaGenerator) -> Option<Value> {
        json_content(schemas.subschema_for::<T>())
    }
}

/// An empty body.
pub(super) struct Empty;

impl IntoAnswer for Empty {
    fn respond(self, mut response: HttpResponseBuilder) -> HttpResponse {
        response.content_type("application/json").finish()
    }

    fn content(_: &mut SchemaGenerator) -> Option<Value> {
        None
    }
}

/// `{"status": "ok"}`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Done {
    /// ok.
    status: StatusOk,
    /// Id of what was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<i64>,
}

/// The text `ok`.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum StatusOk {
    #[default]
    Ok,
}

impl Done {
    pub(super) fn deleted(id: i64) -> Json<Done> {
        Json(Done { deleted: Some(id), ..Done::default() })
    }

    pub(super) fn ok() -> Json<Done> {
        Json(Done::default())
    }
}

/// A list: an array, or with the query `v=2` an object with the array under `name`, and `_locked`.
pub(super) struct List<T> {
    pub(super) name: &'static str,
    pub(super) items: Vec<T>,
    /// Whether this part of the API is locked against changes; `None` without `v=2`.
    pub(super) locked: Option<bool>,
}

/// The names under which lists are with `v=2`.
pub(super) trait Listed: Serialize + JsonSchema {
    const NAME: &'static str;
}

impl<T: Listed> List<T> {
    /// The list as it was asked for.
    pub(super) fn new(items: Vec<T>, version: &ListVersion, is_locked: bool) -> Result<List<T>, ApiError> {
        let locked = (version.get("v")? == Some(2)).then_some(is_locked);
        Ok(List { name: T::NAME, items, locked })
    }
}

impl<T: Listed> IntoAnswer for List<T> {
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        match self.locked {
            None => respond_json(response, &self.items),
            Some(locked) => respond_json(response, &json!({self.name: json!(self.items), "_locked": locked})),
        }
    }

    fn content(schemas: &mut SchemaGenerator) -> Option<Value> {
        let list = schemas.subschema_for::<Vec<T>>();
        let with_lock = json_schema!({"type": "object", "required": [T::NAME, "_locked"],
            "properties": {T::NAME: list, "_locked": {"type": "boolean"}}});
        json_content(json_schema!({"anyOf": [list, with_lock]}))
    }
}

/// The version of the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Version {
    /// 2 for an object that also says whether this part of the API is locked.
    pub(super) v: ListVersion,
}

/// The number of the version of a list.
pub(super) type ListVersion = Number<0, 100>;

/// What the OpenAPI document says about an endpoint.
pub(super) struct Types {
    pub(super) path: Schema,
    pub(super) query: Schema,
    pub(super) body: Schema,
    pub(super) status: StatusCode,
    pub(super) content: Option<Value>,
}

/// Whether requests to an endpoint change something; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It reads.
    None,
    /// It is logged who changed what.
    Change,
    /// It is about the login itself, which needs no login and logs for itself.
    Login,
    /// It is for links of operators, which need no login. It checks the link and logs for itself.
    Link,
}

type Handler =
    dyn Fn(Arc<AdminState>, Request) -> Pin<Box<dyn Future<Output = Result<HttpResponse, ApiError>>>>;

/// A method of a path.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// Below `/api/`, with placeholders in braces.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// The section whose lock forbids it.
    pub(super) section: Option<&'static str>,
    pub(super) effect: Effect,
    /// The body can be a picture.
    pub(super) takes_pictures: bool,
    /// It is given up when the client closes the connection.
    pub(super) ends_with_connection: bool,
    /// Its types, from generators for what is read and for what is written.
    pub(super) types: fn(&mut SchemaGenerator, &mut SchemaGenerator) -> Types,
    handler: Rc<Handler>,
}

impl Endpoint {
    /// The section of the API that this changes; while it is locked, requests are 403.
    pub(super) fn locked_by(&mut self, section: &'static str) -> &mut Endpoint {
        self.section = Some(section);
        self
    }

    /// Its body can be a picture. The members that a JSON body would have are in the header `X-Session` then.
    pub(super) fn takes_pictures(&mut self) {
        self.takes_pictures = true;
    }

    /// It takes minutes, and is given up when the client closes the connection, or sends much more than the request.
    /// Other endpoints go on until they are done.
    pub(super) fn ends_with_connection(&mut self) {
        self.ends_with_connection = true;
    }

    /// It changes nothing, although its method is not GET.
    pub(super) fn reads(&mut self) {
        self.effect = Effect::None;
    }

    /// It needs no login.
    pub(super) fn is_for_login(&mut self) {
        self.effect = Effect::Login;
    }

    /// It is for links of operators.
    pub(super) fn is_for_links(&mut self) {
        self.effect = Effect::Link;
    }

    /// Whether it needs no login.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.effect, Effect::Login | Effect::Link)
    }

    /// Maximum body in bytes.
    pub(super) fn max_body(&self) -> usize {
        if self.is_public() { MAX_PUBLIC_BODY } else { MAX_BODY }
    }

    pub(super) async fn call(
        &self,
        state: Arc<AdminState>,
        request: Request,
    ) -> Result<HttpResponse, ApiError> {
        let disconnected = disconnected(&request.http);
        let handled = (self.handler)(state, request);
        tokio::select! {
            answer = handled => answer,
            () = disconnected, if self.ends_with_connection => Err(connection_closed()),
        }
    }
}

/// All endpoints.
#[derive(Default)]
pub(super) struct Api {
    pub(super) endpoints: Vec<Endpoint>,
}

/// An async function that handles the requests of an endpoint.
pub(super) trait Handle<P, Q, B, A, F>: Fn(Arc<AdminState>, Call<P, Q, B>) -> F + 'static {}

impl<T, P, Q, B, A, F> Handle<P, Q, B, A, F> for T where T: Fn(Arc<AdminState>, Call<P, Q, B>) -> F + 'static {}

/// Parameters of a request.
pub(super) trait Parameters: DeserializeOwned + JsonSchema + 'static {}

impl<T: DeserializeOwned + JsonSchema + 'static> Parameters for T {}

impl Api {
    fn add<P: Parameters, Q: Parameters, B: Parameters, A: IntoAnswer, F>(
        &mut self,
        (method, effect): (Method, Effect),
        path: &'static str,
        summary: &'static str,
        handle: impl Handle<P, Q, B, A, F>,
    ) -> &mut Endpoint
    where
        F: Future<Output = Result<A, ApiError>> + 'static,
    {
        let handle = Rc::new(handle);
        let handler = move |state: Arc<AdminState>, request: Request| {
            let handle = handle.clone();
            let run = async move {
                let answer = handle(state, Call::of(request).await?).await?;
                Ok(answer.respond(HttpResponse::build(A::STATUS)))
            };
            Box::pin(run) as Pin<Box<dyn Future<Output = Result<HttpResponse, ApiError>>>>
        };
        let types = |read: &mut SchemaGenerator, written: &mut SchemaGenerator| Types {
            path: P::json_schema(read),
            query: Q::json_schema(read),
            body: B::json_schema(read),
            status: A::STATUS,
            content: A::content(written),
        };
        let endpoint = Endpoint {
            method,
            path,
            summary,
            section: None,
            effect,
            takes_pictures: false,
            ends_with_connection: false,
            types,
            handler: Rc::new(handler),
        };
        self.endpoints.push(endpoint);
        let last = self.endpoints.len() - 1;
        &mut self.endpoints[last]
    }

    pub(super) fn get<P: Parameters, Q: Parameters, A: IntoAnswer, F>(
        &mut self,
        path: &'static str,
        summary: &'static str,
        handle: impl Handle<P, Q, Nothing, A, F>,
    ) -> &mut Endpoint
    where
        F: Future<Output = Result<A, ApiError>> + 'static,
    {
        self.add((Method::GET, Effect::None), path, summary, handle)
    }

    pub(super) fn post<P: Parameters, B: Parameters, A: IntoAnswer, F>(
        &mut self,
        path: &'static str,
        summary: &'static str,
        handle: impl Handle<P, Nothing, B, A, F>,
    ) -> &mut Endpoint
    where
        F: Future<Output = Result<A, ApiError>> + 'static,
    {
        self.add((Method::POST, Effect::Change), path, summary, handle)
    }

    pub(super) fn put<P: Parameters, B: Parameters, A: IntoAnswer, F>(
        &mut self,
        path: &'static str,
        summary: &'static str,
        handle: impl Handle<P, Nothing, B, A, F>,
    ) -> &mut Endpoint
    where
        F: Future<Output = Result<A, ApiError>> + 'static,
    {
        self.add((Method::PUT, Effect::Change), path, summary, handle)
    }

    pub(super) fn delete<P: Parameters, Q: Parameters, A: IntoAnswer, F>(
        &mut self,
        path: &'static str,
        summary: &'static str,
        handle: impl Handle<P, Q, Nothing, A, F>,
    ) -> &mut Endpoint
    where
        F: Future<Output = Result<A, ApiError>> + 'static,
    {
        self.add((Method::DELETE, Effect::Change), path, summary, handle)
    }
}
