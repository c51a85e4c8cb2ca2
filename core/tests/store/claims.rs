//! Who gets what: order, turns, kinds, due work, suspects.
use crate::support::*;
use currant::base::types::*;
use currant::store::enqueue::create_executions;
use currant::store::notify;
use currant::store::workers;
use uuid::Uuid;

#[tokio::test]
async fn higher_priority_first_then_older_first() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let items: Vec<NewExecution> =
        [3, 5, 9, 5].map(|priority| new(Call { priority, ..call(Kind::Task, "q") })).into_iter().collect();
    create_executions(&mut conn, &items).await.unwrap();
    let claimed: Vec<Uuid> = claim(&mut conn, me, &["q"], 10).await.iter().map(|c| c.id).collect();
    assert_eq!(claimed, [items[2].id, items[1].id, items[3].id, items[0].id]);
}

#[tokio::test]
async fn a_claim_from_no_queue_finds_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Task, "q").await;
    assert_eq!(claim(&mut conn, me, &[], 1).await, []);
}

#[tokio::test]
async fn queues_take_turns_and_what_one_leaves_goes_to_the_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["a", "b"]).await;
    for queue in ["a"; 20].into_iter().chain(["b"; 3]) {
        enqueue(&mut conn, Kind::Task, queue).await;
    }
    let claimed = claim(&mut conn, me, &["a", "b"], 10).await;
    let from = |queue: &str| claimed.iter().filter(|c| c.queue == queue).count();
    assert_eq!((from("a"), from("b")), (7, 3), "the backlog of a does not keep b out, and no slot is left empty");
}

#[tokio::test]
async fn nothing_is_claimed_twice_by_workers_that_claim_at_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for _ in 0..60 {
        enqueue(&mut conn, Kind::Task, "q").await;
    }
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut conn = database.connect().await;
        claims.spawn(async move {
            let me = register(&mut conn, &["q"]).await;
            let mut mine = Vec::new();
            loop {
                let more = claim(&mut conn, me, &["q"], 4).await;
                if more.is_empty() {
                    return mine;
                }
                mine.extend(more.into_iter().map(|c| c.id));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(mine) = claims.join_next().await {
        all.extend(mine.unwrap());
    }
    let claimed = all.len();
    all.sort();
    all.dedup();
    assert_eq!((claimed, all.len()), (60, 60));
}

#[tokio::test]
async fn the_claimers_registry_decides_the_kind() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let unknown = Call { function: "f.workflow".into(), options: Options::of(Kind::Task), ..call(Kind::Task, "q") };
    create_executions(&mut conn, &[new(unknown)]).await.unwrap();
    let claimed = claim_one(&mut conn, me, "q").await;
    assert_eq!((claimed.kind, claimed.options), (Kind::Workflow, Options::of(Kind::Workflow)));
    assert_eq!(claimed.deadline, None);
}

#[tokio::test]
async fn what_was_enqueued_as_a_workflow_and_is_a_task_keeps_what_it_was_stored_with() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let once = Options { max_worker_losses: 1, ..Options::of(Kind::Workflow) };
    for options in [Options::of(Kind::Workflow), once] {
        let unknown = Call { function: "f.task".into(), options: options.clone(), ..call(Kind::Workflow, "q") };
        create_executions(&mut conn, &[new(unknown)]).await.unwrap();
        let claimed = claim_one(&mut conn, me, "q").await;
        assert_eq!((claimed.kind, claimed.options), (Kind::Task, options));
    }
}

#[tokio::test]
async fn a_workflows_time_out_runs_from_its_first_start() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    create_executions(
        &mut conn,
        &[new(Call { options: Options { timeout: Some(60.0), ..options(4) }, ..call(Kind::Workflow, "q") })],
    )
    .await
    .unwrap();
    let first = claim_one(&mut conn, me, "q").await;
    let deadline = first.deadline.expect("a deadline");
    assert!((deadline - first.started - 60_000_000).abs() < 1_000_000);
    commit(&mut conn, me, &ends(&first, Action::Handback, None)).await;
    assert_eq!(claim_one(&mut conn, me, "q").await.deadline, Some(deadline));
}

#[tokio::test]
async fn what_is_due_later_is_not_ready_and_a_heartbeat_makes_it_ready_when_due() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let item = new(Call { delay: Some(3600.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, std::slice::from_ref(&item)).await.unwrap();
    let beat = workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap();
    assert!(!beat.ready && claim(&mut conn, me, &["q"], 1).await.is_empty());
    assert!((beat.next_due.expect("a due time") - beat.now - 3_600_000_000).abs() < 60_000_000);

    run(&mut conn, "update currant.executions set run_at = now() - interval '1 second'".into()).await;
    assert!(workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert_eq!(claim_one(&mut conn, me, "q").await.id, item.id);
}

#[tokio::test]
async fn a_worker_that_was_declared_dead_claims_nothing_until_it_registers_again() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let zombie = info(&["q"]);
    workers::register(&mut conn, &zombie).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    silence(&mut conn, zombie.id).await;
    workers::take_over(&mut conn, zombie.id).await.unwrap();
    assert!(claim(&mut conn, zombie.id, &["q"], 1).await.is_empty());
    assert!(!workers::heartbeat(&mut conn, zombie.id, None, false, None, &Ranges::default()).await.unwrap().known);
    workers::register(&mut conn, &zombie).await.unwrap();
    assert_eq!(claim(&mut conn, zombie.id, &["q"], 1).await.len(), 1);
}

#[tokio::test]
async fn a_held_run_is_not_claimed_by_the_build_that_refused_it_but_by_another() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let old = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, old, "q").await;
    commit(&mut conn, old, &ends(&run, Action::Hold, Some(r#"{"type": "NonDeterminismError"}"#))).await;
    assert_eq!(state(&mut conn, id).await, "suspended");
    assert!(!workers::heartbeat(&mut conn, old, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert!(claim(&mut conn, old, &["q"], 1).await.is_empty());

    let other = WorkerInfo { build: "b2".into(), ..info(&["q"]) };
    workers::register(&mut conn, &other).await.unwrap();
    assert!(workers::heartbeat(&mut conn, other.id, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert!(claim(&mut conn, old, &["q"], 1).await.is_empty());
    assert_eq!(claim_one(&mut conn, other.id, "q").await.id, id);
}

/// Rule d: the plans must walk the indexes of what is ready and due, whatever else the table holds.
#[tokio::test]
async fn neither_history_nor_backlog_nor_delayed_work_is_read_by_a_claim_a_heartbeat_or_a_wake_up() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let sleeper = register(&mut conn, &["q"]).await;
    falls_asleep(&mut conn, sleeper, Some(i64::MAX / 1000)).await;
    run(
        &mut conn,
        "insert into currant.executions (id, root_id, kind, function, queue, args, state, finished_at, result)
         select i, i, 'task', 'f.task', 'q', '', 'completed', now(), '' from (select currant.new_id() i from generate_series(1, 20000)) s;
         insert into currant.executions (id, root_id, kind, function, queue, args, ready_xid)
         select i, i, 'task', 'f.task', 'q', '', currant.xid() from (select currant.new_id() i from generate_series(1, 20000)) s;
         insert into currant.executions (id, root_id, kind, function, queue, args, run_at)
         select i, i, 'task', 'f.task', 'q', '', now() + interval '1 hour' from (select currant.new_id() i from generate_series(1, 20000)) s;"
            .into(),
    )
    .await;
    for _ in 0..8 {
        // The counters of this transaction alone; it is rolled back, so that each round finds the same.
        run(&mut conn, "begin".into()).await;
        assert_eq!(claim(&mut conn, me, &["q"], 10).await.len(), 10);
        workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap();
        notify::wake(&mut conn, &Wakes { queues: vec!["q".into()], ..Wakes::default() }).await.unwrap();
        let sql = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_all_tables where relid = 'currant.executions'::regclass";
        let reads = text(&mut conn, sql).await.parse::<i64>().unwrap();
        run(&mut conn, "rollback".into()).await;
        assert!(reads < 500, "they read {reads} rows");
    }
}
