//! The seed's verbs, each for one execution.
use crate::support::*;
use currant::base::types::*;
use currant::client::Client;
use currant::client::verbs::*;
use currant::store::control;
use currant::store::control::send_signal;
use currant::store::one_by_one;
use uuid::Uuid;

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
