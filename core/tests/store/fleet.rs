//! How a fleet stands: what an operator sizes it by.
use crate::support::*;
use currant::base::types::*;
use currant::store::definitions;
use currant::store::enqueue::create_executions;
use currant::store::fleet::{any_ready, ask_to_drain, end_containers, end_pods, fleet, scaling, sleep_for};
use currant::store::notify;
use currant::store::workers;
use serde_json::{Value, json};

async fn ask(conn: &mut Conn, pools: Value) -> Value {
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
    run(&mut conn, "update currant.executions set poison_suspect = true where id = (select min(id::text)::uuid from currant.executions where state = 'pending')".into()).await;
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
    assert_eq!(answer["schema_version"], currant::store::migrate::SCHEMA_VERSION);
}

#[tokio::test]
async fn it_tells_of_every_live_worker_where_it_is_what_it_serves_and_how_busy_it_is() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let pod = Pod { pool: Some("shop/orders".into()), name: Some("orders-1".into()), uid: Some("u1".into()) };
    let here = WorkerInfo { pod, ..info(&["q"]) };
    workers::register(&mut conn, &here).await.unwrap();
    let (silent, gone) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    silence(&mut conn, silent).await;
    workers::stop_worker(&mut conn, gone).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, here.id, "q").await;
    workers::heartbeat(&mut conn, here.id, None, true, None, &Ranges::default()).await.unwrap();

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
         insert into currant.executions (id, root_id, kind, function, queue, args, ready_xid)
         select i, i, 'task', 'f.task', 'q', '', currant.xid() from (select currant.new_id() i from generate_series(1, 150000)) s;
         insert into currant.executions (id, root_id, kind, function, queue, args, ready_xid)
         select i, i, 'task', 'f.task', 'other', '', currant.xid() from (select currant.new_id() i from generate_series(1, 30000)) s;"
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
    workers::register(&mut conn, &lost).await.unwrap();
    workers::register(&mut conn, &other).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim_one(&mut conn, lost.id, "q").await;

    let deleted = |uid: &str| (uid.to_string(), "Deleted".to_string());
    let wakes = end_pods(&mut conn, &[deleted("u1"), deleted("never-there")]).await.unwrap();

    assert_eq!(wakes.queues, ["q"]);
    assert_eq!(claim_one(&mut conn, other.id, "q").await.id, claimed.id);
    assert!(!workers::heartbeat(&mut conn, lost.id, None, false, None, &Ranges::default()).await.unwrap().known);
    assert!(workers::heartbeat(&mut conn, other.id, None, false, None, &Ranges::default()).await.unwrap().known);
    assert_eq!(end_pods(&mut conn, &[deleted("u1")]).await.unwrap(), Wakes::default(), "again: nothing is left");
    // Its process may live on for some seconds: what it claimed would die with it a second time.
    enqueue(&mut conn, Kind::Task, "q").await;
    workers::register(&mut conn, &lost).await.unwrap();
    assert!(claim(&mut conn, lost.id, &["q"], 1).await.is_empty());
    assert!(!workers::heartbeat(&mut conn, lost.id, None, false, None, &Ranges::default()).await.unwrap().known);
}

#[tokio::test]
async fn what_a_container_ran_is_taken_over_when_it_ends_and_its_successor_in_the_pod_is_left_alone() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let pod = Pod { pool: Some("n/p".into()), name: Some("p-1".into()), uid: Some("u1".into()) };
    let lost = WorkerInfo { pod: pod.clone(), ..info(&["q"]) };
    workers::register(&mut conn, &lost).await.unwrap();
    let id = enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, lost.id, "q").await;
    let micros = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text";
    let ended: Micros = text(&mut conn, micros).await.parse().unwrap();

    let end = |at| [("u1".to_string(), "OOMKilled".to_string(), at)];
    let an_hour_ago = end(ended - 3_600_000_000);
    assert!(end_containers(&mut conn, &an_hour_ago).await.unwrap().is_empty(), "one of an hour ago");
    assert_eq!(end_containers(&mut conn, &end(ended)).await.unwrap().queues, ["q"]);

    assert_eq!(state(&mut conn, id).await, "pending");
    let said = format!("select convert_from(error, 'UTF8') from currant.executions where id = '{id}'");
    assert!(text(&mut conn, &said).await.contains("worker pod OOMKilled: p-1"));
    // The same pod has another worker now.
    let successor = WorkerInfo { pod, ..info(&["q"]) };
    workers::register(&mut conn, &successor).await.unwrap();
    assert!(end_containers(&mut conn, &end(ended)).await.unwrap().is_empty());
    assert_eq!(claim_one(&mut conn, successor.id, "q").await.id, id);
}

#[tokio::test]
async fn who_sleeps_without_being_a_worker_is_woken_like_one_and_counted_as_none() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let sleeper = uuid::Uuid::now_v7();
    let queues = ["q".to_owned()];
    let mut listener = sqlx::postgres::PgListener::connect(&database.url).await.unwrap();
    listener.listen(&format!("currant_w_{sleeper}")).await.unwrap();
    sleep_for(&mut conn, sleeper, &queues, 60.0).await.unwrap();
    assert!(!any_ready(&mut conn, &queues).await.unwrap());

    enqueue(&mut conn, Kind::Task, "q").await;
    notify::wake(&mut conn, &Wakes { queues: vec!["q".into()], ..Wakes::default() }).await.unwrap();
    listener.recv().await.unwrap();
    assert!(any_ready(&mut conn, &queues).await.unwrap());

    assert_eq!(text(&mut conn, "select count(*)::text from currant.queue_stats where workers > 0").await, "0");
    assert_eq!(currant::store::read::workers(&mut conn).await.unwrap(), b"[]");
    sleep_for(&mut conn, sleeper, &queues, 0.0).await.unwrap();
    let asleep = "select count(*)::text from currant.workers where sleep_until > now()";
    assert_eq!(text(&mut conn, asleep).await, "0");
}

async fn sized_by(conn: &mut Conn, queues: &[&str]) -> Value {
    let pools = json!([{"key": "n/p", "queues": queues, "horizon": 60}]);
    serde_json::from_slice(&scaling(conn, &pools.to_string()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_pool_is_sized_by_what_is_ready_comes_due_and_runs_of_each_function() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    for _ in 0..3 {
        enqueue(&mut conn, Kind::Task, "q").await;
    }
    claim_one(&mut conn, me, "q").await;
    for delay in [30.0, 90.0] {
        create_executions(&mut conn, &[new(Call { delay: Some(delay), ..call(Kind::Task, "q") })]).await.unwrap();
    }
    // A workflow that waits in memory runs, but has no slot.
    enqueue(&mut conn, Kind::Workflow, "w").await;
    claim_one(&mut conn, me, "w").await;

    let answer = sized_by(&mut conn, &["q", "w"]).await;
    let of = |function: &str| {
        let rows = answer["work"]["n/p"].as_array().unwrap();
        rows.iter().find(|row| row["function"] == function).unwrap().clone()
    };
    let task = of("f.task");
    assert_eq!((&task["ready"], &task["due"], &task["running"]), (&json!(2), &json!(1), &json!(1)), "{task}");
    assert!(task["seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(of("f.workflow")["running"], 0);
    assert_eq!(answer["drains"][me.to_string()]["attempts"], 1);
    let pool = &answer["pools"]["n/p"];
    assert_eq!((&pool["running"], &pool["hot"]), (&json!(1), &json!(1)), "{pool}");
    assert_eq!(answer["workers"][0]["running"], 2, "all that it holds: it is idle when this is 0");
    assert!(answer["connections"].as_i64().unwrap() > 0);
}

#[tokio::test]
async fn runs_that_do_not_fit_the_code_are_counted_by_function_in_the_queues_of_each_pool() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for queue in ["a", "a", "b", "c", "a"] {
        enqueue(&mut conn, Kind::Workflow, queue).await;
    }
    let hold = "update currant.executions set state = 'suspended', suspended_at = now(), ready_xid = null, incompatible = true,
        refused_builds = array['1']
        where id in (select id from currant.executions order by id limit 4)";
    run(&mut conn, hold.into()).await;

    assert_eq!(sized_by(&mut conn, &["a", "b"]).await["incompatible"], json!({"n/p": {"f.workflow": 3}}));
    assert_eq!(sized_by(&mut conn, &["z"]).await["incompatible"], json!({}));
}

#[tokio::test]
async fn what_is_overdue_or_was_run_by_a_dead_worker_is_as_good_as_ready() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let dead = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, dead, "q").await;
    silence(&mut conn, dead).await;
    let late = new(Call { delay: Some(60.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, std::slice::from_ref(&late)).await.unwrap();
    let overdue =
        format!("update currant.executions set run_at = now() - interval '1 second' where id = '{}'", late.id);
    run(&mut conn, overdue).await;

    let work = sized_by(&mut conn, &["q"]).await["work"]["n/p"][0].clone();
    assert_eq!((&work["spare"], &work["running"], &work["due"]), (&json!(2), &json!(0), &json!(0)), "{work}");
}

#[tokio::test]
async fn a_schedule_that_fires_soon_is_work_that_comes_due_in_the_queue_of_its_function() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let daily = json!({"name": "daily", "cron": "0 3 * * *"});
    let item = json!({"function": "f.task", "owner": "n/w", "queue": "q", "schedules": [daily]});
    definitions::apply(&mut conn, &json!([item]).to_string()).await.unwrap();
    for (fires, suspended, expected) in [
        ("30 seconds", false, Some((0, 1))),
        ("90 seconds", false, None), // beyond the horizon
        ("30 seconds", true, None),
        ("-1 seconds", false, Some((1, 0))),
    ] {
        let sql = format!("update currant.schedules set due_at = now() + interval '{fires}', suspended = {suspended}");
        run(&mut conn, sql).await;

        let work = sized_by(&mut conn, &["q"]).await["work"]["n/p"][0].clone();
        let found = (!work.is_null()).then(|| (work["spare"].as_i64().unwrap(), work["due"].as_i64().unwrap()));
        assert_eq!(found, expected, "{fires} {suspended} {work}");
        assert!(sized_by(&mut conn, &["default"]).await["work"]["n/p"].is_null(), "it runs in another queue");
    }
}

#[tokio::test]
async fn how_long_attempts_take_is_told_of_those_that_ended_lately_behind_any_backlog() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(
        &mut conn,
        "insert into currant.executions (id, root_id, kind, function, queue, args, state, attempt_at, finished_at, result)
         select i, i, 'task', 'f.old', 'q', '', 'completed', now() - interval '3 seconds', now(), ''
         from (select lpad(to_hex(n), 32, '0')::uuid i from generate_series(1, 50) n) s;
         insert into currant.executions (id, root_id, kind, function, queue, args, ready_xid)
         select i, i, 'task', 'f.task', 'q', '', currant.xid() from (select currant.new_id() i from generate_series(1, 5000)) s;"
            .into(),
    )
    .await;
    let answer = sized_by(&mut conn, &["q"]).await;
    assert_eq!(answer["service"], json!({"f.old": {"ended": 50, "seconds": 150}}));
    assert_eq!(answer["work"]["n/p"][0]["ready"], 2000, "the first two thousand give the shares");
    assert_eq!(answer["pools"]["n/p"]["ready"], 5000);
}

#[tokio::test]
async fn a_worker_is_told_to_drain_and_to_go_on_with_its_heartbeat() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let pod = Pod { pool: Some("n/p".into()), name: None, uid: Some("u1".into()) };
    let asked = WorkerInfo { pod, ..info(&["q"]) };
    workers::register(&mut conn, &asked).await.unwrap();
    let other = register(&mut conn, &["q"]).await;
    for drain in [true, true, false] {
        ask_to_drain(&mut conn, &["u1".into(), "never-there".into()], drain).await.unwrap();
        assert_eq!(
            workers::heartbeat(&mut conn, asked.id, None, false, None, &Ranges::default()).await.unwrap().drain,
            drain
        );
        assert!(!workers::heartbeat(&mut conn, other, None, false, None, &Ranges::default()).await.unwrap().drain);
        let since = &sized_by(&mut conn, &["q"]).await["drains"][asked.id.to_string()]["asked"];
        assert_eq!(since.is_null(), !drain);
    }
}

#[tokio::test]
async fn a_task_is_not_blamed_for_a_pod_that_was_taken_from_it_and_the_reason_stands_on_it() {
    let reasons = [("Evicted", false), ("Deleted", false), ("NodeLost", false), ("OOMKilled", true), ("Error", true)];
    for ((reason, blamed), most) in reasons.into_iter().flat_map(|reason| [(reason, 1), (reason, 0)]) {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        let pod = Pod { pool: Some("n/p".into()), name: Some("p-1".into()), uid: Some("u1".into()) };
        let lost = WorkerInfo { pod, ..info(&["q"]) };
        workers::register(&mut conn, &lost).await.unwrap();
        // `blamed`: this one is a loss too many.
        let once = new(Call { options: may_lose(most), ..call(Kind::Task, "q") });
        create_executions(&mut conn, std::slice::from_ref(&once)).await.unwrap();
        claim_one(&mut conn, lost.id, "q").await;
        run(&mut conn, format!("update currant.executions set suspect_losses = {most}")).await;

        let ended = [("u1".to_string(), reason.to_string())];
        let wakes = end_pods(&mut conn, &ended).await.unwrap();

        let expected = if blamed || most == 0 { "failed" } else { "pending" };
        assert_eq!(state(&mut conn, once.id).await, expected, "{reason} {most}");
        assert_eq!(wakes.queues, ["q"]);
        let sql = format!("select convert_from(error, 'UTF8') from currant.executions where id = '{}'", once.id);
        let error: Value = serde_json::from_str(&text(&mut conn, &sql).await).unwrap();
        assert_eq!(error["type"], "WorkerLost");
        assert!(error["message"].as_str().unwrap().contains(&format!("worker pod {reason}: p-1")), "{error}");
        assert!(!workers::heartbeat(&mut conn, lost.id, None, false, None, &Ranges::default()).await.unwrap().known);
        assert!(end_pods(&mut conn, &ended).await.unwrap().is_empty(), "again");
    }
}
