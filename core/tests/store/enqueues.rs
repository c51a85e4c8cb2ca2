//! Enqueues: idempotency keys, a caller's transaction, SQL, many at once.
use crate::support::*;
use currant::base::error::Error;
use currant::base::types::*;
use currant::client::Client;
use currant::store::control;
use currant::store::enqueue::create_executions;
use currant::store::notify;
use sqlx::postgres::PgListener;
use uuid::Uuid;

pub fn keyed(key: &str) -> NewExecution {
    NewExecution { idempotency_key: Some(key.into()), ..new(call(Kind::Task, "q")) }
}

pub async fn create(conn: &mut Conn, item: &NewExecution) -> Uuid {
    create_executions(conn, std::slice::from_ref(item)).await.unwrap()[0]
}

#[tokio::test]
async fn the_same_enqueue_again_changes_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let items = [new(call(Kind::Task, "q")), keyed("k")];
    let first = create_executions(&mut conn, &items).await.unwrap();
    assert_eq!(create_executions(&mut conn, &items).await.unwrap(), first);
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "2");
}

/// A reply was lost while the commit was still under way, and the client asks again on another connection.
#[tokio::test]
async fn the_same_enqueue_at_the_same_time_is_to_be_made_again_and_changes_nothing() {
    for (number, defined) in [(1, false), (2, false), (1, true), (2, true)] {
        let database = Database::new().await;
        let (mut first, mut second, mut conn) =
            (database.connect().await, database.connect().await, database.connect().await);
        let items: Vec<_> = (0..number).map(|_| new(call(Kind::Task, "q"))).collect();
        let ids: Vec<_> = items.iter().map(|item| item.id).collect();
        if defined {
            currant::store::definitions::apply(&mut conn, r#"[{"function": "f.task", "owner": "o", "priority": 7}]"#)
                .await
                .unwrap();
        }
        run(&mut first, "begin".into()).await;
        for id in &ids {
            let columns = "id, root_id, kind, function, queue, args, ready_xid";
            let row = format!("'{id}', '{id}', 'task', 'f.task', 'q', '{{}}', currant.xid()");
            run(&mut first, format!("insert into currant.executions ({columns}) values ({row})")).await;
        }
        let meanwhile = tokio::spawn(async move {
            let refused = create_executions(&mut second, &items).await.expect_err("it is under way");
            assert!(refused.is_transient(), "{refused}");
            create_executions(&mut second, &items).await.unwrap()
        });
        until_one_waits(&mut conn).await;
        run(&mut first, "commit".into()).await;
        assert_eq!(meanwhile.await.unwrap(), ids);
        assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, number.to_string());
    }
}

#[tokio::test]
async fn a_key_is_taken_while_its_execution_is_neither_failed_nor_cancelled() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let first = create(&mut conn, &keyed("k")).await;
    assert_eq!(create(&mut conn, &keyed("k")).await, first);
    let other = keyed("k");
    let other = NewExecution { call: Call { function: "f.other".into(), ..other.call.clone() }, ..other };
    assert_eq!(create(&mut conn, &other).await, other.id, "keys are per function");

    control::cancel(&mut conn, first, false).await.unwrap();
    let second = create(&mut conn, &keyed("k")).await;
    assert_ne!(second, first);
    control::cancel(&mut conn, other.id, false).await.unwrap();
    let task = claim_one(&mut conn, me, "q").await;
    commit(&mut conn, me, &ends(&task, Action::Complete, Some("1"))).await;
    assert_eq!(create(&mut conn, &keyed("k")).await, second, "a completed one keeps its key");

    run(&mut conn, "update currant.idempotency_keys set expires_at = now() - interval '1 second'".into()).await;
    assert_ne!(create(&mut conn, &keyed("k")).await, second);
}

#[tokio::test]
async fn twenty_that_race_for_two_keys_get_two_executions_and_no_deadlock() {
    let database = Database::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for turn in 0..20 {
        let mut conn = database.connect().await;
        racers.spawn(async move {
            let mut items = vec![keyed("a"), keyed("b")];
            if turn % 2 == 0 {
                items.reverse();
            }
            let mut ids = create_executions(&mut conn, &items).await.unwrap();
            ids.sort();
            ids
        });
    }
    let mut answers = Vec::new();
    while let Some(ids) = racers.join_next().await {
        answers.push(ids.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all see the same winners");
    assert_eq!(text(&mut database.connect().await, "select count(*) from currant.executions").await, "2");
}

#[tokio::test]
async fn an_enqueue_in_a_callers_transaction_commits_and_rolls_back_with_it() {
    let database = Database::new().await;
    let (mut conn, mut watcher) = (database.connect().await, database.connect().await);
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen(&notify::channels(Uuid::nil(), &["mail".into()])[1]).await.unwrap();
    let enqueue =
        r#"select currant.enqueue('f.task', '{"args": [1]}', '{"queue": "mail", "priority": 7, "retries": 2}')"#;

    let mut transaction = conn.transaction().await.unwrap();
    sqlx::query(enqueue).execute(transaction.conn()).await.unwrap();
    assert_eq!(text(&mut watcher, "select count(*) from currant.runs").await, "0");
    transaction.undo().await.unwrap();
    assert_eq!(text(&mut watcher, "select count(*) from currant.runs").await, "0");

    let mut transaction = conn.transaction().await.unwrap();
    let id: Uuid = sqlx::query_scalar(enqueue).fetch_one(transaction.conn()).await.unwrap();
    transaction.done().await.unwrap();
    assert!(listener.recv().await.is_ok(), "the commit notifies");
    let row = format!(
        "select format('%s %s %s %s %s', queue, priority, max_attempts, state, args) from currant.runs where id = '{id}'"
    );
    assert_eq!(text(&mut watcher, &row).await, r#"mail 7 3 pending {"args": [1], "kwargs": {}}"#);
}

#[tokio::test]
async fn enqueue_refuses_what_it_does_not_understand_and_says_so() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for (args, options, says) in [
        ("{}", r#"{"prio": 1}"#, "unknown key \"prio\""),
        ("{}", r#"{"priority": 11}"#, "priority must be a number from 0 to 10"),
        ("{}", r#"{"priority": "high"}"#, "priority must be a number"),
        ("{}", r#"{"priority": 1.5}"#, "whole number"),
        ("{}", r#"{"max_worker_losses": -1}"#, "max_worker_losses must be a number from 0 to"),
        ("{}", r#"{"max_worker_losses": 0.5}"#, "max_worker_losses must be a whole number"),
        ("{}", r#"{"kind": "job"}"#, "task or workflow"),
        ("{}", r#"{"queue": ""}"#, "queue must be a text"),
        ("{}", r#"{"timeout": 0}"#, "timeout must be more than 0"),
        ("{}", r#"{"delay": 1, "run_at": 5}"#, "not both"),
        ("{}", r#"{"retries": 1, "retry": {"max_attempts": 2}}"#, "not both"),
        ("{}", r#"{"retry": {"tries": 2}}"#, "unknown key \"tries\""),
        ("[]", "{}", "must be a JSON object"),
        (r#"{"args": {}}"#, "{}", "args must be"),
    ] {
        let query =
            sqlx::query("select currant.enqueue('f', $1::text::jsonb, $2::text::jsonb)").bind(args).bind(options);
        let error = query.execute(conn.run().await.unwrap().conn()).await.unwrap_err().to_string();
        assert!(error.contains(says), "{args} {options}: {error}");
    }
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "0");
}

#[tokio::test]
async fn enqueue_knows_keys_ids_and_times() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let keyed = r#"select currant.enqueue('f', '{}', '{"idempotency_key": "k"}')"#;
    assert_eq!(text(&mut conn, keyed).await, text(&mut conn, keyed).await);
    let id = Uuid::now_v7();
    let named = format!(r#"select currant.enqueue('f', '{{}}', '{{"id": "{id}", "run_at": "2099-01-01T00:00:00Z"}}')"#);
    assert_eq!(text(&mut conn, &named).await, id.to_string());
    let due = format!("select run_at = '2099-01-01 00:00:00+00' from currant.runs where id = '{id}'");
    assert_eq!(text(&mut conn, &due).await, "true");
}

#[tokio::test]
async fn enqueues_in_flight_together_share_commits_and_one_bad_one_fails_alone() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        let mut item = new(call(Kind::Task, "q"));
        if number == 77 {
            item.call.run_at = Some(i64::MIN); // before all times that Postgres knows
        }
        callers.spawn(async move { (number, client.create_executions(vec![item.clone()]).await, item.id) });
    }
    while let Some(done) = callers.join_next().await {
        let (number, result, id) = done.unwrap();
        match number {
            77 => assert!(matches!(result, Err(Error::Data { .. })), "{result:?}"),
            _ => assert_eq!(result.unwrap(), [id]),
        }
    }
    let mut conn = database.connect().await;
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "199");
    let commits = text(&mut conn, "select count(distinct xmin::text) from currant.executions").await;
    assert!(commits.parse::<i32>().unwrap() < 199, "{commits} commits");
    client.flush().await.unwrap();
}
