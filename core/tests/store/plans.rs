//! Plans stay by index whatever the tables hold: empty, small or large, analyzed or not, and planned when they held something else.
use crate::support::*;
use currant::base::types::*;
use currant::store::control;
use currant::store::control::send_signal;
use currant::store::enqueue;
use currant::store::history;
use currant::store::notify;
use currant::store::read;
use currant::store::workers;

const MOST_ROWS: i64 = 400;
const MOST_PAGES: i64 = 2_000;
const READ: &str = "select sum(seq_tup_read + idx_tup_fetch) from pg_stat_xact_all_tables where schemaname = 'currant'";
const PAGES: &str = "select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)
    from pg_statio_all_tables where schemaname = 'currant'";

/// So many of each kind that tables gather: ended, ready in another queue, due later, running elsewhere; workflows that wait, each with a
/// child, a signal and a step.
fn filling(count: i64) -> String {
    let rows = |kind: &str, columns: &str, values: &str| {
        format!(
            "insert into currant.executions (id, root_id, kind, function, queue, args, state, {columns})
             select i, i, '{kind}', 'f.{kind}', 'q', '', {values} from (select currant.new_id() i from generate_series(1, {count})) s;"
        )
    };
    let busy = uuid::Uuid::now_v7();
    [
        rows("task", "finished_at, result", "'completed', now(), ''"),
        rows("task", "run_at", "'pending', now() + interval '1 hour'"),
        rows("task", "worker_id, lease, claim_xid", &format!("'running', '{busy}', 1, 1")),
        rows("workflow", "started_at, suspended_at", "'suspended', now(), now()"),
    ]
    .concat()
        + "insert into currant.executions (id, root_id, parent_id, parent_epoch, step_key, kind, function, queue, args, ready_xid)
           select currant.new_id(), e.id, e.id, 0, 'a', 'task', 'f.task', 'other', '', currant.xid() from currant.executions e where e.started_at = now();
           insert into currant.claims as c (worker_id, xid, executions, unended)
           select e.worker_id, 1, array_agg(e.id), count(*) from currant.executions e where e.claim_xid = 1 group by e.worker_id
           on conflict (worker_id, xid) do update set executions = excluded.executions;
           insert into currant.signals (execution_id, ordinal, name, payload)
           select e.id, 1, 's', '' from currant.executions e where e.started_at = now();
           insert into currant.idempotency_keys (function, key, execution_id)
           select 'f.task', e.id::text, e.id from currant.executions e where e.started_at = now();
           insert into currant.steps (execution_id, epoch, key, kind, after_seq)
           select e.id, 0, 'b', 'timer', 0 from currant.executions e where e.started_at = now();"
}

/// A task and a workflow with children and a signal from enqueue to end, a dead worker, cancels, a retry: what is repeated all day.
async fn a_life(conn: &mut Conn) {
    let (me, dead) = (register(conn, &["life"]).await, register(conn, &["life"]).await);
    let task = enqueue(conn, Kind::Task, "life").await;
    let claimed = claim_one(conn, me, "life").await;
    complete(conn, me, &claimed).await;
    assert_eq!(state(conn, task).await, "completed");

    let id = enqueue(conn, Kind::Workflow, "life").await;
    claim_one(conn, dead, "life").await;
    silence(conn, dead).await;
    assert_eq!(workers::heartbeat(conn, me, None, false, None, &Ranges::default()).await.unwrap().dead, [dead]);
    workers::take_over(conn, dead).await.unwrap();
    let run = claim_one(conn, me, "life").await;
    let children =
        vec![child(&run, "0", call(Kind::Task, "life"), true), child(&run, "1", call(Kind::Task, "life"), false)];
    commit(conn, me, &starts(&run, children)).await;
    commit(conn, me, &suspends(&run, 0, None)).await;
    for step in claim(conn, me, &["life"], 10).await {
        let wakes = complete(conn, me, &step).await;
        notify::wake(conn, &wakes).await.unwrap();
    }
    send_signal(conn, id, "approved", b"1", None).await.unwrap();
    let again = claim_one(conn, me, "life").await;
    assert_eq!(again.id, id);
    history::load_runs(conn, &[id], false).await.unwrap();
    history::load_runs(conn, &[id], true).await.unwrap();
    commit(conn, me, &ends(&again, Action::Complete, Some("1"))).await;
    assert_eq!(state(conn, id).await, "completed");

    read::statuses(conn, &[id, task], &[id]).await.unwrap();
    read::get_execution(conn, id).await.unwrap();

    let unwanted = enqueue(conn, Kind::Task, "life").await;
    control::cancel(conn, unwanted, false).await.unwrap();
    control::retry(conn, unwanted).await.unwrap();
    control::cancel(conn, unwanted, true).await.unwrap();
    let keyed = NewExecution { idempotency_key: Some("once".into()), ..new(call(Kind::Task, "life")) };
    for _ in 0..2 {
        enqueue::create_executions(conn, std::slice::from_ref(&keyed)).await.unwrap();
    }
    let many = [0; 3].map(|_| new(call(Kind::Task, "aside")));
    enqueue::create_executions(conn, &many).await.unwrap();
    workers::heartbeat(conn, me, None, false, Some(&[id]), &Ranges::default()).await.unwrap();
    workers::stop_worker(conn, me).await.unwrap();
}

/// Rows that a life reads in this session, whose transaction is rolled back: each time finds the same.
async fn rows_of_a_life(conn: &mut Conn) -> i64 {
    run(conn, "begin".into()).await;
    let before: i64 = text(conn, READ).await.parse().unwrap();
    a_life(conn).await;
    let after: i64 = text(conn, READ).await.parse().unwrap();
    run(conn, "rollback".into()).await;
    after - before
}

/// A session counts what it reads in memory, and writes that down a second later or at its end.
async fn flush_statistics(conn: &mut Conn) {
    run(conn, "select pg_stat_force_next_flush()".into()).await;
    run(conn, "select 1".into()).await;
}

async fn pages_of_a_life(database: &Database) -> i64 {
    let mut watch = database.connect().await;
    let before: i64 = text(&mut watch, PAGES).await.parse().unwrap();
    let mut conn = database.connect().await;
    a_life(&mut conn).await;
    flush_statistics(&mut conn).await;
    text(&mut watch, PAGES).await.parse::<i64>().unwrap() - before
}

#[tokio::test]
async fn what_a_worker_repeats_reads_as_little_in_a_large_table_as_in_an_empty_one() {
    let database = Database::new().await;
    // Its plans are made while there is nothing, and kept: plpgsql and sqlx both keep them for the session.
    let mut early = database.connect().await;
    // It would analyze in between, or not.
    for table in ["executions", "steps", "signals", "idempotency_keys"] {
        run(&mut early, format!("alter table currant.{table} set (autovacuum_enabled = false)")).await;
    }
    for _ in 0..8 {
        rows_of_a_life(&mut early).await;
    }
    let mut sizes = Vec::new();
    for (count, analyzed) in
        [(0, false), (50, false), (50, true), (1_000, false), (1_000, true), (10_000, false), (10_000, true)]
    {
        if analyzed {
            run(&mut early, "analyze".into()).await;
        } else if count > 0 {
            run(&mut early, filling(count)).await;
        }
        let mut fresh = database.connect().await;
        for (name, conn) in [("planned when empty", &mut early), ("planned now", &mut fresh)] {
            for _ in 0..7 {
                rows_of_a_life(conn).await; // five plans for values, then perhaps one for all
            }
            sizes.push((count, analyzed, name, rows_of_a_life(conn).await));
            flush_statistics(conn).await;
        }
    }
    for size in &sizes {
        let most = if size.0 == 50 { 5 * MOST_ROWS } else { MOST_ROWS }; // a few pages may be read whole
        assert!(size.3 < most, "rows read: {sizes:?}");
    }
    // The lives that were rolled back left dead rows, and how many of them a scan meets differs from time to time.
    run(
        &mut early,
        "vacuum currant.executions, currant.steps, currant.signals, currant.idempotency_keys, currant.workers, currant.claims".into(),
    )
    .await;
    flush_statistics(&mut early).await;
    let pages = pages_of_a_life(&database).await;
    assert!(pages < MOST_PAGES, "{pages} pages in the large table");
}
