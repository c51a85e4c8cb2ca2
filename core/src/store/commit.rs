//! A worker's writes. Every write under a lease goes through `commit_batch`, or its short form `commit_step`.
use uuid::Uuid;

use crate::base::calls::Calls;
use crate::base::error::Result;
use crate::base::types::{Batch, BatchReply, ClaimRequest, Claimed, LastOptions, Look, NextStep, Ranges, Status};
use crate::store::claim::{self, claimed, looked, read_headers};
use crate::store::columns::{column, kind, there};
use crate::store::conn::Conn;
use crate::store::enqueue::write_headers;
use crate::store::notify::add_wake;

/// Writes a batch, and claims executions, in one statement and transaction. Writing the same batch again after its reply was lost does no harm.
///
/// The function is long because `currant.commit_batch` takes its rows as arrays, one array for each column, by name.
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
    let (options, given) = calls.options();
    let headers = headers_to_write(batch);
    let none = Ranges::default();
    let ranges = claim.map_or(&none, |claim| &claim.ranges);
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let rows = sqlx::query!(
        r#"select tag as "tag!", queue_name, worker_id, ref as reference,
            id, lease, kind, function, queue, priority, attempt, worker_losses, args, options, deadline, parent_id, step_key, root_id,
            epoch, wakes, started, fresh, poison_suspect, ready_xid
        from currant.commit_batch(
            p_worker => $1, f_ids => $2, f_leases => $3, f_parents => $4, c_runs => $5, c_ids => $6, c_roots => $7,
            c_parents => $8, c_epochs => $9, c_keys => $10, c_after => $11, c_args => $12, c_run_ats => $13, c_eager => $14,
            c_calls => $15, k_kinds => $16, k_functions => $17, k_queues => $18, k_priorities => $19, k_options => $20,
            k_given => $21, s_runs => $22, s_epochs => $23, s_keys => $24, s_kinds => $25, s_names => $26, s_dues => $27,
            s_after => $28, s_statuses => $29, s_payloads => $30, s_seqs => $31, s_clocks => $32, d_runs => $33,
            d_epochs => $34, d_keys => $35, d_statuses => $36, d_payloads => $37, d_seqs => $38, d_clocks => $39,
            d_ordinals => $40, v_runs => $41, v_ids => $42, v_seqs => $43, v_clocks => $44, o_ids => $45, o_actions => $46,
            o_payloads => $47, o_dues => $48, o_wakes => $49, o_runs => $50, o_seqs => $51, o_clocks => $52, o_tasks => $53,
            x_runs => $54, x_epochs => $55, x_keys => $56, x_seqs => $57, x_abandon => $58, p_ids => $59, q_queues => $60,
            q_limit => $61, q_poison_suspect => $62, l_ends => $63, r_tops => $64, r_bottoms => $65, r_from => $66, r_to => $67,
            q_look => $68)"#,
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
        options as _,
        &given,
        // s_
        &column(steps, |s| s.run),
        &column(steps, |s| s.epoch),
        column(steps, |s| s.key.as_str()) as _,
        column(steps, |s| s.kind.as_str()) as _,
        column(steps, |s| s.name.as_str()) as _,
        column(steps, |s| s.due) as _,
        &column(steps, |s| s.after_seq),
        column(steps, |s| s.status.map(Status::as_str)) as _,
        column(steps, |s| s.payload.as_deref()) as _,
        column(steps, |s| s.seq) as _,
        column(steps, |s| s.clock) as _,
        // d_
        &column(step_outcomes, |d| d.run),
        &column(step_outcomes, |d| d.epoch),
        column(step_outcomes, |d| d.key.as_str()) as _,
        column(step_outcomes, |d| d.status.as_str()) as _,
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
        claim.is_some_and(|q| q.poison_suspect),
        &ranges.ends,
        &column(&ranges.ranges, |r| r.top),
        &column(&ranges.ranges, |r| r.bottom),
        &column(&ranges.ranges, |r| r.from),
        &column(&ranges.ranges, |r| r.to),
        claim.is_some_and(|q| q.look)
    )
    .fetch_all(scope.conn())
    .await?;

    let mut reply = BatchReply::default();
    let mut read = LastOptions::NONE;
    for row in rows {
        match row.tag.as_str() {
            "refused" => reply.refused.extend(row.reference),
            "postponed" => reply.postponed.extend(row.reference),
            "claimed" => reply.claimed.push(claimed!(row, read)),
            "since" => reply.wakes.since = row.lease,
            "range" => looked!(row, reply),
            "slow" => reply.slow = row.lease,
            _ => add_wake(&mut reply.wakes, row.queue_name, row.worker_id, row.reference),
        }
    }
    let ours: Vec<_> = headers.into_iter().filter(|(run, ..)| !reply.refused.contains(run)).collect();
    write_headers(&mut scope, &column(&ours, |(_, id, headers)| (*id, *headers))).await?;
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

/// As `commit_batch`, by whatever is quickest: a run that goes one step further and an idle worker's claim have functions of their own.
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
    match claim {
        Some(request) if *batch == Batch::default() => claim::claim(conn, worker, request).await,
        _ => commit_batch(conn, worker, batch, claim).await,
    }
}

/// Writes one step. Returns false if it did not, and `commit_batch` is to do it.
async fn commit_step(conn: &mut Conn, worker: Uuid, step: NextStep<'_>) -> Result<bool> {
    let NextStep { run, seq, clock, ended, completed, payload, child } = step;
    let call = &child.call;
    let mut scope = conn.run().await?;
    let written = sqlx::query_scalar!(
        r#"select currant.commit_step(
            p_worker => $1, p_run => $2, p_lease => $3, p_seq => $4, p_clock => $5, d_id => $6, d_lease => $7, d_completed => $8,
            d_payload => $9, c_id => $10, c_root => $11, c_epoch => $12, c_key => $13, c_args => $14, c_function => $15,
            c_queue => $16, c_priority => $17, c_options => $18, c_given => $19) as "written!""#,
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
        call.options.stored(call.kind),
        call.given.join(",")
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    Ok(written)
}

/// The executions on whose rows somebody has a lock at this moment; for those in `ending`, also on the row of an unfinished child.
pub async fn locked(conn: &mut Conn, ids: &[Uuid], ending: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select id as "id!" from currant.locked_rows($1, $2) id"#, ids, ending);
    let found = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(found)
}
