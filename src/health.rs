//! `drawhall health`: whether a server answers, for containers and monitoring.

use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use drawhall_protocol::HEADER_LEN;
use drawhall_protocol::frame::FrameHeader;

use crate::Failure;

/// Address of a server on this machine, with its usual port.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:27750";
/// Maximum length of a greeting in bytes.
const MAX_GREETING: usize = 4096;

/// Connects to the drawing port and waits for the greeting, both within `timeout`. The greeting is sent in clear, also by
/// servers that require TLS.
///
/// # Errors
/// When there is no greeting in time.
pub(crate) fn check(address: &str, timeout: Duration) -> Result<(), Failure> {
    // An empty variable is none.
    let address = if address.is_empty() { DEFAULT_ADDRESS } else { address };
    greeting(address, Instant::now() + timeout)
        .map_err(|error| format!("no answer from a server at {address}: {error}").into())
}

fn greeting(address: &str, deadline: Instant) -> io::Result<()> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => return read_greeting(stream, left),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

fn read_greeting(mut stream: TcpStream, left: impl Fn() -> io::Result<Duration>) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if let Some(header) = FrameHeader::parse(&bytes)
            && bytes.len() >= HEADER_LEN + usize::from(header.len)
        {
            let payload = &bytes[HEADER_LEN..HEADER_LEN + usize::from(header.len)];
            let greeting: serde_json::Value = serde_json::from_slice(payload)?;
            let is_login = greeting["type"] == "login" && greeting["version"].is_number();
            return if is_login { Ok(()) } else { Err(io::Error::other("this is no Drawpile server")) };
        }
        if bytes.len() > MAX_GREETING {
            return Err(io::Error::other("this is no Drawpile server"));
        }
        stream.set_read_timeout(Some(left()?))?;
        let mut buffer = [0; 512];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            // A read that times out says so by this.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}
