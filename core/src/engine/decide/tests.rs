//! The decisions of a worker, without a database: what it would write, and what it would hand to Python.
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::clock::Clock;
use super::state::{Config, State};
use crate::base::ids::{derive_id, new_id};
use crate::base::types::*;
use crate::engine::items::{Activation, Asked, Command, Item, Verb};

pub(in crate::engine) const START: Micros = 1_000_000_000_000;

fn policy(max_attempts: i32) -> Policy {
    Policy {
        max_attempts,
        initial: 0.0,
        multiplier: 1.0,
        max_delay: 1.0,
        jitter: 0.0,
        non_retryable: vec![],
        max_worker_losses: 3,
    }
}

pub(in crate::engine) fn call(function: &str) -> Call {
    Call {
        kind: Kind::Task,
        function: function.into(),
        queue: "q".into(),
        priority: 5,
        args: b"{}".to_vec(),
        policy: policy(1),
        timeout: None,
        delay: None,
        run_at: None,
        given: 0,
        headers: None,
    }
}

pub(in crate::engine) fn claimed(kind: Kind) -> Claimed {
    let id = new_id();
    Claimed {
        id,
        lease: 1,
        kind,
        function: "f".into(),
        queue: "q".into(),
        priority: 5,
        attempt: 1,
        worker_losses: 0,
        args: b"{}".to_vec(),
        timeout: None,
        deadline: None,
        policy: policy(1),
        parent: None,
        step_key: None,
        root: id,
        epoch: 0,
        wakes: 0,
        started: START,
        fresh: true,
        poison_suspect: false,
        headers: None,
        ready_xid: 0,
    }
}

pub(in crate::engine) fn config(id: Uuid, concurrency: i32) -> Config {
    let info = WorkerInfo {
        id,
        name: "w".into(),
        host: "h".into(),
        pid: 1,
        build: "b".into(),
        queues: vec!["q".into()],
        tasks: vec!["f".into()],
        workflows: vec!["w".into()],
        functions: "[]".into(),
        concurrency,
        timeout: 30.0,
        pod: Pod::default(),
    };
    Config {
        info,
        heartbeat_interval: 5.0,
        poll_interval: 5.0,
        max_hot: 100,
        long_wait: 300.0,
        http_port: None,
        tracing: false,
    }
}

fn worker(concurrency: i32) -> State {
    State::new(config(new_id(), concurrency), Clock::new(START, Instant::now()))
}

fn reply(claimed: Vec<Claimed>) -> BatchReply {
    BatchReply { claimed, ..BatchReply::default() }
}

/// The database accepts everything that is to be written, and gives no work.
fn commit(state: &mut State) -> Batch {
    commit_with(state, BatchReply::default())
}

fn commit_with(state: &mut State, reply: BatchReply) -> Batch {
    let groups = state.take_groups();
    let mut batch = Batch::default();
    groups.iter().for_each(|group| batch.merge(group.batch.clone()));
    let request = ClaimRequest { limit: 100, ..ClaimRequest::default() };
    state.committed(groups, Some(&request), reply);
    batch
}

/// A workflow that was claimed and pulled; Python owes its first commands.
fn started_run(state: &mut State) -> Claimed {
    let run = claimed(Kind::Workflow);
    commit_with(state, reply(vec![run.clone()]));
    assert!(matches!(state.pull(10).as_slice(), [Item::Run(item)] if item.claimed.id == run.id));
    run
}

fn execute(key: &str) -> Command {
    Command::Execute { key: key.into(), call: call("f") }
}

fn pulled_task(state: &mut State) -> (Uuid, i64) {
    match state.pull(1).as_slice() {
        [Item::Task(task)] => (task.id, task.lease),
        other => panic!("expected one task, got {other:?}"),
    }
}

fn heartbeat(running: Vec<(Uuid, i64, i64)>) -> Heartbeat {
    Heartbeat {
        known: true,
        now: START,
        ready: false,
        next_due: None,
        dead: vec![],
        next_schedule: None,
        sweep_due: false,
        drain: false,
        running,
    }
}

fn beat(state: &mut State, reply: &Heartbeat) -> Vec<Uuid> {
    let at = Instant::now();
    let (flag, _) = state.beat_to_send();
    state.beaten(flag, reply, at, at)
}

/// Rule f holds under an old snapshot too.
#[test]
fn a_heartbeat_for_a_reason_and_one_now_and_then_looks_at_everything_also_where_that_takes_long() {
    let mut state = worker(4);
    assert_eq!(state.beat_about(), None);
    let slow = |state: &mut State| {
        for _ in 0..2 {
            state.cursors.looked_everywhere(Some(10_000), state.clock.now());
        }
    };
    slow(&mut state);
    beat(&mut state, &heartbeat(vec![]));
    assert_eq!(state.beat_about(), Some(vec![]));
    state.notified(Uuid::now_v7());
    assert_eq!(state.beat_about(), None, "somebody believes that it runs here");
    let now = state.clock.now() + 29_000_000;
    beat(&mut state, &Heartbeat { now, ..heartbeat(vec![]) });
    slow(&mut state);
    assert_eq!(state.beat_about(), Some(vec![]));
    let now = state.clock.now() + 1_000_000;
    beat(&mut state, &Heartbeat { now, ..heartbeat(vec![]) });
    slow(&mut state);
    assert_eq!(state.beat_about(), None);
}

#[test]
fn a_step_starts_only_after_the_commit_that_records_it() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    assert_eq!(state.commands(run.id, 1, vec![execute("0")]), None);
    assert!(state.pull(10).is_empty(), "started before it was committed");
    let batch = commit(&mut state);
    assert!(batch.children[0].eager && batch.fences == vec![(run.id, 1)]);
    pulled_task(&mut state);
}

#[test]
fn an_outcome_its_delivery_and_the_next_step_are_one_commit() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0")]);
    commit(&mut state);
    let (task, lease) = pulled_task(&mut state);
    let next = state.complete(task, lease, b"7".to_vec()).expect("delivered at once");
    assert_eq!(
        (next.key.as_str(), next.seq, next.status.as_str(), next.payload.as_slice()),
        ("0", 1, "completed", &b"7"[..])
    );
    assert!(state.take_groups().is_empty(), "written before Python answered");
    state.commands(run.id, 1, vec![execute("1")]);
    let batch = commit(&mut state);
    assert_eq!(batch.outcomes[0].delivered, Some((run.id, 1, next.clock)));
    assert_eq!((batch.children[0].key.as_str(), batch.children[0].after_seq), ("1", 1));
}

#[test]
fn a_refused_commit_destroys_the_run_and_the_steps_it_would_have_started() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0")]);
    commit_with(&mut state, BatchReply { refused: vec![run.id], ..BatchReply::default() });
    assert!(matches!(state.pull(10).as_slice(), [Item::Drop { id, lease: 1, .. }] if *id == run.id));
    assert_eq!(state.commands(run.id, 1, vec![execute("1")]), None);
    assert!(state.take_groups().is_empty());
}

#[test]
fn a_refused_outcome_refuses_the_run_that_went_on_from_it() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0")]);
    commit(&mut state);
    let (task, lease) = pulled_task(&mut state);
    state.complete(task, lease, b"7".to_vec());
    state.commands(run.id, 1, vec![execute("1")]);
    commit_with(&mut state, BatchReply { refused: vec![task, run.id], ..BatchReply::default() });
    let dropped: Vec<Uuid> = state
        .pull(10)
        .into_iter()
        .filter_map(|item| if let Item::Drop { id, .. } = item { Some(id) } else { None })
        .collect();
    assert!(dropped.contains(&run.id) && dropped.contains(&task));
}

#[test]
fn a_run_that_only_heard_of_an_outcome_which_is_refused_is_dropped() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0"), execute("1")]);
    commit(&mut state);
    let (first, second) = (pulled_task(&mut state), pulled_task(&mut state));
    assert!(state.complete(first.0, 1, b"0".to_vec()).is_some());
    assert_eq!(state.complete(second.0, 1, b"1".to_vec()), None);
    let sent = state.take_groups();
    // While that is on its way the run goes on from it: nothing of this may be written any more.
    assert!(state.commands(run.id, 1, vec![]).is_some());
    state.commands(run.id, 1, vec![execute("2")]);
    let refused = BatchReply { refused: vec![second.0], ..BatchReply::default() };
    state.committed(sent, None, refused);
    assert!(state.take_groups().is_empty());
    assert!(state.pull(10).iter().any(|item| matches!(item, Item::Drop { id, .. } if *id == run.id)));
}

#[test]
fn outcomes_are_delivered_one_at_a_time_and_numbered_in_that_order() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0"), execute("1"), execute("2")]);
    commit(&mut state);
    let tasks: Vec<_> = (0..3).map(|_| pulled_task(&mut state)).collect();
    let first = state.complete(tasks[2].0, 1, b"2".to_vec()).unwrap();
    // While Python works on the first nothing else is handed over.
    assert_eq!(state.complete(tasks[0].0, 1, b"0".to_vec()), None);
    assert_eq!(state.complete(tasks[1].0, 1, b"1".to_vec()), None);
    assert!(state.pull(10).is_empty());
    let second = state.commands(run.id, 1, vec![]).unwrap();
    let third = state.commands(run.id, 1, vec![]).unwrap();
    let order: Vec<_> = [&first, &second, &third].map(|next| (next.seq, next.payload.clone())).into();
    assert_eq!(order, vec![(1, b"2".to_vec()), (2, b"0".to_vec()), (3, b"1".to_vec())]);
    assert!(first.clock <= second.clock && second.clock <= third.clock);
}

fn signal(ordinal: i64, payload: &[u8]) -> HistoryRow {
    let source = HistorySource::Signal { name: "s".into(), ordinal, payload: payload.to_vec() };
    HistoryRow { run: Uuid::nil(), source }
}

fn hear(state: &mut State, run: Uuid, rows: Vec<HistoryRow>) -> Vec<Activation> {
    state.heard(rows.into_iter().map(|row| HistoryRow { run, ..row }).collect());
    let items = state.pull(10);
    items.into_iter().filter_map(|item| if let Item::Activate(next) = item { Some(next) } else { None }).collect()
}

fn wait(key: &str, due: Option<Micros>) -> Command {
    Command::Signal { key: key.into(), name: "s".into(), due }
}

#[test]
fn signals_go_to_the_waits_in_order_and_each_is_consumed_once() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![wait("0", None), wait("1", None)]);
    // The database gives rows in any order.
    let heard = hear(&mut state, run.id, vec![signal(2, b"2"), signal(1, b"1")]);
    assert_eq!((heard[0].key.as_str(), heard[0].payload.as_slice()), ("0", &b"1"[..]));
    let next = state.commands(run.id, 1, vec![]).unwrap();
    assert_eq!((next.key.as_str(), next.payload.as_slice()), ("1", &b"2"[..]));
    state.commands(run.id, 1, vec![]);
    // The same rows again, as a second look at the database may give them.
    assert!(hear(&mut state, run.id, vec![signal(1, b"1"), signal(2, b"2")]).is_empty());
    let ordinals: Vec<_> = commit(&mut state).step_outcomes.iter().map(|outcome| outcome.ordinal).collect();
    assert_eq!(ordinals, vec![Some(1), Some(2)]);
}

#[test]
fn the_late_end_of_a_child_of_an_earlier_epoch_is_not_taken_for_that_of_this_one() {
    let mut state = worker(4);
    let run = Claimed { epoch: 1, ..claimed(Kind::Workflow) };
    let old = Claimed { parent: Some(run.id), step_key: Some("0".into()), ..claimed(Kind::Task) };
    commit_with(&mut state, reply(vec![run.clone(), old.clone()]));
    assert_eq!(state.pull(10).len(), 2);
    state.commands(run.id, 1, vec![execute("0")]);
    assert_eq!(state.complete(old.id, 1, b"old".to_vec()), None);
    assert!(state.pull(10).iter().all(|item| !matches!(item, Item::Activate(_))));
}

#[test]
fn outcomes_that_a_retried_run_was_not_told_again_are_told() {
    let mut state = worker(4);
    let run = Claimed { fresh: false, lease: 2, epoch: 1, ..claimed(Kind::Workflow) };
    commit_with(&mut state, reply(vec![run.clone()]));
    state.take_loads();
    let known = |key: &str, kind: &str, status: &str| HistorySource::Step {
        key: key.into(),
        kind: kind.into(),
        name: "s".into(),
        outcome: Some((status.into(), b"1".to_vec())),
        request: None,
        delivered: None,
        due: None,
        abandoned: false,
    };
    let rows = [known("2", "verb", "failed"), known("1", "timer", "fired"), known("0", "signal", "completed")];
    state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
    assert_eq!(state.pull(10).len(), 1);
    let mut told = Vec::new();
    while let Some(next) = state.commands(run.id, 2, vec![]) {
        told.push((next.key, next.status));
    }
    let expected = [("0", "completed"), ("1", "fired"), ("2", "failed")];
    assert_eq!(told, expected.map(|(key, status)| (key.to_string(), status.to_string())));
    assert!(state.take_verbs().is_empty());
}

#[test]
fn a_workflow_that_fails_while_it_is_cancelled_is_not_retried() {
    let mut state = worker(4);
    let run = Claimed { policy: policy(5), ..claimed(Kind::Workflow) };
    commit_with(&mut state, reply(vec![run.clone()]));
    state.pull(10);
    state.commands(run.id, 1, vec![]);
    let asked = HistorySource::Run { wakes: 1, lease: 1, deadline: None, cancel_requested: true };
    assert_eq!(hear(&mut state, run.id, vec![HistoryRow { run: run.id, source: asked }]).len(), 1);
    state.commands(run.id, 1, vec![Command::Fail { error: b"{}".to_vec(), retry: true }]);
    assert_eq!(commit(&mut state).outcomes[0].action, Action::Fail);
}

#[test]
fn a_workflow_that_fails_by_a_mistake_of_the_program_is_not_retried() {
    for (retry, action) in [(true, Action::Retry), (false, Action::Fail)] {
        let mut state = worker(4);
        let run = Claimed { policy: policy(5), ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        state.pull(10);
        state.commands(run.id, 1, vec![Command::Fail { error: b"{}".to_vec(), retry }]);
        assert_eq!(commit(&mut state).outcomes[0].action, action);
    }
}

#[test]
fn a_wait_ends_by_signal_or_by_time_out_never_by_both() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![wait("0", Some(START - 1))]);
    state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
    state.fire_due();
    assert!(matches!(state.pull(10).as_slice(), [Item::Activate(next)] if next.status == "completed"));
    assert_eq!(state.commands(run.id, 1, vec![wait("1", Some(START - 1))]), None);
    state.fire_due();
    assert!(matches!(state.pull(10).as_slice(), [Item::Activate(next)] if next.status == "timeout"));
    assert_eq!(state.commands(run.id, 1, vec![]), None);
    // Too late for the second wait.
    assert!(hear(&mut state, run.id, vec![signal(2, b"2")]).is_empty());
}

#[test]
fn a_signal_meant_for_a_wait_that_is_given_up_goes_to_the_next_wait() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![wait("0", None), execute("1")]);
    commit(&mut state);
    let (task, _) = pulled_task(&mut state);
    let next = state.complete(task, 1, b"1".to_vec()).unwrap();
    assert_eq!(next.key, "1");
    state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
    let next = state.commands(run.id, 1, vec![Command::Cancel { key: "0".into() }, wait("2", None)]).unwrap();
    assert_eq!((next.key.as_str(), next.payload.as_slice()), ("2", &b"1"[..]));
}

#[test]
fn a_run_put_out_with_news_in_hand_is_claimed_again_at_once() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![wait("0", None)]);
    state.drain();
    assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == run.id));
    state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
    state.suspended(run.id, 1);
    let outcome = commit(&mut state).outcomes.pop().unwrap();
    assert_eq!((outcome.action, outcome.wakes), (Action::Suspend, Some(-1)));
}

fn ask(key: &str) -> Command {
    Command::Verb { key: key.into(), verb: Verb::Status { target: new_id() } }
}

#[test]
fn a_run_put_out_while_a_verb_is_under_way_is_claimed_again_at_once_since_nobody_else_would_wake_it() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![ask("0")]);
    commit(&mut state);
    assert_eq!(state.take_verbs().len(), 1);
    state.drain();
    assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == run.id));
    state.suspended(run.id, 1);
    let outcome = commit(&mut state).outcomes.pop().unwrap();
    assert_eq!((outcome.action, outcome.wakes), (Action::Suspend, Some(-1)));
}

#[test]
fn of_too_many_runs_those_with_a_verb_under_way_stay() {
    let mut state = worker(4);
    state.config.max_hot = 1;
    let runs = [started_run(&mut state), started_run(&mut state)];
    state.commands(runs[0].id, 1, vec![ask("0")]);
    state.commands(runs[1].id, 1, vec![wait("0", None)]);
    commit(&mut state);
    assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == runs[1].id));
}

#[test]
fn runs_too_many_that_were_busy_when_they_were_claimed_are_put_out_once_they_wait() {
    let mut state = worker(4);
    state.config.max_hot = 1;
    let runs = [started_run(&mut state), started_run(&mut state), started_run(&mut state)];
    for run in &runs {
        state.commands(run.id, 1, vec![wait("0", None)]);
    }
    let groups = state.take_groups();
    state.committed(groups, None, BatchReply::default());
    assert!(matches!(state.pull(10).as_slice(), [Item::Evict(_), Item::Evict(_), ..]), "though nothing is claimed");
}

#[test]
fn an_outcome_heard_in_memory_does_not_wake_the_run_again_when_it_is_put_out() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0"), execute("1"), wait("2", None)]);
    commit(&mut state);
    let tasks = [pulled_task(&mut state), pulled_task(&mut state)];
    assert!(state.complete(tasks[0].0, 1, b"0".to_vec()).is_some());
    assert_eq!(state.complete(tasks[1].0, 1, b"1".to_vec()), None, "Python is still busy with the first");
    assert!(state.commands(run.id, 1, vec![]).is_some());
    state.commands(run.id, 1, vec![]);
    let me = state.config.info.id;
    let wakes = Wakes { workers: vec![(me, run.id)], ..Wakes::default() };
    commit_with(&mut state, BatchReply { wakes, ..BatchReply::default() });
    assert!(!state.wants_loads());
    state.drain();
    state.pull(10);
    state.suspended(run.id, 1);
    assert_eq!(commit(&mut state).outcomes[0].wakes, Some(1));
}

#[test]
fn strangers_are_handed_back_and_lost_tasks_are_told() {
    let mut state = worker(4);
    let task = claimed(Kind::Task);
    commit_with(&mut state, reply(vec![task.clone()]));
    pulled_task(&mut state);
    let stranger = new_id();
    beat(&mut state, &heartbeat(vec![(stranger, 3, 0)]));
    let batch = commit(&mut state);
    assert_eq!(
        (batch.outcomes[0].id, batch.outcomes[0].action, batch.fences[0]),
        (stranger, Action::Handback, (stranger, 3))
    );
    let told = state.pull(10);
    assert!(
        matches!(told.as_slice(), [Item::Drop { id, lease: 1, reason }] if *id == task.id && reason.starts_with("LeaseLost"))
    );
    assert_eq!(state.complete(task.id, 1, b"1".to_vec()), None);
    assert!(state.take_groups().is_empty(), "an outcome under a lost lease was written");
}

#[test]
fn what_is_being_written_is_no_stranger() {
    let mut state = worker(4);
    let task = claimed(Kind::Task);
    commit_with(&mut state, reply(vec![task.clone()]));
    pulled_task(&mut state);
    state.complete(task.id, 1, b"1".to_vec());
    beat(&mut state, &heartbeat(vec![(task.id, 1, 0)]));
    let actions: Vec<_> = commit(&mut state).outcomes.into_iter().map(|outcome| outcome.action).collect();
    assert_eq!(actions, vec![Action::Complete]);
}

#[test]
fn a_task_over_its_time_is_failed_and_keeps_its_slot_until_it_ends() {
    let mut state = worker(1);
    let mut task = claimed(Kind::Task);
    task.timeout = Some(1e-9);
    let waiting = claimed(Kind::Task);
    commit_with(&mut state, reply(vec![task.clone(), waiting.clone()]));
    let (first, _) = pulled_task(&mut state);
    assert_eq!(first, task.id);
    state.fire_due();
    let batch = commit(&mut state);
    assert_eq!(batch.outcomes[0].action, Action::Fail);
    assert!(String::from_utf8(batch.outcomes[0].payload.clone().unwrap()).unwrap().contains("TimeoutError"));
    let items = state.pull(10);
    assert!(matches!(items[0], Item::Cancel { reason: "timeout", .. }));
    assert_eq!(items.len(), 1, "the slot is not free: {items:?}");
    state.release(task.id, 1);
    assert_eq!(pulled_task(&mut state).0, waiting.id);
}

#[test]
fn what_may_not_be_started_twice_is_given_back_only_if_it_has_not_begun() {
    for (max_worker_losses, expected) in [(0, Action::Fail), (1, Action::Handback)] {
        let mut state = worker(1);
        let tasks: Vec<_> = (0..2).map(|_| claimed(Kind::Task)).collect();
        let policy = Policy { max_worker_losses, ..policy(4) };
        let tasks = tasks.into_iter().map(|task| Claimed { policy: policy.clone(), ..task });
        commit_with(&mut state, reply(tasks.collect()));
        let (begun, _) = pulled_task(&mut state);
        state.halt();
        for outcome in commit(&mut state).outcomes {
            let of_begun = outcome.id == begun;
            assert_eq!(outcome.action, if of_begun { expected } else { Action::Handback }, "{max_worker_losses}");
            let error = String::from_utf8(outcome.payload.unwrap_or_default()).unwrap();
            assert_eq!(error.contains("WorkerLost"), of_begun && max_worker_losses == 0, "{error}");
        }
    }
}

#[test]
fn the_time_outs_of_tasks_that_have_ended_do_not_gather_in_memory() {
    let mut state = worker(2);
    let slow = Claimed { timeout: Some(1e-9), ..claimed(Kind::Task) };
    commit_with(&mut state, reply(vec![slow.clone()]));
    pulled_task(&mut state);
    for _ in 0..5_000 {
        commit_with(&mut state, reply(vec![Claimed { timeout: Some(300.0), ..claimed(Kind::Task) }]));
        let (id, lease) = pulled_task(&mut state);
        state.complete(id, lease, b"1".to_vec());
    }
    assert!(state.due.len() < 2_000, "{} are kept", state.due.len());
    commit(&mut state);
    state.fire_due();
    let batch = commit(&mut state);
    assert_eq!(
        (batch.outcomes[0].id, batch.outcomes[0].action),
        (slow.id, Action::Fail),
        "what still runs is not forgotten"
    );
}

#[test]
fn a_worker_whose_slots_are_all_held_by_functions_that_never_end_stops() {
    let mut state = worker(1);
    let task = Claimed { timeout: Some(1e-9), ..claimed(Kind::Task) };
    commit_with(&mut state, reply(vec![task]));
    pulled_task(&mut state);
    state.fire_due();
    commit(&mut state);
    beat(&mut state, &heartbeat(vec![]));
    assert!(!state.pull(10).iter().any(|item| matches!(item, Item::Stop(_))), "it had no time to end");
    let later = Heartbeat { now: START + 2 * super::state::heartbeats::STUCK_MICROS, ..heartbeat(vec![]) };
    beat(&mut state, &later);
    assert!(state.pull(10).iter().any(|item| matches!(item, Item::Stop(_))));
}

#[test]
fn a_failed_attempt_is_tried_again_until_the_policy_ends() {
    for (attempt, worker_losses, retryable, expected) in [
        (1, 0, true, Action::Retry),
        (2, 0, true, Action::Fail),
        (2, 1, true, Action::Retry),
        (1, 0, false, Action::Fail),
    ] {
        let mut state = worker(1);
        let task = Claimed { attempt, worker_losses, policy: policy(2), ..claimed(Kind::Task) };
        commit_with(&mut state, reply(vec![task.clone()]));
        pulled_task(&mut state);
        state.fail(task.id, 1, b"{}".to_vec(), retryable);
        assert_eq!(commit(&mut state).outcomes[0].action, expected, "{attempt} {worker_losses} {retryable}");
    }
}

#[test]
fn draining_claims_nothing_and_gives_back_what_has_not_started() {
    let mut state = worker(1);
    commit_with(&mut state, reply(vec![claimed(Kind::Task), claimed(Kind::Task), claimed(Kind::Workflow)]));
    state.drain();
    state.notified_queue();
    assert_eq!(state.claim_request(), None);
    let batch = commit(&mut state);
    assert!(batch.outcomes.iter().all(|outcome| outcome.action == Action::Handback));
    assert_eq!(batch.outcomes.len(), 3);
}

#[test]
fn a_worker_that_is_asked_to_drain_takes_nothing_until_it_is_asked_to_go_on() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![wait("0", None)]);
    commit(&mut state);
    let here = |drain| Heartbeat { drain, ready: true, ..heartbeat(vec![(run.id, 1, 0)]) };
    beat(&mut state, &here(true));
    assert_eq!(state.claim_request(), None);
    assert!(state.beat_to_send().1, "the next heartbeat says so");
    assert!(state.pull(10).contains(&Item::Evict(run.id)), "a run that waits is put out, not waited for");
    beat(&mut state, &here(false));
    assert!(state.claim_request().is_some() && !state.beat_to_send().1);
    state.drain();
    beat(&mut state, &here(false));
    assert_eq!(state.claim_request(), None, "one that leaves is not called back");
}

#[test]
fn before_it_sleeps_a_worker_sets_its_flag_and_looks_once_more() {
    let mut state = worker(1);
    state.beat.listening = true;
    state.beat.maybe_work = false;
    assert!(state.wants_beat(Instant::now()));
    let (flag, _) = state.beat_to_send();
    assert!(flag.is_some());
    let at = Instant::now();
    state.beaten(flag, &heartbeat(vec![]), at, at);
    assert!(state.claim_request().is_some(), "slept without a second look");
    commit(&mut state);
    assert!(!state.wants_commit() && !state.wants_beat(Instant::now()));
}

#[test]
fn a_claim_that_was_not_made_is_made_another_time() {
    let mut state = worker(1);
    state.beat.maybe_work = true;
    let request = state.claim_request();
    assert!(request.is_some() && state.claim_request().is_none());
    state.committed(Vec::new(), request.as_ref(), BatchReply { unclaimed: true, ..BatchReply::default() });
    assert!(state.claim_request().is_some());
}

#[test]
fn only_a_worker_with_a_gapless_pulse_declares_others_dead() {
    let mut state = worker(1);
    let other = new_id();
    let reply = Heartbeat { dead: vec![other], ..heartbeat(vec![]) };
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let judge = |state: &mut State, seconds| state.beaten(None, &reply, at(seconds), at(seconds));
    assert!(judge(&mut state, 0).is_empty());
    assert!((1..6).all(|beat| judge(&mut state, beat * 5).is_empty()));
    assert_eq!(judge(&mut state, 30), vec![other]);
    state.beat_failed();
    assert!(judge(&mut state, 35).is_empty(), "it judged right after an outage");
    assert!(judge(&mut state, 70).is_empty(), "a gap of a time-out is an outage");
}

#[test]
fn data_that_the_database_refuses_fails_the_culprit_and_says_why() {
    let mut state = worker(4);
    let task = claimed(Kind::Task);
    commit_with(&mut state, reply(vec![task.clone()]));
    pulled_task(&mut state);
    state.complete(task.id, 1, b"1".to_vec());
    let group = state.take_groups().pop().unwrap();
    state.culprit(group, "value too long");
    let batch = commit(&mut state);
    assert_eq!(batch.outcomes[0].action, Action::Fail);
    assert!(String::from_utf8(batch.outcomes[0].payload.clone().unwrap()).unwrap().contains("value too long"));
}

#[test]
fn cancel_is_an_outcome_delivered_once_that_cancels_outstanding_children() {
    let mut state = worker(4);
    let run = started_run(&mut state);
    state.commands(run.id, 1, vec![execute("0")]);
    commit(&mut state);
    let asked = HistorySource::Run { wakes: 1, lease: 1, deadline: None, cancel_requested: true };
    let row = HistoryRow { run: run.id, source: asked };
    let heard = hear(&mut state, run.id, vec![row.clone()]);
    assert_eq!(heard[0].key, "!cancel");
    state.commands(run.id, 1, vec![]);
    let batch = commit(&mut state);
    assert_eq!((batch.steps[0].key.as_str(), batch.steps[0].seq), ("!cancel", Some(1)));
    assert_eq!((batch.abandoned[0].key.as_str(), batch.abandoned[0].abandon), ("0", false));
    assert!(hear(&mut state, run.id, vec![row]).is_empty());
}

#[test]
fn a_rebuilt_run_gets_its_history_in_order_and_then_what_it_has_not_heard() {
    let mut state = worker(4);
    let run = Claimed { fresh: false, lease: 2, ..claimed(Kind::Workflow) };
    commit_with(&mut state, reply(vec![run.clone()]));
    assert!(state.pull(10).is_empty());
    let (loads, _) = state.take_loads();
    assert_eq!(loads, vec![run.id]);
    let child = |key: &str, outcome: Option<&[u8]>, delivered| HistorySource::Child {
        key: key.into(),
        kind: Kind::Task,
        function: "f".into(),
        id: new_id(),
        lease: 1,
        args: Vec::new(),
        outcome: outcome.map(|payload| ("completed".into(), payload.to_vec())),
        delivered,
        abandoned: false,
    };
    let rows = [
        child("0", Some(b"a"), Some((2, 20))),
        child("1", Some(b"b"), Some((1, 10))),
        child("2", Some(b"c"), None),
        child("3", None, None),
    ];
    state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
    match state.pull(10).as_slice() {
        [Item::Run(item)] => {
            assert_eq!(item.outcomes.iter().map(|past| past.key.as_str()).collect::<Vec<_>>(), vec!["1", "0"]);
            assert_eq!(item.records.len(), 4);
        }
        other => panic!("{other:?}"),
    }
    let next = state.commands(run.id, 2, vec![]).unwrap();
    assert_eq!((next.key.as_str(), next.seq), ("2", 3));
}

#[test]
fn a_rebuilt_run_gets_what_its_steps_asked_for_and_which_of_them_failed_before_its_epoch() {
    let mut state = worker(4);
    let run = Claimed { fresh: false, lease: 2, epoch: 1, ..claimed(Kind::Workflow) };
    commit_with(&mut state, reply(vec![run.clone()]));
    state.take_loads();
    let child = |key: &str, epoch: i32, status: Option<&str>, delivered| HistorySource::Child {
        key: key.into(),
        kind: Kind::Task,
        function: "f".into(),
        id: derive_id(run.id, &format!("{epoch}:{key}")),
        lease: 1,
        args: key.into(),
        outcome: status.map(|status| (status.into(), Vec::new())),
        delivered,
        abandoned: false,
    };
    let step = |key: &str, kind: &str, request: Option<Vec<u8>>, due| HistorySource::Step {
        key: key.into(),
        kind: kind.into(),
        name: "s".into(),
        outcome: Some(("completed".into(), Vec::new())),
        request,
        delivered: Some((2, 20)),
        due,
        abandoned: false,
    };
    let verb = Verb::Status { target: run.id };
    let rows = [
        child("0", 0, Some("failed"), Some((1, 10))),
        child("1", 0, None, None),
        child("2", 0, Some("completed"), None),
        child("3", 1, None, None),
        step("4", "verb", serde_json::to_vec(&verb).ok(), None),
        step("5", "detach", Some(b"5".to_vec()), None),
        step("6", "timer", None, Some(60)),
        step("7", "side_effect", None, None),
    ];
    state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
    let items = state.pull(10);
    let [Item::Run(item)] = items.as_slice() else { panic!("{items:?}") };
    let retried: Vec<_> = item.records.iter().filter(|record| record.retried).map(|record| &record.key[..]).collect();
    assert_eq!(retried, ["1"]);
    let asked: Vec<_> = item.records.iter().map(|record| record.asked.clone()).collect();
    let arguments = |key: &str| Some(Asked::Arguments(key.into()));
    assert_eq!(asked[..4], ["0", "1", "2", "3"].map(arguments));
    assert_eq!(asked[4..], [Some(Asked::Verb(verb)), arguments("5"), Some(Asked::Due(Some(60))), None]);
}

fn beats(state: &mut State, next_schedule: Option<Micros>) {
    let reply = Heartbeat { now: state.clock.now(), next_schedule, ..heartbeat(vec![]) };
    state.registered = true;
    state.beaten(None, &reply, Instant::now(), Instant::now());
}

#[test]
fn a_worker_sleeps_no_longer_than_until_the_next_schedule_and_fires_it_then() {
    let mut state = worker(1);
    let soon = state.clock.now() + 200_000;
    beats(&mut state, Some(soon));
    assert!(!state.wants_fire());
    assert!(state.idle_time(Instant::now()) <= Duration::from_millis(200));
    let due = state.clock.now();
    beats(&mut state, Some(due));
    assert!(state.wants_fire());
    state.drain();
    assert!(!state.wants_fire(), "a draining worker leaves it to others");
}

#[test]
fn what_goes_wrong_with_a_schedule_is_told_and_tried_later() {
    let mut state = worker(1);
    let due = state.clock.now();
    beats(&mut state, Some(due));
    state.fired(Err(crate::base::error::Error::Other("no room".into())));
    assert!(state.beat.wanted, "the heart beats on");
    beats(&mut state, Some(due));
    assert!(!state.wants_fire() && state.idle_time(Instant::now()) > Duration::from_secs(3));
    let told = |state: &mut State| state.pull(10).iter().any(|item| matches!(item, Item::Log { level: "warning", .. }));
    assert!(told(&mut state));
    let problems = vec!["schedule s: bad".to_owned()];
    state.fired(Ok(crate::store::schedules::Fired { taken: 1, started: 0, problems }));
    assert!(told(&mut state));
    let due = state.clock.now();
    beats(&mut state, Some(due));
    assert!(state.wants_fire(), "the next one is fired as soon as it is due");
}
