//! Answers HTTP requests on the port of the Drawpile protocol: of a browser, or of a misconfigured proxy or health
//! check.

/// First four bytes of HTTP requests.
const METHODS: [&[u8; 4]; 9] =
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN", b"PATC", b"PRI "];

/// Whether the first bytes of a connection are an HTTP request. As message headers they would mean a type that
/// clients do not begin with, and a length of 16 KiB and more.
pub fn is_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(*method))
}

/// The HTTP answer. `websocket_port`: of the WebSocket listener, if there is one.
pub fn answer(websocket_port: Option<u16>) -> String {
    let websocket = match websocket_port {
        Some(port) => format!("browsers draw by WebSocket on port {port}"),
        None => "browsers need the WebSocket port, which is not open (--websocket-port)".to_owned(),
    };
    let text = format!(
        "This is the port for drawing programs (drawpile://), it does not speak HTTP: {websocket}, and the admin page has \
         a port of its own (--web-admin-port).\n"
    );
    format!(
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_requests_are_distinguished_from_messages() {
        for request in
            ["GET / HTTP/1.1\r\n", "POST /x", "HEAD / ", "PUT /api/server", "OPTIONS *", "PRI * HTTP/2.0"]
        {
            assert!(is_request(request.as_bytes()), "{request}");
        }
        for other in [&b""[..], b"GET", b"get / ", b"\x00\x14\x00\x00{\"cmd\":", b"PROXY TCP4 "] {
            assert!(!is_request(other), "{other:?}");
        }
    }

    #[test]
    fn the_answer_is_one_line_with_the_websocket_port() {
        for (port, expected) in [(Some(27751), "port 27751"), (None, "--websocket-port")] {
            let answer = answer(port);
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with("HTTP/1.1 400 ")
                    && head.contains(&format!("Content-Length: {}", text.len()))
            );
            assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
        }
    }
}
