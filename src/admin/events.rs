//! Endpoint `events`: changes as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Duration, Interval};

use super::AdminState;
use super::endpoint::{Api, Call, IntoAnswer, Nothing};
use super::error::{ApiError, bad};
use super::monitor::{Event, Publish, Subscribe};
use super::value::Text;
use crate::web::disconnected;

/// Topics that can be subscribed to.
const TOPICS: [&str; 5] = ["status", "sessions", "log", "bans", "reports"];
/// How often a comment is sent, so that a lost connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "events",
        "Server-sent events: `status` (load of the server, every two seconds), `disk`, `session` (a description, at \
         first of all sessions), `session-end`, `log` (a line), `ban` (a ban of a person, after each change), \
         `account` (an account was changed), `report` (an abuse report, when it comes and after each change).",
        AdminState::events,
    );
}

/// Which events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Topics {
    /// Comma-separated: status, sessions, log, bans, reports. Default: all.
    #[schemars(extend("pattern" = topics_pattern()))]
    topics: Text,
}

/// A regular expression of lists of topics.
fn topics_pattern() -> String {
    let topic = TOPICS.join("|");
    format!(r"^\s*({topic})\s*(,\s*({topic})\s*)*$|^$")
}

/// The body of the response: a stream of events.
pub(super) struct Stream {
    events: mpsc::Receiver<Event>,
    heartbeat: Interval,
    /// Completes when the subscriber may not read any more, or has closed the connection.
    ends: Pin<Box<dyn Future<Output = ()>>>,
}

impl MessageBody for Stream {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.ends.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(event) = self.events.poll_recv(cx) {
            let text = event.map(|Event { name, data }| format!("event: {name}\ndata: {data}\n\n"));
            return Poll::Ready(text.map(|text| Ok(text.into())));
        }
        self.heartbeat.poll_tick(cx).map(|_| Some(Ok(Bytes::from_static(b": still here\n\n"))))
    }
}

impl IntoAnswer for Stream {
    fn respond(self, mut response: HttpResponseBuilder) -> HttpResponse {
        response.content_type("text/event-stream").body(self)
    }

    fn content(_: &mut SchemaGenerator) -> Option<Value> {
        let event = json!({"type": "object", "required": ["data"], "description": "An event of the stream.",
            "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": "JSON."}}});
        Some(json!({"text/event-stream": {"schema": event}}))
    }
}

impl AdminState {
    /// Tells the subscribers of a topic what has changed.
    pub(super) fn publish(&self, topic: &'static str, name: &'static str, data: &impl Serialize) {
        // Only maps with keys that are no texts cannot be JSON.
        let data = serde_json::to_value(data).unwrap_or_default();
        self.monitor.do_send(Publish { topic, name, data });
    }

    /// Subscribes to topics; the response lasts until the client or the server closes it.
    async fn events(self: Arc<Self>, call: Call<Nothing, Topics>) -> Result<Stream, ApiError> {
        let topics = match &*call.query.topics {
            "" => TOPICS.map(str::to_owned).to_vec(),
            list => list.split(',').map(|topic| topic.trim().to_owned()).collect(),
        };
        if let Some(unknown) = topics.iter().find(|topic| !TOPICS.contains(&topic.as_str())) {
            return Err(bad(format!("topics: there is no topic '{unknown}'")));
        }
        let subscription = self.monitor.send(Subscribe(topics)).await.map_err(ApiError::internal)?;
        let too_many = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Too many subscribers");
        let events = subscription.ok_or_else(too_many)?;
        let ends = Box::pin(async move {
            tokio::select! {
                () = self.until_access_ends(&call.http, &call.who) => {}
                () = disconnected(&call.http) => {}
            }
        });
        Ok(Stream { events, heartbeat: crate::clock::every(HEARTBEAT), ends })
    }
}
