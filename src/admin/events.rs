//! Endpoint `events`: changes as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Duration, Interval};

use super::AdminState;
use super::monitor::{Event, Subscribe};
use super::operation::{Answer, Operation, text};
use super::request::{Request, bad};
use crate::rules::session::admin::AdminError;

/// Topics that can be subscribed to.
const TOPICS: [&str; 3] = ["status", "sessions", "log"];
/// How often a comment is sent, so that a lost connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) const OPERATIONS: &[Operation] = &[Operation::get(
    "events",
    "Server-sent events: `status` (load of the server, every two seconds), `disk`, `session` (a description, at first \
     of all sessions), `session-end`, `log` (a line).",
    Answer::Events,
)
.query(&[text("topics", "Comma-separated: status, sessions, log. Default: all.")])];

/// The body of the response: a stream of events.
struct Stream {
    events: mpsc::Receiver<Event>,
    heartbeat: Interval,
}

impl MessageBody for Stream {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Poll::Ready(event) = self.events.poll_recv(cx) {
            let text = event.map(|Event { name, data }| format!("event: {name}\ndata: {data}\n\n"));
            return Poll::Ready(text.map(|text| Ok(text.into())));
        }
        self.heartbeat.poll_tick(cx).map(|_| Some(Ok(Bytes::from_static(b": still here\n\n"))))
    }
}

impl AdminState {
    /// Subscribes to topics; the response lasts until the client or the server closes it.
    pub(super) async fn events(&self, request: &Request) -> Result<HttpResponse, AdminError> {
        let topics = match request.query("topics") {
            "" => TOPICS.map(str::to_owned).to_vec(),
            list => list.split(',').map(|topic| topic.trim().to_owned()).collect(),
        };
        if let Some(unknown) = topics.iter().find(|topic| !TOPICS.contains(&topic.as_str())) {
            return Err(bad(format!("topics: there is no topic '{unknown}'")));
        }
        let subscription =
            self.monitor.send(Subscribe(topics)).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        let events = subscription.ok_or_else(|| AdminError::new(503, "Too many subscribers"))?;
        let stream = Stream { events, heartbeat: crate::clock::every(HEARTBEAT) };
        Ok(HttpResponse::Ok().content_type("text/event-stream").body(stream))
    }
}
