//! What a worker asks of the database. Every write under a lease goes through `commit_batch`, or its short form `commit_step`.
//!
//! The functions take a connection, so that a worker can keep one of its own for its writer.
use std::collections::HashMap;

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::base::calls::Calls;
use crate::base::error::{Error, Result};
use crate::base::types::{
    Batch, BatchReply, ClaimMarks, ClaimRequest, Claimed, Heartbeat, HistoryRow, HistorySource, Kind, Micros, NextStep,
    Policy, Snapshot, Wakes, WorkerInfo,
};
use crate::store::conn::{Conn, Scope};
use crate::store::executions;

/// Makes the worker known. Under the same id again it is alive again; what it held before stays lost. An earlier worker of the same
/// pod is declared dead, and what it ran is taken over: gives whom to wake.
pub async fn register(conn: &mut Conn, worker: &WorkerInfo) -> Result<Wakes> {
    let code = format!("{:x}", Md5::digest(format!("{} {}", worker.build, worker.functions)));
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(
        Wake,
        r#"select queue, worker_id, id from currant.register_worker($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
            $14)"#,
        worker.id,
        worker.name,
        worker.host,
        worker.pid,
        worker.build,
        &worker.queues,
        &worker.tasks,
        &worker.workflows,
        worker.concurrency,
        worker.timeout,
        worker.pod.pool,
        worker.pod.name,
        worker.pod.uid,
        code
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    declare_functions(conn, worker, &code).await?;
    Ok(wakes_of(rows))
}

/// A transaction of its own: those who start at the same time wait for each other's rows no longer than it takes.
async fn declare_functions(conn: &mut Conn, worker: &WorkerInfo, code: &str) -> Result<()> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(
        "select currant.declare_functions($1, $2, $3, $4::text::jsonb)",
        worker.id,
        code,
        worker.build,
        worker.functions
    );
    query.fetch_one(scope.conn()).await?;
    scope.done().await
}

/// Where notifications for this worker arrive: its own channel, and one for each of its queues (callers' transactions).
pub fn channels(worker: Uuid, queues: &[String]) -> Vec<String> {
    let own = format!("currant_w_{worker}");
    let lanes = queues.iter().map(|queue| format!("currant_q_{:x}", Md5::digest(queue)));
    std::iter::once(own).chain(lanes).collect()
}

/// One row `currant.claimed` as a `Claimed`: sqlx makes a type of its own for each query.
macro_rules! claimed {
    ($row:expr) => {{
        let row = $row;
        Claimed {
            id: there(row.id)?,
            lease: there(row.lease)?,
            kind: kind(there(row.kind)?.as_str())?,
            function: there(row.function)?,
            queue: there(row.queue)?,
            priority: there(row.priority)?,
            attempt: there(row.attempt)?,
            worker_losses: there(row.worker_losses)?,
            args: there(row.args)?,
            timeout: row.timeout,
            deadline: row.deadline,
            policy: Policy {
                max_attempts: there(row.max_attempts)?,
                initial: there(row.retry_initial)?,
                multiplier: there(row.retry_multiplier)?,
                max_delay: there(row.retry_max_delay)?,
                jitter: there(row.retry_jitter)?,
                non_retryable: row.non_retryable.unwrap_or_default(),
                max_worker_losses: there(row.max_worker_losses)?,
            },
            parent: row.parent_id,
            step_key: row.step_key,
            root: there(row.root_id)?,
            epoch: there(row.epoch)?,
            wakes: there(row.wakes)?,
            started: there(row.started)?,
            fresh: there(row.fresh)?,
            isolated: there(row.isolated)?,
            headers: None,
            ready_xid: there(row.ready_xid)?,
        }
    }};
}

/// The values of one array parameter.
fn column<'a, T, U>(items: &'a [T], value: impl Fn(&'a T) -> U) -> Vec<U> {
    items.iter().map(value).collect()
}

/// Writes a batch and claims, in one statement and transaction. The same batch may be written again when its reply was lost.
///
/// Long because `currant.commit_batch` takes its rows as arrays, one a column; there is nothing to it but the order.
pub async fn commit_batch(
    conn: &mut Conn,
    worker: Uuid,
    batch: &Batch,
    claim: Option<&ClaimRequest>,
) -> Result<BatchReply> {
    let Batch {
        fences,
        parents,
        children,
        steps,
        step_outcomes,
        deliveries,
        outcomes,
        abandoned,
        progressed,
        headers: _,
    } = batch;
    let calls = Calls::of(children.iter().map(|child| (&child.call, None)));
    let headers = headers_to_write(batch);
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let rows = sqlx::query!(
        r#"select tag as "tag!", queue_name, worker_id, ref as reference,
            id, lease, kind, function, queue, priority, attempt, worker_losses, args, timeout, deadline, max_attempts, retry_initial,
            retry_multiplier, retry_max_delay, retry_jitter, non_retryable, max_worker_losses, parent_id, step_key, root_id, epoch, wakes, started, fresh,
            isolated, ready_xid
        from currant.commit_batch(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44,
            $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64, $65,
            $66, $67, $68, $69)"#,
        worker,
        &column(fences, |f| f.0),
        &column(fences, |f| f.1),
        parents,
        // c_
        &column(children, |c| c.run),
        &column(children, |c| c.id),
        &column(children, |c| c.root),
        column(children, |c| c.parent) as _,
        &column(children, |c| c.epoch),
        column(children, |c| c.key.as_str()) as _,
        &column(children, |c| c.after_seq),
        column(children, |c| c.call.args.as_slice()) as _,
        column(children, |c| c.run_at) as _,
        &column(children, |c| c.eager),
        &calls.places,
        // k_
        calls.column(|call| call.kind.as_str()) as _,
        calls.column(|call| call.function.as_str()) as _,
        calls.column(|call| call.queue.as_str()) as _,
        &calls.column(|call| call.priority),
        &calls.column(|call| call.policy.max_attempts),
        &calls.column(|call| call.policy.initial),
        &calls.column(|call| call.policy.multiplier),
        &calls.column(|call| call.policy.max_delay),
        &calls.column(|call| call.policy.jitter),
        &calls.column(|call| call.policy.names_as_json()),
        &calls.column(|call| call.policy.max_worker_losses),
        calls.column(|call| call.timeout) as _,
        &calls.column(|call| call.given),
        // s_
        &column(steps, |s| s.run),
        &column(steps, |s| s.epoch),
        column(steps, |s| s.key.as_str()) as _,
        column(steps, |s| s.kind) as _,
        column(steps, |s| s.name.as_str()) as _,
        column(steps, |s| s.due) as _,
        &column(steps, |s| s.after_seq),
        column(steps, |s| s.status) as _,
        column(steps, |s| s.payload.as_deref()) as _,
        column(steps, |s| s.seq) as _,
        column(steps, |s| s.clock) as _,
        // d_
        &column(step_outcomes, |d| d.run),
        &column(step_outcomes, |d| d.epoch),
        column(step_outcomes, |d| d.key.as_str()) as _,
        column(step_outcomes, |d| d.status) as _,
        column(step_outcomes, |d| d.payload.as_deref()) as _,
        &column(step_outcomes, |d| d.seq),
        &column(step_outcomes, |d| d.clock),
        column(step_outcomes, |d| d.ordinal) as _,
        // v_
        &column(deliveries, |v| v.run),
        &column(deliveries, |v| v.id),
        &column(deliveries, |v| v.seq),
        &column(deliveries, |v| v.clock),
        // o_
        &column(outcomes, |o| o.id),
        column(outcomes, |o| o.action.as_str()) as _,
        column(outcomes, |o| o.payload.as_deref()) as _,
        column(outcomes, |o| o.due) as _,
        column(outcomes, |o| o.wakes) as _,
        column(outcomes, |o| o.delivered.map(|d| d.0)) as _,
        column(outcomes, |o| o.delivered.map(|d| d.1)) as _,
        column(outcomes, |o| o.delivered.map(|d| d.2)) as _,
        &column(outcomes, |o| o.of_task),
        // x_
        &column(abandoned, |x| x.run),
        &column(abandoned, |x| x.epoch),
        column(abandoned, |x| x.key.as_str()) as _,
        &column(abandoned, |x| x.seq),
        &column(abandoned, |x| x.abandon),
        // p_
        progressed,
        // q_
        claim.map_or(&[] as &[String], |q| &q.queues),
        claim.map_or(0, |q| q.limit),
        claim.is_some_and(|q| q.isolated)
    )
    .fetch_all(scope.conn())
    .await?;

    let mut reply = BatchReply::default();
    for row in rows {
        match row.tag.as_str() {
            "refused" => reply.refused.extend(row.reference),
            "postponed" => reply.postponed.extend(row.reference),
            "claimed" => reply.claimed.push(claimed!(row)),
            "since" => reply.wakes.since = row.lease,
            "slow" => reply.slow = row.lease,
            _ => add_wake(&mut reply.wakes, row.queue_name, row.worker_id, row.reference),
        }
    }
    let ours: Vec<_> = headers.into_iter().filter(|(run, ..)| !reply.refused.contains(run)).collect();
    executions::write_headers(&mut scope, &column(&ours, |(_, id, headers)| (*id, *headers))).await?;
    if claim.is_some_and(|claim| claim.headers) {
        read_headers(&mut scope, &mut reply.claimed).await?;
    }
    scope.done().await?;
    Ok(reply)
}

/// (run under whose lease they are written, execution, headers)
fn headers_to_write(batch: &Batch) -> Vec<(Uuid, Uuid, &str)> {
    let own = batch.headers.iter().map(|(id, headers)| (*id, *id, headers.as_str()));
    let children = batch.children.iter().filter_map(|c| Some((c.run, c.id, c.call.headers.as_deref()?)));
    own.chain(children).collect()
}

/// The trace contexts of what has just been claimed.
async fn read_headers(scope: &mut Scope<'_>, claimed: &mut [Claimed]) -> Result<()> {
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

/// As `commit_batch`, by whatever is quickest: a run that goes one step further and an idle worker's claim have functions of their own. A
/// claim with marks is a transaction of its own after the batch.
pub async fn commit_and_claim(
    conn: &mut Conn,
    worker: Uuid,
    batch: &Batch,
    claim: Option<&ClaimRequest>,
) -> Result<BatchReply> {
    if claim.is_none()
        && let Some(step) = batch.as_next_step()
        && commit_step(conn, worker, step).await?
    {
        return Ok(BatchReply::default());
    }
    let marks = claim.and_then(|claim| claim.marks.as_ref());
    match (claim, marks, *batch == Batch::default()) {
        (Some(request), None, true) => claim_ready(conn, worker, request).await,
        (Some(request), Some(marks), idle) => {
            let mut reply = BatchReply::default();
            if !idle {
                reply = commit_batch(conn, worker, batch, None).await?;
            }
            match claim_by_marks(conn, worker, request, marks).await {
                Ok((snapshot, claimed)) => (reply.snapshot, reply.claimed) = (Some(snapshot), claimed),
                Err(error) if idle => return Err(error),
                // What the batch has written is answered for: written again, it would wake nobody.
                Err(_) => reply.unclaimed = true,
            }
            Ok(reply)
        }
        _ => commit_batch(conn, worker, batch, claim).await,
    }
}

/// As a batch with nothing to write, whose many arrays would take as long as the claim of an idle worker.
async fn claim_ready(conn: &mut Conn, worker: Uuid, request: &ClaimRequest) -> Result<BatchReply> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id, lease, kind, function, queue, priority, attempt, worker_losses, args, timeout, deadline, max_attempts,
            retry_initial, retry_multiplier, retry_max_delay, retry_jitter, non_retryable, max_worker_losses, parent_id, step_key,
            root_id, epoch, wakes,
            started, fresh, isolated, ready_xid
        from currant.claim_ready($1, $2, $3, $4)"#,
        worker,
        &request.queues,
        request.limit,
        request.isolated
    )
    .fetch_all(scope.conn())
    .await?;
    let mut reply = BatchReply::default();
    for row in rows {
        match row.id {
            None => reply.slow = row.lease,
            Some(_) => reply.claimed.push(claimed!(row)),
        }
    }
    if request.headers {
        read_headers(&mut scope, &mut reply.claimed).await?;
    }
    scope.done().await?;
    Ok(reply)
}

/// False: it is not written, and is for `commit_batch`.
async fn commit_step(conn: &mut Conn, worker: Uuid, step: NextStep<'_>) -> Result<bool> {
    let NextStep { run, seq, clock, ended, completed, payload, child } = step;
    let call = &child.call;
    let mut scope = conn.run().await?;
    let written = sqlx::query_scalar!(
        r#"select currant.commit_step(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
            $26) as "written!""#,
        worker,
        run.0,
        run.1,
        seq,
        clock,
        ended.0,
        ended.1,
        completed,
        payload,
        child.id,
        child.root,
        child.epoch,
        child.key,
        call.args,
        call.function,
        call.queue,
        call.priority,
        call.policy.max_attempts,
        call.policy.initial,
        call.policy.multiplier,
        call.policy.max_delay,
        call.policy.jitter,
        call.policy.names_as_json(),
        call.policy.max_worker_losses,
        call.timeout,
        call.given
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    Ok(written)
}

async fn claim_by_marks(
    conn: &mut Conn,
    worker: Uuid,
    request: &ClaimRequest,
    marks: &ClaimMarks,
) -> Result<(Snapshot, Vec<Claimed>)> {
    let mut scope = conn.run().await?;
    // Before the claim: what it does not see is looked at again.
    let snapshot = snapshot(&mut scope).await?;
    let rows = sqlx::query!(
        r#"select id, lease, kind, function, queue, priority, attempt, worker_losses, args, timeout, deadline, max_attempts,
            retry_initial, retry_multiplier, retry_max_delay, retry_jitter, non_retryable, max_worker_losses, parent_id, step_key,
            root_id, epoch, wakes,
            started, fresh, isolated, ready_xid
        from currant.claim($1, $2, $3, $4, $5, $6, $7, $8)"#,
        worker,
        &request.queues,
        request.limit,
        request.isolated,
        &marks.xids,
        &marks.ids,
        &column(&marks.open, |open| open.0),
        &column(&marks.open, |open| open.1)
    )
    .fetch_all(scope.conn())
    .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in rows {
        claimed.push(claimed!(row));
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

/// Whom to wake, as the functions give it that end workers.
pub(crate) struct Wake {
    pub queue: Option<String>,
    pub worker_id: Option<Uuid>,
    pub id: Option<Uuid>,
}

pub(crate) fn wakes_of(rows: Vec<Wake>) -> Wakes {
    let mut wakes = Wakes::default();
    for row in rows {
        add_wake(&mut wakes, row.queue, row.worker_id, row.id);
    }
    wakes
}

fn add_wake(wakes: &mut Wakes, queue: Option<String>, worker: Option<Uuid>, execution: Option<Uuid>) {
    match (worker, execution) {
        (Some(worker), Some(execution)) => wakes.workers.push((worker, execution)),
        _ => wakes.queues.extend(queue.filter(|queue| !wakes.queues.contains(queue))),
    }
}

/// What a column of the answer must hold; sqlx cannot know that a function's column is never null.
fn there<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::SchemaMismatch("the database answers in an unknown form: run `currant migrate`".into()))
}

pub(crate) fn kind(text: &str) -> Result<Kind> {
    match text {
        "task" => Ok(Kind::Task),
        "workflow" => Ok(Kind::Workflow),
        _ => Err(Error::SchemaMismatch(format!("unknown kind of execution {text}: install a newer Currant"))),
    }
}

/// The second statement after a commit (rule e): tells whoever sleeps past what is there now.
pub async fn wake(conn: &mut Conn, wakes: &Wakes) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!(
        "select currant.wake($1, $2, $3, $4)",
        &wakes.queues,
        &column(&wakes.workers, |w| w.0),
        &column(&wakes.workers, |w| w.1),
        wakes.since
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await
}

/// The history of runs in one snapshot; with `news` only what was not delivered yet. Each run's `Run` row comes first of its rows.
pub async fn load_runs(conn: &mut Conn, ids: &[Uuid], news: bool) -> Result<Vec<HistoryRow>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select run_id as "run_id!", source as "source!", key as "key!", kind as "kind!", name as "name!", id, status, payload,
            seq, clock, due, ordinal, abandoned as "abandoned!", lease, asked
        from currant.load_runs($1, $2)"#,
        ids,
        news
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;

    let mut history = Vec::with_capacity(rows.len());
    for row in rows {
        let delivered = row.seq.zip(row.clock);
        let status = row.status;
        let source = match row.source.as_str() {
            "run" => HistorySource::Run {
                wakes: there(row.ordinal)?,
                lease: there(row.lease)?,
                deadline: row.due,
                cancel_requested: status.is_some(),
            },
            "child" => HistorySource::Child {
                key: row.key,
                kind: kind(&row.kind)?,
                function: row.name,
                id: there(row.id)?,
                lease: there(row.lease)?,
                args: row.asked.unwrap_or_default(),
                outcome: status.map(|status| (status, row.payload.unwrap_or_default())),
                delivered,
                abandoned: row.abandoned,
            },
            "step" => HistorySource::Step {
                key: row.key,
                kind: row.kind,
                name: row.name,
                request: row.asked,
                outcome: status.map(|status| (status, row.payload.unwrap_or_default())),
                delivered,
                due: row.due,
                abandoned: row.abandoned,
            },
            _ => HistorySource::Signal {
                name: row.name,
                ordinal: there(row.ordinal)?,
                payload: row.payload.unwrap_or_default(),
            },
        };
        history.push(HistoryRow { run: row.run_id, source });
    }
    Ok(history)
}

/// Says that the worker lives and looks for work. To sleep without missing any (rule e): commit `sleep(until)` first, then call this
/// with the same `sleep_until`, and sleep only if nothing is ready. One statement cannot do both: its flag is not seen before it commits.
/// With `about` it tells only of these executions, and does not peek for what is simply ready: for a worker that claims by marks.
pub async fn heartbeat(
    conn: &mut Conn,
    worker: Uuid,
    sleep_until: Option<Micros>,
    draining: bool,
    about: Option<&[Uuid]>,
) -> Result<Heartbeat> {
    let mut scope = conn.run().await?;
    let row = sqlx::query!(
        r#"select known as "known!", now_micros as "now!", ready as "ready!", next_due, dead as "dead!", ids as "ids!",
            leases as "leases!", wakes as "wakes!", next_schedule, sweep_due as "sweep_due!", drain as "drain!"
        from currant.heartbeat($1, $2, $3, $4)"#,
        worker,
        sleep_until,
        draining,
        about as _
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    let running = row.ids.into_iter().zip(row.leases).zip(row.wakes).map(|((id, lease), wakes)| (id, lease, wakes));
    Ok(Heartbeat {
        known: row.known,
        now: row.now,
        ready: row.ready,
        next_due: row.next_due,
        dead: row.dead,
        next_schedule: row.next_schedule,
        sweep_due: row.sweep_due,
        drain: row.drain,
        running: running.collect(),
    })
}

/// For how many seconds these were ready before they were claimed. One that was handed on since has no answer.
pub async fn pick_ups(conn: &mut Conn, ids: &[Uuid]) -> Result<Vec<f64>> {
    let mut scope = conn.run().await?;
    let waits = sqlx::query_scalar!(
        r#"select extract(epoch from e.attempt_at - e.ready_at)::double precision as "seconds!"
        from currant.executions e where e.id = any ($1) and e.attempt_at >= e.ready_at"#,
        ids
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    Ok(waits)
}

/// Takes over what a worker was running whose heartbeat is overdue; one that is not, or is taken over already, is left alone.
pub async fn take_over(conn: &mut Conn, dead: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(Wake, r#"select queue, worker_id, id from currant.take_over($1)"#, dead)
        .fetch_all(scope.conn())
        .await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}

/// On which of these executions' rows somebody holds a lock at this moment; of `ending` ones, also on a row of an unfinished child.
pub async fn locked(conn: &mut Conn, ids: &[Uuid], ending: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select id as "id!" from currant.locked_rows($1, $2) id"#, ids, ending);
    let found = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(found)
}

/// Commits until when the worker means to sleep; None: it is awake.
pub async fn sleep(conn: &mut Conn, worker: Uuid, until: Option<Micros>) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!("select currant.sleep_worker($1, $2)", worker, until).fetch_one(scope.conn()).await?;
    scope.done().await
}

/// The good-bye of a worker. What it still holds goes back and costs no attempt, but for tasks that may not be started twice.
pub async fn stop_worker(conn: &mut Conn, worker: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(Wake, r#"select queue, worker_id, id from currant.stop_worker($1)"#, worker)
        .fetch_all(scope.conn())
        .await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}
