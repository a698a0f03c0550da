//! The HTTP upgrade request of a WebSocket connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall_protocol::qt_base64;
use sha1::{Digest as _, Sha1};

use crate::transport::forwarded::ForwardedHeaders;

/// Maximum length of the request in bytes.
pub const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;
/// Source: RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A valid upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Upgrade {
    /// Length of the request in bytes; frames follow it.
    pub len: usize,
    /// The `Origin` header; empty if there is none (programs other than browsers).
    pub origin: String,
    pub forwarded: ForwardedHeaders,
    accept: String,
}

/// A request that is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refused {
    /// Status code and phrase.
    pub status: &'static str,
    /// Text for the person who runs the client.
    pub reason: &'static str,
}

impl Refused {
    /// 400: the request is malformed.
    pub const fn bad(reason: &'static str) -> Self {
        Self { status: "400 Bad Request", reason }
    }

    /// 403: the client may not connect.
    pub const fn forbidden(reason: &'static str) -> Self {
        Self { status: "403 Forbidden", reason }
    }

    /// The HTTP answer.
    pub fn answer(&self) -> String {
        let Refused { status, reason } = self;
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{reason}\n",
            reason.len() + 1
        )
    }
}

/// The proxy headers of a complete HTTP request that does not ask for WebSocket; `None` for everything else, which
/// [`Upgrade::read`] is to judge.
pub fn read_other_request(bytes: &[u8]) -> Option<ForwardedHeaders> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let is_complete = matches!(request.parse(bytes), Ok(httparse::Status::Complete(_)));
    // Other upgrades, such as to HTTP/2, may be ignored.
    let is_websocket = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    };
    let asks = |h: &httparse::Header<'_>| h.name.eq_ignore_ascii_case("upgrade") && is_websocket(h.value);
    let is_other = is_complete && !request.headers.iter().any(asks);
    is_other.then(|| ForwardedHeaders::of(request.headers.iter().map(|header| (header.name, header.value))))
}

impl Upgrade {
    /// Parses all bytes received so far; `None` if the request is incomplete.
    ///
    /// # Errors
    /// When it is no upgrade request.
    pub fn read(bytes: &[u8]) -> Result<Option<Upgrade>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
                return Err(Refused::bad("the request is too long"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Refused::bad("this is no HTTP request")),
        };
        if request.method != Some("GET") || request.version != Some(1) {
            return Err(Refused::bad("WebSocket begins with GET and HTTP/1.1"));
        }
        let values = |name: &str| {
            let named: Vec<&str> = request
                .headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case(name))
                .filter_map(|h| std::str::from_utf8(h.value).ok())
                .collect();
            named.join(",")
        };
        let has_token = |name: &str, token: &str| {
            values(name).split(',').any(|value| value.trim().eq_ignore_ascii_case(token))
        };
        if !has_token("upgrade", "websocket") || !has_token("connection", "upgrade") {
            let reason = "This port speaks WebSocket only. Connect to it with Drawpile.";
            return Err(Refused { status: "426 Upgrade Required", reason });
        }
        if values("sec-websocket-version").trim() != "13" {
            return Err(Refused { status: "426 Upgrade Required", reason: "only version 13 is spoken" });
        }
        let key = values("sec-websocket-key");
        if qt_base64::decode(&key).len() != 16 {
            return Err(Refused::bad("Sec-WebSocket-Key is no key"));
        }
        let digest = Sha1::new().chain_update(key.trim()).chain_update(GUID).finalize();
        Ok(Some(Upgrade {
            len,
            origin: values("origin").trim().to_owned(),
            accept: BASE64.encode(digest),
            forwarded: ForwardedHeaders::of(request.headers.iter().map(|header| (header.name, header.value))),
        }))
    }

    /// The HTTP answer that accepts.
    pub fn answer(&self) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            self.accept
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /any/path HTTP/1.1\r\nHost: x\r\nupgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn read(more: &str) -> Upgrade {
        Upgrade::read(format!("{HEAD}{more}\r\nframes").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn the_example_of_rfc_6455_gets_its_accept_value() {
        let upgrade = read("");
        assert_eq!(upgrade.len, HEAD.len() + 2);
        assert!(upgrade.answer().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    #[test]
    fn requests_that_do_not_ask_for_an_upgrade_are_distinguished() {
        let plain = "POST /api/login HTTP/1.1\r\nHost: x\r\nX-Real-IP: 192.0.2.1\r\n\r\n{}";
        assert!(read_other_request(plain.as_bytes()).is_some_and(|headers| headers.names_proxy()));
        assert!(read_other_request(b"GET / HTTP/1.0\r\n\r\n").is_some());
        for len in 0..plain.find("\r\n\r\n").unwrap() + 4 {
            assert_eq!(read_other_request(&plain.as_bytes()[..len]), None);
        }
        for other in [&format!("{HEAD}\r\n"), "\x16\x03\x01", "GET /any\r\n\r\n"] {
            assert_eq!(read_other_request(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_incomplete_request_is_partial_up_to_the_maximum_length() {
        for len in 0..HEAD.len() {
            assert_eq!(Upgrade::read(&HEAD.as_bytes()[..len]), Ok(None));
        }
        let long = format!("{HEAD}X: {}", "y".repeat(MAX_HEAD));
        assert_eq!(Upgrade::read(long.as_bytes()).unwrap_err().reason, "the request is too long");
    }

    #[test]
    fn requests_that_are_no_upgrade_are_refused() {
        for (from, to, status) in [
            ("GET", "POST", "400"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("upgrade: WebSocket", "upgrade: h2c", "426"),
            ("keep-alive, Upgrade", "keep-alive", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
            ("GET /any", "\x16\x03\x01", "400"),
        ] {
            let text = format!("{}\r\n", HEAD.replace(from, to));
            let refused = Upgrade::read(text.as_bytes()).unwrap_err();
            assert!(refused.status.starts_with(status), "{to}: {refused}");
            assert!(refused.answer().contains("Sec-WebSocket-Version: 13"));
        }
    }
}
