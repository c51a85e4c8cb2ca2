//! What workers' code says of its functions, for enqueues that come without it.
use crate::support::*;
use currant::base::types::*;
use currant::store::definitions;
use currant::store::workers;
use serde_json::{Value, json};

/// What a decorator says of `f.task`, but for these.
fn declaration(mut changes: Value) -> String {
    let mut said = json!({
        "function": "f.task", "kind": "task", "queue": "main", "priority": 7, "options": {
            "timeout": 7, "max_worker_losses": 0,
            "retry": {"max_attempts": 1, "initial": 2, "multiplier": 3, "max_delay": 9, "jitter": 0.5, "non_retryable": ["Fatal"]},
        },
    });
    if let Some(timeout) = changes.as_object_mut().unwrap().remove("timeout") {
        said["options"]["timeout"] = timeout;
    }
    said.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!([said]).to_string()
}

/// Starts a worker whose code says this.
async fn start(conn: &mut Conn, changes: Value) -> WorkerInfo {
    let info = WorkerInfo { functions: declaration(changes), ..info(&["main"]) };
    workers::register(conn, &info).await.unwrap();
    info
}

async fn stop(conn: &mut Conn, info: &WorkerInfo) {
    workers::stop_worker(conn, info.id).await.unwrap();
}

/// What an enqueue in SQL with these options is stored with.
async fn enqueued(conn: &mut Conn, options: &str) -> String {
    let id = text(conn, &format!("select currant.enqueue('f.task', '{{}}', '{options}')")).await;
    let retry = ["max_attempts", "initial", "multiplier", "max_delay", "jitter"].map(|part| format!("retry,{part}"));
    let retry = stored(&retry.each_ref().map(String::as_str));
    let columns = format!(
        "kind, queue, priority, coalesce(nullif({}, ''), '-'), {retry},
        (select array(select jsonb_array_elements_text({}::jsonb)))::text, {}",
        stored(&["timeout"]),
        stored(&["retry,non_retryable"]),
        stored(&["max_worker_losses"])
    );
    text(conn, &format!("select concat_ws(' ', {columns}) from currant.executions where id = '{id}'")).await
}

#[tokio::test]
async fn an_enqueue_without_options_has_what_the_decorator_says_unless_a_call_or_a_definition_says_otherwise() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    assert_eq!(enqueued(&mut conn, "{}").await, "task default 5 300 4 1 2 300 0.1 {} 3", "nobody knows the function");
    start(&mut conn, json!({})).await;
    for (options, expected) in [
        ("{}", "task main 7 7 1 2 3 9 0.5 {Fatal} 0"),
        (r#"{"queue": "mine", "priority": 1}"#, "task mine 1 7 1 2 3 9 0.5 {Fatal} 0"),
        (r#"{"timeout": null}"#, "task main 7 - 1 2 3 9 0.5 {Fatal} 0"),
        (r#"{"retries": 2, "max_worker_losses": 1}"#, "task main 7 7 3 1 2 300 0.1 {} 1"),
        (r#"{"retries": null, "queue": null}"#, "task main 7 7 1 2 3 9 0.5 {Fatal} 0"),
        (r#"{"defaults": {"priority": 3, "retries": 1}}"#, "task main 3 7 2 1 2 300 0.1 {} 0"),
        (r#"{"defaults": {"priority": null, "retries": null}}"#, "task main 7 7 1 2 3 9 0.5 {Fatal} 0"),
    ] {
        assert_eq!(enqueued(&mut conn, options).await, expected, "{options}");
    }
    let item = json!([{"function": "f.task", "owner": "o", "queue": "defined", "max_worker_losses": 9, "retry": {"max_attempts": 5}}]);
    definitions::apply(&mut conn, &item.to_string()).await.unwrap();
    assert_eq!(enqueued(&mut conn, "{}").await, "task defined 7 7 5 2 3 9 0.5 {Fatal} 9");
    assert_eq!(enqueued(&mut conn, r#"{"queue": "mine"}"#).await, "task mine 7 7 5 2 3 9 0.5 {Fatal} 9");
}

#[tokio::test]
async fn a_registered_workflow_is_enqueued_as_one_and_a_name_of_another_kind_says_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    start(&mut conn, json!({"kind": "workflow", "timeout": null, "queue": null})).await;
    assert_eq!(enqueued(&mut conn, "{}").await, "workflow default 7 - 1 2 3 9 0.5 {Fatal} 0");
    assert_eq!(enqueued(&mut conn, r#"{"kind": "task"}"#).await, "task default 5 300 4 1 2 300 0.1 {} 3");
}

#[tokio::test]
async fn sql_and_rust_have_the_same_defaults() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for kind in [Kind::Task, Kind::Workflow] {
        let defaults = format!("select currant.default_options('{}')", kind.as_str());
        let defaults: Value = serde_json::from_str(&text(&mut conn, &defaults).await).unwrap();
        let options = Options::read(kind, defaults.as_object().unwrap().clone()).unwrap();
        assert_eq!(options, Options::of(kind));
        let known =
            text(&mut conn, "select array_to_json(array(select distinct k.path[1] from currant.known_options() k))")
                .await;
        let known: std::collections::BTreeSet<String> = serde_json::from_str(&known).unwrap();
        assert_eq!(known, options.as_map().into_iter().map(|(name, _)| name).collect());
    }
}

async fn queue(conn: &mut Conn) -> String {
    enqueued(conn, "{}").await.split(' ').nth(1).unwrap().into()
}

#[tokio::test]
async fn in_a_roll_out_the_version_that_came_last_counts_and_workers_that_restart_change_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut old =
        vec![start(&mut conn, json!({"queue": "old"})).await, start(&mut conn, json!({"queue": "old"})).await];
    let new = start(&mut conn, json!({"queue": "new"})).await;
    assert_eq!(queue(&mut conn).await, "new", "from its first worker on");
    stop(&mut conn, &old.remove(0)).await;
    old.push(start(&mut conn, json!({"queue": "old"})).await);
    assert_eq!(queue(&mut conn).await, "new", "one of the old workers has only restarted");
    stop(&mut conn, &new).await;
    assert_eq!(queue(&mut conn).await, "old", "the roll-out was given up");
    let again = start(&mut conn, json!({"queue": "new"})).await;
    assert_eq!(queue(&mut conn).await, "new");
    for worker in &old {
        stop(&mut conn, worker).await;
    }
    // A roll-back: workers of the old version come anew, while one of the new version lives.
    let back = start(&mut conn, json!({"queue": "old"})).await;
    assert_eq!(queue(&mut conn).await, "old");
    stop(&mut conn, &again).await;
    stop(&mut conn, &back).await;
    assert_eq!(queue(&mut conn).await, "old", "nobody serves it any more: as it was last");
}

#[tokio::test]
async fn a_dead_worker_s_version_gives_way_without_anybody_s_good_bye() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    start(&mut conn, json!({"queue": "old"})).await;
    let new = start(&mut conn, json!({"queue": "new"})).await;
    silence(&mut conn, new.id).await;
    assert_eq!(queue(&mut conn).await, "old");
}

#[tokio::test]
async fn versions_that_nobody_runs_do_not_gather() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for version in 0..5 {
        let worker = start(&mut conn, json!({"queue": format!("q{version}")})).await;
        stop(&mut conn, &worker).await;
    }
    assert_eq!(text(&mut conn, "select string_agg(queue, ' ') from currant.functions").await, "q4");
}

#[tokio::test]
async fn ten_that_start_at_once_write_it_once_and_wait_in_no_circle() {
    let database = Database::new().await;
    let functions: Vec<Value> = (0..50)
        .map(|number| {
            serde_json::from_str::<Value>(&declaration(json!({"function": format!("f{number}")}))).unwrap()[0].clone()
        })
        .collect();
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..10 {
        let mut conn = database.connect().await;
        let mut functions = functions.clone();
        if number >= 5 {
            functions.rotate_left(number * 5);
        }
        if number % 2 == 0 {
            functions.iter_mut().for_each(|function| function["queue"] = "other".into());
        }
        starts.spawn(async move {
            let info = WorkerInfo { functions: json!(functions).to_string(), build: "b".into(), ..info(&["main"]) };
            workers::register(&mut conn, &info).await.unwrap();
        });
    }
    while let Some(done) = starts.join_next().await {
        done.unwrap();
    }
    let mut conn = database.connect().await;
    let before = text(&mut conn, "select max(xmin::text::bigint) from currant.functions").await;
    let again = WorkerInfo { functions: json!(functions).to_string(), build: "b".into(), ..info(&["main"]) };
    workers::register(&mut conn, &again).await.unwrap();
    assert_eq!(
        text(&mut conn, "select max(xmin::text::bigint) from currant.functions").await,
        before,
        "nothing is written"
    );
}
