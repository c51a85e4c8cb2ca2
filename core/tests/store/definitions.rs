//! Definitions: who has one, what overrules what, and how many may run.
use crate::support::*;
use currant::base::types::*;
use currant::store::control;
use currant::store::definitions;
use currant::store::enqueue::{create, create_executions};
use currant::store::notify;
use currant::store::read;
use currant::store::workers;
use serde_json::{Value, json};
use uuid::Uuid;

async fn apply(conn: &mut Conn, items: Value) -> (Vec<Value>, Wakes) {
    let (answers, wakes) = definitions::apply(conn, &items.to_string()).await.unwrap();
    (serde_json::from_slice(&answers).unwrap(), wakes)
}

async fn define(conn: &mut Conn, more: Value) -> Wakes {
    let mut item = json!({"function": "f.task", "owner": "ns/task"});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (answers, wakes) = apply(conn, json!([item])).await;
    assert!(answers[0]["status"] == "applied", "{}", answers[0]);
    wakes
}

async fn enqueue_many(conn: &mut Conn, count: usize, queue: &str) -> Vec<Uuid> {
    let items: Vec<NewExecution> = (0..count).map(|_| new(call(Kind::Task, queue))).collect();
    create_executions(conn, &items).await.unwrap()
}

async fn stats(conn: &mut Conn) -> Value {
    let stats = definitions::stats(conn, &["f.task".into()]).await.unwrap();
    serde_json::from_slice::<Value>(&stats).unwrap()["f.task"].clone()
}

async fn queue_row(conn: &mut Conn, queue: &str) -> Value {
    let rows: Vec<Value> = serde_json::from_slice(&read::queues(conn).await.unwrap()).unwrap();
    rows.into_iter().find(|row| row["queue"] == queue).unwrap_or_default()
}

#[tokio::test]
async fn one_that_is_wrong_or_taken_does_not_stop_the_others_and_the_same_again_changes_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let items = json!([
        {"function": "a", "owner": "ns/a", "concurrency_limit": 2, "schedules": [{"name": "n", "cron": "0 3 * * *"}]},
        {"function": "b", "owner": "ns/b", "priority": 11},
        {"function": "a", "owner": "ns/other"},
        {"function": "c", "owner": "ns/c", "colour": "red"},
        {"function": "d", "owner": "ns/d", "queue": "nul\u{0}"},
        {"function": "e", "owner": "ns/e", "schedules": [{"name": "n", "cron": "when it rains"}]},
        {"function": "f", "owner": "ns/f", "retention": 60}
    ]);
    let status = |answers: &[Value]| -> Vec<String> {
        answers.iter().map(|answer| answer["status"].as_str().unwrap().to_string()).collect()
    };
    let (answers, _) = apply(&mut conn, items.clone()).await;
    assert_eq!(status(&answers), ["applied", "invalid", "taken", "invalid", "invalid", "invalid", "applied"]);
    assert_eq!(answers[2]["owner"], "ns/a");
    assert!(answers[1]["message"].as_str().unwrap().contains("priority"));
    assert_eq!(
        text(&mut conn, "select string_agg(function, ' ' order by function) from currant.definitions").await,
        "a f"
    );
    let before = text(&mut conn, "select string_agg(xmin::text, ' ') from currant.definitions").await;
    let (answers, _) = apply(&mut conn, items).await;
    assert_eq!(status(&answers), ["unchanged", "invalid", "taken", "invalid", "invalid", "invalid", "unchanged"]);
    assert_eq!(text(&mut conn, "select string_agg(xmin::text, ' ') from currant.definitions").await, before);
    let race =
        r#"select currant.apply_definition('{"function": "f", "owner": "late", "suspended": false, "item": ""}')"#;
    assert_eq!(text(&mut conn, race).await, "ns/f", "another was first");
    assert_eq!(text(&mut conn, "select owner from currant.definitions where item = ''").await, "null");
    assert_eq!(definitions::delete(&mut conn, &["ns/a".into()]).await.unwrap().0, 1);
    assert_eq!(text(&mut conn, "select count(*) from currant.schedules").await, "0");
    let (answers, _) = apply(&mut conn, json!([{"function": "a", "owner": "ns/other"}])).await;
    assert_eq!(status(&answers), ["applied"]);
}

#[tokio::test]
async fn the_call_overrules_the_definition_which_overrules_the_code() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let retry = json!({"max_attempts": 9, "initial": 7});
    let said = json!({"queue": "defined", "priority": 8, "timeout": 77, "retry": retry, "max_worker_losses": 5});
    define(&mut conn, said).await;
    let options = Options { timeout: Some(5.0), ..options(4) };
    let given = |names: &[&str]| new(Call { given: given(names), options: options.clone(), ..call(Kind::Task, "q") });
    let columns = format!(
        "concat_ws(' ', queue, priority, {})",
        stored(&["timeout", "retry,max_attempts", "retry,initial", "max_worker_losses"])
    );
    for (names, expected) in [
        (&[] as &[&str], "defined 8 77 9 7 5"),
        (&["queue"], "q 8 77 9 7 5"),
        (&["priority"], "defined 5 77 9 7 5"),
        (&["timeout"], "defined 8 5.0 9 7 5"),
        (&["retry"], "defined 8 77 4 1 5"),
        (&["max_worker_losses"], "defined 8 77 9 7 3"),
    ] {
        let item = given(names);
        let created = create(&mut conn, std::slice::from_ref(&item)).await.unwrap();
        let queue = expected.split(' ').next().map(str::to_string);
        assert_eq!(created, [Created::Stored { id: item.id, queue }], "the queue to be woken is the one it went to");
        let row = format!("select {columns} from currant.executions where id = '{}'", item.id);
        assert_eq!(text(&mut conn, &row).await, expected);
    }
    run(
        &mut conn,
        format!(
            "create function enqueued(o jsonb) returns text language plpgsql as $$ declare i uuid := currant.enqueue('f.task', '{{}}', o);
            begin return (select {columns} from currant.executions where id = i); end $$"
        ),
    )
    .await;
    for (options, expected) in [
        ("{}", "defined 8 77 9 7 5"),
        (r#"{"queue": "q", "timeout": null}"#, "q 8 9 7 5"),
        (r#"{"queue": null, "retries": 1, "max_worker_losses": null}"#, "defined 8 77 2 1 5"),
        (r#"{"max_worker_losses": 0}"#, "defined 8 77 9 7 0"),
        (
            r#"{"defaults": {"queue": "q", "priority": 1, "retry": {"max_attempts": 2, "multiplier": 3}}}"#,
            "defined 8 77 9 7 5",
        ),
        (r#"{"priority": 2, "defaults": {"priority": 1, "max_worker_losses": 1}}"#, "defined 2 77 9 7 5"),
    ] {
        assert_eq!(text(&mut conn, &format!("select enqueued('{options}')")).await, expected, "{options}");
    }
    definitions::delete(&mut conn, &["ns/task".into()]).await.unwrap();
    let options = r#"{"defaults": {"queue": "q", "priority": 1, "timeout": null, "retries": 2, "max_worker_losses": 8}, "retries": 5}"#;
    assert_eq!(text(&mut conn, &format!("select enqueued('{options}')")).await, "q 1 6 1 8");
}

#[tokio::test]
async fn steps_and_what_a_workflow_starts_obey_and_are_woken_where_they_went() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    define(&mut conn, json!({"queue": "defined", "priority": 8})).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "q"), true);
    let own = child(&run, "1", Call { given: given(&["queue", "priority"]), ..call(Kind::Task, "q") }, true);
    let batch = starts(&run, vec![step.clone(), own.clone()]);
    let reply = commit(&mut conn, me, &batch).await;
    assert_eq!((reply.postponed, reply.wakes.queues), (vec![step.id], vec!["defined".to_string()]));
    assert_eq!(state(&mut conn, step.id).await, "pending");
    assert_eq!(state(&mut conn, own.id).await, "running");
    assert_eq!(commit(&mut conn, me, &batch).await.postponed, [step.id], "its reply was lost: the same answer again");
}

#[tokio::test]
async fn never_more_have_started_and_not_ended_than_the_limit_says() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    define(&mut conn, json!({"concurrency_limit": 3})).await;
    enqueue_many(&mut conn, 60, "q").await;
    assert_eq!(queue_row(&mut conn, "q").await["ready"], 3);
    assert_eq!(queue_row(&mut conn, "q").await["blocked"], 57);
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut conn = database.connect().await;
        claims.spawn(async move {
            let me = register(&mut conn, &["q"]).await;
            let mut done = 0;
            for _ in 0..200 {
                for claimed in claim(&mut conn, me, &["q"], 5).await {
                    let running =
                        text(&mut conn, "select count(*) from currant.executions where state = 'running'").await;
                    assert!(running.parse::<i64>().unwrap() <= 3, "{running} run at once");
                    complete(&mut conn, me, &claimed).await;
                    done += 1;
                }
            }
            done
        });
    }
    let mut done = 0;
    while let Some(some) = claims.join_next().await {
        done += some.unwrap();
    }
    assert_eq!(done, 60);
}

#[tokio::test]
async fn what_has_started_holds_its_place_until_it_ends_and_its_end_wakes_those_who_wait() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let limited = json!([{"function": "f.workflow", "owner": "o", "concurrency_limit": 1}]);
    apply(&mut conn, limited).await;
    let first = enqueue(&mut conn, Kind::Workflow, "q").await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let started = claim_one(&mut conn, me, "q").await;
    assert_eq!(started.id, first);
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty());
    commit(&mut conn, me, &suspends(&started, started.wakes, None)).await;
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty(), "a suspended run has its place");
    assert!(!workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().ready);
    control::resume_workflows(&mut conn, &[first]).await.unwrap();
    let again = claim(&mut conn, me, &["q"], 5).await;
    assert_eq!(again.iter().map(|c| c.id).collect::<Vec<_>>(), [first]);
    commit(&mut conn, me, &ends(&again[0], Action::Handback, None)).await;
    let again = claim(&mut conn, me, &["q"], 5).await;
    assert_eq!(again.iter().map(|c| c.id).collect::<Vec<_>>(), [first], "handed back, it goes before those who wait");
    commit(&mut conn, me, &ends(&again[0], Action::Retry, Some("{}"))).await;
    let again = claim(&mut conn, me, &["q"], 5).await;
    assert_eq!(again.iter().map(|c| c.id).collect::<Vec<_>>(), [first], "between two attempts it has its place");
    assert_eq!(complete(&mut conn, me, &again[0]).await.queues, ["q"]);
    assert!(workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert_eq!(claim(&mut conn, me, &["q"], 5).await.len(), 1);
}

#[tokio::test]
async fn a_cancel_and_a_lost_worker_give_places_back_and_wake() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    define(&mut conn, json!({"concurrency_limit": 1})).await;
    let mut items: Vec<NewExecution> =
        (0..4).map(|_| new(Call { options: may_lose(0), ..call(Kind::Task, "q") })).collect();
    items.sort_by_key(|item| item.id);
    items[3].call.queue = "elsewhere".into();
    create_executions(&mut conn, &items).await.unwrap();
    for force in [false, true] {
        let claimed = claim_one(&mut conn, me, "q").await;
        assert!(claim(&mut conn, me, &["q"], 5).await.is_empty());
        let mut queues = control::cancel(&mut conn, claimed.id, force).await.unwrap().queues;
        queues.sort();
        assert_eq!(queues, ["elsewhere", "q"]);
    }
    claim_one(&mut conn, me, "q").await;
    silence(&mut conn, me).await;
    assert_eq!(workers::take_over(&mut conn, me).await.unwrap().queues, ["q", "elsewhere"]);
    let heir = register(&mut conn, &["elsewhere"]).await;
    assert_eq!(claim_one(&mut conn, heir, "elsewhere").await.id, items[3].id);
}

#[tokio::test]
async fn suspended_starts_nothing_new_and_lets_what_has_started_go_on() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let ids = enqueue_many(&mut conn, 3, "q").await;
    let started = claim_one(&mut conn, me, "q").await;
    define(&mut conn, json!({"suspended": true})).await;
    let other =
        NewExecution { call: Call { function: "g".into(), ..call(Kind::Task, "q") }, ..new(call(Kind::Task, "q")) };
    create_executions(&mut conn, std::slice::from_ref(&other)).await.unwrap();
    commit(&mut conn, me, &ends(&started, Action::Handback, None)).await;
    let mut claimed: Vec<Uuid> = claim(&mut conn, me, &["q"], 5).await.iter().map(|c| c.id).collect();
    claimed.sort();
    let mut expected = vec![started.id, other.id];
    expected.sort();
    assert_eq!(claimed, expected);
    assert_eq!(queue_row(&mut conn, "q").await["blocked"], 2);
    assert_eq!(stats(&mut conn).await["pending"], 2);
    // A row of a transaction that knew no definition.
    run(&mut conn, "update currant.executions set awaiting_permit = false, defined = false, defined_state = null, ready_xid = currant.xid() where state = 'pending'".into())
        .await;
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty());
    assert_eq!(define(&mut conn, json!({"suspended": false})).await.queues, ["q"], "whoever sleeps there is woken");
    assert!(workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert_eq!(claim(&mut conn, me, &["q"], 5).await.len(), 2);
    assert_eq!(
        text(
            &mut conn,
            &format!(
                "select count(*) from currant.executions where id = any ('{{{}}}')",
                ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")
            )
        )
        .await,
        "3"
    );
}

#[tokio::test]
async fn a_limit_counts_what_ran_before_it_and_what_waits_is_free_when_it_goes() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue_many(&mut conn, 6, "q").await;
    let running = claim(&mut conn, me, &["q"], 3).await;
    define(&mut conn, json!({"concurrency_limit": 3})).await;
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty());
    complete(&mut conn, me, &running[0]).await;
    assert_eq!(claim(&mut conn, me, &["q"], 5).await.len(), 1);
    assert_eq!(definitions::delete(&mut conn, &["ns/task".into()]).await.unwrap().1.queues, ["q"]);
    assert_eq!(claim(&mut conn, me, &["q"], 5).await.len(), 2);
}

#[tokio::test]
async fn what_comes_due_is_tried_again_or_retried_as_a_run_waits_for_a_place_like_all_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    define(&mut conn, json!({"concurrency_limit": 1})).await;
    let late = new(Call { delay: Some(3600.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, std::slice::from_ref(&late)).await.unwrap();
    let first = enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim_one(&mut conn, me, "q").await;
    assert_eq!(claimed.id, first);
    run(
        &mut conn,
        "update currant.executions set run_at = now() - interval '1 second' where run_at is not null".into(),
    )
    .await;
    assert!(!workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().ready);
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty());
    commit(&mut conn, me, &ends(&claimed, Action::Fail, Some("{}"))).await;
    let second = claim_one(&mut conn, me, "q").await;
    assert_eq!(second.id, late.id);
    control::retry(&mut conn, first).await.unwrap();
    assert!(claim(&mut conn, me, &["q"], 5).await.is_empty(), "a run that is retried starts again");
    complete(&mut conn, me, &second).await;
    assert_eq!(claim_one(&mut conn, me, "q").await.id, first);
}

#[tokio::test]
async fn eager_steps_of_a_function_with_a_gate_are_postponed() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    define(&mut conn, json!({"concurrency_limit": 1})).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let steps: Vec<NewChild> = (0..3).map(|n| child(&run, &n.to_string(), call(Kind::Task, "q"), true)).collect();
    let reply = commit(&mut conn, me, &starts(&run, steps)).await;
    assert_eq!((reply.postponed.len(), reply.wakes.queues.as_slice()), (3, ["q".to_string()].as_slice()));
    assert_eq!(claim(&mut conn, me, &["q"], 5).await.len(), 1);
}

#[tokio::test]
async fn priority_then_age_decides_between_what_waits_for_a_place_and_what_does_not() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    define(&mut conn, json!({"concurrency_limit": 2})).await;
    let of = |function: &str, priority| new(Call { function: function.into(), priority, ..call(Kind::Task, "q") });
    let items = [of("g", 5), of("f.task", 9), of("f.task", 4), of("g", 9), of("f.task", 8), of("g", 1)];
    create_executions(&mut conn, &items).await.unwrap();
    let claimed: Vec<Uuid> = claim(&mut conn, me, &["q"], 4).await.iter().map(|c| c.id).collect();
    assert_eq!(claimed, [items[1].id, items[3].id, items[4].id, items[0].id]);
    let claimed: Vec<Uuid> = claim(&mut conn, me, &["q"], 4).await.iter().map(|c| c.id).collect();
    assert_eq!(claimed, [items[5].id]);
}

#[tokio::test]
async fn a_backlog_that_waits_for_a_place_is_not_read_by_claims_heartbeats_and_wake_ups_of_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let sleeper = register(&mut conn, &["q"]).await;
    falls_asleep(&mut conn, sleeper, Some(i64::MAX / 1000)).await;
    run(
        &mut conn,
        "insert into currant.executions (id, root_id, kind, function, queue, priority, args, ready_xid)
         select i, i, 'task', 'f.task', 'q', 9, '', currant.xid() from (select currant.new_id() i from generate_series(1, 20000)) s;"
            .into(),
    )
    .await;
    define(&mut conn, json!({"concurrency_limit": 1})).await;
    run(
        &mut conn,
        "insert into currant.executions (id, root_id, kind, function, queue, args, ready_xid)
         select i, i, 'task', 'g', 'q', '', currant.xid() from (select currant.new_id() i from generate_series(1, 20000)) s"
            .into(),
    )
    .await;
    for _ in 0..8 {
        run(&mut conn, "begin".into()).await;
        let before = rows_read(&mut conn).await;
        let claimed = claim(&mut conn, me, &["q"], 10).await;
        assert_eq!(claimed.iter().filter(|c| c.function == "g").count(), 9, "one of the 20,000 has room");
        workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap();
        notify::wake(&mut conn, &Wakes { queues: vec!["q".into()], ..Wakes::default() }).await.unwrap();
        complete(&mut conn, me, &claimed[0]).await;
        let reads = rows_read(&mut conn).await - before;
        run(&mut conn, "rollback".into()).await;
        assert!(reads < 500, "they read {reads} rows");
    }
}

/// By this session, since its counts were last handed in.
async fn rows_read(conn: &mut Conn) -> i64 {
    let sql =
        "select seq_tup_read + idx_tup_fetch from pg_stat_xact_all_tables where relid = 'currant.executions'::regclass";
    text(conn, sql).await.parse().unwrap()
}

#[tokio::test]
async fn counts_by_state_come_from_an_index_and_say_what_became_of_each() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue_many(&mut conn, 2, "q").await;
    define(&mut conn, json!({"queue": "q"})).await;
    enqueue_many(&mut conn, 3, "q").await;
    let claimed = claim(&mut conn, me, &["q"], 4).await;
    complete(&mut conn, me, &claimed[0]).await;
    commit(&mut conn, me, &ends(&claimed[1], Action::Fail, Some("{}"))).await;
    control::cancel(&mut conn, claimed[2].id, false).await.unwrap();
    let found = stats(&mut conn).await;
    let counts = ["pending", "running", "suspended", "completed", "failed", "cancelled"]
        .map(|name| found[name].as_i64().unwrap());
    assert_eq!(counts, [1, 1, 0, 1, 1, 1]);
    let plan = "explain select defined_state, count(*) from currant.executions where defined and function = 'f.task' group by defined_state";
    run(&mut conn, "set enable_seqscan = off; set enable_bitmapscan = off".into()).await;
    run(&mut conn, "vacuum currant.executions".into()).await;
    let mut scope = conn.run().await.unwrap();
    let lines: Vec<String> = sqlx::query_scalar(plan).fetch_all(scope.conn()).await.unwrap();
    assert!(lines.join("\n").contains("Index Only Scan using executions_defined"), "{lines:?}");
}

#[tokio::test]
async fn arguments_that_were_not_checked_against_the_schema_are_not_stored() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    define(&mut conn, json!({"input_schema": {"required": ["x"]}})).await;
    let with =
        |checked: Option<&str>| NewExecution { checked: checked.map(str::to_string), ..new(call(Kind::Task, "q")) };
    let items = [with(Some("")), with(None), NewExecution { idempotency_key: Some("k".into()), ..with(Some("other")) }];
    let created = create(&mut conn, &items).await.unwrap();
    let Created::Unchecked { hash, schema } = &created[0] else { panic!("{created:?}") };
    assert_eq!(schema, r#"{"required": ["x"]}"#);
    assert!(matches!(created[1], Created::Stored { .. }) && matches!(created[2], Created::Unchecked { .. }));
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "1");
    assert_eq!(text(&mut conn, "select count(*) from currant.idempotency_keys").await, "0");
    let checked = NewExecution { checked: Some(hash.clone()), ..items[2].clone() };
    assert!(matches!(create(&mut conn, &[checked]).await.unwrap()[0], Created::Stored { .. }));
}

#[tokio::test]
async fn sleepers_are_told_when_there_is_a_place_and_not_before() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut listener = sqlx::postgres::PgListener::connect(&database.url).await.unwrap();
    let (me, sleeper) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    listener.listen(&notify::channels(sleeper, &[])[0]).await.unwrap();
    falls_asleep(&mut conn, sleeper, Some(i64::MAX / 1000)).await;
    define(&mut conn, json!({"concurrency_limit": 1})).await;
    enqueue_many(&mut conn, 2, "q").await;
    let claimed = claim_one(&mut conn, me, "q").await;
    let wakes = Wakes { queues: vec!["q".into()], ..Wakes::default() };
    notify::wake(&mut conn, &wakes).await.unwrap();
    run(&mut conn, format!("notify \"currant_w_{sleeper}\", 'ours'")).await;
    assert_eq!(listener.recv().await.unwrap().payload(), "ours", "nothing can go yet");
    let wakes = complete(&mut conn, me, &claimed).await;
    notify::wake(&mut conn, &wakes).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "");
}
