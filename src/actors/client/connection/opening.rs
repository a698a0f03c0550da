//! Opening a connection that was accepted: a WebSocket handshake may come first, or it turns out to be HTTP.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Client, ClientContext, Opened, Protocol};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::session::ConnId;
use crate::rules::time::Timestamp;
use crate::transport::accept::{self, AcceptError, HttpConnection, WebSocketAccess};
use crate::transport::connection_limiter::ConnectionPermit;

/// A connection that was accepted.
pub struct Accepted {
    /// Connection number, never reused.
    pub conn: ConnId,
    /// The socket.
    pub stream: TcpStream,
    /// What is spoken at the listener.
    pub protocol: Protocol,
    /// Counts against the connection limits until it is dropped.
    pub permit: ConnectionPermit,
    /// Counts against the limit of connections in set-up until it is dropped.
    pub setup_permit: Option<OwnedSemaphorePermit>,
    /// Takes HTTP requests that do not ask for WebSocket, if an HTTP server shares the port.
    pub http: Option<mpsc::Sender<HttpConnection>>,
}

/// Begins a connection on this worker thread.
pub fn begin(accepted: Accepted, context: ClientContext, access: Arc<WebSocketAccess>) {
    let Accepted { conn, stream, protocol, mut permit, setup_permit, http } = accepted;
    match protocol {
        Protocol::Tcp => {
            Client::start(Opened::Tcp(stream), conn, permit, context);
        }
        Protocol::WebSocket => {
            actix_rt::spawn(async move {
                match open_websocket(stream, &mut permit, &context, &access, http.is_some()).await {
                    Ok(accept::Opened::WebSocket(websocket)) => {
                        Client::start(Opened::WebSocket(websocket), conn, permit, context);
                    }
                    Ok(accept::Opened::Http(request)) => {
                        hand_over(HttpConnection { http: request, permit }, http, &context)
                    }
                    Err(error) => log_not_opened(permit.address(), &error),
                }
            });
        }
    }
    // It is being read from, or has the time-out of the handshake.
    drop(setup_permit);
}

async fn open_websocket(
    stream: TcpStream,
    permit: &mut ConnectionPermit,
    context: &ClientContext,
    access: &WebSocketAccess,
    shares_port: bool,
) -> Result<accept::Opened, AcceptError> {
    let settings = context.rules.settings();
    let certificate = context.certificate.as_ref().map(|c| c.borrow().clone());
    let opening = accept::websocket(stream, permit, certificate, access, settings, shares_port);
    accept::within(settings.handshake_time_limit.millis(), opening).await
}

/// Gives a connection to the HTTP server that shares the port. It is closed if too many wait there.
fn hand_over(
    connection: HttpConnection,
    http: Option<mpsc::Sender<HttpConnection>>,
    context: &ClientContext,
) {
    if http.is_none_or(|http| http.try_send(connection).is_err()) {
        context.metrics.limits_hit.count("httpConnections");
    }
}

fn log_not_opened(address: IpAddr, error: &AcceptError) {
    let user = LogUser { id: 0, address: Some(address), name: String::new() };
    let text = format!("No WebSocket connection: {error}");
    LogEntry::new(Timestamp::now(), Level::Debug, Topic::Status, text).about(user).emit("");
}
