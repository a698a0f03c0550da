//! The HTTP server for HTTP-01 challenges. It knows the answers to the challenges of the present order, nothing else.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::transport::challenges::Challenges;

/// Where the answers are. Source: RFC 8555, section 8.3.
const FOLDER: &str = "/.well-known/acme-challenge/";
/// Connections at a time; others wait in the system's accept queue.
const MAX_CONNECTIONS: usize = 256;
/// Connections of one address at a time; others are closed. An authority asks from several addresses.
const MAX_OF_ADDRESS: usize = 4;
/// Time limit of a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest head of a request in bytes.
const MAX_HEAD: usize = 4 << 10;
/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Answers requests forever.
pub(super) async fn serve(listener: TcpListener, challenges: Challenges) {
    let mut connections = JoinSet::new();
    let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip();
                    let count = of_address.entry(peer).or_default();
                    if *count < MAX_OF_ADDRESS {
                        *count += 1;
                        let answered = timeout(TIMEOUT, answer(stream, challenges.clone()));
                        connections.spawn(async move {
                            // Peers that disconnect or send nothing are of no interest.
                            let _ = answered.await;
                            peer
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for HTTP-01 challenges");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Ok(peer) = ended
                    && let Some(count) = of_address.get_mut(&peer)
                {
                    *count -= 1;
                    if *count == 0 {
                        of_address.remove(&peer);
                    }
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, challenges: Challenges) -> io::Result<()> {
    let mut head = Vec::new();
    let path = loop {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await?;
        head.extend_from_slice(&buffer[..count]);
        match path(&head) {
            Request::Partial if count > 0 && head.len() < MAX_HEAD => {}
            Request::Get(path) => break Some(path),
            Request::Partial | Request::Other => break None,
        }
    };
    let token = path.as_deref().and_then(|path| path.strip_prefix(FOLDER));
    let (status, text) = match token.and_then(|token| challenges.http_answer(token)) {
        Some(text) => ("200 OK", text),
        None => {
            ("404 Not Found", "This port answers challenges of certificate authorities only.\n".to_owned())
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).await?;
    stream.shutdown().await
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// Not all of the head is there.
    Partial,
    /// GET of this path.
    Get(String),
    Other,
}

fn path(head: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => Request::Partial,
        Ok(httparse::Status::Complete(_)) if request.method == Some("GET") => {
            Request::Get(request.path.unwrap_or_default().to_owned())
        }
        _ => Request::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(challenges: &Challenges, request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, challenges.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // In two parts, as networks may deliver it.
        let (first, second) = request.split_at(request.len() / 2);
        stream.write_all(first.as_bytes()).await.unwrap();
        stream.write_all(second.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[actix_rt::test]
    async fn one_address_cannot_keep_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Challenges::default()));
        let mut idle = Vec::new();
        for _ in 0..MAX_OF_ADDRESS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert_eq!(refused.read(&mut [0; 1]).await.unwrap(), 0, "it is closed at once");
        drop(idle);
        serving.abort();
    }

    #[actix_rt::test]
    async fn only_challenges_of_the_present_order_are_answered() {
        let challenges = Challenges::default();
        challenges.add_http("token", "token.digest");
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: draw.example.org\r\n\r\n");
        let answer = ask(&challenges, &get("/.well-known/acme-challenge/token")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ntoken.digest"),
            "{answer}"
        );
        for other in ["/.well-known/acme-challenge/other", "/.well-known/acme-challenge/", "/token", "/"] {
            assert!(ask(&challenges, &get(other)).await.starts_with("HTTP/1.1 404 "), "{other}");
        }
        assert!(ask(&challenges, "POST / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        challenges.clear();
        let answer = ask(&challenges, &get("/.well-known/acme-challenge/token")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}
