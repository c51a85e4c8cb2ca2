//! Parts that tests of decisions have in common: calls, executions, a worker, and a database that accepts everything.
use std::time::Instant;

use uuid::Uuid;

use crate::base::ids::new_id;
use crate::base::types::*;
use crate::engine::decide::clock::Clock;
use crate::engine::decide::config::Config;
use crate::engine::decide::state::State;
use crate::engine::items::{Activation, Command, Item, Verb};

pub const START: Micros = 1_000_000_000_000;

/// No time-out, and retries that come soon.
pub fn attempts(max_attempts: i32) -> Options {
    let retry =
        Policy { max_attempts, initial: 0.0, multiplier: 1.0, max_delay: 1.0, jitter: 0.0, ..Policy::default() };
    Options { retry, timeout: None, ..Options::of(Kind::Task) }
}

pub fn timeout(seconds: f64) -> Options {
    Options { timeout: Some(seconds), ..attempts(1) }
}

pub fn call(function: &str) -> Call {
    Call { options: attempts(1), ..Call::new(Kind::Task, function, "q", b"{}") }
}

pub fn claimed(kind: Kind) -> Claimed {
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
        options: attempts(1),
        deadline: None,
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

pub fn config(id: Uuid, concurrency: i32) -> Config {
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

pub fn worker(concurrency: i32) -> State {
    State::new(config(new_id(), concurrency), Clock::new(START, Instant::now()))
}

pub fn reply(claimed: Vec<Claimed>) -> BatchReply {
    BatchReply { claimed, ..BatchReply::default() }
}

/// The database accepts everything that is to be written, and returns no work.
pub fn commit(state: &mut State) -> Batch {
    commit_with(state, BatchReply::default())
}

pub fn commit_with(state: &mut State, reply: BatchReply) -> Batch {
    let groups = state.take_groups();
    let mut batch = Batch::default();
    groups.iter().for_each(|group| batch.merge(group.batch.clone()));
    let request = ClaimRequest { limit: 100, ..ClaimRequest::default() };
    state.committed(groups, Some(&request), reply);
    batch
}

/// A workflow that was claimed and pulled; Python owes its first commands.
pub fn started_run(state: &mut State) -> Claimed {
    let run = claimed(Kind::Workflow);
    commit_with(state, reply(vec![run.clone()]));
    assert!(matches!(state.pull(10).as_slice(), [Item::Run(item)] if item.claimed.id == run.id));
    run
}

pub fn execute(key: &str) -> Command {
    Command::Execute { key: key.into(), call: call("f") }
}

pub fn pulled_task(state: &mut State) -> (Uuid, i64) {
    match state.pull(1).as_slice() {
        [Item::Task(task)] => (task.id, task.lease),
        other => panic!("expected one task, got {other:?}"),
    }
}

pub fn heartbeat(running: Vec<(Uuid, i64, i64)>) -> Heartbeat {
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

pub fn beat(state: &mut State, reply: &Heartbeat) -> Vec<Uuid> {
    let at = Instant::now();
    let (flag, _) = state.beat_to_send();
    state.beaten(flag, reply, at, at)
}

pub fn signal(ordinal: i64, payload: &[u8]) -> HistoryRow {
    let source = HistorySource::Signal { name: "s".into(), ordinal, payload: payload.to_vec() };
    HistoryRow { run: Uuid::nil(), source }
}

pub fn hear(state: &mut State, run: Uuid, rows: Vec<HistoryRow>) -> Vec<Activation> {
    state.heard(rows.into_iter().map(|row| HistoryRow { run, ..row }).collect());
    let items = state.pull(10);
    items.into_iter().filter_map(|item| if let Item::Activate(next) = item { Some(next) } else { None }).collect()
}

pub fn wait(key: &str, due: Option<Micros>) -> Command {
    Command::Signal { key: key.into(), name: "s".into(), due }
}

pub fn ask(key: &str) -> Command {
    Command::Verb { key: key.into(), verb: Verb::Status { target: new_id() } }
}
