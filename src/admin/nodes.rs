//! Requests about sessions and users of other servers of the cluster: passed on to the server that has them, and answered
//! for others.
//!
//! Who asks has logged in at the server that they ask. The other server is told their name and role, and believes that.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{Payload, Request, h1};
use actix_rt::Arbiter;
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Extensions, ServiceResponse};
use actix_web::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::web::Bytes;
use actix_web::{App, HttpMessage as _, HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Semaphore, mpsc};

use super::endpoint::Endpoint;
use super::error::{ApiError, connection_closed, unavailable};
use super::request::Who;
use super::roles::Role;
use super::{Admin, AdminState};
use crate::actors::nodes::RelayedCall;
use crate::actors::server::FindNode;
use crate::cluster::link::{self, AdminCall, AdminHead};
use crate::cluster::{AcceptedLink, Cluster, Link};
use crate::db::nodes::Node;
use crate::transport::trust::ClientAddr;
use crate::web::{RequestBody, disconnected};

/// Requests of other servers that are answered at once; as many wait, and further ones for them.
const MAX_CALLS: usize = 64;
/// Time for another server to answer with a list.
const JSON_LIMIT: Duration = Duration::from_secs(20);
/// Piece of an answer's body that is read at once, in bytes.
const PIECE: usize = 64 << 10;
/// Paths of what a session's server answers.
const OF_SESSION: &str = "sessions/{session}";

/// Somebody who has logged in at another server of the cluster. Requests that come over a node link have it.
#[derive(Debug, Clone)]
pub(super) struct RelayedCaller {
    name: String,
    role: Role,
    pub(super) source: ClientAddr,
}

impl RelayedCaller {
    /// Who has sent a request over a node link.
    pub(super) fn of(request: &HttpRequest) -> Option<RelayedCaller> {
        request.extensions().get::<RelayedCaller>().cloned()
    }

    pub(super) fn who(self) -> Who {
        Who { name: self.name, source: self.source, by_cookie: false, account: None, role: self.role }
    }
}

impl AdminState {
    /// The server that a request is for: `None` for this one.
    pub(super) async fn node_of(&self, endpoint: &Endpoint, http: &HttpRequest) -> Option<Arc<Node>> {
        if self.cluster.is_none()
            || RelayedCaller::of(http).is_some()
            || !endpoint.path.starts_with(OF_SESSION)
        {
            return None;
        }
        let name = http.match_info().get("session")?.to_owned();
        self.server.send(FindNode { name }).await.ok()?
    }

    /// Passes a request on, and its answer back.
    pub(super) async fn pass_on(
        &self,
        node: &Node,
        http: &HttpRequest,
        body: &mut RequestBody,
        (endpoint, who): (&Endpoint, &Who),
    ) -> HttpResponse {
        let read = body.read(endpoint.max_body()).await.map_err(|(status, text)| ApiError::new(status, text));
        let content_type = http.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let body = match read {
            // A body is read like this here, too.
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return error.response(),
        };
        let path = http.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let ends_with_connection = endpoint.ends_with_connection;
        let call = AdminCall {
            method: http.method().to_string(),
            path,
            content_type: content_type.to_owned(),
            body,
            ends_with_connection,
            ..call_of(who)
        };
        let answered = tokio::select! {
            answered = self.call_node(node, call) => answered,
            () = disconnected(http), if ends_with_connection => Err(connection_closed()),
        };
        match answered {
            Ok((head, link)) => response(&head, link),
            Err(error) => error.response(),
        }
    }

    /// Asks another server.
    async fn call_node(&self, node: &Node, call: AdminCall) -> Result<(AdminHead, Link), ApiError> {
        let cluster = self.cluster.as_ref().ok_or_else(|| unavailable("There are no other servers"))?;
        call_node(cluster, node, call).await
    }

    /// The other server of the cluster with this incarnation.
    pub(super) fn other_node(&self, incarnation: &str) -> Option<Node> {
        self.cluster.as_ref()?.others().into_iter().find(|node| node.incarnation == incarnation)
    }

    /// Asks another server for JSON, `limit` bytes at most.
    pub(super) async fn json_of<T: DeserializeOwned>(
        &self,
        node: &Node,
        who: &Who,
        (method, path): (&Method, String),
        limit: u64,
    ) -> Result<T, ApiError> {
        let cluster = self.cluster.as_ref().ok_or_else(|| unavailable("There are no other servers"))?;
        json_of(cluster, node, AdminCall { method: method.to_string(), path, ..call_of(who) }, limit).await
    }

    /// Asks all other servers at once; without the answers of those that do not give one, which is logged.
    pub(super) async fn json_of_others<T: DeserializeOwned + 'static>(
        &self,
        who: &Who,
        (method, path): (&Method, String),
        limit: u64,
    ) -> Vec<(Node, T)> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let call = AdminCall { method: method.to_string(), path, ..call_of(who) };
        let ask = |node: Node| {
            let (cluster, call) = (cluster.clone(), call.clone());
            actix_rt::spawn(async move { (json_of(&cluster, &node, call, limit).await, node) })
        };
        let asked: Vec<_> = cluster.others().into_iter().map(ask).collect();
        let mut answers = Vec::new();
        for asked in asked {
            match asked.await {
                Ok((Ok(answer), node)) => answers.push((node, answer)),
                Ok((Err(error), node)) => {
                    tracing::warn!("server {} does not answer {}: {}", node.name, call.path, error.message);
                }
                Err(error) => tracing::error!(%error, "asking another server failed"),
            }
        }
        answers
    }
}

/// Asks another server.
async fn call_node(cluster: &Cluster, node: &Node, call: AdminCall) -> Result<(AdminHead, Link), ApiError> {
    cluster.call(node, call).await.map_err(|error| {
        tracing::debug!("server {} does not answer: {error}", node.name);
        unavailable(format!("The server {} cannot be reached", node.name))
    })
}

/// Asks another server for JSON, `limit` bytes at most.
async fn json_of<T: DeserializeOwned>(
    cluster: &Cluster,
    node: &Node,
    call: AdminCall,
    limit: u64,
) -> Result<T, ApiError> {
    let asking = async {
        let (head, link) = call_node(cluster, node, call).await?;
        let mut body = Vec::new();
        link.take(limit).read_to_end(&mut body).await.map_err(ApiError::internal)?;
        Ok((head, body))
    };
    let too_late = |_| Err(unavailable(format!("The server {} does not answer", node.name)));
    let (head, body) = tokio::time::timeout(JSON_LIMIT, asking).await.unwrap_or_else(too_late)?;
    match StatusCode::from_u16(head.status) {
        Ok(status) if !status.is_success() => {
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            Err(ApiError::new(status, answer["message"].as_str().unwrap_or_default()))
        }
        _ => serde_json::from_slice(&body).map_err(ApiError::internal),
    }
}

/// A request by somebody, of nothing yet.
fn call_of(who: &Who) -> AdminCall {
    AdminCall {
        method: String::new(),
        path: String::new(),
        content_type: String::new(),
        body: String::new(),
        ends_with_connection: false,
        name: who.name.clone(),
        role: who.role.name().to_owned(),
        address: who.source.ip(),
    }
}

/// The response of another server.
fn response(head: &AdminHead, link: Link) -> HttpResponse {
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut length = None;
    let mut response = HttpResponse::build(status).finish();
    for (name, value) in &head.headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
            continue;
        };
        if name == CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse().ok());
        } else if name != CONNECTION && name != TRANSFER_ENCODING {
            response.headers_mut().append(name, value);
        }
    }
    response.set_body(BoxBody::new(LinkBody { link, length, piece: vec![0; PIECE].into() }))
}

/// The body of a response, from a link.
struct LinkBody {
    link: Link,
    /// In bytes, if the other server has told.
    length: Option<u64>,
    /// What is read into.
    piece: Box<[u8]>,
}

impl MessageBody for LinkBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let LinkBody { link, piece, .. } = &mut *self;
        let mut buffer = ReadBuf::new(piece);
        // A link that breaks ends with an error, one that was closed without.
        if let Err(error) = ready!(Pin::new(link).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let filled = buffer.filled();
        Poll::Ready((!filled.is_empty()).then(|| Ok(Bytes::copy_from_slice(filled))))
    }
}

impl Admin {
    /// Answers requests that other servers pass on, on a thread of its own.
    pub(crate) fn answer_nodes(&self) -> mpsc::Sender<RelayedCall> {
        let (calls, mut waiting) = mpsc::channel::<RelayedCall>(MAX_CALLS);
        let configure = self.configure();
        Arbiter::new().spawn_fn(move || {
            actix_rt::spawn(async move {
                let app = map_config(App::new().configure(configure), |()| AppConfig::default());
                let Ok(service) = app.new_service(()).await else {
                    return tracing::error!("requests of other servers cannot be answered");
                };
                let (service, places) = (Rc::new(service), Arc::new(Semaphore::new(MAX_CALLS)));
                while let Some((mut link, call)) = waiting.recv().await {
                    let Some(request) = request_of(&call) else { continue };
                    // The semaphore is never closed.
                    let place = places.clone().acquire_owned().await;
                    let service = service.clone();
                    actix_rt::spawn(async move {
                        let _place = place;
                        let response = tokio::select! {
                            response = service.call(request) => response,
                            // Whoever has asked has gone.
                            _ = link.read_u8(), if call.ends_with_connection => return,
                        };
                        // Errors of the service are responses already.
                        let Ok(response) = response else { return };
                        if let Err(error) = send(response, &mut link).await {
                            tracing::debug!(%error, "another server does not take an answer");
                        }
                    });
                }
                // Nobody accepts links any more.
                Arbiter::current().stop();
            });
        });
        calls
    }
}

/// A request of another server, for actix-web; `None` if it is none.
fn request_of(call: &AdminCall) -> Option<Request> {
    let (_, mut payload) = h1::Payload::create(true);
    payload.unread_data(Bytes::from(call.body.clone()));
    let mut request = Request::with_payload(Payload::from(payload));
    request.head_mut().method = call.method.parse().ok()?;
    request.head_mut().uri = call.path.parse::<Uri>().ok()?;
    if !call.content_type.is_empty() {
        let content_type = HeaderValue::from_str(&call.content_type).ok()?;
        request.head_mut().headers.insert(CONTENT_TYPE, content_type);
    }
    let (name, role) = (call.name.clone(), Role::parse(&call.role)?);
    let source = ClientAddr::relayed(call.address);
    let mut extensions: std::cell::RefMut<'_, Extensions> = request.extensions_mut();
    extensions.insert(RelayedCaller { name, role, source });
    drop(extensions);
    Some(request)
}

/// Sends an answer over a link.
async fn send(response: ServiceResponse, link: &mut AcceptedLink) -> io::Result<()> {
    let (_, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in response.headers() {
        if let Ok(value) = value.to_str() {
            headers.push((name.to_string(), value.to_owned()));
        }
    }
    if let BodySize::Sized(length) = body.size() {
        headers.push((CONTENT_LENGTH.to_string(), length.to_string()));
    }
    link::write(link, &AdminHead { status: response.status().as_u16(), headers }).await?;
    let mut body = Box::pin(body);
    while let Some(piece) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        link.write_all(&piece.map_err(|error| io::Error::other(error.to_string()))?).await?;
        link.flush().await?;
    }
    link.shutdown().await
}
