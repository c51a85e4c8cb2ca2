//! How long ended runs are kept: as their function's definition says, or their queue.
use crate::support::*;
use currant::base::types::*;
use currant::store::definitions;
use currant::store::enqueue::create_executions;
use currant::store::retention;
use currant::store::workers;
use serde_json::{Value, json};
use uuid::Uuid;

async fn apply(conn: &mut Conn, items: Value) {
    definitions::apply(conn, &items.to_string()).await.unwrap();
}

/// As if the run had ended so many hours ago.
async fn ended(conn: &mut Conn, id: Uuid, hours: i32) {
    run(
        conn,
        format!(
            "update currant.executions set finished_at = now() - interval '{hours} hours',
                defined_end = case when defined then now() - interval '{hours} hours' end where id = '{id}'"
        ),
    )
    .await;
}

async fn sweep(conn: &mut Conn) -> i32 {
    run(conn, "update currant.upkeep set swept_at = '-infinity'".into()).await;
    retention::sweep(conn, 100, true).await.unwrap().deleted
}

#[tokio::test]
async fn a_run_past_its_retention_goes_with_its_whole_tree_and_nothing_else_does() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    apply(&mut conn, json!([{"function": "f.workflow", "owner": "o", "retention": 7200}])).await;
    let keyed = NewExecution { idempotency_key: Some("k".into()), ..new(call(Kind::Workflow, "q")) };
    create_executions(&mut conn, std::slice::from_ref(&keyed)).await.unwrap();
    let run = claim_one(&mut conn, me, "q").await;
    currant::store::control::send_signal(&mut conn, run.id, "s", b"1", None).await.unwrap();
    let step = child(&run, "0", call(Kind::Task, "q"), true);
    let mut batch = starts(&run, vec![step.clone()]);
    batch.steps.push(NewStep {
        run: run.id,
        epoch: 0,
        key: "1".into(),
        kind: StepKind::SideEffect,
        name: String::new(),
        due: None,
        after_seq: 0,
        status: Some(Status::Completed),
        payload: None,
        seq: None,
        clock: None,
    });
    commit(&mut conn, me, &batch).await;
    let (kept, task) = (enqueue(&mut conn, Kind::Workflow, "q").await, enqueue(&mut conn, Kind::Task, "q").await);
    for claimed in claim(&mut conn, me, &["q"], 5).await {
        complete(&mut conn, me, &claimed).await;
    }
    complete(&mut conn, me, &run).await;
    ended(&mut conn, kept, 1).await;
    ended(&mut conn, task, 1000).await;
    ended(&mut conn, run.id, 3).await;
    assert_eq!(state(&mut conn, step.id).await, "cancelled");
    assert_eq!(sweep(&mut conn).await, 1);
    let left = "select string_agg(id::text, ' ' order by id) from currant.executions";
    assert_eq!(text(&mut conn, left).await, [kept, task].map(|id| id.to_string()).join(" "));
    let rest = "select concat((select count(*) from currant.steps), (select count(*) from currant.signals), (select count(*) from currant.idempotency_keys))";
    assert_eq!(text(&mut conn, rest).await, "000");
    apply(&mut conn, json!([{"function": "f.workflow", "owner": "o", "retention": 60}])).await;
    assert_eq!(retention::sweep(&mut conn, 100, true).await.unwrap().deleted, 0, "not twice in a minute");
    assert_eq!(sweep(&mut conn).await, 1, "another retention is for the runs that are there too");
}

#[tokio::test]
async fn a_run_with_something_unfinished_below_is_kept_and_only_retentions_make_heartbeats_ask_for_a_sweep() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "other", "third"]).await;
    assert!(!workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().sweep_due);
    apply(&mut conn, json!([{"function": "f.workflow", "owner": "o", "retention": 60}])).await;
    assert!(workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().sweep_due);
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let parent = claim_one(&mut conn, me, "q").await;
    commit(&mut conn, me, &starts(&parent, vec![child(&parent, "0", call(Kind::Workflow, "other"), false)])).await;
    let below = claim_one(&mut conn, me, "other").await;
    commit(&mut conn, me, &starts(&below, vec![child(&below, "0", call(Kind::Workflow, "third"), false)])).await;
    let deepest = claim_one(&mut conn, me, "third").await;
    complete(&mut conn, me, &parent).await;
    ended(&mut conn, parent.id, 1).await;
    assert_eq!(sweep(&mut conn).await, 0);
    assert!(!workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().sweep_due);
    complete(&mut conn, me, &below).await;
    assert_eq!(sweep(&mut conn).await, 0, "what is below its steps counts too");
    commit(&mut conn, me, &ends(&deepest, Action::Cancel, None)).await;
    assert_eq!(sweep(&mut conn).await, 1);
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "0");
}

#[tokio::test]
async fn a_tree_of_which_somebody_has_locked_a_part_is_left_whole_for_another_time() {
    let database = Database::new().await;
    let (mut conn, mut other) = (database.connect().await, database.connect().await);
    let me = register(&mut conn, &["q"]).await;
    apply(&mut conn, json!([{"function": "f.workflow", "owner": "o", "retention": 60}])).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let parent = claim_one(&mut conn, me, "q").await;
    let steps = ["0", "1"].map(|key| child(&parent, key, call(Kind::Task, "q"), true));
    commit(&mut conn, me, &starts(&parent, steps.to_vec())).await;
    complete(&mut conn, me, &parent).await;
    ended(&mut conn, parent.id, 1).await;
    let before = left(&mut conn).await;
    run(&mut other, format!("begin; select from currant.executions where id = '{}' for update", steps[1].id)).await;
    assert_eq!(sweep(&mut conn).await, 0);
    assert_eq!(left(&mut conn).await, before);
    run(&mut other, "rollback".into()).await;
    // Keys come before executions in the order of locks: a sweep, which has executions, waits for none.
    run(&mut conn, "set lock_timeout = '2s'".into()).await;
    let keyed = format!(
        "insert into currant.idempotency_keys (function, key, execution_id) values ('f', 'k', '{}')",
        parent.id
    );
    run(&mut conn, keyed).await;
    run(&mut other, "begin; select from currant.idempotency_keys for update".into()).await;
    assert_eq!(sweep(&mut conn).await, 0);
    assert_eq!(left(&mut conn).await, before);
    run(&mut other, "rollback".into()).await;
    assert_eq!(sweep(&mut conn).await, 1);
    assert_eq!(left(&mut conn).await, "null");
    assert_eq!(text(&mut conn, "select count(*) from currant.idempotency_keys").await, "0");
}

/// Enqueues and completes so many tasks, which then ended two hours ago.
async fn old_tasks(conn: &mut Conn, worker: Uuid, queue: &str, count: usize) -> Vec<Uuid> {
    let items: Vec<NewExecution> = (0..count).map(|_| new(call(Kind::Task, queue))).collect();
    let ids = create_executions(conn, &items).await.unwrap();
    for claimed in claim(conn, worker, &[queue], count as i32).await {
        complete(conn, worker, &claimed).await;
    }
    for id in &ids {
        ended(conn, *id, 2).await;
    }
    ids
}

async fn left(conn: &mut Conn) -> String {
    text(conn, "select string_agg(id::text, ' ' order by id) from currant.executions").await
}

/// As if a minute had passed since the last sweep, and the time until the next walk over old runs.
async fn time_passes(conn: &mut Conn) {
    run(conn, "update currant.upkeep set swept_at = '-infinity', walk_began_at = '-infinity'".into()).await;
}

#[tokio::test]
async fn a_queue_says_how_long_its_ended_runs_stay_unless_their_function_does() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "other", "steps"]).await;
    let kept = old_tasks(&mut conn, me, "other", 1).await[0];
    let gone = old_tasks(&mut conn, me, "q", 3).await;
    let young = enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim_one(&mut conn, me, "q").await;
    complete(&mut conn, me, &claimed).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let parent = claim_one(&mut conn, me, "q").await;
    commit(&mut conn, me, &starts(&parent, vec![child(&parent, "0", call(Kind::Task, "steps"), false)])).await;
    let claimed = claim_one(&mut conn, me, "steps").await;
    complete(&mut conn, me, &claimed).await;
    let waiting = enqueue(&mut conn, Kind::Task, "q").await;
    assert!(!workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().sweep_due);
    retention::set(&mut conn, "q", Some(3600.0)).await.unwrap();
    retention::set(&mut conn, "steps", Some(1.0)).await.unwrap();
    assert!(workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().sweep_due);
    assert_eq!(retention::sweep(&mut conn, 100, true).await.unwrap(), retention::Swept { deleted: 3, more: false });
    let there = left(&mut conn).await;
    assert!(gone.iter().all(|id| !there.contains(&id.to_string())));
    for id in [kept, young, parent.id, waiting] {
        assert!(there.contains(&id.to_string()), "{id}");
    }
    // A step goes with its run, whatever its own queue says; a function's definition says more than a queue.
    complete(&mut conn, me, &parent).await;
    ended(&mut conn, parent.id, 2).await;
    ended(&mut conn, young, 2).await;
    apply(&mut conn, json!([{"function": "f.task", "owner": "o", "retention": 86400}])).await;
    time_passes(&mut conn).await;
    assert_eq!(retention::sweep(&mut conn, 100, true).await.unwrap().deleted, 1);
    let mut rest = [kept, young, waiting];
    rest.sort();
    assert_eq!(left(&mut conn).await, rest.map(|id| id.to_string()).join(" "));
}

#[tokio::test]
async fn old_runs_are_looked_through_a_piece_at_a_time_and_not_again_before_it_is_worth_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "other"]).await;
    let kept = old_tasks(&mut conn, me, "other", 50).await;
    old_tasks(&mut conn, me, "q", 5).await;
    retention::set(&mut conn, "q", Some(3600.0)).await.unwrap();
    let mut bites = Vec::new();
    loop {
        let swept = retention::sweep(&mut conn, 2, bites.is_empty()).await.unwrap();
        bites.push(swept.deleted);
        if !swept.more {
            break;
        }
    }
    assert_eq!(bites, [0, 2, 2, 1], "forty rows without any, then two runs a bite");
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, kept.len().to_string());
    old_tasks(&mut conn, me, "q", 1).await;
    run(&mut conn, "update currant.upkeep set swept_at = '-infinity'".into()).await;
    let nothing = retention::Swept { deleted: 0, more: false };
    assert_eq!(retention::sweep(&mut conn, 2, true).await.unwrap(), nothing, "a twentieth of an hour has not passed");
    retention::set(&mut conn, "q", None).await.unwrap();
    time_passes(&mut conn).await;
    assert_eq!(retention::sweep(&mut conn, 2, true).await.unwrap(), nothing);
}

#[tokio::test]
async fn what_is_no_queue_or_no_retention_is_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for (queue, seconds) in [("", 1.0), (&*"q".repeat(201), 1.0), ("q", 0.0), ("q", f64::NAN), ("q", f64::INFINITY)] {
        let refused = retention::set(&mut conn, queue, Some(seconds)).await.unwrap_err();
        assert!(matches!(refused, currant::base::error::Error::Invalid(_)), "{refused}");
    }
    retention::set(&mut conn, "q", Some(1.5)).await.unwrap();
    retention::set(&mut conn, "a", Some(7.0)).await.unwrap();
    retention::set(&mut conn, "q", Some(2.0)).await.unwrap();
    let rows = String::from_utf8(retention::list(&mut conn).await.unwrap()).unwrap();
    assert_eq!(rows, r#"[{"queue":"a","retention":7.0},{"queue":"q","retention":2.0}]"#);
}
