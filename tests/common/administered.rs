//! A server with a database and an admin API that needs no login.

use serde_json::Value;

use super::http::{Answer, request};
use super::{TestServer, database_source};
use drawhall::app::ServeOptions;

pub struct Administered {
    pub server: TestServer,
    _folder: tempfile::TempDir,
}

impl Administered {
    pub fn start() -> Administered {
        let folder = tempfile::tempdir().unwrap();
        let source = database_source(folder.path());
        let options = ServeOptions { source, admin_port: Some(0), ..ServeOptions::default() };
        Administered { server: TestServer::start_with("", options), _folder: folder }
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        request(self.server.admin.unwrap(), method, path, "", body.as_ref())
    }

    /// The answer to a request that succeeds.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }

    /// The answer to a change that succeeds.
    pub fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask(method, path, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }
}
