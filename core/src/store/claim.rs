//! Claims: what is ready becomes this worker's.
use std::collections::HashMap;

use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::{BatchReply, ClaimCursors, ClaimRequest, Claimed, LastOptions, Snapshot};
use crate::store::columns::{column, kind, there};
use crate::store::conn::{Conn, Scope};

/// One row `currant.claimed` as a `Claimed`: sqlx makes a type of its own for each query.
macro_rules! claimed {
    ($row:expr, $read:expr) => {{
        let row = $row;
        let kind = kind(there(row.kind)?.as_str())?;
        Claimed {
            id: there(row.id)?,
            lease: there(row.lease)?,
            kind,
            function: there(row.function)?,
            queue: there(row.queue)?,
            priority: there(row.priority)?,
            attempt: there(row.attempt)?,
            worker_losses: there(row.worker_losses)?,
            args: there(row.args)?,
            options: $read.parse(kind, row.options)?,
            deadline: row.deadline,
            parent: row.parent_id,
            step_key: row.step_key,
            root: there(row.root_id)?,
            epoch: there(row.epoch)?,
            wakes: there(row.wakes)?,
            started: there(row.started)?,
            fresh: there(row.fresh)?,
            poison_suspect: there(row.poison_suspect)?,
            headers: None,
            ready_xid: there(row.ready_xid)?,
        }
    }};
}
pub(crate) use claimed;

/// The trace contexts of what has just been claimed.
pub(crate) async fn read_headers(scope: &mut Scope<'_>, claimed: &mut [Claimed]) -> Result<()> {
    if claimed.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select e.id, e.headers::text as "headers!" from currant.executions e where e.id = any ($1) and e.headers is not null"#,
        &column(claimed, |c| c.id)
    )
    .fetch_all(scope.conn())
    .await?;
    let mut headers: HashMap<Uuid, String> = rows.into_iter().map(|row| (row.id, row.headers)).collect();
    claimed.iter_mut().for_each(|claimed| claimed.headers = headers.remove(&claimed.id));
    Ok(())
}

/// Claims like a batch with nothing to write, without its many arrays, which take as long as the claim of an idle worker.
pub(crate) async fn claim(conn: &mut Conn, worker: Uuid, request: &ClaimRequest) -> Result<BatchReply> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id, lease, kind, function, queue, priority, attempt, worker_losses, args, options, deadline, parent_id,
            step_key, root_id, epoch, wakes, started, fresh, poison_suspect, ready_xid
        from currant.claim($1, $2, $3, $4)"#,
        worker,
        &request.queues,
        request.limit,
        request.poison_suspect
    )
    .fetch_all(scope.conn())
    .await?;
    let mut reply = BatchReply::default();
    let mut read = LastOptions::NONE;
    for row in rows {
        match row.id {
            None => reply.slow = row.lease,
            Some(_) => reply.claimed.push(claimed!(row, read)),
        }
    }
    if request.headers {
        read_headers(&mut scope, &mut reply.claimed).await?;
    }
    scope.done().await?;
    Ok(reply)
}

pub(crate) async fn claim_from_cursors(
    conn: &mut Conn,
    worker: Uuid,
    request: &ClaimRequest,
    cursors: &ClaimCursors,
) -> Result<(Snapshot, Vec<Claimed>)> {
    let mut scope = conn.run().await?;
    // The snapshot is taken before the claim, so that what the claim does not see is looked at again.
    let snapshot = snapshot(&mut scope).await?;
    let rows = sqlx::query!(
        r#"select id, lease, kind, function, queue, priority, attempt, worker_losses, args, options, deadline, parent_id,
            step_key, root_id, epoch, wakes, started, fresh, poison_suspect, ready_xid
        from currant.claim_from_cursor(
            p_worker => $1, p_queues => $2, p_limit => $3, p_poison_suspect => $4, m_xids => $5, m_ids => $6, o_places => $7,
            o_xids => $8)"#,
        worker,
        &request.queues,
        request.limit,
        request.poison_suspect,
        &cursors.xids,
        &cursors.ids,
        &column(&cursors.open, |open| open.0),
        &column(&cursors.open, |open| open.1)
    )
    .fetch_all(scope.conn())
    .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    let mut read = LastOptions::NONE;
    for row in rows {
        claimed.push(claimed!(row, read));
    }
    if request.headers {
        read_headers(&mut scope, &mut claimed).await?;
    }
    scope.done().await?;
    Ok((snapshot, claimed))
}

async fn snapshot(scope: &mut Scope<'_>) -> Result<Snapshot> {
    let text = sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "text!""#).fetch_one(scope.conn()).await?;
    Snapshot::parse(&text)
        .ok_or_else(|| Error::Other(format!("the database gives a snapshot in an unknown form: {text}")))
}
