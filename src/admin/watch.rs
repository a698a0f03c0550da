//! Endpoints for monitoring: `/metrics` (Prometheus), `/readyz`.

use actix_web::HttpResponse;

use super::AdminState;
use crate::actors::server::GetLoad;
use crate::metrics::CurrentValues;

impl AdminState {
    /// Readiness: whether the server actor answers, and new clients are welcome.
    pub(super) async fn ready(&self) -> HttpResponse {
        let (mut response, text) = match self.server.send(GetLoad).await {
            Ok(load) if load.refuses_sessions => (HttpResponse::ServiceUnavailable(), "draining\n"),
            Ok(_) => (HttpResponse::Ok(), "ready\n"),
            Err(_) => (HttpResponse::ServiceUnavailable(), "stopping\n"),
        };
        response.content_type("text/plain").body(text)
    }

    /// Metrics in the text format of Prometheus.
    pub(super) async fn metrics(&self) -> HttpResponse {
        let load = self.server.send(GetLoad).await;
        let sessions = self.descriptions(false).await;
        let (Ok(load), Ok(sessions)) = (load, sessions) else {
            return HttpResponse::ServiceUnavailable().finish();
        };
        let sizes = sessions.iter().map(|session| session.size.unwrap_or(0));
        let current = CurrentValues {
            connections: load.users as u64,
            sessions: load.sessions as u64,
            sessions_not_loaded: self.session_dir.as_ref().map_or(0, |dir| dir.unavailable().len() as u64),
            last_backup: self
                .setup
                .last_backup()
                .and_then(|time| Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())),
            users: sessions.iter().map(|session| session.user_count.unwrap_or(0)).sum(),
            history_bytes: sizes.clone().sum(),
            largest_history: sizes.max().unwrap_or(0),
        };
        let page = self.metrics.page(&current);
        HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(page)
    }
}
