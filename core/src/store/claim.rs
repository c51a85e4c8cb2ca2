//! Claims: what is ready becomes this worker's.
use std::collections::HashMap;

use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::{BatchReply, ClaimRequest, Claimed, LastOptions, Look, Ranges, Snapshot};
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

/// One row of what is ready in a range, into the reply.
macro_rules! looked {
    ($row:expr, $reply:expr) => {{
        let row = $row;
        if $reply.snapshot.is_none() {
            $reply.snapshot = Some($crate::store::claim::snapshot(&there(row.options)?)?);
        }
        $reply.looks.push(Look {
            queue: there(row.queue)?,
            priority: there(row.priority)?,
            from: there(row.lease)?,
            first: row.ready_xid,
        });
    }};
}
pub(crate) use looked;

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
    let ClaimRequest { queues, limit, poison_suspect, headers, ranges: Ranges { ends, ranges }, look } = request;
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id, lease, kind, function, queue, priority, attempt, worker_losses, args, options, deadline, parent_id,
            step_key, root_id, epoch, wakes, started, fresh, poison_suspect, ready_xid
        from currant.claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        worker,
        queues,
        limit,
        poison_suspect,
        ends,
        &column(ranges, |r| r.top),
        &column(ranges, |r| r.bottom),
        &column(ranges, |r| r.from),
        &column(ranges, |r| r.to),
        look
    )
    .fetch_all(scope.conn())
    .await?;
    let mut reply = BatchReply::default();
    let mut read = LastOptions::NONE;
    for row in rows {
        match (row.id, &row.queue) {
            (Some(_), _) => reply.claimed.push(claimed!(row, read)),
            (None, Some(_)) => looked!(row, reply),
            (None, None) => reply.slow = row.lease,
        }
    }
    if *headers {
        read_headers(&mut scope, &mut reply.claimed).await?;
    }
    scope.done().await?;
    Ok(reply)
}

/// Reads `pg_snapshot` as text.
pub(crate) fn snapshot(text: &str) -> Result<Snapshot> {
    Snapshot::parse(text)
        .ok_or_else(|| Error::Other(format!("the database gives a snapshot in an unknown form: {text}")))
}
