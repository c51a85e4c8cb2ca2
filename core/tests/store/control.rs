//! Signals, cancels, forced ends and retries.
use crate::support::*;
use currant::base::error::Error;
use currant::base::types::*;
use currant::store::control;
use currant::store::control::send_signal;
use currant::store::history;
use uuid::Uuid;

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
