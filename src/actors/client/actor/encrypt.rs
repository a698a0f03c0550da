//! STARTTLS: from a connection in clear to TLS.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::{Client, Phase, ReadClosed};
use crate::actors::client::inbound::{self, Framing, Inbound};
use crate::actors::client::worker::ConnShared;
use crate::actors::client::writer::{self, Outbound};
use crate::transport::stream::{Stream, reunite};
use crate::transport::tls::Certificate;

/// Runs in clear until both halves have ended for the TLS handshake, then performs it.
pub(super) async fn encrypt(
    stream: TcpStream,
    by_proxy: bool,
    certificate: watch::Receiver<Certificate>,
    limit_ms: u64,
    shared: Rc<ConnShared>,
) {
    let (read, write) = Stream::Tcp(stream).into_split();
    let inbound = Inbound { half: read, framing: Framing::wire(by_proxy) };
    let outbound = Outbound { half: write, websocket: false };
    let reader = inbound::read_all(inbound, Vec::new(), shared.clone());
    let (read, write) = tokio::join!(reader, writer::write_all(outbound, shared.clone()));
    // Otherwise the actor already knows why not.
    let Some(stream) = read.zip(write).and_then(|(r, w)| reunite(r, w)) else { return };
    shared.upgrading.set(false);
    let accepting = certificate.borrow().acceptor().accept(stream);
    let accepted = if limit_ms == 0 {
        accepting.await
    } else {
        let limited = tokio::time::timeout(Duration::from_millis(limit_ms), accepting).await;
        limited.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    match accepted {
        Ok(stream) => shared.actor.do_send(Encrypted(Box::new(stream))),
        Err(error) => shared.actor.do_send(ReadClosed { error: Some(error) }),
    }
}

/// The TLS handshake has finished.
#[derive(Message)]
#[rtype(result = "()")]
struct Encrypted(Box<TlsStream<TcpStream>>);

impl Handler<Encrypted> for Client {
    type Result = ();

    fn handle(&mut self, Encrypted(stream): Encrypted, _: &mut Self::Context) {
        if !matches!(self.phase, Phase::Over) {
            self.run(Stream::Tls(stream));
        }
    }
}
