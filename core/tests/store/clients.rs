//! What clients do: keys, signals, cancel, retry, wake-ups, transactions of their own, views.
use crate::support::pooler::Pooler;
use crate::support::*;
use currant::base::error::Error;
use currant::base::types::*;
use currant::client::Client;
use currant::client::verbs::*;
use currant::store::commit;
use currant::store::control;
use currant::store::control::send_signal;
use currant::store::enqueue::create_executions;
use currant::store::history;
use currant::store::notify;
use currant::store::one_by_one;
use currant::store::read;
use currant::store::url::Target;
use currant::store::workers;
use sqlx::Connection;
use sqlx::postgres::PgListener;
use std::time::Duration;
use uuid::Uuid;

fn keyed(key: &str) -> NewExecution {
    NewExecution { idempotency_key: Some(key.into()), ..new(call(Kind::Task, "q")) }
}

async fn create(conn: &mut Conn, item: &NewExecution) -> Uuid {
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
            let columns = "id, root_id, kind, function, queue, args";
            let row = format!("'{id}', '{id}', 'task', 'f.task', 'q', '{{}}'");
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
async fn signals_keep_their_order_and_a_repeated_one_counts_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    for (payload, key) in [("1", "a"), ("2", "b"), ("1", "a"), ("3", "c")] {
        send_signal(&mut conn, id, "go", payload.as_bytes(), Some(key)).await.unwrap();
    }
    let order = "select string_agg(convert_from(payload, 'UTF8'), ' ' order by ordinal) from currant.signals";
    assert_eq!(text(&mut conn, order).await, "1 2 3");
}

#[tokio::test]
async fn signals_sent_at_once_get_numbers_of_their_own() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    // All of them are under way before the first can write.
    let mut holder = database.connect().await;
    run(&mut holder, format!("begin; select 1 from currant.executions where id = '{id}' for update")).await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut conn = database.connect().await;
        senders.spawn(async move {
            for _ in 0..5 {
                send_signal(&mut conn, id, "go", b"1", None).await.unwrap();
            }
        });
    }
    until_so_many_wait(&mut conn, 8).await;
    run(&mut holder, "commit".into()).await;
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    assert_eq!(text(&mut conn, "select format('%s %s', count(*), max(ordinal)) from currant.signals").await, "40 40");
    assert_eq!(text(&mut conn, "select wakes from currant.executions").await, "40");
}

#[tokio::test]
async fn a_signal_to_nobody_is_not_found_and_to_a_finished_run_not_running() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let error = send_signal(&mut conn, Uuid::now_v7(), "go", b"1", None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    control::cancel(&mut conn, id, false).await.unwrap();
    let error = send_signal(&mut conn, id, "go", b"1", None).await.unwrap_err();
    assert!(matches!(error, Error::NotRunning(_)), "{error}");
}

#[tokio::test]
async fn cancel_ends_what_has_not_started_and_asks_what_has() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    assert_eq!(control::cancel(&mut conn, id, false).await.unwrap().workers, [(me, id)]);
    assert_eq!(state(&mut conn, id).await, "running");
    let history = history::load_runs(&mut conn, &[id], true).await.unwrap();
    assert!(matches!(history[0].source, HistorySource::Run { cancel_requested: true, .. }));
    assert_eq!(commit(&mut conn, me, &ends(&run, Action::Cancel, None)).await.refused, NONE, "its lease is still good");
    let error = control::cancel(&mut conn, id, false).await.unwrap_err();
    assert!(matches!(error, Error::NotRunning(_)), "{error}");
    let error = control::cancel(&mut conn, Uuid::now_v7(), false).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[tokio::test]
async fn force_ends_the_whole_tree_and_refuses_its_workers() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let inner = child(&run, "0", call(Kind::Workflow, "q"), true);
    commit(&mut conn, me, &starts(&run, vec![inner.clone()])).await;
    let inner_run = Claimed { id: inner.id, lease: 1, ..run.clone() };
    let leaf = child(&inner_run, "0", call(Kind::Task, "q"), true);
    commit(&mut conn, me, &starts(&inner_run, vec![leaf.clone()])).await;

    let mut wakes = control::cancel(&mut conn, id, true).await.unwrap().workers;
    wakes.sort();
    let mut expected = vec![(me, id), (me, inner.id), (me, leaf.id)];
    expected.sort();
    assert_eq!(wakes, expected);
    for id in [id, inner.id, leaf.id] {
        assert_eq!(state(&mut conn, id).await, "cancelled");
    }
    let late = Claimed { id: leaf.id, lease: 1, ..run.clone() };
    assert_eq!(commit(&mut conn, me, &ends(&late, Action::Complete, Some("1"))).await.refused, [leaf.id]);
}

#[tokio::test]
async fn retry_opens_a_new_epoch_from_the_last_good_history() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let good = child(&run, "0", call(Kind::Task, "q"), true);
    let bad = NewChild { after_seq: 1, ..child(&run, "1", call(Kind::Task, "q"), true) };
    let undo = NewChild { after_seq: 2, ..child(&run, "2", call(Kind::Task, "q"), true) };
    commit(&mut conn, me, &starts(&run, vec![good.clone(), bad.clone(), undo.clone()])).await;
    for (seq, step, action) in [(1, &good, Action::Complete), (2, &bad, Action::Fail), (3, &undo, Action::Complete)] {
        let ended = Outcome { delivered: Some((id, seq, seq)), ..outcome(step.id, action, Some("1")) };
        let fences = vec![(id, run.lease), (step.id, 1)];
        commit(&mut conn, me, &Batch { fences, outcomes: vec![ended], ..Batch::default() }).await;
    }
    assert!(matches!(control::retry(&mut conn, id).await, Err(Error::Other(_))), "it has not failed yet");
    commit(&mut conn, me, &ends(&run, Action::Fail, Some("1"))).await;
    assert!(matches!(control::retry(&mut conn, bad.id).await, Err(Error::Other(_))), "it is not a root");

    assert_eq!(control::retry(&mut conn, id).await.unwrap().queues, ["q"]);
    let again = claim(&mut conn, me, &["q"], 10).await;
    let run = again.iter().find(|c| c.id == id).expect("the run is ready");
    assert_eq!((run.epoch, run.attempt), (1, 1));
    assert!(again.iter().any(|c| c.id == bad.id), "the step that failed runs again");
    let history = history::load_runs(&mut conn, &[id], false).await.unwrap();
    let steps: Vec<_> = history
        .iter()
        .filter_map(|row| match &row.source {
            HistorySource::Child { key, args, outcome, delivered, .. } => {
                assert_eq!(*args, good.call.args, "a replay compares them");
                Some((key.as_str(), outcome.is_some(), *delivered))
            }
            _ => None,
        })
        .collect();
    assert_eq!(steps.len(), 2, "what followed the failure stays in the old epoch");
    assert!(steps.contains(&("0", true, Some((1, 1)))) && steps.contains(&("1", false, None)));
}

/// Rule e: only who sleeps past what is there now is notified.
#[tokio::test]
async fn only_workers_that_sleep_past_the_work_are_woken() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let now = text(&mut conn, "select currant.micros(clock_timestamp())").await.parse::<i64>().unwrap();
    let awake = register(&mut conn, &["q"]).await;
    let asleep = register(&mut conn, &["q"]).await;
    let elsewhere = register(&mut conn, &["other"]).await;
    for sleeper in [asleep, elsewhere] {
        falls_asleep(&mut conn, sleeper, Some(now + 60_000_000)).await;
    }
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    let channels: Vec<String> = [awake, asleep, elsewhere].iter().flat_map(|w| notify::channels(*w, &[])).collect();
    listener.listen_all(channels.iter().map(String::as_str)).await.unwrap();

    let wakes = Wakes { queues: vec!["q".into()], ..Wakes::default() };
    let late = new(Call { delay: Some(3600.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, &[late]).await.unwrap();
    notify::wake(&mut conn, &wakes).await.unwrap(); // due after both wake by themselves
    let soon = new(Call { delay: Some(30.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, &[soon]).await.unwrap();
    notify::wake(&mut conn, &wakes).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    notify::wake(&mut conn, &wakes).await.unwrap();
    notify::wake(&mut conn, &Wakes { workers: vec![(awake, Uuid::nil())], ..Wakes::default() }).await.unwrap();

    let mut heard = Vec::new();
    loop {
        let notification = listener.recv().await.unwrap();
        heard.push(notification.channel().to_owned());
        if notification.payload() == Uuid::nil().to_string() {
            break;
        }
    }
    let (asleep, awake) = (format!("currant_w_{asleep}"), format!("currant_w_{awake}"));
    assert_eq!(
        heard,
        [asleep.clone(), asleep, awake],
        "once for what is due soon, once for what is ready; the last is the test's own"
    );
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
async fn sql_clients_signal_and_cancel() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    run(&mut conn, format!(r#"select currant.signal('{id}', 'go', '{{"by": "ann"}}')"#)).await;
    assert_eq!(text(&mut conn, "select convert_from(payload, 'UTF8') from currant.signals").await, r#"{"by": "ann"}"#);
    run(&mut conn, format!("select currant.cancel('{id}')")).await;
    assert_eq!(state(&mut conn, id).await, "cancelled");
    let again = sqlx::query("select currant.signal($1, 'go')")
        .bind(id)
        .execute(conn.run().await.unwrap().conn())
        .await
        .unwrap_err()
        .to_string();
    assert!(again.contains("has finished"), "{again}");
    let nobody = sqlx::query("select currant.cancel($1)")
        .bind(Uuid::now_v7())
        .execute(conn.run().await.unwrap().conn())
        .await
        .unwrap_err();
    assert!(nobody.to_string().contains("there is no execution"), "{nobody}");
}

#[tokio::test]
async fn queue_stats_count_by_state() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "idle"]).await;
    for _ in 0..3 {
        enqueue(&mut conn, Kind::Workflow, "q").await;
    }
    create_executions(&mut conn, &[new(Call { delay: Some(60.0), ..call(Kind::Task, "q") })]).await.unwrap();
    let runs = claim(&mut conn, me, &["q"], 2).await;
    commit(&mut conn, me, &suspends(&runs[0], runs[0].wakes, None)).await;
    let sql = "select string_agg(concat_ws(' ', queue, ready, delayed, running, suspended, held, workers), ', ' order by queue) from currant.queue_stats";
    assert_eq!(text(&mut conn, sql).await, "idle 0 0 0 0 0 1, q 1 1 1 1 0 1");
    let json = String::from_utf8(read::queues(&mut conn).await.unwrap()).unwrap();
    assert!(json.contains(r#""queue":"q","ready":1,"delayed":1"#), "{json}");
}

#[tokio::test]
async fn show_gives_the_whole_tree_and_payloads_digit_for_digit() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let args = br#"{"args": [1.00, 123456789012345678901234567890, "\u0000"], "kwargs": {"b": 1, "a": 2}}"#.to_vec();
    let root = create(&mut conn, &new(Call { args: args.clone(), ..call(Kind::Workflow, "q") })).await;
    let claimed = claim_one(&mut conn, me, "q").await;
    assert_eq!(claimed.args, args);
    commit(&mut conn, me, &starts(&claimed, vec![child(&claimed, "0", call(Kind::Task, "q"), true)])).await;
    send_signal(&mut conn, root, "go", b"1", None).await.unwrap();
    let shown = String::from_utf8(read::show(&mut conn, root).await.unwrap()).unwrap();
    assert!(shown.contains(std::str::from_utf8(&args).unwrap()), "{shown}");
    let tree: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(tree["executions"].as_array().unwrap().len(), 2);
    assert_eq!(tree["executions"][1]["step_key"], "0");
    assert_eq!(tree["executions"][0]["worker"], "w");
    assert_eq!(tree["signals"][0]["name"], "go");
    assert!(matches!(read::show(&mut conn, Uuid::now_v7()).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn list_filters_and_gives_the_newest_first() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let ids = [enqueue(&mut conn, Kind::Task, "a").await, enqueue(&mut conn, Kind::Task, "b").await];
    let list = async |conn: &mut Conn, filters: &str| {
        let filters = read::Filters::parse(filters.as_bytes()).unwrap();
        let rows: serde_json::Value =
            serde_json::from_slice(&read::list_executions(conn, &filters).await.unwrap()).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut conn, "{}").await, [ids[1].to_string(), ids[0].to_string()]);
    assert_eq!(list(&mut conn, r#"{"queue": "a"}"#).await, [ids[0].to_string()]);
    assert_eq!(list(&mut conn, r#"{"limit": 1, "roots": true}"#).await, [ids[1].to_string()]);
    assert!(
        list(&mut conn, r#"{"state": "failed"}"#).await.is_empty()
            && list(&mut conn, r#"{"held": true}"#).await.is_empty()
    );
    for wrong in [r#"{"colour": 1}"#, r#"{"state": "done"}"#, r#"{"limit": -1}"#, "["] {
        assert!(matches!(read::Filters::parse(wrong.as_bytes()), Err(Error::Invalid(_))), "{wrong}");
    }
}

#[tokio::test]
async fn the_seeds_verbs_claim_fail_retry_and_complete() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    let (worker, queues) = (Uuid::now_v7(), vec!["q".to_string()]);
    let id = client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap()[0];
    let claim = || ClaimExecutions { worker_id: worker, queues: queues.clone(), limit: 5 };
    let first = client.ask(claim()).await.unwrap();
    assert_eq!((first.len(), first[0].0), (1, id));
    let fail = FailExecutions { worker_id: worker, items: vec![(id, first[0].1, b"{}".to_vec(), true)] };
    assert_eq!(client.ask(fail.clone()).await.unwrap(), Vec::<Uuid>::new());
    assert_eq!(client.ask(fail).await.unwrap(), [id], "the lease is gone");

    let mut conn = database.connect().await;
    assert_eq!(text(&mut conn, "select run_at > clock_timestamp() from currant.executions").await, "true");
    run(&mut conn, "update currant.executions set run_at = now()".into()).await;
    client.ask(UpdateHeartbeat { worker_id: worker, name: "seed".into(), queues: queues.clone() }).await.unwrap();
    let second = client.ask(claim()).await.unwrap();
    let complete = CompleteExecutions { worker_id: worker, items: vec![(id, second[0].1, b"7".to_vec())] };
    assert_eq!(client.ask(complete).await.unwrap(), Vec::<Uuid>::new());
    let standing = client.wait_execution(id, Some(10.0)).await.unwrap();
    assert_eq!((standing.state.as_str(), standing.payload.as_slice()), ("completed", b"7".as_slice()));
}

#[tokio::test]
async fn the_seeds_suspend_does_not_sleep_over_a_signal_and_resume_wakes() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    one_by_one::suspend_workflows(&mut conn, me, &[(id, run.lease)]).await.unwrap();
    assert_eq!(state(&mut conn, id).await, "suspended");
    assert_eq!(control::resume_workflows(&mut conn, &[id]).await.unwrap().0, [id]);
    assert_eq!(state(&mut conn, id).await, "pending");
    let run = claim_one(&mut conn, me, "q").await;
    send_signal(&mut conn, id, "go", b"1", None).await.unwrap();
    one_by_one::suspend_workflows(&mut conn, me, &[(id, run.lease)]).await.unwrap();
    assert_eq!(state(&mut conn, id).await, "pending");
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

#[tokio::test]
async fn many_wait_for_results_and_each_gets_its_own() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let items: Vec<NewExecution> = (0..50).map(|_| new(call(Kind::Task, "q"))).collect();
    let ids = client.create_executions(items).await.unwrap();
    let mut waiters = tokio::task::JoinSet::new();
    for id in ids {
        let client = client.clone();
        waiters.spawn(async move { (id, client.wait_execution(id, None).await.unwrap()) });
    }
    for task in claim(&mut conn, me, &["q"], 50).await {
        commit(&mut conn, me, &ends(&task, Action::Complete, Some(&format!("\"{}\"", task.id)))).await;
    }
    while let Some(done) = waiters.join_next().await {
        let (id, standing) = done.unwrap();
        assert_eq!((standing.state, standing.payload), ("completed".into(), format!("\"{id}\"").into_bytes()));
    }
    assert!(matches!(client.wait_execution(Uuid::now_v7(), None).await, Err(Error::NotFound(_))));
    let unfinished = client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap()[0];
    let standing = client.wait_execution(unfinished, Some(0.05)).await.unwrap();
    assert_eq!((standing.state.as_str(), standing.finished), ("pending", false));
}

#[tokio::test]
async fn a_client_goes_on_after_its_connections_were_cut() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 4).unwrap();
    let id = client.create_executions(vec![new(call(Kind::Workflow, "q"))]).await.unwrap()[0];
    let mut conn = database.connect().await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    for round in 0..3 {
        text(&mut conn, cut).await;
        client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
        client.send_signal(id, "go".into(), b"1".to_vec(), None).await.unwrap();
        let signals = text(&mut conn, "select count(*) from currant.signals").await;
        assert_eq!(signals, (round + 1).to_string());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_told_in_one_line_without_the_password() {
    let database = Database::new().await;
    let unreachable = "postgresql://ann:secret@127.0.0.1:1/nowhere?connect_timeout=0.3".to_string();
    let (base, _) = database.url.split_once('?').unwrap_or((&database.url, ""));
    let missing = format!("{}/currant_no_such_database?connect_timeout=5", base.rsplit_once('/').unwrap().0);
    for (url, says) in [(unreachable, "refused"), (missing, "does not exist")] {
        let client = Client::new(&url, 2).unwrap();
        for error in [
            client.ask(Queues {}).await.unwrap_err(),
            client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap_err(),
            client.wait_execution(Uuid::now_v7(), None).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unavailable(_) | Error::Refused(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains("secret") && !text.contains('\n'), "{text}");
        }
    }
}

#[tokio::test]
async fn a_database_that_takes_no_connections_is_waited_for() {
    let database = Database::new().await;
    database.allow_connections(false).await;
    let error = Target::parse(&database.url).unwrap().connect().await.err().expect("it is closed");
    assert!(matches!(&error, Error::Unavailable(m) if m.contains("not currently accepting connections")), "{error:?}");
    let client = Client::new(&database.url, 2).unwrap();
    let (asked, ()) = tokio::join!(client.ask(Queues {}), database.allow_connections(true));
    asked.expect("it went on when the database was open again");
}

#[tokio::test]
async fn a_setting_of_the_url_that_the_server_does_not_know_is_no_matter_of_the_schema() {
    let database = Database::new().await;
    let join = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{join}options=-c%20no_such_setting%3D1", database.url);
    let error = Target::parse(&url).unwrap().connect().await.err().expect("it is refused");
    assert!(
        matches!(&error, Error::Refused(m) if m.contains("no_such_setting") && !m.contains("migrate")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_closed_client_says_so_at_once() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    client.ask(Queues {}).await.unwrap();
    client.close().await;
    let answer = tokio::time::timeout(Duration::from_secs(10), client.ask(Queues {})).await;
    assert!(matches!(answer, Ok(Err(Error::Refused(m))) if m.contains("closed")));
}

/// Rule o: with `pgbouncer=true` nothing is prepared or executed outside a transaction, where a pooler may change the server between the two.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_pooler_every_statement_is_in_a_transaction() {
    let database = Database::empty().await;
    let pooler = Pooler::of(&database);
    let client = Client::new(&pooler.url, 2).unwrap();
    client.ask(SchemaVersion {}).await.unwrap();
    client.ask(Migrate {}).await.unwrap();
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    let ids = client.create_executions(vec![new(call(Kind::Workflow, "q")), keyed("k")]).await.unwrap();
    client.wait_execution(ids[0], Some(0.1)).await.unwrap();
    ask_every_verb(&client, ids[0]).await;
    let mut conn = Target::parse(&pooler.url).unwrap().connect().await.unwrap();
    let me = register(&mut conn, &["q"]).await;
    let claimed = claim_one(&mut conn, me, "q").await;
    workers::heartbeat(&mut conn, me, None, false, Some(&[claimed.id])).await.unwrap();
    history::load_runs(&mut conn, &[claimed.id], false).await.unwrap();
    commit::locked(&mut conn, &[claimed.id], &[]).await.unwrap();
    complete(&mut conn, me, &claimed).await;
    workers::take_over(&mut conn, me).await.unwrap();
    workers::stop_worker(&mut conn, me).await.unwrap();
    assert_eq!(pooler.split(), Vec::<String>::new());
}

/// What the proxy of the test before notes of a client that does not know of the pooler.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_parameter_statements_are_split() {
    let database = Database::new().await;
    let pooler = Pooler::of(&database);
    let client = Client::new(&pooler.url.replace("&pgbouncer=true", ""), 2).unwrap();
    client.ask(Queues {}).await.unwrap();
    assert!(pooler.split().iter().any(|message| message.starts_with("P:") && message.contains("queue_stats")));
}

/// Two ways to one server stand for two hosts.
fn two_hosts(database: &Database) -> (Pooler, Pooler, String) {
    let (first, second) = (Pooler::of(database), Pooler::of(database));
    let both = format!("{},{}", first.address, second.address);
    let url = first.url.replace(&first.address, &both).replace("&pgbouncer=true", "");
    (first, second, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_of_two_hosts_goes_everybody_moves_to_the_second() {
    let database = Database::new().await;
    let (first, second, url) = two_hosts(&database);
    let client = Client::new(&url, 2).unwrap();
    let target = Target::parse(&url).unwrap();
    let mut listener = target.listener().await.unwrap().unwrap();
    let mut conn = target.connect().await.unwrap();
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    assert!(second.split().is_empty(), "the first serves as long as it is there");

    first.go_down();
    assert!(matches!(listener.next().await, Err(Error::Unavailable(_))), "a lost listener says so");
    assert!(conn.run().await.unwrap().conn().ping().await.is_err());
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    assert!(!second.split().is_empty(), "the second serves now");
    let mut listener = target.listener().await.unwrap().unwrap();
    let mut conn = target.connect().await.unwrap();
    listener.listen(&["currant".into()]).await.unwrap();
    run(&mut conn, "notify currant, 'heard'".into()).await;
    assert_eq!(listener.next().await.unwrap(), "heard");

    second.go_down();
    let refused = target.connect().await.err().unwrap().to_string();
    assert!(refused.contains(&first.address) && refused.contains(&second.address), "{refused}");
    assert!(!refused.contains('\n') && !refused.contains("password"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_not_what_was_asked_for_is_passed_over() {
    let database = Database::new().await;
    let separator = if database.url.contains('?') { "&" } else { "?" };
    let connect = async |more: &str| {
        let url = format!("{}{separator}target_session_attrs={more}", database.url);
        Target::parse(&url).unwrap().connect().await.err().map(|error| error.to_string())
    };
    for fine in
        ["any", "read-write", "primary", "prefer-standby", "read-only&options=-c%20default_transaction_read_only=on"]
    {
        assert_eq!(connect(fine).await, None, "{fine}");
    }
    for (wrong, said) in [
        ("standby", "it is no stand-by"),
        ("read-only", "it takes writes"),
        ("read-write&options=-c%20default_transaction_read_only=on", "it is read-only"),
    ] {
        let refused = connect(wrong).await.unwrap();
        assert!(refused.contains(said), "{wrong}: {refused}");
    }
}

/// Asks every verb that there is, so that none is forgotten. Each leaves the others what they need; a definition with a limit marks the
/// executions that are there.
async fn ask_every_verb(client: &Client, id: Uuid) {
    let mut asked = Vec::new();
    macro_rules! ask {
        ($($name:ident { $($fields:tt)* },)*) => {$(
            client.ask($name { $($fields)* }).await.unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)));
            asked.push(stringify!($name));
        )*};
    }
    let (pools, queues) = (r#"[{"key": "p", "queues": ["q"]}]"#.to_string(), vec!["q".to_string()]);
    let definition = r#"[{"function": "f.task", "owner": "o", "concurrency_limit": 2,
        "schedules": [{"name": "s", "cron": "0 0 1 1 *"}]}]"#;
    let (payload, worker_id) = (b"1".to_vec(), Uuid::now_v7());
    ask! {
        SchemaVersion {},
        Migrate {},
        ApplyDefinitions { items: definition.into() },
        ListDefinitions {},
        DefinitionStats { functions: vec!["f.task".into()] },
        ListSchedules {},
        FireSchedules {},
        DeleteDefinitions { owners: vec!["o".into()] },
        SetQueueRetention { queue: "q".into(), retention: Some(60.0) },
        QueueRetentions {},
        Sweep { limit: 10, begin: false },
        CreateKeyed { items: vec![keyed("other")] },
        GetExecution { id },
        GetStatus { id },
        Show { id },
        ListExecutions { filters: read::Filters::parse(b"{}").unwrap() },
        Queues {},
        Workers {},
        Doctor {},
        Fleet { pools: pools.clone() },
        Scaling { pools },
        AnyReady { queues: queues.clone() },
        SleepFor { watcher: Uuid::now_v7(), queues: queues.clone(), seconds: 0.0 },
        AskToDrain { pod_uids: vec!["pod".into()], drain: true },
        EndPods { pods: vec![("pod".into(), "Evicted".into())] },
        EndContainers { containers: vec![("pod".into(), "OOMKilled".into(), 0)] },
        PickUps { ids: vec![id] },
        SendSignal { id, name: "go".into(), payload: payload.clone(), dedup_key: "k".into() },
        ResumeWorkflows { ids: vec![id] },
        CancelExecution { id, force: false },
        RetryExecution { id },
        UpdateHeartbeat { worker_id, name: "w".into(), queues },
        ClaimExecutions { worker_id, queues: vec!["empty".into()], limit: 1 },
        CompleteExecutions { worker_id, items: vec![(id, 1, payload.clone())] },
        FailExecutions { worker_id, items: vec![(id, 1, payload, true)] },
        SuspendWorkflows { worker_id, items: vec![(id, 1)] },
    }
    let forgotten: Vec<_> = NAMES.iter().flat_map(|list| list.iter()).filter(|name| !asked.contains(name)).collect();
    assert!(forgotten.is_empty(), "verbs that this test does not ask: {forgotten:?}");
}

/// Rule e: the flag is committed before the look, the work before the wake-up, so that in every order one sees the other. The look
/// takes two steps: what it writes is not seen until its transaction ends.
#[tokio::test]
async fn no_order_of_falling_asleep_and_enqueuing_loses_the_wake_up() {
    let database = Database::new().await;
    let (mut worker_conn, mut client) = (database.connect().await, database.connect().await);
    let me = register(&mut worker_conn, &["q"]).await;
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen(&notify::channels(me, &[])[0]).await.unwrap();
    let until = Some(i64::MAX / 1000);
    // w: the worker's next step (flag, look, end of the look); c: the client's (commit, wake).
    for order in ["wwwcc", "wwcwc", "wwccw", "wcwwc", "wcwcw", "wccww", "cwwwc", "cwwcw", "cwcww", "ccwww"] {
        let (mut worker_steps, mut client_steps, mut looked) = (0, 0, false);
        for step in order.chars() {
            match (step, worker_steps, client_steps) {
                ('w', 0, _) => falls_asleep(&mut worker_conn, me, until).await,
                ('w', 1, _) => {
                    run(&mut worker_conn, "begin".into()).await;
                    looked = workers::heartbeat(&mut worker_conn, me, until, false, None).await.unwrap().ready;
                }
                ('w', ..) => run(&mut worker_conn, "commit".into()).await,
                (_, _, 0) => {
                    enqueue(&mut client, Kind::Task, "q").await;
                }
                _ => notify::wake(&mut client, &Wakes { queues: vec!["q".into()], ..Wakes::default() }).await.unwrap(),
            }
            if step == 'w' { worker_steps += 1 } else { client_steps += 1 }
        }
        let end = Wakes { workers: vec![(me, Uuid::nil())], ..Wakes::default() };
        notify::wake(&mut client, &end).await.unwrap();
        let mut notified = false;
        while listener.recv().await.unwrap().payload() != Uuid::nil().to_string() {
            notified = true;
        }
        assert!(looked || notified, "{order}: the worker sleeps over the work");
        workers::heartbeat(&mut worker_conn, me, None, false, None).await.unwrap();
        claim_one(&mut worker_conn, me, "q").await;
    }
}
