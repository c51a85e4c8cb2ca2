//! How a fleet stands: what an operator sizes it by.
mod support;
use currant::definitions;
use currant::executions::create_executions;
use currant::fleet::{end_workers, fleet};
use currant::types::*;
use currant::worker;
use serde_json::{Value, json};
use support::*;

async fn ask(conn: &mut sqlx::PgConnection, pools: Value) -> Value {
    serde_json::from_slice(&fleet(conn, &pools.to_string()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_pool_counts_what_is_ready_due_and_running_in_all_its_queues() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["a"]).await;
    for queue in ["a", "a", "a", "b", "c"] {
        enqueue(&mut conn, Kind::Task, queue).await;
    }
    create_executions(&mut conn, &[new(Call { delay: Some(60.0), ..call(Kind::Task, "b") })]).await.unwrap();
    claim_one(&mut conn, me, "a").await;
    run(&mut conn, "update currant.executions set isolated = true where id = (select min(id::text)::uuid from currant.executions where state = 'pending')".into()).await;
    let low = new(Call { priority: 0, ..call(Kind::Task, "b") });
    create_executions(&mut conn, std::slice::from_ref(&low)).await.unwrap();
    run(
        &mut conn,
        format!("update currant.executions set ready_at = now() - interval '90 seconds' where id = '{}'", low.id),
    )
    .await;

    let pools = json!([{"key": "n/ab", "queues": ["a", "b", "a"]}, {"key": "n/none", "queues": ["z"]}]);
    let answer = ask(&mut conn, pools).await;
    let depth = &answer["pools"]["n/ab"];
    assert_eq!((&depth["ready"], &depth["due"], &depth["running"]), (&json!(4), &json!(1), &json!(1)));
    assert!((90.0..200.0).contains(&depth["oldest_ready_seconds"].as_f64().unwrap()), "{depth}");
    let empty = json!({"ready": 0, "due": 0, "running": 0, "oldest_ready_seconds": 0});
    assert_eq!(answer["pools"]["n/none"], empty);
    assert_eq!(answer["schema_version"], currant::db::SCHEMA_VERSION);
}

#[tokio::test]
async fn it_tells_of_every_live_worker_where_it_is_what_it_serves_and_how_busy_it_is() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let pod = Pod { pool: Some("shop/orders".into()), name: Some("orders-1".into()), uid: Some("u1".into()) };
    let here = WorkerInfo { pod, ..info(&["q"]) };
    worker::register(&mut conn, &here).await.unwrap();
    let (silent, gone) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    silence(&mut conn, silent).await;
    worker::stop_worker(&mut conn, gone).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, here.id, "q").await;
    worker::heartbeat(&mut conn, here.id, None, true, None).await.unwrap();

    let answer = ask(&mut conn, json!([])).await;
    assert_eq!(answer["pools"], json!({}));
    let workers = answer["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1, "the live ones only");
    let mut worker = workers[0].clone();
    assert!(worker["heartbeat_age_seconds"].as_f64().unwrap() < 30.0);
    worker.as_object_mut().unwrap().remove("heartbeat_age_seconds");
    let expected = json!({"id": here.id, "name": "w", "pool": "shop/orders", "pod_name": "orders-1", "pod_uid": "u1", "build": "b1",
        "queues": ["q"], "tasks": ["f.task"], "workflows": ["f.workflow"], "concurrency": 10, "draining": true, "running": 1});
    assert_eq!(worker, expected);
}

#[tokio::test]
async fn what_waits_for_a_place_counts_as_ready_as_far_as_there_are_places() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let rule = |function: &str, limit: Value, suspended: bool| json!({"function": function, "owner": "n/o", "concurrency_limit": limit, "suspended": suspended, "schedules": []});
    let rules = json!([rule("f.task", json!(3), false), rule("f.paused", Value::Null, true)]);
    definitions::apply(&mut conn, &rules.to_string()).await.unwrap();
    for _ in 0..5 {
        enqueue(&mut conn, Kind::Task, "q").await;
    }
    create_executions(&mut conn, &[new(Call { function: "f.paused".into(), ..call(Kind::Task, "q") })]).await.unwrap();
    let pools = json!([{"key": "n/q", "queues": ["q", "empty"]}]);
    assert_eq!(ask(&mut conn, pools.clone()).await["pools"]["n/q"]["ready"], 3);
    claim_one(&mut conn, me, "q").await;
    assert_eq!(ask(&mut conn, pools).await["pools"]["n/q"]["ready"], 2);
}

#[tokio::test]
async fn neither_history_nor_a_backlog_beyond_what_is_counted_is_read() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(
        &mut conn,
        "insert into currant.executions (id, root_id, kind, function, queue, args, state, finished_at, result)
         select i, i, 'task', 'f.task', 'q', '', 'completed', now(), '' from (select currant.new_id() i from generate_series(1, 30000)) s;
         insert into currant.executions (id, root_id, kind, function, queue, args)
         select i, i, 'task', 'f.task', 'q', '' from (select currant.new_id() i from generate_series(1, 150000)) s;
         insert into currant.executions (id, root_id, kind, function, queue, args)
         select i, i, 'task', 'f.task', 'other', '' from (select currant.new_id() i from generate_series(1, 30000)) s;"
            .into(),
    )
    .await;
    run(&mut conn, "begin".into()).await;
    let answer = ask(&mut conn, json!([{"key": "n/q", "queues": ["q"]}])).await;
    let sql =
        "select seq_tup_read + idx_tup_fetch from pg_stat_xact_all_tables where relid = 'currant.executions'::regclass";
    let reads = text(&mut conn, sql).await.parse::<i64>().unwrap();
    assert_eq!(answer["pools"]["n/q"]["ready"], 100_000, "at least so many");
    assert!(reads < 101_000, "it reads {reads} rows");
}

#[tokio::test]
async fn what_ran_in_a_pod_that_is_gone_is_taken_over_at_once_and_its_zombie_is_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let pod = |uid: &str| Pod { pool: Some("n/p".into()), name: None, uid: Some(uid.into()) };
    let (lost, other) = (WorkerInfo { pod: pod("u1"), ..info(&["q"]) }, WorkerInfo { pod: pod("u2"), ..info(&["q"]) });
    worker::register(&mut conn, &lost).await.unwrap();
    worker::register(&mut conn, &other).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim_one(&mut conn, lost.id, "q").await;

    let wakes = end_workers(&mut conn, &["u1".into(), "never-there".into()]).await.unwrap();

    assert_eq!(wakes.queues, ["q"]);
    assert_eq!(claim_one(&mut conn, other.id, "q").await.id, claimed.id);
    assert!(!worker::heartbeat(&mut conn, lost.id, None, false, None).await.unwrap().known);
    assert!(worker::heartbeat(&mut conn, other.id, None, false, None).await.unwrap().known);
    assert_eq!(end_workers(&mut conn, &["u1".into()]).await.unwrap(), Wakes::default(), "again: nothing is left");
    // Its process may live on for some seconds: what it claimed would die with it a second time.
    enqueue(&mut conn, Kind::Task, "q").await;
    worker::register(&mut conn, &lost).await.unwrap();
    assert!(claim(&mut conn, lost.id, &["q"], 1).await.is_empty());
    assert!(!worker::heartbeat(&mut conn, lost.id, None, false, None).await.unwrap().known);
}
