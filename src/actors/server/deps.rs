//! What the Server actor needs.

use std::sync::Arc;

use super::list_server::ListServers;
use crate::background::Queue;
use crate::blocking::BlockingPool;
use crate::cluster::Cluster;
use crate::http::Http;
use crate::metrics::Metrics;
use crate::renderer::Renderer;
use crate::rules::sighting::ModerationRecord;
use crate::storage::event_store::EventStore;
use crate::storage::recorder::Recorder;
use crate::storage::session_dir::SessionDir;
use crate::storage::shared::SharedSessions;
use crate::trace::Trace;

/// What the Server actor needs besides the rules.
#[derive(Clone, Default)]
pub struct ServerDeps {
    /// `None`: sessions are in memory only.
    pub session_dir: Option<Arc<SessionDir>>,
    /// Where the sessions are that servers share; `session_dir` has copies of those that this one owns.
    pub shared: Option<Arc<dyn SharedSessions>>,
    /// `None`: sessions are not recorded.
    pub recorder: Option<Arc<Recorder>>,
    /// Where chat and events of sessions are kept for a while, if they are.
    pub events: Option<Arc<EventStore>>,
    /// What makes pictures of sessions and images of canvases.
    pub renderer: Renderer,
    /// Pool for hashes and files.
    pub blocking_pool: BlockingPool,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// Port in announcements.
    pub announce_port: u16,
    /// Links to other servers of the cluster, if there are.
    pub cluster: Option<Cluster>,
    /// HTTP client for URLs that the operator configured.
    pub http: Http,
    /// HTTP client for list servers, whose URLs come from clients.
    pub list_servers: ListServers,
    /// Trace of inputs, if enabled.
    pub trace: Option<Trace>,
    /// Records for moderators; `None`: nothing is recorded.
    pub records: Option<Queue<ModerationRecord>>,
}
