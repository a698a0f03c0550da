//! Polls the template directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use super::prepare::scan_templates;
use crate::actors::server::{NewTemplates, Server};
use crate::clock::every;
use crate::storage::template::Templates;

/// Polling interval of the template directory.
const TEMPLATE_INTERVAL: Duration = Duration::from_secs(2);

/// Polls the template directory, and scans it on demand.
pub(super) async fn watch_templates(
    path: PathBuf,
    mut known: Arc<Templates>,
    server: Addr<Server>,
    mut again: watch::Receiver<()>,
) {
    let mut interval = every(TEMPLATE_INTERVAL);
    // An error is logged once, not at each poll.
    let mut logged = String::new();
    loop {
        // The channel closes at shutdown.
        tokio::select! {
            _ = interval.tick() => {}
            Ok(()) = again.changed() => {}
        }
        let (path, before) = (path.clone(), known.clone());
        match actix_rt::task::spawn_blocking(move || scan_templates(&before, &path)).await {
            Ok(Ok(templates)) => {
                logged.clear();
                let changed = !templates.same_as(&known);
                known = Arc::new(templates);
                if changed {
                    tracing::info!("templates have changed");
                    server.do_send(NewTemplates(known.clone()));
                }
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                if text != logged {
                    tracing::warn!("{text}");
                }
                logged = text;
            }
            Err(error) => tracing::error!(%error, "looking at the templates failed"),
        }
    }
}
