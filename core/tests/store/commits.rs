//! What a worker writes: fences, repeated batches, wakes, children and steps.
use crate::support::*;
use currant::base::types::*;
use currant::store::commit;
use currant::store::control::send_signal;
use currant::store::history;
use currant::store::workers;
use uuid::Uuid;

#[tokio::test]
async fn an_outcome_is_recorded_once_and_the_same_batch_again_changes_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim_one(&mut conn, me, "q").await;
    let batch = ends(&claimed, Action::Complete, Some("1"));
    assert_eq!(commit(&mut conn, me, &batch).await.refused, NONE);
    let row = format!("select (e.*)::text from currant.executions e where id = '{id}'");
    let before = text(&mut conn, &row).await;
    // Already done under my lease is success (rule f).
    assert_eq!(commit(&mut conn, me, &batch).await.refused, NONE);
    assert_eq!(text(&mut conn, &row).await, before);
}

#[tokio::test]
async fn a_zombies_outcome_and_its_children_are_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (zombie, heir) = (register(&mut conn, &["q"]).await, register(&mut conn, &["q"]).await);
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let stale = claim_one(&mut conn, zombie, "q").await;
    silence(&mut conn, zombie).await;
    workers::take_over(&mut conn, zombie).await.unwrap();
    let run = claim_one(&mut conn, heir, "q").await;
    assert_eq!(run.id, id);

    let mut batch = starts(&stale, vec![child(&stale, "0", call(Kind::Task, "q"), true)]);
    batch.outcomes.push(outcome(id, Action::Complete, Some("1")));
    assert_eq!(commit(&mut conn, zombie, &batch).await.refused, [id]);
    assert_eq!(state(&mut conn, id).await, "running");
    assert_eq!(text(&mut conn, "select count(*) from currant.executions").await, "1");
    assert_eq!(commit(&mut conn, heir, &ends(&run, Action::Complete, Some("2"))).await.refused, NONE);
}

/// Three tasks of one claim end in one batch, after something happened to the second.
async fn three_tasks_end(meanwhile: &str, of_task: bool) -> (Vec<usize>, String, String) {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    for _ in 0..3 {
        enqueue(&mut conn, Kind::Task, "q").await;
    }
    let mut claimed = claim(&mut conn, me, &["q"], 3).await;
    claimed.sort_by_key(|claimed| claimed.id);
    let ids: Vec<Uuid> = claimed.iter().map(|claimed| claimed.id).collect();
    let actions = [Action::Complete, Action::Complete, Action::Fail];
    let ended = ids.iter().zip(actions);
    let ended = ended.map(|(id, action)| Outcome { of_task, ..outcome(*id, action, Some("\"x\"")) });
    let fences = claimed.iter().map(|claimed| (claimed.id, claimed.lease)).collect();
    let batch = Batch { fences, outcomes: ended.collect(), ..Batch::default() };
    match meanwhile {
        "it was cancelled" => drop(currant::store::control::cancel(&mut conn, ids[1], false).await.unwrap()),
        "its worker was declared dead" => {
            silence(&mut conn, me).await;
            workers::take_over(&mut conn, me).await.unwrap();
        }
        "it was written before" => {
            let before = batch.outcomes[1].clone();
            commit(&mut conn, me, &Batch { fences: vec![batch.fences[1]], outcomes: vec![before], ..Batch::default() })
                .await;
        }
        _ => {}
    }
    let refused = commit(&mut conn, me, &batch).await.refused;
    let mut refused: Vec<usize> = refused.iter().map(|id| ids.iter().position(|one| one == id).unwrap()).collect();
    refused.sort();
    let rows =
        "select string_agg(concat_ws(' ', state, lease, attempt, result, error, finished_at is null), ', ' order by id)
        from currant.executions";
    let claims = "select string_agg(cardinality(executions)::text || ' ' || unended, ', ') from currant.claims";
    (refused, text(&mut conn, rows).await, text(&mut conn, claims).await)
}

#[tokio::test]
async fn outcomes_of_tasks_alone_leave_what_a_batch_with_more_would() {
    let mut refused = Vec::new();
    for meanwhile in ["nothing", "it was cancelled", "its worker was declared dead", "it was written before"] {
        let alone = three_tasks_end(meanwhile, true).await;
        assert_eq!(alone, three_tasks_end(meanwhile, false).await, "{meanwhile}");
        refused.push(alone.0);
    }
    assert_eq!(refused, [vec![], vec![1], vec![0, 1, 2], vec![]]);
}

#[tokio::test]
async fn a_refused_outcome_takes_the_run_along_that_went_on_from_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "q"), true);
    commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
    // The task is cancelled meanwhile: its lease grows.
    currant::store::control::cancel(&mut conn, step.id, false).await.unwrap();

    let mut batch = starts(&run, vec![child(&run, "1", call(Kind::Task, "q"), true)]);
    batch.fences.push((step.id, 1));
    batch.outcomes.push(Outcome { delivered: Some((run.id, 1, 1)), ..outcome(step.id, Action::Complete, Some("1")) });
    let mut refused = commit(&mut conn, me, &batch).await.refused;
    refused.sort();
    let mut both = vec![run.id, step.id];
    both.sort();
    assert_eq!(refused, both);
    assert_eq!(text(&mut conn, "select count(*) from currant.executions where step_key = '1'").await, "0");
}

/// The run heard of it in memory and went on before the outcome was written: both are in one batch, as writes of their own.
#[tokio::test]
async fn an_outcome_that_is_delivered_in_the_batch_that_records_it_keeps_its_number_or_takes_the_run_along() {
    for cancelled in [false, true] {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        let me = register(&mut conn, &["q"]).await;
        enqueue(&mut conn, Kind::Workflow, "q").await;
        let run = claim_one(&mut conn, me, "q").await;
        let step = child(&run, "0", call(Kind::Task, "q"), true);
        commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
        if cancelled {
            currant::store::control::cancel(&mut conn, step.id, false).await.unwrap();
        }
        let mut batch = starts(&run, vec![child(&run, "1", call(Kind::Task, "q"), true)]);
        batch.fences.push((step.id, 1));
        batch.outcomes.push(outcome(step.id, Action::Complete, Some("1")));
        batch.deliveries.push(Delivery { run: run.id, id: step.id, seq: 7, clock: 7 });
        let refused = commit(&mut conn, me, &batch).await.refused;
        assert_eq!(refused.contains(&run.id), cancelled);
        let told = "select coalesce(max(seq), 0) from currant.executions where step_key = '0'";
        assert_eq!(text(&mut conn, told).await, if cancelled { "0" } else { "7" });
    }
}

/// A run whose first step has started here, and the batch in which that ends and the next one starts.
async fn one_step_further(conn: &mut Conn, me: Uuid, action: Action) -> (Claimed, Batch) {
    enqueue(conn, Kind::Workflow, "q").await;
    let run = claim_one(conn, me, "q").await;
    let first = child(&run, "0", call(Kind::Task, "q"), true);
    commit(conn, me, &starts(&run, vec![first.clone()])).await;
    let next = NewChild { after_seq: 1, ..child(&run, "1", call(Kind::Task, "q"), true) };
    let ended = Outcome { delivered: Some((run.id, 1, 77)), ..outcome(first.id, action, Some("\"x\"")) };
    let batch = Batch {
        fences: vec![(first.id, 1), (run.id, run.lease)],
        parents: vec![run.id],
        children: vec![next],
        outcomes: vec![ended],
        ..Batch::default()
    };
    assert!(batch.as_next_step().is_some());
    (run, batch)
}

async fn step(conn: &mut Conn, me: Uuid, batch: &Batch) -> BatchReply {
    commit::commit_and_claim(conn, me, batch, None).await.unwrap()
}

/// The rows of a run's tree but for ids, clocks and what only counts while a row is ready.
const TREE: &str = "select string_agg((to_jsonb(e) - array['id', 'root_id', 'parent_id', 'worker_id', 'created_at', 'ready_at', 'ready_xid',
    'started_at', 'attempt_at', 'finished_at', 'claim_xid', 'suspended_at', 'defined_end'])::text || (e.finished_at is not null)::text, E'\\n' order by step_key nulls first)
    from currant.executions e";

#[tokio::test]
async fn the_next_step_of_a_run_leaves_the_rows_that_a_batch_would() {
    for action in [Action::Complete, Action::Fail] {
        let mut left = Vec::new();
        for alone in [true, false] {
            let database = Database::new().await;
            let mut conn = database.connect().await;
            let me = register(&mut conn, &["q"]).await;
            let (_, batch) = one_step_further(&mut conn, me, action).await;
            let reply = if alone { step(&mut conn, me, &batch).await } else { commit(&mut conn, me, &batch).await };
            assert_eq!((reply.refused, reply.wakes.workers), (vec![], vec![]));
            left.push(text(&mut conn, TREE).await);
        }
        assert_eq!(left[0], left[1]);
        assert_eq!(left[0].lines().count(), 3);
    }
}

#[tokio::test]
async fn the_next_step_of_a_run_again_changes_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let (_, batch) = one_step_further(&mut conn, me, Action::Complete).await;
    step(&mut conn, me, &batch).await;
    let before = text(&mut conn, TREE).await;
    assert_eq!(step(&mut conn, me, &batch).await.refused, NONE);
    assert_eq!(text(&mut conn, TREE).await, before);
}

#[tokio::test]
async fn a_next_step_under_a_lost_lease_is_refused() {
    for lost in ["the run's", "the step's", "the worker's", "a cancelled step's"] {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        let me = register(&mut conn, &["q"]).await;
        let (run, batch) = one_step_further(&mut conn, me, Action::Complete).await;
        match lost {
            "the run's" | "the step's" => {
                let id = if lost == "the run's" { run.id } else { batch.outcomes[0].id };
                crate::support::run(
                    &mut conn,
                    format!("update currant.executions set lease = lease + 1 where id = '{id}'"),
                )
                .await
            }
            "a cancelled step's" => {
                drop(currant::store::control::cancel(&mut conn, batch.outcomes[0].id, false).await.unwrap())
            }
            _ => {
                register(&mut conn, &["q"]).await;
                silence(&mut conn, me).await;
                workers::take_over(&mut conn, me).await.unwrap();
            }
        }
        assert!(step(&mut conn, me, &batch).await.refused.contains(&run.id), "{lost}");
        assert_eq!(
            text(&mut conn, "select count(*) from currant.executions where step_key = '1'").await,
            "0",
            "{lost}"
        );
    }
}

/// What the definition of the steps' function may say, and whether the next step starts here without more ado.
const DEFINITIONS: [(&str, bool); 9] = [
    ("{}", true),
    (r#"{"queue": "q", "priority": 5, "retention": 60}"#, true),
    (r#"{"queue": "other"}"#, false),
    (r#"{"priority": 9}"#, false),
    (r#"{"timeout": 7}"#, false),
    (r#"{"retry": {"max_attempts": 7}}"#, false),
    (r#"{"max_worker_losses": 0}"#, false),
    (r#"{"concurrency_limit": 9}"#, false),
    (r#"{"suspended": true}"#, false),
];

#[tokio::test]
async fn a_next_step_whose_function_has_a_definition_is_written_as_that_says() {
    for (said, starts) in DEFINITIONS {
        for given in [given(&[]), given(&["queue", "priority", "timeout", "retry", "max_worker_losses"])] {
            let mut left = Vec::new();
            for alone in [true, false] {
                let database = Database::new().await;
                let mut conn = database.connect().await;
                let me = register(&mut conn, &["q"]).await;
                let (_, mut batch) = one_step_further(&mut conn, me, Action::Complete).await;
                batch.children[0].call.given = given.clone();
                let mut item: serde_json::Value = serde_json::from_str(said).unwrap();
                item["function"] = batch.children[0].call.function.clone().into();
                item["owner"] = "o".into();
                let (answers, _) = currant::store::definitions::apply(&mut conn, &format!("[{item}]")).await.unwrap();
                assert!(String::from_utf8_lossy(&answers).contains(r#""applied""#), "{said}");
                let reply = if alone { step(&mut conn, me, &batch).await } else { commit(&mut conn, me, &batch).await };
                let gated = said.contains("limit") || said.contains("suspended");
                let short = starts || (!given.is_empty() && !gated);
                assert_eq!(alone && short, reply == BatchReply::default(), "{said} {given:?}: in one question");
                left.push((reply.postponed.len(), text(&mut conn, TREE).await));
            }
            assert_eq!(left[0], left[1], "{said} {given:?}");
        }
    }
}

/// The place of a step that ended is for whoever waits for one.
#[tokio::test]
async fn a_next_step_tells_those_who_wait_for_the_place_of_the_one_before() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    for waiting in [false, true] {
        let (_, batch) = one_step_further(&mut conn, me, Action::Complete).await;
        let ended = batch.outcomes[0].id;
        crate::support::run(
            &mut conn,
            format!(
                "update currant.executions set defined = true, defined_state = state, has_permit = true, function = 'limited' where id = '{ended}'"
            ),
        )
        .await;
        if waiting {
            let id = enqueue(&mut conn, Kind::Task, "elsewhere").await;
            crate::support::run(
                &mut conn,
                format!("update currant.executions set defined = true, defined_state = state, awaiting_permit = true, function = 'limited' where id = '{id}'"),
            )
            .await;
        }
        let reply = step(&mut conn, me, &batch).await;
        assert_eq!(reply.wakes.queues, if waiting { vec!["elsewhere".to_string()] } else { vec![] });
        assert_eq!(state(&mut conn, ended).await, "completed");
    }
}

/// What may have happened to a run and its step before the worker writes. `{run}` and `{step}` are their ids.
const MEANWHILE: [&str; 8] = [
    "update currant.executions set lease = lease + 1 where id = '{run}'",
    "update currant.executions set lease = lease + 1 where id = '{step}'",
    "with moved as (update currant.executions set worker_id = currant.new_id() where id = '{run}' returning id, worker_id, claim_xid)
     insert into currant.claims select worker_id, claim_xid, array[id], 1 from moved",
    "update currant.executions set defined = true, defined_state = state, has_permit = true where id = '{step}'",
    "update currant.executions set suspect_losses = 1, loss_suspected = true, poison_suspect = true, error = '1' where id = '{step}'",
    "select currant.signal_send('{run}', 'go', '1', null)",
    "select currant.cancel_tree('{step}', false)",
    "select currant.cancel_tree('{run}', true)",
];

#[tokio::test]
async fn whatever_happened_meanwhile_the_next_step_leaves_what_a_batch_would() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    for happened in (0..1 << MEANWHILE.len()).filter(|happened: &i32| happened.count_ones() <= 2) {
        let mut left = Vec::new();
        for alone in [true, false] {
            let (run, batch) = one_step_further(&mut conn, me, Action::Complete).await;
            let first = batch.outcomes[0].id;
            for (_, sql) in MEANWHILE.iter().enumerate().filter(|(number, _)| happened >> number & 1 == 1) {
                let sql = sql.replace("{run}", &run.id.to_string()).replace("{step}", &first.to_string());
                crate::support::run(&mut conn, sql).await;
            }
            let reply = if alone { step(&mut conn, me, &batch).await } else { commit(&mut conn, me, &batch).await };
            let refused = [run.id, first].map(|id| reply.refused.contains(&id));
            let rows = text(&mut conn, &format!("{TREE} where e.root_id = '{}'", run.id)).await;
            left.push((refused, reply.postponed.len(), reply.wakes.workers.len(), reply.wakes.queues, rows));
        }
        assert_eq!(left[0], left[1], "{happened:b}");
    }
}

#[tokio::test]
async fn one_refused_run_does_not_harm_another_in_the_same_batch() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Task, "q").await;
    enqueue(&mut conn, Kind::Task, "q").await;
    let claimed = claim(&mut conn, me, &["q"], 2).await;
    let mut batch = ends(&claimed[0], Action::Complete, Some("1"));
    batch.merge(ends(&claimed[1], Action::Complete, Some("2")));
    batch.fences[0].1 += 1;
    assert_eq!(commit(&mut conn, me, &batch).await.refused, [claimed[0].id]);
    assert_eq!(state(&mut conn, claimed[0].id).await, "running");
    assert_eq!(state(&mut conn, claimed[1].id).await, "completed");
}

/// Rule c, with the signal committed between what the worker saw and its suspension.
#[tokio::test]
async fn a_run_that_was_woken_before_it_suspends_is_ready_at_once() {
    let database = Database::new().await;
    let (mut conn, mut sender) = (database.connect().await, database.connect().await);
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let wakes = send_signal(&mut sender, id, "go", b"1", None).await.unwrap();
    assert_eq!(wakes.workers, [(me, id)]);
    let reply = commit(&mut conn, me, &suspends(&run, run.wakes, None)).await;
    assert_eq!((state(&mut conn, id).await.as_str(), reply.wakes.queues), ("pending", vec!["q".to_string()]));

    let again = claim_one(&mut conn, me, "q").await;
    assert!(!again.fresh && again.attempt == 1, "a suspension costs no attempt");
    commit(&mut conn, me, &suspends(&again, again.wakes, None)).await;
    assert_eq!(state(&mut conn, id).await, "suspended");
}

/// Rule c, with the signal's transaction open while the worker suspends: the suspension waits for its lock, then sees it.
#[tokio::test]
async fn a_signal_that_commits_while_the_suspension_waits_for_the_lock_is_not_lost() {
    let database = Database::new().await;
    let (mut conn, mut sender) = (database.connect().await, database.connect().await);
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    crate::support::run(&mut sender, "begin".into()).await;
    send_signal(&mut sender, id, "go", b"1", None).await.unwrap();
    let mut other = database.connect().await;
    let suspension = tokio::spawn(async move {
        commit(&mut other, me, &suspends(&run, run.wakes, None)).await;
    });
    until_one_waits(&mut conn).await;
    crate::support::run(&mut sender, "commit".into()).await;
    suspension.await.unwrap();
    assert_eq!(state(&mut conn, id).await, "pending");
}

#[tokio::test]
async fn a_suspended_parent_is_woken_by_its_childs_outcome_and_finds_it_in_its_history() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "other"]).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "other"), false);
    let reply = commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
    assert_eq!(reply.wakes.queues, ["other"]);
    commit(&mut conn, me, &suspends(&run, run.wakes, None)).await;

    let task = claim_one(&mut conn, me, "other").await;
    assert_eq!((task.parent, task.step_key.as_deref()), (Some(run.id), Some("0")));
    let reply = commit(&mut conn, me, &ends(&task, Action::Fail, Some(r#"{"type": "E"}"#))).await;
    assert_eq!(reply.wakes.queues, ["q"]);

    let again = claim_one(&mut conn, me, "q").await;
    let history = history::load_runs(&mut conn, &[again.id], false).await.unwrap();
    assert!(
        matches!(&history[0].source, HistorySource::Run { wakes, lease, .. } if *wakes == again.wakes && *lease == again.lease)
    );
    let failed = (Status::Failed, br#"{"type": "E"}"#.to_vec());
    let found = history.iter().find_map(|row| match &row.source {
        HistorySource::Child { key, outcome, delivered, .. } => Some((key.as_str(), outcome.clone(), *delivered)),
        _ => None,
    });
    assert_eq!(found, Some(("0", Some(failed), None)));
}

#[tokio::test]
async fn two_children_that_end_at_once_both_count() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let steps = ["0", "1"].map(|key| child(&run, key, call(Kind::Task, "q"), false));
    commit(&mut conn, me, &starts(&run, steps.to_vec())).await;
    commit(&mut conn, me, &suspends(&run, run.wakes, None)).await;
    let tasks = claim(&mut conn, me, &["q"], 2).await;
    let (mut left, mut right) = (database.connect().await, database.connect().await);
    let (one, two) = (ends(&tasks[0], Action::Complete, Some("1")), ends(&tasks[1], Action::Complete, Some("2")));
    tokio::join!(commit(&mut left, me, &one), commit(&mut right, me, &two));
    let again = claim_one(&mut conn, me, "q").await;
    assert_eq!((again.id, again.wakes), (id, run.wakes + 2));
}

#[tokio::test]
async fn an_eager_child_is_written_as_claimed_and_its_outcome_is_delivered_in_the_same_commit() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "q"), true);
    commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
    assert_eq!(state(&mut conn, step.id).await, "running");
    let beat = workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap();
    assert!(beat.running.contains(&(step.id, 1, 0)) && beat.running.len() == 2);

    let batch = Batch {
        fences: vec![(run.id, run.lease), (step.id, 1)],
        parents: vec![run.id],
        outcomes: vec![Outcome { delivered: Some((run.id, 1, 77)), ..outcome(step.id, Action::Complete, Some("1")) }],
        children: vec![child(&run, "1", call(Kind::Task, "q"), true)],
        ..Batch::default()
    };
    let reply = commit(&mut conn, me, &batch).await;
    assert!(reply.refused.is_empty() && reply.wakes.workers.is_empty(), "the run was told: nobody is woken");
    assert_eq!(
        text(&mut conn, "select format('%s %s', seq, clock) from currant.executions where step_key = '0'").await,
        "1 77"
    );
    let wakes = format!("select wakes from currant.executions where id = '{}'", run.id);
    assert_eq!(text(&mut conn, &wakes).await, "0");
}

#[tokio::test]
async fn steps_are_recorded_delivered_and_consume_their_signal_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    send_signal(&mut conn, id, "go", b"42", None).await.unwrap();
    let run = claim_one(&mut conn, me, "q").await;
    assert!(!run.fresh, "a signal that came before the start is history");
    let step = NewStep {
        run: id,
        epoch: 0,
        key: "0".into(),
        kind: StepKind::Signal,
        name: "go".into(),
        due: Some(5_000_000),
        after_seq: 0,
        status: None,
        payload: None,
        seq: None,
        clock: None,
    };
    let delivered = StepOutcome {
        run: id,
        epoch: 0,
        key: "0".into(),
        status: Status::Completed,
        payload: Some(b"42".to_vec()),
        seq: 1,
        clock: 9,
        ordinal: Some(1),
    };
    let batch =
        Batch { fences: vec![(id, run.lease)], steps: vec![step], step_outcomes: vec![delivered], ..Batch::default() };
    for _ in 0..2 {
        commit(&mut conn, me, &batch).await;
        let history = history::load_runs(&mut conn, &[id], false).await.unwrap();
        let sources: Vec<_> = history.into_iter().skip(1).map(|row| row.source).collect();
        let expected = HistorySource::Step {
            key: "0".into(),
            kind: StepKind::Signal,
            name: "go".into(),
            outcome: Some((Status::Completed, b"42".to_vec())),
            request: None,
            delivered: Some((1, 9)),
            due: Some(5_000_000),
            abandoned: false,
        };
        assert_eq!(sources, [expected], "the signal is consumed, the wait recorded");
    }
}

#[tokio::test]
async fn a_verb_and_a_detached_start_keep_what_they_asked_for_beside_their_outcome() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = |key: &str, kind: StepKind, status| NewStep {
        run: id,
        epoch: 0,
        key: key.into(),
        kind,
        name: "s".into(),
        due: None,
        after_seq: 0,
        status,
        payload: Some(b"asked".to_vec()),
        seq: None,
        clock: None,
    };
    let ended = StepOutcome {
        run: id,
        epoch: 0,
        key: "0".into(),
        status: Status::Completed,
        payload: Some(b"answer".to_vec()),
        seq: 1,
        clock: 9,
        ordinal: None,
    };
    let steps = vec![
        step("0", StepKind::Verb, None),
        step("1", StepKind::Detach, Some(Status::Completed)),
        step("2", StepKind::Version, Some(Status::Completed)),
    ];
    let batch = Batch { fences: vec![(id, run.lease)], steps, step_outcomes: vec![ended], ..Batch::default() };
    commit(&mut conn, me, &batch).await;
    let history = history::load_runs(&mut conn, &[id], false).await.unwrap();
    let mut found: Vec<_> = history
        .into_iter()
        .filter_map(|row| match row.source {
            HistorySource::Step { key, outcome, request, .. } => Some((key, outcome.unwrap().1, request)),
            _ => None,
        })
        .collect();
    found.sort();
    let asked = Some(b"asked".to_vec());
    let expected = [("0", b"answer".to_vec(), asked.clone()), ("1", Vec::new(), asked), ("2", b"asked".to_vec(), None)];
    assert_eq!(found, expected.map(|(key, payload, request)| (key.to_string(), payload, request)));
}

#[tokio::test]
async fn what_a_newer_currant_recorded_is_read_as_unknown_and_says_what() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let claimed = claim_one(&mut conn, me, "q").await;
    let step = NewStep {
        run: id,
        epoch: 0,
        key: "0".into(),
        kind: StepKind::Timer,
        name: String::new(),
        due: Some(1),
        after_seq: 0,
        status: None,
        payload: None,
        seq: None,
        clock: None,
    };
    let batch = Batch { fences: vec![(id, claimed.lease)], steps: vec![step], ..Batch::default() };
    commit(&mut conn, me, &batch).await;
    // As a newer Currant's migration does that has more of them.
    let more = "alter table currant.steps drop constraint steps_status_check, drop constraint steps_kind_check";
    run(&mut conn, more.into()).await;
    for (change, said) in [
        ("status = 'lost', payload = '', seq = 1, clock = 1", r#"step 0: the status of a step "lost" is unknown"#),
        ("kind = 'lottery', status = 'fired'", r#"step 0: the kind of step "lottery" is unknown"#),
    ] {
        run(&mut conn, format!("update currant.steps set {change} where execution_id = '{id}'")).await;
        let history = history::load_runs(&mut conn, &[id], false).await.unwrap();
        assert!(history.iter().any(|row| row.source == HistorySource::Unknown(said.into())), "{history:?}");
    }
}

#[tokio::test]
async fn a_child_that_is_cancelled_but_waited_for_wakes_its_parent() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "q"), false);
    commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
    let dropped = Abandoned { run: id, epoch: 0, key: "0".into(), seq: 1, abandon: false };
    let batch = Batch { fences: vec![(id, run.lease)], abandoned: vec![dropped], ..Batch::default() };
    let reply = commit(&mut conn, me, &batch).await;
    assert_eq!(state(&mut conn, step.id).await, "cancelled");
    assert!(reply.wakes.workers.contains(&(me, id)));
}

#[tokio::test]
async fn an_abandoned_child_is_cancelled_and_its_outcome_wakes_nobody() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&run, "0", call(Kind::Task, "q"), false);
    commit(&mut conn, me, &starts(&run, vec![step.clone()])).await;
    let dropped = Abandoned { run: id, epoch: 0, key: "0".into(), seq: 1, abandon: true };
    let batch = Batch { fences: vec![(id, run.lease)], abandoned: vec![dropped], ..Batch::default() };
    let reply = commit(&mut conn, me, &batch).await;
    assert_eq!(state(&mut conn, step.id).await, "cancelled");
    assert!(reply.wakes.workers.is_empty());
}

#[tokio::test]
async fn a_run_that_ends_leaves_no_child_behind() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let steps = vec![child(&run, "0", call(Kind::Task, "q"), false), child(&run, "1", call(Kind::Workflow, "q"), true)];
    commit(&mut conn, me, &starts(&run, steps.clone())).await;
    commit(&mut conn, me, &ends(&run, Action::Complete, Some("1"))).await;
    assert_eq!(state(&mut conn, steps[0].id).await, "cancelled");
    let asked = format!("select cancel_requested from currant.executions where id = '{}'", steps[1].id);
    assert_eq!(text(&mut conn, &asked).await, "true", "a started workflow is asked, it may clean up");
}

#[tokio::test]
async fn a_retry_waits_in_the_database_and_keeps_its_error() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let id = enqueue(&mut conn, Kind::Task, "q").await;
    let task = claim_one(&mut conn, me, "q").await;
    let due = workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().now + 60_000_000;
    let mut batch = ends(&task, Action::Retry, Some(r#"{"type": "E"}"#));
    batch.outcomes[0].due = Some(due);
    commit(&mut conn, me, &batch).await;
    let row =
        "select format('%s %s %s', state, currant.micros(run_at), convert_from(error, 'UTF8')) from currant.executions";
    assert_eq!(text(&mut conn, row).await, format!(r#"pending {due} {{"type": "E"}}"#));
    assert!(
        workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().running.is_empty(),
        "it holds no slot: {id}"
    );
}

#[tokio::test]
async fn data_that_the_database_refuses_is_told_from_an_outage() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let bad = starts(&run, vec![child(&run, "\0", call(Kind::Task, "q"), true)]);
    let error = commit::commit_batch(&mut conn, me, &bad, None).await.unwrap_err();
    assert!(matches!(error, currant::base::error::Error::Data { .. }), "{error}");
    let killer = format!("select pg_terminate_backend({})", text(&mut conn, "select pg_backend_pid()").await);
    text(&mut database.connect().await, &killer).await;
    let error = commit::commit_batch(&mut conn, me, &Batch::default(), None).await.unwrap_err();
    assert!(matches!(error, currant::base::error::Error::Unavailable(_)), "{error}");
}

/// Two batches that write one run and wake another, the other way round, must not wait for each other: whoever waits for a later row
/// has the earlier ones already.
#[tokio::test]
async fn rows_are_locked_in_the_order_of_their_ids_before_any_is_written() {
    let database = Database::new().await;
    let (mut conn, mut other, mut writer) =
        (database.connect().await, database.connect().await, database.connect().await);
    let me = register(&mut conn, &["q"]).await;
    let earlier = enqueue(&mut conn, Kind::Workflow, "q").await;
    let parent = claim_one(&mut conn, me, "q").await;
    let later = enqueue(&mut conn, Kind::Workflow, "q").await;
    let run = claim_one(&mut conn, me, "q").await;
    let step = child(&parent, "0", call(Kind::Task, "q"), true);
    commit(&mut conn, me, &starts(&parent, vec![step.clone()])).await;

    crate::support::run(&mut other, format!("begin; select 1 from currant.executions where id = '{later}' for update"))
        .await;
    let mut batch = ends(&run, Action::Complete, Some("1"));
    batch.fences.push((step.id, 1));
    batch.outcomes.push(outcome(step.id, Action::Complete, Some("1")));
    let writing = tokio::spawn(async move { commit(&mut writer, me, &batch).await });
    until_one_waits(&mut conn).await;
    let probe = format!("select 1 from currant.executions where id = '{earlier}' for update nowait");
    let locked = sqlx::query(sqlx::AssertSqlSafe(probe)).execute(other.run().await.unwrap().conn()).await.unwrap_err();
    assert!(locked.to_string().contains("could not obtain lock"), "{locked}");
    crate::support::run(&mut other, "rollback".into()).await;
    assert!(writing.await.unwrap().refused.is_empty());
}
