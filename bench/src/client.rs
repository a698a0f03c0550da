//! A client: logs in, hosts, joins.

use std::io;

use drawhall_protocol::Frame;
use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::{CanvasResize, Disconnect, Layout, Message, ServerCommand};
use serde_json::{Value, json};

use crate::Target;
use crate::connection::{Reader, Writer, connect};

/// Type of the strokes that are sent: a message that no server reads.
pub const STROKE: u8 = 148;

/// A client that is in a session.
pub struct Member {
    /// What it receives.
    pub reader: Reader,
    /// What it sends.
    pub writer: Writer,
    /// Its user id.
    pub user: u8,
}

/// Who a client is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// User name.
    pub name: String,
    /// System id: 32 hexadecimal digits.
    pub sid: String,
}

impl Identity {
    /// The client with this number among those whose names begin so.
    pub fn numbered(prefix: &str, number: usize) -> Identity {
        Identity { name: format!("{prefix}{number}"), sid: format!("{:032x}", number + 1) }
    }
}

/// A stroke of so many bytes.
///
/// # Errors
/// When a message cannot have that many.
pub fn stroke(user: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
    Ok(Frame::new(STROKE, user, payload).map_err(io::Error::other)?.as_bytes().to_vec())
}

/// A message that makes a canvas: the shortest history that a session can have.
///
/// # Errors
/// Never, as it is short.
pub fn canvas() -> io::Result<Vec<u8>> {
    let resize = Message::from(CanvasResize { top: 0, right: 1024, bottom: 1024, left: 0 });
    Ok(resize.to_frame(1, Layout::V4_25).map_err(io::Error::other)?.as_bytes().to_vec())
}

/// Hosts a session with this content, until it runs. Returns its id, too.
///
/// # Errors
/// When the connection ends or the server refuses.
pub async fn host(target: &Target, who: &Identity, content: &[u8]) -> io::Result<(Member, String)> {
    let (mut reader, mut writer) = log_in(target, who).await?;
    let host = json!({"protocol": target.protocol, "user_id": 1, "s": who.sid});
    command(&mut writer, &json!({"cmd": "host", "args": [], "kwargs": host})).await?;
    let result = reply(&mut reader, |reply| reply["state"] == "host").await?;
    let id = result["join"]["uniqueId"].as_str().or(result["join"]["id"].as_str());
    let id = id.ok_or_else(|| io::Error::other("the session has no id"))?.to_owned();
    writer.send(content).await?;
    command(&mut writer, &json!({"cmd": "init-complete"})).await?;
    // Whoever joins before would not get a history index.
    reply(&mut reader, |reply| reply["type"] == "status").await?;
    Ok((Member { reader, writer, user: 1 }, id))
}

/// Joins a session. `hidx` is the history index up to which the client has the history; empty for nothing.
///
/// # Errors
/// When the connection ends or the server refuses.
pub async fn join(target: &Target, who: &Identity, session: &str, hidx: &str) -> io::Result<Member> {
    let (mut reader, mut writer) = log_in(target, who).await?;
    let mut options = json!({"s": who.sid});
    if !hidx.is_empty() {
        options["hidx"] = hidx.into();
    }
    command(&mut writer, &json!({"cmd": "join", "args": [session], "kwargs": options})).await?;
    let result = reply(&mut reader, |reply| reply["state"] == "join").await?;
    let user = result["join"]["user"].as_u64().and_then(|user| u8::try_from(user).ok());
    let user = user.ok_or_else(|| io::Error::other("the member has no user id"))?;
    Ok(Member { reader, writer, user })
}

async fn log_in(target: &Target, who: &Identity) -> io::Result<(Reader, Writer)> {
    let (mut reader, mut writer) = connect(target).await?;
    reply(&mut reader, |reply| reply["type"] == "login").await?;
    command(&mut writer, &json!({"cmd": "ident", "args": [who.name]})).await?;
    reply(&mut reader, |reply| reply["state"] == "identOk").await?;
    Ok((reader, writer))
}

/// Sends a command.
///
/// # Errors
/// When the connection has ended.
pub async fn command(writer: &mut Writer, command: &Value) -> io::Result<()> {
    let json = command.to_string();
    let frame = Frame::new(ServerCommand::TYPE, 0, json.as_bytes()).map_err(io::Error::other)?;
    writer.send(frame.as_bytes()).await
}

/// A message as a reply of the server, if it is one.
pub fn as_reply(frame: FrameRef<'_>) -> Option<Value> {
    (frame.header.kind == ServerCommand::TYPE).then(|| serde_json::from_slice(frame.payload()).ok()).flatten()
}

/// Waits for a reply.
///
/// # Errors
/// When the connection ends, or the server refuses something.
pub async fn reply(reader: &mut Reader, wanted: impl Fn(&Value) -> bool) -> io::Result<Value> {
    loop {
        while let Some(frame) = reader.take_frame() {
            if frame.header.kind == Disconnect::TYPE {
                let text = String::from_utf8_lossy(frame.payload()).into_owned();
                return Err(io::Error::other(format!("the server ended the connection: {text}")));
            }
            let Some(reply) = as_reply(frame) else { continue };
            if reply["type"] == "error" {
                return Err(io::Error::other(format!("the server refused: {reply}")));
            }
            if wanted(&reply) {
                return Ok(reply);
            }
        }
        reader.fill().await?;
    }
}
