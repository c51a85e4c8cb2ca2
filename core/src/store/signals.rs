//! Signals: durable messages to a workflow, ordered per run.
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::Wakes;
use crate::store::conn::Conn;

/// Sends a signal; a second one with the same `dedup_key` changes nothing. `NotFound`, or `NotRunning` when the run has finished.
pub async fn send_signal(
    conn: &mut Conn,
    id: Uuid,
    name: &str,
    payload: &[u8],
    dedup_key: Option<&str>,
) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let row = sqlx::query!(
        r#"select status as "status!", queue, worker_id from currant.signal_send($1, $2, $3, $4)"#,
        id,
        name,
        payload,
        dedup_key
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    match row.status.as_str() {
        "unknown" => Err(Error::NotFound(format!("there is no execution {id}"))),
        "finished" => {
            Err(Error::NotRunning(format!("execution {id} takes no signals: it has finished, or it is not a workflow")))
        }
        _ => Ok(Wakes {
            queues: row.queue.into_iter().collect(),
            workers: row.worker_id.map(|worker| (worker, id)).into_iter().collect(),
            since: None,
        }),
    }
}
