//! Dead workers: what they ran goes on elsewhere, and who is to blame.
mod support;
use currant::types::*;
use currant::worker;
use support::*;
use uuid::Uuid;

async fn die(conn: &mut Conn, worker: Uuid) -> Wakes {
    silence(conn, worker).await;
    worker::take_over(conn, worker).await.unwrap()
}

async fn claim_isolated(conn: &mut Conn, worker: Uuid) -> Vec<Claimed> {
    let request = ClaimRequest { queues: vec!["q".into()], limit: 10, isolated: true, ..ClaimRequest::default() };
    worker::commit_batch(conn, worker, &Batch::default(), Some(&request)).await.unwrap().claimed
}

#[tokio::test]
async fn a_dead_workers_running_attempts_are_ready_again_and_its_suspended_runs_are_not_touched() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (dead, heir) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    let sleeper = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, dead, "q").await;
    commit(&mut conn, dead, &suspends(&run, run.wakes, None)).await;
    let task = enqueue(&mut conn, Kind::Task, "q").await;
    let first = claim_one(&mut conn, dead, "q").await;
    silence(&mut conn, dead).await;

    let beat = worker::heartbeat(&mut conn, heir, None, false, None).await.unwrap();
    assert_eq!(beat.dead, [dead]);
    assert_eq!(worker::take_over(&mut conn, dead).await.unwrap().queues, ["q"]);
    assert_eq!(state(&mut conn, sleeper).await, "suspended");
    let second = claim_one(&mut conn, heir, "q").await;
    assert_eq!((second.id, second.takeovers), (task, 1));
    assert_eq!(second.attempt - second.takeovers, first.attempt, "a take-over costs no retry");
    assert!(second.lease > first.lease);
}

#[tokio::test]
async fn a_worker_that_beats_in_time_is_not_taken_over() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let alive = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, alive, "q").await;
    assert!(worker::take_over(&mut conn, alive).await.unwrap().is_empty());
    assert_eq!(state(&mut conn, id).await, "running");
}

#[tokio::test]
async fn ten_that_take_over_the_same_worker_do_it_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let dead = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, dead, "q").await;
    silence(&mut conn, dead).await;
    let mut heirs = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut conn = database.connect().await;
        heirs.spawn(async move { worker::take_over(&mut conn, dead).await.unwrap() });
    }
    while let Some(done) = heirs.join_next().await {
        done.unwrap();
    }
    assert_eq!(text(&mut conn, "select takeovers from currant.executions").await, "1");
}

#[tokio::test]
async fn an_execution_that_alone_kills_max_attempts_workers_fails_as_worker_lost_and_tells_its_parent() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let home = register(&mut conn, &["home"]).await;
    let parent = enqueue(&mut conn, Kind::Workflow, "home").await;
    let run = claim_one(&mut conn, home, "home").await;
    let step = child(&run, "0", Call { policy: policy(2), ..call(Kind::Task, "q") }, false);
    commit(&mut conn, home, &starts(&run, vec![step.clone()])).await;
    for death in 1..=2 {
        assert_eq!(state(&mut conn, step.id).await, "pending", "before death {death}");
        let victim = register(&mut conn, &["q"]).await;
        assert_eq!(claim_isolated(&mut conn, victim).await.len(), 1);
        let wakes = die(&mut conn, victim).await;
        assert_eq!(wakes.workers.contains(&(home, parent)), death == 2);
    }
    assert_eq!(state(&mut conn, step.id).await, "failed");
    let error =
        text(&mut conn, "select convert_from(error, 'UTF8') from currant.executions where state = 'failed'").await;
    assert!(error.contains("WorkerLost") && error.contains("2 worker(s)"), "{error}");
}

#[tokio::test]
async fn a_bystander_never_fails_however_often_its_workers_die() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let killer = enqueue(&mut conn, Kind::Task, "q").await;
    let mut bystanders = Vec::new();
    while state(&mut conn, killer).await != "failed" {
        bystanders.push(enqueue(&mut conn, Kind::Task, "q").await);
        assert!(bystanders.len() < 10, "the killer is caught");
        let victim = register(&mut conn, &["q"]).await;
        let claimed = claim_isolated(&mut conn, victim).await;
        assert!(claimed.iter().any(|c| c.id == killer));
        die(&mut conn, victim).await;
    }
    for id in &bystanders {
        assert_eq!(state(&mut conn, *id).await, "pending");
    }
    let last = bystanders.last().unwrap();
    let blamed = format!("select crashes from currant.executions where id = '{last}'");
    assert_eq!(text(&mut conn, &blamed).await, "0", "by then it is known who it was");
}

#[tokio::test]
async fn a_run_that_made_progress_under_its_lease_is_not_suspected() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    for _ in 0..5 {
        let victim = register(&mut conn, &["q"]).await;
        let run = claim_one(&mut conn, victim, "q").await;
        commit(&mut conn, victim, &starts(&run, vec![])).await;
        die(&mut conn, victim).await;
    }
    assert_eq!(state(&mut conn, id).await, "pending");
    assert_eq!(text(&mut conn, "select crashes from currant.executions").await, "0");
}

#[tokio::test]
async fn a_stopping_workers_leftovers_go_back_at_no_cost() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (leaver, heir) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    enqueue(&mut conn, Kind::Task, "q").await;
    let first = claim_one(&mut conn, leaver, "q").await;
    assert_eq!(worker::stop_worker(&mut conn, leaver).await.unwrap().queues, ["q"]);
    let second = claim_one(&mut conn, heir, "q").await;
    assert_eq!((second.attempt, second.takeovers), (first.attempt, 0));
    assert_eq!(commit(&mut conn, leaver, &ends(&first, Action::Complete, Some("1"))).await.refused, [first.id]);
}

fn in_pod(uid: &str) -> WorkerInfo {
    let pod = Pod { pool: Some("shop/orders".into()), name: Some("orders-1".into()), uid: Some(uid.into()) };
    WorkerInfo { pod, ..info(&["q"]) }
}

#[tokio::test]
async fn a_worker_that_starts_in_the_pod_of_another_takes_over_what_that_one_ran_however_fresh_its_heartbeat() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (before, neighbour, after) = (in_pod("u1"), in_pod("u2"), in_pod("u1"));
    worker::register(&mut conn, &before).await.unwrap();
    worker::register(&mut conn, &neighbour).await.unwrap();
    let (mine, theirs) = (enqueue(&mut conn, Kind::Task, "q").await, enqueue(&mut conn, Kind::Task, "q").await);
    let lost = claim_one(&mut conn, before.id, "q").await;
    claim_one(&mut conn, neighbour.id, "q").await;

    let wakes = worker::register(&mut conn, &after).await.unwrap();
    assert_eq!((lost.id, wakes.queues), (mine, vec!["q".to_owned()]));
    assert_eq!(
        (state(&mut conn, mine).await.as_str(), state(&mut conn, theirs).await.as_str()),
        ("pending", "running")
    );
    assert_eq!(commit(&mut conn, before.id, &ends(&lost, Action::Complete, Some("1"))).await.refused, [mine]);
    assert!(!worker::heartbeat(&mut conn, before.id, None, false, None).await.unwrap().known);
    assert!(worker::heartbeat(&mut conn, neighbour.id, None, false, None).await.unwrap().known);
}

#[tokio::test]
async fn two_workers_that_share_a_pod_by_mistake_do_not_declare_each_other_dead_for_ever() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (first, second) = (in_pod("u1"), in_pod("u1"));
    worker::register(&mut conn, &first).await.unwrap();
    worker::register(&mut conn, &second).await.unwrap();
    worker::register(&mut conn, &first).await.unwrap();
    for worker in [first.id, second.id] {
        assert!(worker::heartbeat(&mut conn, worker, None, false, None).await.unwrap().known);
    }
}

#[tokio::test]
async fn outside_of_pods_no_worker_ends_another() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let first = register(&mut conn, &["q"]).await;
    register(&mut conn, &["q"]).await;
    assert!(worker::heartbeat(&mut conn, first, None, false, None).await.unwrap().known);
}
