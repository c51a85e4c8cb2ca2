//! What one worker has in hand, and every decision about it. No I/O: the driver carries out what comes of it.
//!
//! The SDK's calls are here; what follows from the database's answers is in `commit` and `beat`.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use uuid::Uuid;

use crate::engine::decide::clock::Clock;
use crate::engine::decide::metrics::{Ending, Metrics};
use crate::engine::decide::run::{End, Phase, Run, Surroundings, TIMEOUT_KEY};
mod commits;
pub(in crate::engine) mod heartbeats;

use crate::base::retry;
use crate::base::types::*;
use crate::engine::items::{Activation, Command, Item, VerbRequest};

/// How a worker is set up. Durations in seconds.
#[derive(Clone, Debug)]
pub struct Config {
    pub info: WorkerInfo,
    pub heartbeat_interval: f64,
    pub poll_interval: f64,
    /// Workflows kept in memory at most.
    pub max_hot: usize,
    /// A workflow that waits for longer than this is put out of memory.
    pub long_wait: f64,
    /// Where health and metrics are served; None: nowhere.
    pub http_port: Option<u16>,
    /// The SDK wants the trace contexts of what it runs.
    pub tracing: bool,
}

impl Config {
    pub fn concurrency(&self) -> usize {
        self.info.concurrency.max(1) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum TaskPhase {
    /// Written as claimed by us, not committed yet.
    Reserved,
    /// Ours; waits for a slot since then.
    Buffered { since: Micros },
    /// In Python since then.
    Running { since: Micros },
    /// Its outcome is decided (time-out, cancel, lease lost), but the function has not ended: it keeps its slot.
    Over { since: Micros },
}

#[derive(Clone, Debug)]
pub(in crate::engine) struct Attempt {
    pub claimed: Claimed,
    pub phase: TaskPhase,
}

pub(in crate::engine) type Lease = (Uuid, i64);

const LEAST_DUE_LIMIT: usize = 1_024;

/// Writes that are committed together or not at all, and what may happen once they are.
#[derive(Clone, Debug, Default)]
pub struct WriteGroup {
    pub batch: Batch,
    pub(in crate::engine) eager: Vec<Lease>,
    pub(in crate::engine) verbs: Vec<VerbRequest>,
    /// Executions that this group takes out of our hands.
    pub(in crate::engine) closes: Vec<Uuid>,
    /// Runs that have heard in memory of an outcome which this group records.
    pub(in crate::engine) notified: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Due {
    Attempt(Lease),
    Run(Lease, String),
}

/// Counts since the start, for `stats`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub claimed: u64,
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
    pub refused: u64,
    pub replays: u64,
    pub evictions: u64,
    pub batches: u64,
    /// Commits that the database undid because of a deadlock; they are sent again.
    pub conflicts: u64,
    pub written: u64,
    pub takeovers: u64,
    pub timeouts: u64,
    pub scheduled: u64,
}

#[cfg_attr(test, derive(Clone))]
pub struct State {
    pub config: Config,
    pub clock: Clock,
    pub counts: Counts,
    pub(in crate::engine) metrics: Metrics,
    /// It takes nothing more: as it leaves, or for as long as whoever sizes the fleet asks it to.
    pub(in crate::engine) draining: bool,
    /// It takes nothing more for good.
    pub(in crate::engine) leaving: bool,
    /// The database knows this worker.
    pub(in crate::engine) registered: bool,
    pub(in crate::engine) attempts: HashMap<Lease, Attempt>,
    pub(in crate::engine) in_python: usize,
    pub(in crate::engine) runs: HashMap<Uuid, Run>,
    /// Executions whose last write by us is on its way.
    pub(in crate::engine) closing: HashMap<Uuid, usize>,
    pub(in crate::engine) urgent: VecDeque<Item>,
    pub(in crate::engine) starting: VecDeque<Uuid>,
    pub(in crate::engine) with_news: VecDeque<Uuid>,
    pub(in crate::engine) buffer: BTreeMap<(Reverse<i16>, u64), Lease>,
    pub(in crate::engine) buffered: u64,
    pub(in crate::engine) due: BinaryHeap<Reverse<(Micros, Due)>>,
    /// When `due` has grown to so many, those go of which nothing can come any more.
    pub(in crate::engine) due_limit: usize,
    pub(in crate::engine) groups: VecDeque<WriteGroup>,
    pub(in crate::engine) verbs: Vec<VerbRequest>,
    pub(in crate::engine) loads: HashSet<Uuid>,
    pub(in crate::engine) news: HashSet<Uuid>,
    /// Smoothed duration of a task in Python, microseconds: short tasks are claimed ahead.
    pub(in crate::engine) task_micros: f64,
    pub(in crate::engine) beat: heartbeats::Beat,
    pub(in crate::engine) cursors: crate::engine::decide::cursors::Cursors,
    pub(in crate::engine) firing: crate::engine::drive::firing::Firing,
    pub(in crate::engine) pulse: crate::engine::drive::health::Pulse,
}

impl State {
    pub fn new(config: Config, clock: Clock) -> State {
        State {
            clock,
            counts: Counts::default(),
            metrics: Metrics::new(&config.info),
            draining: false,
            leaving: false,
            registered: false,
            attempts: HashMap::new(),
            in_python: 0,
            runs: HashMap::new(),
            closing: HashMap::new(),
            urgent: VecDeque::new(),
            starting: VecDeque::new(),
            with_news: VecDeque::new(),
            buffer: BTreeMap::new(),
            buffered: 0,
            due: BinaryHeap::new(),
            due_limit: LEAST_DUE_LIMIT,
            groups: VecDeque::new(),
            verbs: Vec::new(),
            loads: HashSet::new(),
            news: HashSet::new(),
            task_micros: 1e6,
            beat: heartbeats::Beat::default(),
            cursors: crate::engine::decide::cursors::Cursors::default(),
            firing: crate::engine::drive::firing::Firing::default(),
            pulse: crate::engine::drive::health::Pulse::new(Instant::now()),
            config,
        }
    }

    pub fn has_items(&self) -> bool {
        !self.urgent.is_empty()
            || !self.starting.is_empty()
            || !self.with_news.is_empty()
            || (!self.buffer.is_empty() && self.in_python < self.config.concurrency())
    }

    /// Up to `limit` items: what ends first, then workflows, then tasks while there are slots.
    pub fn pull(&mut self, limit: usize) -> Vec<Item> {
        let now = self.clock.now();
        self.pulse.pulled();
        let mut items = Vec::new();
        while items.len() < limit {
            let item = self
                .urgent
                .pop_front()
                .or_else(|| self.next_activation(now))
                .or_else(|| self.next_start())
                .or_else(|| self.next_task(now));
            match item {
                Some(item) => items.push(item),
                None => break,
            }
        }
        items
    }

    fn next_activation(&mut self, now: Micros) -> Option<Item> {
        while let Some(id) = self.with_news.pop_front() {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase == Phase::Idle)
                && let Some(activation) = run.deliver(now)
            {
                return Some(Item::Activate(activation));
            }
        }
        None
    }

    fn next_start(&mut self) -> Option<Item> {
        while let Some(id) = self.starting.pop_front() {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase == Phase::Ready) {
                let (item, verbs) = run.start();
                self.counts.replays += u64::from(!item.claimed.fresh);
                self.verbs.extend(verbs);
                return Some(Item::Run(Box::new(item)));
            }
        }
        None
    }

    fn next_task(&mut self, now: Micros) -> Option<Item> {
        if self.in_python >= self.config.concurrency() {
            return None;
        }
        let (_, lease) = self.buffer.pop_first()?;
        let attempt = self.attempts.get_mut(&lease)?;
        attempt.phase = TaskPhase::Running { since: now };
        self.in_python += 1;
        if let Some(timeout) = attempt.claimed.timeout {
            self.due.push(Reverse((now + (timeout * 1e6) as Micros, Due::Attempt(lease))));
        }
        let task = Item::Task(Box::new(attempt.claimed.clone()));
        self.forget_past_dues();
        Some(task)
    }

    pub(in crate::engine) fn put_in_buffer(&mut self, lease: Lease, now: Micros) {
        if let Some(attempt) = self.attempts.get_mut(&lease) {
            attempt.phase = TaskPhase::Buffered { since: now };
            self.buffer.insert((Reverse(attempt.claimed.priority), self.buffered), lease);
            self.buffered += 1;
        }
    }

    pub fn complete(&mut self, id: Uuid, lease: i64, payload: Vec<u8>) -> Option<Activation> {
        let claimed = self.take_running((id, lease))?;
        self.counts.completed += 1;
        self.finish(claimed, Action::Complete, Some(payload), None, true)
    }

    pub fn fail(&mut self, id: Uuid, lease: i64, error: Vec<u8>, retryable: bool) -> Option<Activation> {
        let claimed = self.take_running((id, lease))?;
        self.fail_attempt(claimed, error, retryable, true)
    }

    /// The attempt has really ended. One that nobody had ended before is handed back: it costs no attempt.
    pub fn release(&mut self, id: Uuid, lease: i64) {
        if let Some(claimed) = self.take_running((id, lease)) {
            self.give_back_started(claimed);
        }
    }

    /// An attempt that this worker began and cuts off goes back at no cost; one that may not be started twice has ended with its worker.
    pub(in crate::engine) fn give_back_started(&mut self, claimed: Claimed) {
        if claimed.policy.max_worker_losses > 0 {
            self.finish(claimed, Action::Handback, None, None, false);
            return;
        }
        const MESSAGE: &str = "its worker stopped before it ended, and max_worker_losses=0: it is not started again";
        let error = error_json("WorkerLost", MESSAGE);
        self.counts.failed += 1;
        self.finish(claimed, Action::Fail, Some(error), None, false);
    }

    /// Takes a task out of Python's hands, its slot with it. None when its outcome was decided before.
    fn take_running(&mut self, lease: Lease) -> Option<Claimed> {
        let now = self.clock.now();
        match self.attempts.get(&lease)?.phase {
            TaskPhase::Reserved | TaskPhase::Buffered { .. } => return None,
            TaskPhase::Running { since } => {
                self.task_micros += ((now - since) as f64 - self.task_micros) * 0.05;
                let function = &self.attempts.get(&lease)?.claimed.function;
                self.metrics.ended(function, None, Some(now - since));
            }
            TaskPhase::Over { .. } => {}
        }
        let attempt = self.attempts.remove(&lease)?;
        self.in_python -= 1;
        matches!(attempt.phase, TaskPhase::Running { .. }).then_some(attempt.claimed)
    }

    pub(in crate::engine) fn fail_attempt(
        &mut self,
        claimed: Claimed,
        error: Vec<u8>,
        retryable: bool,
        answering: bool,
    ) -> Option<Activation> {
        match self.retry_due(&claimed, retryable) {
            Some(due) => {
                self.counts.retried += 1;
                self.beat.expect(due);
                self.finish(claimed, Action::Retry, Some(error), Some(due), answering)
            }
            None => {
                self.counts.failed += 1;
                self.finish(claimed, Action::Fail, Some(error), None, answering)
            }
        }
    }

    /// When to try again; None when it has failed for good. Attempts that ended with their worker cost nothing.
    fn retry_due(&self, claimed: &Claimed, retryable: bool) -> Option<Micros> {
        let attempt = (claimed.attempt - claimed.worker_losses).max(1);
        if !retryable || attempt >= claimed.policy.max_attempts {
            return None;
        }
        let delay = retry::retry_delay(&claimed.policy, attempt, rand::random());
        Some(self.clock.now() + (delay * 1e6) as Micros)
    }

    /// Writes the outcome of an attempt. Where the run that waits for it is idle here, and we are `answering` Python, the
    /// outcome is recorded and delivered in one commit: that activation is returned.
    pub(in crate::engine) fn finish(
        &mut self,
        claimed: Claimed,
        action: Action,
        payload: Option<Vec<u8>>,
        due: Option<Micros>,
        answering: bool,
    ) -> Option<Activation> {
        self.metrics.ended(&claimed.function, Ending::of(action), None);
        let outcome = Outcome { due, of_task: true, ..Outcome::new(claimed.id, action, payload) };
        let fence = Batch { fences: vec![(claimed.id, claimed.lease)], ..Batch::default() };
        let group = WriteGroup { batch: fence, closes: vec![claimed.id], ..WriteGroup::default() };
        *self.closing.entry(claimed.id).or_default() += 1;
        self.hand_over(claimed.parent, claimed.step_key, outcome, group, answering)
    }

    /// Records `outcome` by `group`, and tells the parent if it is here.
    fn hand_over(
        &mut self,
        parent: Option<Uuid>,
        key: Option<String>,
        outcome: Outcome,
        mut group: WriteGroup,
        answering: bool,
    ) -> Option<Activation> {
        let now = self.clock.now();
        let status = match outcome.action {
            Action::Complete => Some("completed"),
            Action::Fail => Some("failed"),
            Action::Cancel => Some("cancelled"),
            _ => None,
        };
        if let (Some(parent), Some(key), Some(status)) = (parent, key, status) {
            group.batch.parents.push(parent);
            if let Some(run) = self.runs.get_mut(&parent) {
                if answering && run.can_deliver(&key, outcome.id) {
                    return Some(run.deliver_child(&key, outcome, status, group, now));
                }
                if run.phase != Phase::Loading
                    && run.child_ended(&key, outcome.id, status, outcome.payload.clone().unwrap_or_default())
                {
                    group.notified.push(parent);
                    self.with_news.push_back(parent);
                }
            }
        }
        group.batch.outcomes.push(outcome);
        self.groups.push_back(group);
        None
    }

    /// A workflow's answer to its start or activation; the next outcome for that run, or its parent, if there is one.
    pub fn commands(&mut self, id: Uuid, lease: i64, commands: Vec<Command>) -> Option<Activation> {
        let now = self.clock.now();
        let mut room = self.eager_room();
        let draining = self.draining;
        let info = &self.config.info;
        let mut eager = |call: &Call| {
            let ours =
                call.kind == Kind::Task && info.tasks.contains(&call.function) && info.queues.contains(&call.queue);
            let yes = !draining && room > 0 && ours;
            room -= usize::from(yes);
            yes
        };
        let run = self.runs.get_mut(&id).filter(|run| run.claimed.lease == lease && run.phase == Phase::Active)?;
        let mut answer = run.answer(commands, &mut Surroundings { now, eager: &mut eager });
        for claimed in answer.eager {
            let lease = (claimed.id, claimed.lease);
            answer.group.eager.push(lease);
            self.attempts.insert(lease, Attempt { claimed, phase: TaskPhase::Reserved });
        }
        for (due, key) in answer.timers {
            self.due.push(Reverse((due, Due::Run((id, lease), key))));
        }
        for child in &answer.group.batch.children {
            self.beat.expect_some(child.run_at);
        }
        match answer.end {
            None => {
                self.groups.push_back(answer.group);
                if draining {
                    self.evict(id);
                    return None;
                }
                self.runs.get_mut(&id)?.deliver(now)
            }
            Some(end) => self.end_run(id, end, answer.group),
        }
    }

    fn end_run(&mut self, id: Uuid, end: End, mut group: WriteGroup) -> Option<Activation> {
        let run = self.runs.remove(&id)?;
        group.closes.push(id);
        *self.closing.entry(id).or_default() += 1;
        let mut due = None;
        let (action, payload) = match end {
            End::Completed(result) => (Action::Complete, Some(result)),
            End::Cancelled => (Action::Cancel, None),
            End::Held(error) => (Action::Hold, Some(error)),
            End::Failed { error, retry } => {
                let for_good =
                    !retry || run.cancel_delivered() || names_type(&run.claimed.policy.non_retryable, &error);
                due = self.retry_due(&run.claimed, !for_good);
                (if due.is_some() { Action::Retry } else { Action::Fail }, Some(error))
            }
        };
        self.beat.expect_some(due);
        let took = (!matches!(action, Action::Hold | Action::Retry)).then(|| self.clock.now() - run.claimed.started);
        self.metrics.ended(&run.claimed.function, Ending::of(action), took);
        let outcome = Outcome { due, ..Outcome::new(id, action, payload) };
        // What this group starts must not wait for another answer of Python's.
        let answering = group.eager.is_empty() && group.verbs.is_empty();
        self.hand_over(run.claimed.parent, run.claimed.step_key, outcome, group, answering)
    }

    /// Python has put the run out of memory.
    pub fn suspended(&mut self, id: Uuid, lease: i64) {
        if self.runs.get(&id).is_none_or(|run| run.claimed.lease != lease) {
            return;
        }
        if let Some(run) = self.runs.remove(&id) {
            self.counts.evictions += 1;
            self.beat.expect_some(run.next_due());
            *self.closing.entry(id).or_default() += 1;
            self.groups.push_back(WriteGroup { batch: run.suspend(), closes: vec![id], ..WriteGroup::default() });
        }
    }

    /// A verb that a workflow asked for is done.
    pub fn verb_done(&mut self, request: &VerbRequest, status: &'static str, payload: Vec<u8>) {
        if let Some(run) = self.runs.get_mut(&request.run).filter(|run| run.claimed.lease == request.lease) {
            run.verb_done(&request.key, status, payload);
            self.with_news.push_back(request.run);
        }
    }

    /// Whether the run that asked for it is still here, under the same lease.
    pub fn waits_for_verb(&self, request: &VerbRequest) -> bool {
        self.runs.get(&request.run).is_some_and(|run| run.claimed.lease == request.lease)
    }

    /// Fires what is due now.
    pub fn fire_due(&mut self) {
        let now = self.clock.now();
        while let Some(Reverse((at, _))) = self.due.peek()
            && *at <= now
        {
            let Some(Reverse((at, due))) = self.due.pop() else { break };
            match due {
                Due::Attempt(lease) => self.time_out(lease),
                Due::Run((id, lease), key) => {
                    if let Some(run) = self.runs.get_mut(&id)
                        && run.claimed.lease == lease
                        && run.phase != Phase::Loading
                        && run.fire(at, &key)
                    {
                        self.with_news.push_back(id);
                    }
                }
            }
        }
    }

    /// Time-outs of what has ended long before: with short tasks there would be minutes of them in memory.
    fn forget_past_dues(&mut self) {
        if self.due.len() < self.due_limit {
            return;
        }
        let (attempts, runs) = (&self.attempts, &self.runs);
        self.due.retain(|Reverse((_, due))| match due {
            Due::Attempt(lease) => attempts.contains_key(lease),
            Due::Run((id, lease), _) => runs.get(id).is_some_and(|run| run.claimed.lease == *lease),
        });
        self.due_limit = (2 * self.due.len()).max(LEAST_DUE_LIMIT);
    }

    fn time_out(&mut self, lease: Lease) {
        let Some(attempt) = self.attempts.get_mut(&lease) else { return };
        if !matches!(attempt.phase, TaskPhase::Running { .. }) {
            return;
        }
        attempt.phase = TaskPhase::Over { since: self.clock.now() };
        let claimed = attempt.claimed.clone();
        self.counts.timeouts += 1;
        self.urgent.push_back(Item::Cancel { id: lease.0, lease: lease.1, reason: "timeout" });
        let error = error_json(
            "TimeoutError",
            &format!("attempt {} exceeded its timeout of {} s", claimed.attempt, claimed.timeout.unwrap_or(0.0)),
        );
        let retryable = !names_type(&claimed.policy.non_retryable, &error);
        self.fail_attempt(claimed, error, retryable, false);
    }

    pub(in crate::engine) fn say(&mut self, level: &'static str, message: String) {
        self.urgent.push_back(Item::Log { level, message });
    }

    pub(in crate::engine) fn watch(&mut self, lease: Lease, timers: Vec<(Micros, String)>) {
        for (due, key) in timers {
            self.due.push(Reverse((due, Due::Run(lease, key))));
        }
    }

    /// Starts watching a fresh workflow's time-out.
    pub(in crate::engine) fn watch_deadline(&mut self, claimed: &Claimed) {
        if let Some(deadline) = claimed.deadline {
            self.watch((claimed.id, claimed.lease), vec![(deadline, TIMEOUT_KEY.to_string())]);
        }
    }

    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counts;
        let over = self.attempts.values().filter(|attempt| matches!(attempt.phase, TaskPhase::Over { .. })).count();
        vec![
            ("running", (self.in_python - over) as u64),
            ("stuck", over as u64),
            ("buffered", self.buffer.len() as u64),
            ("hot", self.runs.len() as u64),
            ("unwritten", self.groups.len() as u64),
            ("claimed", c.claimed),
            ("completed", c.completed),
            ("failed", c.failed),
            ("retried", c.retried),
            ("refused", c.refused),
            ("replays", c.replays),
            ("evictions", c.evictions),
            ("batches", c.batches),
            ("conflicts", c.conflicts),
            ("written", c.written),
            ("takeovers", c.takeovers),
            ("timeouts", c.timeouts),
            ("scheduled", c.scheduled),
        ]
    }
}

pub(in crate::engine) fn error_json(kind: &str, message: &str) -> Vec<u8> {
    serde_json::json!({"type": kind, "message": message, "traceback": ""}).to_string().into_bytes()
}

/// True when the error's class is one of `names`, bare or qualified.
fn names_type(names: &[String], error: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed {
        r#type: String,
    }
    let Ok(error) = serde_json::from_slice::<Typed>(error) else { return false };
    let bare = error.r#type.rsplit('.').next().unwrap_or_default();
    names.iter().any(|name| *name == error.r#type || name.rsplit('.').next() == Some(bare))
}
