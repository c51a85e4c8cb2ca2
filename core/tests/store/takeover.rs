//! Dead workers: what they ran goes on elsewhere, and who is to blame.
use crate::support::*;
use currant::base::types::*;
use currant::store::commit;
use currant::store::enqueue;
use currant::store::workers;
use uuid::Uuid;

async fn die(conn: &mut Conn, worker: Uuid) -> Wakes {
    silence(conn, worker).await;
    workers::take_over(conn, worker).await.unwrap()
}

async fn claim_isolated(conn: &mut Conn, worker: Uuid) -> Vec<Claimed> {
    let request = ClaimRequest { queues: vec!["q".into()], limit: 10, poison_suspect: true, ..ClaimRequest::default() };
    commit::commit_batch(conn, worker, &Batch::default(), Some(&request)).await.unwrap().claimed
}

#[tokio::test]
async fn a_dead_workers_running_attempts_are_ready_again_and_its_suspended_runs_are_not_touched() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (dead, heir) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    let sleeper = enqueue(&mut conn, Kind::Workflow, "q").await;
    let task = enqueue(&mut conn, Kind::Task, "q").await;
    let [run, first] = claim(&mut conn, dead, &["q"], 2).await.try_into().expect("one claim of both");
    commit(&mut conn, dead, &suspends(&run, run.wakes, None)).await;
    silence(&mut conn, dead).await;

    let beat = workers::heartbeat(&mut conn, heir, None, false, None, &Ranges::default()).await.unwrap();
    assert_eq!(beat.dead, [dead]);
    assert_eq!(workers::take_over(&mut conn, dead).await.unwrap().queues, ["q"]);
    assert_eq!(state(&mut conn, sleeper).await, "suspended");
    let second = claim_one(&mut conn, heir, "q").await;
    assert_eq!((second.id, second.worker_losses), (task, 1));
    assert_eq!(second.attempt - second.worker_losses, first.attempt, "a take-over costs no retry");
    assert!(second.lease > first.lease);
    let losses = text(&mut conn, &format!("select suspect_losses from currant.executions where id = '{task}'")).await;
    assert_eq!(losses, "1", "the suspended run is no suspect, so it ran alone");
}

#[tokio::test]
async fn a_worker_that_beats_in_time_is_not_taken_over() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let alive = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Task, "q").await;
    claim_one(&mut conn, alive, "q").await;
    assert!(workers::take_over(&mut conn, alive).await.unwrap().is_empty());
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
        heirs.spawn(async move { workers::take_over(&mut conn, dead).await.unwrap() });
    }
    while let Some(done) = heirs.join_next().await {
        done.unwrap();
    }
    assert_eq!(text(&mut conn, "select worker_losses from currant.executions").await, "1");
}

/// A call whose own failures are final, and of which so many workers may be lost.
fn fragile(max_worker_losses: i32) -> Call {
    Call { options: may_lose(max_worker_losses), ..call(Kind::Task, "q") }
}

async fn enqueue_call(conn: &mut Conn, call: Call) -> Uuid {
    enqueue::create_executions(conn, &[new(call)]).await.unwrap()[0]
}

async fn error_of(conn: &mut Conn, id: Uuid) -> String {
    text(conn, &format!("select convert_from(error, 'UTF8') from currant.executions where id = '{id}'")).await
}

#[tokio::test]
async fn one_that_alone_loses_more_workers_than_it_may_fails_as_worker_lost_and_tells_its_parent() {
    for (most, said) in [(0, "max_worker_losses=0"), (1, "2 workers"), (2, "3 workers"), (3, "4 workers")] {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        let home = register(&mut conn, &["home"]).await;
        let parent = enqueue(&mut conn, Kind::Workflow, "home").await;
        let run = claim_one(&mut conn, home, "home").await;
        let step = child(&run, "0", fragile(most), false);
        commit(&mut conn, home, &starts(&run, vec![step.clone()])).await;
        for death in 1..=most + 1 {
            assert_eq!(state(&mut conn, step.id).await, "pending", "before death {death} of {most}");
            let victim = register(&mut conn, &["q"]).await;
            assert_eq!(claim_isolated(&mut conn, victim).await.len(), 1);
            let wakes = die(&mut conn, victim).await;
            assert_eq!(wakes.workers.contains(&(home, parent)), death == most + 1);
        }
        assert_eq!(state(&mut conn, step.id).await, "failed");
        let error = error_of(&mut conn, step.id).await;
        assert!(error.contains("WorkerLost") && error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn what_may_not_be_started_twice_ends_with_its_worker_whoever_is_to_blame() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let victim = register(&mut conn, &["q"]).await;
    let (once, bystander) = (enqueue_call(&mut conn, fragile(0)).await, enqueue_call(&mut conn, fragile(1)).await);
    let untouched = enqueue_call(&mut conn, fragile(0)).await;
    assert_eq!(claim(&mut conn, victim, &["q"], 2).await.len(), 2);
    die(&mut conn, victim).await;
    let states =
        [once, bystander, untouched].map(|id| format!("select state from currant.executions where id = '{id}'"));
    let mut found = Vec::new();
    for sql in states {
        found.push(text(&mut conn, &sql).await);
    }
    assert_eq!(found, ["failed", "pending", "pending"], "one that nobody had claimed has lost no worker");
    assert!(error_of(&mut conn, once).await.contains("WorkerLost"));
}

#[tokio::test]
async fn a_workflow_that_may_lose_no_worker_ends_with_it_though_it_made_progress_and_leaves_no_step() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let victim = register(&mut conn, &["q"]).await;
    let id = enqueue_call(&mut conn, Call { kind: Kind::Workflow, function: "f.workflow".into(), ..fragile(0) }).await;
    let run = claim_one(&mut conn, victim, "q").await;
    let step = child(&run, "0", Call { queue: "elsewhere".into(), ..fragile(3) }, false);
    commit(&mut conn, victim, &starts(&run, vec![step.clone()])).await;
    die(&mut conn, victim).await;
    assert_eq!(state(&mut conn, id).await, "failed");
    assert_eq!(state(&mut conn, step.id).await, "cancelled");
}

#[tokio::test]
async fn losses_shared_with_others_isolate_and_are_not_counted() {
    for (most, shared) in [(1, 1), (2, 2), (3, 2), (100, 2)] {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        let (one, other) = (enqueue_call(&mut conn, fragile(most)).await, enqueue_call(&mut conn, fragile(most)).await);
        for death in 1..=shared {
            let victim = register(&mut conn, &["q"]).await;
            assert_eq!(claim(&mut conn, victim, &["q"], 10).await.len(), 2, "death {death} of {most}");
            die(&mut conn, victim).await;
        }
        let counted = "select string_agg(format('%s %s %s', poison_suspect, suspect_losses, worker_losses), ',') from currant.executions";
        assert_eq!(text(&mut conn, counted).await, format!("t 0 {shared},t 0 {shared}"), "{most}");
        assert_eq!([state(&mut conn, one).await, state(&mut conn, other).await], ["pending", "pending"]);
        // From now on one at a time.
        let victim = register(&mut conn, &["q"]).await;
        assert_eq!(claim_isolated(&mut conn, victim).await.len(), 1);
    }
}

/// The suspect of the queue is for another build.
#[tokio::test]
async fn a_poison_suspect_that_this_build_may_not_claim_keeps_nothing_else_from_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let suspect = enqueue(&mut conn, Kind::Workflow, "q").await;
    let other = enqueue(&mut conn, Kind::Task, "q").await;
    run(
        &mut conn,
        format!(
            "update currant.executions set poison_suspect = true, refused_builds = (select array_agg(build) from currant.workers)
             where id = '{suspect}'"
        ),
    )
    .await;
    let claimed: Vec<Uuid> = claim_isolated(&mut conn, me).await.iter().map(|claimed| claimed.id).collect();
    assert_eq!(claimed, [other]);
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
    let blamed =
        format!("select format('%s %s', loss_suspected, suspect_losses) from currant.executions where id = '{last}'");
    assert_eq!(text(&mut conn, &blamed).await, "f 0", "by then it is known who it was");
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
    assert_eq!(text(&mut conn, "select suspect_losses from currant.executions").await, "0");
}

#[tokio::test]
async fn a_stopping_workers_leftovers_go_back_at_no_cost() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (leaver, heir) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    enqueue(&mut conn, Kind::Task, "q").await;
    let first = claim_one(&mut conn, leaver, "q").await;
    assert_eq!(workers::stop_worker(&mut conn, leaver).await.unwrap().queues, ["q"]);
    let second = claim_one(&mut conn, heir, "q").await;
    assert_eq!((second.attempt, second.worker_losses), (first.attempt, 0));
    assert_eq!(commit(&mut conn, leaver, &ends(&first, Action::Complete, Some("1"))).await.refused, [first.id]);
}

#[tokio::test]
async fn what_may_not_be_started_twice_is_not_handed_back_by_a_good_bye() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (home, leaver) = (register(&mut conn, &["home"]).await, register(&mut conn, &["q"]).await);
    let parent = enqueue(&mut conn, Kind::Workflow, "home").await;
    let run = claim_one(&mut conn, home, "home").await;
    let step = child(&run, "0", fragile(0), false);
    commit(&mut conn, home, &starts(&run, vec![step.clone()])).await;
    claim_one(&mut conn, leaver, "q").await;
    assert_eq!(workers::stop_worker(&mut conn, leaver).await.unwrap().workers, [(home, parent)]);
    assert_eq!(state(&mut conn, step.id).await, "failed");
    assert!(error_of(&mut conn, step.id).await.contains("WorkerLost"));
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
    workers::register(&mut conn, &before).await.unwrap();
    workers::register(&mut conn, &neighbour).await.unwrap();
    let (mine, theirs) = (enqueue(&mut conn, Kind::Task, "q").await, enqueue(&mut conn, Kind::Task, "q").await);
    let lost = claim_one(&mut conn, before.id, "q").await;
    claim_one(&mut conn, neighbour.id, "q").await;

    let wakes = workers::register(&mut conn, &after).await.unwrap();
    assert_eq!((lost.id, wakes.queues), (mine, vec!["q".to_owned()]));
    assert_eq!(
        (state(&mut conn, mine).await.as_str(), state(&mut conn, theirs).await.as_str()),
        ("pending", "running")
    );
    assert_eq!(commit(&mut conn, before.id, &ends(&lost, Action::Complete, Some("1"))).await.refused, [mine]);
    assert!(!workers::heartbeat(&mut conn, before.id, None, false, None, &Ranges::default()).await.unwrap().known);
    assert!(workers::heartbeat(&mut conn, neighbour.id, None, false, None, &Ranges::default()).await.unwrap().known);
}

#[tokio::test]
async fn two_workers_that_share_a_pod_by_mistake_do_not_declare_each_other_dead_for_ever() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (first, second) = (in_pod("u1"), in_pod("u1"));
    workers::register(&mut conn, &first).await.unwrap();
    workers::register(&mut conn, &second).await.unwrap();
    workers::register(&mut conn, &first).await.unwrap();
    for worker in [first.id, second.id] {
        assert!(workers::heartbeat(&mut conn, worker, None, false, None, &Ranges::default()).await.unwrap().known);
    }
}

#[tokio::test]
async fn outside_of_pods_no_worker_ends_another() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let first = register(&mut conn, &["q"]).await;
    register(&mut conn, &["q"]).await;
    assert!(workers::heartbeat(&mut conn, first, None, false, None, &Ranges::default()).await.unwrap().known);
}
