//! How a server stops.

use std::time::Duration;

use super::RunningServer;
use crate::actors::server::{HandOver, ServerDeps, Stop};
use crate::background::BackgroundThread;
use crate::blocking::Job;

/// How long the database may take for a question.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

impl RunningServer {
    /// Shuts down: stops accepting, tells everybody, ends threads.
    pub async fn stop(self) {
        // Who is told to reconnect comes to another server.
        for listener in &self.listeners {
            listener.abort();
        }
        self.hand_over().await;
        for task in &self.tasks {
            task.abort();
        }
        if self.parts.shared.is_none() {
            self.leave_cluster().await;
        }
        self.parts.renderer.stop().await;
        if let Some(shared) = &self.parts.shared {
            shared.stop_retrying();
        }
        // The actor may have stopped already.
        let _ = self.server.send(Stop).await;
        if let Some(shared) = self.parts.shared.clone() {
            self.parts.blocking_pool.run(Job::FileIo, move || shared.wait_until_idle()).await;
            // Others take the sessions over from now on.
            self.leave_cluster().await;
        }
        // After the sessions: a router may be slow.
        if let Some(port_mapping) = self.port_mapping {
            port_mapping.stop().await;
        }
        if let Some(link) = &self.first_admin {
            link.end();
        }
        if let Some(auth_server_listener) = self.auth_server_listener {
            auth_server_listener.handle.stop().await;
        }
        if let Some(server) = self.admin_server {
            server.handle.stop().await;
        }
        if let Some(server) = self.shared_port {
            server.stop();
        }
        for worker in self.workers {
            worker.stop();
        }
        let ServerDeps { session_dir, recorder, events, trace, .. } = self.parts;
        let people = self.people;
        let closed = actix_rt::task::spawn_blocking(move || {
            people.iter().for_each(BackgroundThread::stop);
            if let Some(trace) = trace {
                trace.finish();
            }
            if let Some(recorder) = recorder {
                recorder.stop();
            }
            if let Some(events) = events {
                events.stop();
            }
            if let Some(session_dir) = session_dir {
                session_dir.close();
            }
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the files failed");
        }
    }

    /// Has other servers take sessions over, while this one still tells that it is there.
    async fn hand_over(&self) {
        let (Some(_), Some(cluster), Some(database)) =
            (&self.parts.shared, &self.parts.cluster, self.database.clone())
        else {
            return;
        };
        let node = cluster.node.clone();
        let listing = self.parts.blocking_pool.run(Job::FileIo, move || database.announce_node(&node));
        // Without the database there is nothing to take over.
        let Ok(Some(Ok(nodes))) = tokio::time::timeout(DATABASE_LIMIT, listing).await else {
            tracing::warn!("sessions are not handed over to other servers: the database does not answer");
            return;
        };
        cluster.update_others(nodes);
        match self.server.send(HandOver).await {
            Ok(0) | Err(_) => {}
            Ok(sessions) => {
                tracing::info!("sessions handed over to other servers: {sessions}")
            }
        }
    }

    /// Takes this server off the list of the cluster. If that fails it is off in seconds.
    async fn leave_cluster(&self) {
        let (Some(cluster), Some(database)) = (&self.parts.cluster, self.database.clone()) else { return };
        let incarnation = cluster.node.incarnation.clone();
        let removing = self.parts.blocking_pool.run(Job::FileIo, move || database.remove_node(&incarnation));
        let error = match tokio::time::timeout(DATABASE_LIMIT, removing).await {
            Ok(None | Some(Ok(()))) => return,
            Ok(Some(Err(error))) => error.to_string(),
            Err(_) => "the database does not answer".to_owned(),
        };
        tracing::warn!("this server stays in the list of the cluster for some seconds: {error}");
    }
}
