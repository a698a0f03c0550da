//! `events`: changes as they happen, as server-sent events.

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
use crate::session::admin::AdminError;

/// What can be followed.
const TOPICS: [&str; 3] = ["status", "sessions", "log"];
/// How often a comment is sent, so that both sides notice when the other has gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) const OPERATIONS: &[Operation] = &[Operation::get(
    "events",
    "Server-sent events: `status` (how the server does, every two seconds), `disk`, `session` (a description, at first \
     those of all), `session-end`, `log` (a line).",
    Answer::Events,
)
.query(&[text("topics", "Of status, sessions, log, separated by commas; all without.")])];

/// The body of an answer that goes on.
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
    /// An answer that tells of changes until one of both ends it.
    pub(super) async fn events(&self, call: &Request) -> Result<HttpResponse, AdminError> {
        let topics = match call.query("topics") {
            "" => TOPICS.map(str::to_owned).to_vec(),
            list => list.split(',').map(|topic| topic.trim().to_owned()).collect(),
        };
        if let Some(unknown) = topics.iter().find(|topic| !TOPICS.contains(&topic.as_str())) {
            return Err(bad(format!("topics: there is no topic '{unknown}'")));
        }
        let followed =
            self.monitor.send(Subscribe(topics)).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        let events = followed.ok_or_else(|| AdminError::new(503, "Too many follow already"))?;
        let stream = Stream { events, heartbeat: crate::clock::every(HEARTBEAT) };
        Ok(HttpResponse::Ok().content_type("text/event-stream").body(stream))
    }
}
