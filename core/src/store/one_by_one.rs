//! The verbs for one item: batches of one, each with its lease. A worker that uses them is known by its heartbeats
//! (`update_heartbeat`) or its first claim.
use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::limits::check_payload;
use crate::base::retry::retry_delay;
use crate::base::types::{Action, Batch, ClaimRequest, Claimed, Options, Outcome, Ranges, Wakes};
use crate::store::columns::kind;
use crate::store::conn::Conn;
use crate::store::read::{json, to_json};
use crate::store::{commit, schedules, workers};

// The seed's verbs. A worker that uses them is known by its heartbeats (`update_heartbeat`) or its first claim.

/// A claimed execution as the one-item verbs return it.
#[derive(Serialize)]
struct ClaimedJson<'a> {
    id: Uuid,
    lease: i64,
    kind: &'static str,
    function: &'a str,
    queue: &'a str,
    priority: i16,
    attempt: i32,
    timeout: Option<f64>,
    parent_id: Option<Uuid>,
    root_id: Uuid,
    #[serde(serialize_with = "json")]
    args: Option<Vec<u8>>,
}

fn claimed_json(claimed: &Claimed) -> Result<Vec<u8>> {
    to_json(&ClaimedJson {
        id: claimed.id,
        lease: claimed.lease,
        kind: claimed.kind.as_str(),
        function: &claimed.function,
        queue: &claimed.queue,
        priority: claimed.priority,
        attempt: claimed.attempt,
        timeout: claimed.options.timeout,
        parent_id: claimed.parent,
        root_id: claimed.root,
        args: Some(claimed.args.clone()),
    })
}

/// Makes a worker known. Without a name or queues it keeps those that it has; the name of a new worker is its id.
async fn introduce(conn: &mut Conn, worker: Uuid, name: &str, queues: &[String]) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!(
        "insert into currant.workers as w (id, name, queues) values ($1::uuid, coalesce(nullif($2::text, ''), $1::uuid::text), $3)
        on conflict (id) do update set name = case when $2::text = '' then w.name else excluded.name end,
            queues = case when cardinality(excluded.queues) = 0 then w.queues else excluded.queues end,
            last_heartbeat = clock_timestamp(), stopped_at = null",
        worker,
        name,
        queues
    )
    .execute(scope.conn())
    .await?;
    scope.done().await
}

/// Records that a worker is alive; makes it known the first time.
pub async fn update_heartbeat(conn: &mut Conn, worker: Uuid, name: &str, queues: &[String]) -> Result<Wakes> {
    introduce(conn, worker, name, queues).await?;
    let beat = workers::heartbeat(conn, worker, None, false, None, &Ranges::default()).await?;
    let mut wakes = Wakes::default();
    for dead in beat.dead {
        let more = workers::take_over(conn, dead).await?;
        wakes.add(more);
    }
    if beat.next_schedule.is_some_and(|due| due <= beat.now) {
        let (_, more) = schedules::fire(conn).await?;
        wakes.add(more);
    }
    Ok(wakes)
}

/// Claims up to `limit` executions. Returns (id, lease, JSON) of each.
pub async fn claim_executions(
    conn: &mut Conn,
    worker: Uuid,
    queues: &[String],
    limit: i32,
) -> Result<Vec<(Uuid, i64, Vec<u8>)>> {
    let request = ClaimRequest { queues: queues.to_vec(), limit, poison_suspect: true, ..ClaimRequest::default() };
    let mut reply = commit::commit_and_claim(conn, worker, &Batch::default(), Some(&request)).await?;
    if reply.claimed.is_empty() {
        // The worker may be unknown yet, and a heartbeat makes ready what has become due.
        introduce(conn, worker, "", queues).await?;
        workers::heartbeat(conn, worker, None, false, None, &Ranges::default()).await?;
        reply = commit::commit_and_claim(conn, worker, &Batch::default(), Some(&request)).await?;
    }
    reply.claimed.iter().map(|claimed| Ok((claimed.id, claimed.lease, claimed_json(claimed)?))).collect()
}

/// Writes outcomes under their leases; returns the ids that were refused because another worker has their lease, and whom to wake.
async fn write(
    conn: &mut Conn,
    worker: Uuid,
    fences: Vec<(Uuid, i64)>,
    outcomes: Vec<Outcome>,
) -> Result<(Vec<Uuid>, Wakes)> {
    let batch = Batch { fences, outcomes, ..Batch::default() };
    let reply = commit::commit_batch(conn, worker, &batch, None).await?;
    Ok((reply.refused, reply.wakes))
}

pub async fn complete_executions(
    conn: &mut Conn,
    worker: Uuid,
    items: &[(Uuid, i64, Vec<u8>)],
) -> Result<(Vec<Uuid>, Wakes)> {
    items.iter().try_for_each(|(_, _, result)| check_payload("result", result))?;
    let fences = items.iter().map(|(id, lease, _)| (*id, *lease)).collect();
    let outcomes =
        items.iter().map(|(id, _, result)| Outcome::new(*id, Action::Complete, Some(result.clone()))).collect();
    write(conn, worker, fences, outcomes).await
}

/// Writes failed attempts: (id, lease, error, whether it may be tried again). It is tried again, after the delay of its policy, while attempts
/// are left.
pub async fn fail_executions(
    conn: &mut Conn,
    worker: Uuid,
    items: &[(Uuid, i64, Vec<u8>, bool)],
    random: f64,
) -> Result<(Vec<Uuid>, Wakes)> {
    items.iter().try_for_each(|(_, _, error, _)| check_payload("error", error))?;
    let ids: Vec<Uuid> = items.iter().map(|item| item.0).collect();
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id, kind, attempt - worker_losses as "attempt!", options::text as options,
            currant.micros(clock_timestamp()) as "now!"
        from currant.executions where id = any($1)"#,
        &ids
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    let mut policies = HashMap::new();
    for row in rows {
        let options = Options::parse(kind(&row.kind)?, row.options.as_deref())?;
        policies.insert(row.id, (row.attempt, row.now, options.retry));
    }
    let due = |id: Uuid| {
        let (attempt, now, policy) = policies.get(&id).filter(|(attempt, _, policy)| *attempt < policy.max_attempts)?;
        Some(now + (retry_delay(policy, *attempt, random) * 1e6) as i64)
    };
    let outcomes = items.iter().map(|(id, _, error, again)| match Some(*id).filter(|_| *again).and_then(due) {
        Some(at) => Outcome { due: Some(at), ..Outcome::new(*id, Action::Retry, Some(error.clone())) },
        None => Outcome::new(*id, Action::Fail, Some(error.clone())),
    });
    let outcomes = outcomes.collect();
    let fences = items.iter().map(|(id, lease, _, _)| (*id, *lease)).collect();
    write(conn, worker, fences, outcomes).await
}

/// Gives up the leases of workflows that wait; one for which something has come meanwhile is ready at once.
pub async fn suspend_workflows(conn: &mut Conn, worker: Uuid, items: &[(Uuid, i64)]) -> Result<(Vec<Uuid>, Wakes)> {
    let outcomes = items.iter().map(|(id, _)| Outcome::new(*id, Action::Suspend, None)).collect();
    write(conn, worker, items.to_vec(), outcomes).await
}
