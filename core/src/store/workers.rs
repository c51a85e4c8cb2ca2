//! The life of a worker: registration, heartbeats, take-over, stop.
use md5::{Digest, Md5};
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::{Heartbeat, Micros, Ranges, Wakes, WorkerInfo};
use crate::store::columns::column;
use crate::store::conn::Conn;
use crate::store::notify::{Wake, wakes_of};

/// Makes the worker known. A worker that comes again under the same id is alive again; what it had before stays lost. An earlier worker of the same
/// pod is declared dead, and what it ran is taken over: returns whom to wake.
pub async fn register(conn: &mut Conn, worker: &WorkerInfo) -> Result<Wakes> {
    let code = format!("{:x}", Md5::digest(format!("{} {}", worker.build, worker.functions)));
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(
        Wake,
        r#"select queue, worker_id, id from currant.register_worker(
            p_id => $1, p_name => $2, p_host => $3, p_pid => $4, p_build => $5, p_queues => $6, p_tasks => $7, p_workflows => $8,
            p_concurrency => $9, p_timeout => $10, p_pool => $11, p_pod_name => $12, p_pod_uid => $13, p_code => $14)"#,
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

/// Runs in a transaction of its own: workers that start at the same time wait for each other's rows no longer than that takes.
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

/// Records that the worker is alive, and looks for work. To sleep without missing any work (rule e) call this twice with the same
/// `sleep_until`, and sleep only if the second answer says that nothing is ready. One statement cannot do both: its flag is not seen before it commits.
/// With `about` the answer is only about these executions. `ranges`: where something can be ready.
pub async fn heartbeat(
    conn: &mut Conn,
    worker: Uuid,
    sleep_until: Option<Micros>,
    draining: bool,
    about: Option<&[Uuid]>,
    ranges: &Ranges,
) -> Result<Heartbeat> {
    let mut scope = conn.run().await?;
    let row = sqlx::query!(
        r#"select known as "known!", now_micros as "now!", ready as "ready!", next_due, dead as "dead!", ids as "ids!",
            leases as "leases!", wakes as "wakes!", next_schedule, sweep_due as "sweep_due!", drain as "drain!"
        from currant.heartbeat($1, $2, $3, $4, $5, $6, $7, $8, $9)"#,
        worker,
        sleep_until,
        draining,
        about as _,
        &ranges.ends,
        &column(&ranges.ranges, |r| r.top),
        &column(&ranges.ranges, |r| r.bottom),
        &column(&ranges.ranges, |r| r.from),
        &column(&ranges.ranges, |r| r.to)
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

/// Takes over what a worker was running whose heartbeat is overdue. A worker that is not overdue, or is taken over already, is left alone.
pub async fn take_over(conn: &mut Conn, dead: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(Wake, r#"select queue, worker_id, id from currant.take_over($1)"#, dead)
        .fetch_all(scope.conn())
        .await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}

/// Records that a worker has stopped. What it still has goes back and costs no attempt, except tasks that may not be started twice.
pub async fn stop_worker(conn: &mut Conn, worker: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(Wake, r#"select queue, worker_id, id from currant.stop_worker($1)"#, worker)
        .fetch_all(scope.conn())
        .await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}
