//! What happens on the connection. Input from the client: rate limits, then to the login, to the session, or echoed.
//!
//! Messages that the server acts on are charged (`commandRateLimit`, bytes of chat) before they are handled, as their
//! effects may go to everybody. Messages beyond the rate limit stay pending and reading pauses: nothing is lost, and
//! only the sender notices.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use actix::prelude::*;
use bytes::Buf as _;
use drawhall_protocol::frame::{FIRST_OPAQUE, FrameHeader, FrameRef, frames};
use drawhall_protocol::message::{
    Chat, Disconnect, KeepAlive, Layout, Message as Decoded, Ping, PrivateChat, ResetStream, ServerCommand,
};

use super::{Client, Phase};
use crate::actors::client::inbound::ReadEnd;
use crate::actors::client::outbox::ITEM_COST;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{SessionHandle, ToSession};
use crate::log::{Level, Topic};
use crate::rules::batch::Batch;
use crate::rules::limits::Rate;
use crate::rules::login::LoginInput;
use crate::rules::session::DisconnectReason;
use crate::rules::time::Timestamp;
use crate::transport::budget::Budget;
use crate::transport::http;

/// Burst of `messageRateLimit`, in seconds of it.
const MESSAGE_BURST: u32 = 20;
/// Chunks of a streamed reset below this size in bytes cost as much as a command.
const SMALL_CHUNK: u16 = 1024;
/// Minimum interval of log entries about a slowed client, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;
/// Minimum pause of a client that has used up a rate limit, in milliseconds.
const MIN_WAIT: u64 = 10;

/// To a Client: what happens on its connection, from its halves and from the timer of the worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) enum FromConnection {
    /// A PROXY header was read; the client's address, if it has one.
    ProxyHeader(Option<IpAddr>),
    /// Whole frames.
    Received(Batch),
    /// Nothing more is read.
    ReadEnded(ReadEnd),
    /// Nothing more is written: everything was, or the peer is gone.
    Written { error: Option<io::Error> },
    /// A time-out has passed.
    TimedOut { reason: String },
    /// The answer that the login waits for has not come in time.
    NotAnswered,
}

impl Handler<FromConnection> for Client {
    type Result = ();

    fn handle(&mut self, event: FromConnection, ctx: &mut Self::Context) {
        match event {
            FromConnection::Received(batch) => self.receive(batch, ctx),
            FromConnection::ProxyHeader(named) => self.follow_proxy_header(named, ctx),
            FromConnection::ReadEnded(end) if !self.is_over() => self.read_ended(end, ctx),
            FromConnection::ReadEnded(_) => {}
            FromConnection::Written { error } => {
                if let Some(error) = error.filter(|_| !self.is_over()) {
                    self.log(Level::Info, Topic::Status, format!("Socket write error: {error}"));
                }
                self.abort(ctx);
            }
            FromConnection::TimedOut { reason } => {
                if !self.is_over() {
                    self.log(Level::Warn, Topic::Status, reason);
                }
                self.cut(ctx);
            }
            FromConnection::NotAnswered => self.no_answer(ctx),
        }
    }
}

impl Client {
    fn follow_proxy_header(&mut self, named: Option<IpAddr>, ctx: &mut Context<Self>) {
        if let Err(limit) = self.permit.follow_proxy_header(named, self.context.rules.settings()) {
            return self.disconnect(DisconnectReason::Error, limit.message(), ctx);
        }
        let address = self.permit.address();
        self.user.address = Some(address);
        self.log_in(LoginInput::Address(address), ctx);
    }

    fn read_ended(&mut self, end: ReadEnd, ctx: &mut Context<Self>) {
        match end {
            ReadEnd::Closed if self.pausing.is_asked() => self.input_paused(),
            ReadEnd::Closed => self.abort(ctx),
            ReadEnd::Failed(error) => {
                if error.kind() != io::ErrorKind::ConnectionReset {
                    self.log(Level::Warn, Topic::Status, format!("Socket read error: {error}"));
                }
                self.abort(ctx);
            }
            ReadEnd::Goodbye => self.close(ctx),
            ReadEnd::Violation(violation) => {
                self.was_cut = true;
                self.log(Level::Warn, Topic::RuleBreak, violation.to_string());
                self.close(ctx);
            }
            ReadEnd::Http => {
                self.log(Level::Info, Topic::Status, "Speaks HTTP to the port of drawing programs");
                self.send(http::answer(self.context.websocket_port).into(), ctx);
                self.close(ctx);
            }
        }
    }
}

/// Cost of a message; `None` if it is free: opaque, answered or dropped at once, or a large chunk of a streamed
/// reset.
fn cost(header: FrameHeader) -> Option<(Budget, u64)> {
    match header.kind {
        FIRST_OPAQUE.. | Disconnect::TYPE | Ping::TYPE | KeepAlive::TYPE => None,
        ResetStream::TYPE if header.len >= SMALL_CHUNK => None,
        Chat::TYPE | PrivateChat::TYPE => Some((Budget::ChatBytes, (header.frame_len() + ITEM_COST) as u64)),
        _ => Some((Budget::Commands, 1)),
    }
}

/// A `Disconnect` with which a client leaves.
fn is_goodbye(frame: FrameRef<'_>) -> bool {
    frame.header.kind == Disconnect::TYPE && !frame.payload().is_empty()
}

impl Client {
    /// Handles a batch of whole frames.
    pub(super) fn receive(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        self.context.metrics.messages_in.add(batch.messages());
        self.context.metrics.bytes_in.add(batch.len() as u64);
        self.slow_down(&batch, ctx);
        match &self.phase {
            Phase::Over => {}
            Phase::Session(session) if self.pending.is_empty() && batch.is_opaque() => {
                let session = session.clone();
                self.pass_on(&session, batch);
            }
            Phase::Login(_) | Phase::Relayed(_) | Phase::Session(_) | Phase::Quiet => {
                self.pending.extend_from_slice(batch.bytes());
                self.go_on(ctx);
            }
        }
    }

    /// Pauses reading if the client exceeds `messageRateLimit` or its rate limit of drawing.
    fn slow_down(&mut self, batch: &Batch, ctx: &mut Context<Self>) {
        let now = Timestamp::now().monotonic_ms;
        let limit = self.context.rules.settings().message_rate_limit.0;
        let mut wait = 0;
        if limit > 0 {
            wait = self.messages.overdraw(Rate::per_second(limit, MESSAGE_BURST), now, batch.cost());
        }
        if wait > 0 {
            self.drawing.messages_until = now + wait;
            self.slowed("Too many messages: reading is slowed down (messageRateLimit); told once a minute");
        }
        let wait = wait.max(self.charge_drawing(batch, now, ctx));
        if wait > 0 {
            self.shared.pause_for(wait);
        }
    }

    /// Counts a slowed client, and logs it at intervals.
    fn slowed(&mut self, text: &str) {
        self.context.metrics.slowed.count();
        let now = Timestamp::now().monotonic_ms;
        if self.slowed_logged.is_none_or(|at| now >= at + LOG_INTERVAL) {
            self.slowed_logged = Some(now);
            self.log(Level::Warn, Topic::RuleBreak, text);
        }
    }

    /// Handles pending frames until an answer is needed, the session or the rate limit must recover, or none are
    /// left; then resumes reading.
    pub(super) fn go_on(&mut self, ctx: &mut Context<Self>) {
        while self.budget_timer.is_none() && !self.in_flight_budget.is_waiting() {
            match &self.phase {
                Phase::Over => return,
                Phase::Login(_) if self.shared.upgrading.get() => {
                    if !self.pending.is_empty() {
                        let text = "Something in clear came after startTls";
                        self.log(Level::Warn, Topic::RuleBreak, text);
                        return self.abort(ctx);
                    }
                    // The inbound half may wait for the rate limit before it gives the stream to TLS.
                    return self.shared.resume_reading();
                }
                Phase::Login(login) if login.machine.is_waiting() => {
                    self.shared.pause_reading();
                    return self.shared.await_answer();
                }
                Phase::Relayed(_) => {
                    self.shared.pause_reading();
                    return self.shared.await_answer();
                }
                _ if self.pending.is_empty() => {
                    self.tell_paused();
                    return self.shared.resume_reading();
                }
                Phase::Login(_) => self.one_in_login(ctx),
                Phase::Session(session) => {
                    let session = session.clone();
                    self.all_in_session(&session, ctx);
                }
                Phase::Quiet => self.echo(ctx),
            }
        }
    }

    /// Charges a frame to the client's rate limits.
    pub(super) fn afford(&mut self, header: FrameHeader) -> Result<(), Overdrawn> {
        let Some((budget, count)) = cost(header) else { return Ok(()) };
        self.permit.spend(budget, count, self.context.rules.settings()).map_err(|ms| Overdrawn { budget, ms })
    }

    /// Keeps pending frames until the rate limit allows more.
    pub(super) fn wait_for_budget(&mut self, overdrawn: Overdrawn, ctx: &mut Context<Self>) {
        // A client that leaves need not wait; its excess messages are dropped.
        if frames(&self.pending).any(is_goodbye) {
            return self.close(ctx);
        }
        if !self.shared.pause_over_budget() {
            self.slowed(match overdrawn.budget {
                Budget::ChatBytes => "Too much chat: reading is slowed down; told once a minute",
                _ => "Too many commands: reading is slowed down (commandRateLimit); told once a minute",
            });
        }
        let wait = Duration::from_millis(overdrawn.ms.max(MIN_WAIT));
        self.budget_timer = Some(ctx.run_later(wait, |client, ctx| {
            client.budget_timer = None;
            client.go_on(ctx);
        }));
    }

    /// Hands pending frames to the session, as far as the rate limits allow.
    fn all_in_session(&mut self, session: &SessionHandle, ctx: &mut Context<Self>) {
        let mut pending = std::mem::take(&mut self.pending);
        let mut kept = Batch::default();
        let (mut done, mut overdrawn) = (0, None);
        for frame in frames(&pending) {
            overdrawn = self.afford(frame.header).err();
            if overdrawn.is_some() {
                break;
            }
            done += frame.bytes.len();
            if frame.header.kind == Disconnect::TYPE {
                // Messages before the `Disconnect` must reach the session before the client leaves it.
                self.pass_on(session, std::mem::take(&mut kept));
            }
            if self.handle_transport_message(frame, ctx) {
                if self.may_guess(frame, ctx) {
                    kept.push(frame);
                }
            } else if self.is_over() {
                break;
            }
        }
        self.pass_on(session, kept);
        if self.is_over() {
            return;
        }
        if let Some(overdrawn) = overdrawn {
            pending.advance(done);
            self.pending = pending;
            self.wait_for_budget(overdrawn, ctx);
        }
    }

    fn pass_on(&mut self, session: &SessionHandle, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let wait = self.in_flight_budget.acquire(InFlightBudget::cost(&batch));
        session.tell(ToSession::Batch { conn: self.conn, batch });
        if wait {
            self.shared.pause_reading();
        }
    }

    /// Echoes the client's messages, as if they had entered a history. Commands are not answered.
    fn echo(&mut self, ctx: &mut Context<Self>) {
        let pending = std::mem::take(&mut self.pending);
        let mut kept = Vec::with_capacity(pending.len());
        for frame in frames(&pending) {
            if self.handle_transport_message(frame, ctx) && frame.header.kind != ServerCommand::TYPE {
                let start = kept.len();
                kept.extend_from_slice(frame.bytes);
                kept[start + 3] = self.user.id;
            } else if self.is_over() {
                return;
            }
        }
        if !kept.is_empty() {
            self.send(kept.into(), ctx);
        }
    }

    /// Handles messages of the transport (ping, keep-alive, disconnect); returns whether the frame is for login or
    /// session.
    pub(super) fn handle_transport_message(&mut self, frame: FrameRef<'_>, ctx: &mut Context<Self>) -> bool {
        let kind = frame.header.kind;
        if kind >= FIRST_OPAQUE {
            return true;
        }
        let decoded = match kind {
            // The text of the message does not matter, but it must have a reason.
            Disconnect::TYPE if is_goodbye(frame) => {
                self.close(ctx);
                return false;
            }
            KeepAlive::TYPE => return false,
            _ => Decoded::from_frame(frame, Layout::V4_25),
        };
        match decoded {
            Ok(Decoded::Ping(Ping { is_pong: false })) => {
                let pong = Decoded::from(Ping { is_pong: true }).to_frame(0, Layout::V4_25);
                if let Ok(pong) = pong {
                    self.shared.outbox.borrow_mut().push_first(pong.into_bytes());
                    self.shared.wake.notify_one();
                }
                false
            }
            Ok(Decoded::Ping(_)) => false,
            Ok(_) => true,
            Err(error) => {
                let len = frame.header.len;
                let text = format!("Received bad message of type {kind} and length {len}: {error}");
                self.log(Level::Warn, Topic::RuleBreak, text);
                self.cut(ctx);
                false
            }
        }
    }
}

/// A rate limit is used up; when the client can continue.
#[derive(Debug)]
pub(super) struct Overdrawn {
    budget: Budget,
    ms: u64,
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::message::{Join, SoftReset, Thumbnail, TrustedUsers};

    use super::*;

    #[test]
    fn what_the_server_acts_on_costs_and_what_it_passes_on_does_not() {
        let cost = |kind: u8, len: u16| cost(FrameHeader { len, kind, user: 1 });
        for kind in [64, 127, 128, 255, Ping::TYPE, KeepAlive::TYPE, Disconnect::TYPE] {
            assert_eq!(cost(kind, 1), None, "type {kind}");
        }
        for kind in
            [ServerCommand::TYPE, Join::TYPE, SoftReset::TYPE, Thumbnail::TYPE, TrustedUsers::TYPE, 20]
        {
            assert_eq!(cost(kind, 60_000), Some((Budget::Commands, 1)), "type {kind}");
        }
        assert_eq!(cost(Chat::TYPE, 100), Some((Budget::ChatBytes, 100 + 4 + ITEM_COST as u64)));
        assert_eq!(cost(PrivateChat::TYPE, 0), Some((Budget::ChatBytes, 4 + ITEM_COST as u64)));
        assert_eq!(cost(ResetStream::TYPE, 60_000), None);
        assert_eq!(
            cost(ResetStream::TYPE, 0),
            Some((Budget::Commands, 1)),
            "an image does not come in crumbs"
        );
    }
}
