//! Verbs on existing executions: cancel, retry, resume, signal.
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::Wakes;
use crate::store::conn::Conn;
use crate::store::read::not_found;

/// Cancels an execution and what is below it; `force` ends the whole tree without asking its workflows.
pub async fn cancel(conn: &mut Conn, id: Uuid, force: bool) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let row = sqlx::query!(
        r#"select status as "status!", queues as "queues!", workers as "workers!", ids as "ids!"
        from currant.cancel_tree($1, $2)"#,
        id,
        force
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    match row.status.as_str() {
        "unknown" => Err(not_found(id)),
        "finished" => Err(Error::NotRunning(format!("execution {id} has already finished"))),
        _ => Ok(Wakes { queues: row.queues, workers: row.workers.into_iter().zip(row.ids).collect(), since: None }),
    }
}

/// Opens a new epoch of a failed or cancelled root, from its last good history.
pub async fn retry(conn: &mut Conn, id: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(r#"select status as "status!", queues from currant.retry_run($1)"#, id);
    let row = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    match row.status.as_str() {
        "unknown" => Err(not_found(id)),
        "not_root" => Err(Error::Other(format!("execution {id} is a step of a run: retry the run"))),
        "not_failed" => Err(Error::Other(format!("execution {id} is neither failed nor cancelled"))),
        _ => Ok(Wakes { queues: row.queues.unwrap_or_default(), ..Wakes::default() }),
    }
}

/// Wakes workflows; returns the ids of those that had not finished.
pub async fn resume_workflows(conn: &mut Conn, ids: &[Uuid]) -> Result<(Vec<Uuid>, Wakes)> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(r#"select id as "id!", queue as "queue!", worker_id from currant.resume($1)"#, ids);
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    let mut wakes = Wakes::default();
    for row in &rows {
        match row.worker_id {
            Some(worker) => wakes.workers.push((worker, row.id)),
            None => wakes.queues.push(row.queue.clone()),
        }
    }
    Ok((rows.into_iter().map(|row| row.id).collect(), wakes))
}

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
        "unknown" => Err(not_found(id)),
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
