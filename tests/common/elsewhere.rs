//! An HTTP server that answers as a test wants, and keeps what it was asked.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// A request that has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// The body, if it is JSON.
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How a request is answered.
#[derive(Debug, Default)]
pub struct Reply {
    pub wait: Duration,
    pub status: u16,
    pub etag: Option<&'static str>,
    /// Header `Location`.
    pub location: Option<String>,
    pub body: String,
}

impl Reply {
    pub fn of(status: u16, body: impl ToString) -> Reply {
        Reply { status, body: body.to_string(), ..Reply::default() }
    }

    pub fn redirect(status: u16, to: impl ToString) -> Reply {
        Reply { location: Some(to.to_string()), ..Reply::of(status, "") }
    }
}

/// How many requests are answered now, and how many were at once.
#[derive(Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Load {
    fn begin(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server. It stops when this is dropped.
pub struct Elsewhere {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    load: Arc<Load>,
    handle: ServerHandle,
}

impl Elsewhere {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Elsewhere {
        let (asked, answer): (Arc<Mutex<Vec<Asked>>>, Arc<Answer>) = (Arc::default(), Arc::new(answer));
        let (kept, load) = (asked.clone(), Arc::<Load>::default());
        let counted = load.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || {
                    let (answer, kept, load) = (answer.clone(), kept.clone(), counted.clone());
                    let handler = move |request: HttpRequest, body: web::Bytes| {
                        reply(answer.clone(), kept.clone(), load.clone(), request, body)
                    };
                    App::new().default_service(web::to(handler))
                };
                let server = HttpServer::new(app).workers(1).disable_signals();
                let server = server.listen(listener).unwrap().run();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Elsewhere { address, asked, load, handle: told.recv().unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests that were there at once.
    pub fn most_at_once(&self) -> usize {
        self.load.most.load(Ordering::SeqCst)
    }

    /// What has come so far.
    pub fn asked_anyhow(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The same; all of it says that Drawhall asks.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked_anyhow();
        for one in &asked {
            assert!(one.header("user-agent").is_some_and(|a| a.starts_with("Drawhall/")), "{one:?}");
        }
        asked
    }

    /// The requests with a method.
    pub fn of(&self, method: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|a| a.method == method).collect()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn reply(
    answer: Arc<Answer>,
    kept: Arc<Mutex<Vec<Asked>>>,
    load: Arc<Load>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let asked = Asked {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        headers: request.headers().iter().map(|(k, v)| (k.to_string(), text(v))).collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let reply = answer(&asked);
    kept.lock().unwrap().push(asked);
    load.begin();
    actix_rt::time::sleep(reply.wait).await;
    load.now.fetch_sub(1, Ordering::SeqCst);
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap());
    if let Some(etag) = reply.etag {
        response.insert_header(("etag", etag));
    }
    if let Some(location) = reply.location {
        response.insert_header(("location", location));
    }
    response.body(reply.body)
}
