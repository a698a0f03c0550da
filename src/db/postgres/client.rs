//! A connection for transactions that are not built with diesel: pipelined, with large values.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::{Connector, full_text, set_limits};
use super::{CONNECT_TIMEOUT, NO_ANSWER};

/// A client, with the task that drives its connection.
pub(super) struct PgClient {
    pub(super) client: Client,
    warned: Arc<AtomicBool>,
    driver: JoinHandle<()>,
}

impl Drop for PgClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl PgClient {
    /// Connects. Statements may take as long as the limit.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub(super) async fn connect(connector: &Connector, limit: Duration) -> Result<PgClient, String> {
        let connecting = async {
            let connected = match connector.tls() {
                None => {
                    let (client, connection) = connector.config().connect(NoTls).await?;
                    Self::drive(client, connection)
                }
                Some(tls) => {
                    let tls = MakeRustlsConnect::new(tls.clone());
                    let (client, connection) = connector.config().connect(tls).await?;
                    Self::drive(client, connection)
                }
            };
            connected.client.batch_execute(&set_limits(limit)).await?;
            Ok::<_, tokio_postgres::Error>(connected)
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        connected.map_err(|_| NO_ANSWER.to_owned())?.map_err(|error| full_text(&error))
    }

    fn drive<S, T>(client: Client, mut connection: Connection<S, T>) -> PgClient
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let warned = Arc::<AtomicBool>::default();
        let in_task = warned.clone();
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    tracing::warn!("PostgreSQL warns: {}", notice.message());
                    in_task.store(true, Ordering::Release);
                }
            }
        });
        PgClient { client, warned, driver }
    }

    /// Whether there was a warning since the last question: a commit may not be on the standby, for which it was to wait.
    pub(super) fn was_warned(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }
}
