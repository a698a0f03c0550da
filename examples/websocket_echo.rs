//! A WebSocket server that sends back what it is sent, for conformance suites: prints where it listens.
//!
//! It uses the frames and the upgrade of the server itself, with text and long messages allowed, which Drawpile does
//! not have. `.ci/websocket` runs the Autobahn test suite's cases against it.

use std::error::Error;
use std::net::Ipv4Addr;

use drawhall::transport::websocket::{
    Accepts, BINARY, CLOSE, Decoder, Event, PONG, TEXT, Upgrade, close, frame,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Greatest message of the suite, with some room.
const MAX_MESSAGE: usize = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    actix_rt::System::new().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            actix_rt::spawn(async {
                // What goes wrong with one connection is the suite's to judge.
                let _ = echo(stream).await;
            });
        }
    })
}

async fn echo(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut arrived = Vec::new();
    let upgrade = loop {
        stream.read_buf(&mut arrived).await?;
        if let Some(upgrade) = Upgrade::read(&arrived)? {
            break upgrade;
        }
    };
    stream.write_all(upgrade.answer().as_bytes()).await?;
    arrived.drain(..upgrade.len);
    let mut decoder = Decoder::new(Accepts { message: MAX_MESSAGE, text: true });
    loop {
        let (answer, over) = answer(&mut decoder, &arrived);
        stream.write_all(&answer).await?;
        if over {
            return Ok(stream.shutdown().await?);
        }
        arrived.clear();
        if stream.read_buf(&mut arrived).await? == 0 {
            return Ok(());
        }
    }
}

/// What is sent back, and whether that is the end.
fn answer(decoder: &mut Decoder, mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    loop {
        match decoder.next(&mut bytes) {
            Ok(None) => return (out, false),
            Ok(Some(Event::Text)) => out.extend(frame(TEXT, decoder.payload())),
            Ok(Some(Event::Binary)) => out.extend(frame(BINARY, decoder.payload())),
            Ok(Some(Event::Ping)) => out.extend(frame(PONG, decoder.payload())),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close(_))) => {
                let code = &decoder.payload()[..decoder.payload().len().min(2)];
                out.extend(frame(CLOSE, code));
                return (out, true);
            }
            Err(violation) => {
                out.extend_from_slice(&close(violation.code, violation.reason));
                return (out, true);
            }
        }
    }
}
