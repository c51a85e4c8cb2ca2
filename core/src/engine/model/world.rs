//! A small world: one database, two places for workers, workflows with a fixed program, and a limited number of faults. A worker's memory is
//! the engine's own `State`; `step` makes one event happen.
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::database::{Database, Without};
use super::program::{Delivered, LATER, Program, SIGNAL, START};
use crate::base::types::*;
use crate::engine::decide::clock::Clock;
use crate::engine::decide::fixtures::config;
use crate::engine::decide::group::WriteGroup;
use crate::engine::decide::state::State;
use crate::engine::items::{Activation, Command, Item, RunItem};

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Budget {
    pub crashes: u8,
    /// A worker that is alive is declared dead.
    pub mistakes: u8,
    /// A connection breaks while a request is under way.
    pub losses: u8,
    pub evictions: u8,
    pub signals: u8,
}

/// A transaction of a worker's writer.
#[derive(Clone, Debug)]
struct Request {
    worker: Uuid,
    batch: Batch,
    claim: Option<ClaimRequest>,
}

#[derive(Clone, Debug)]
struct Sent {
    groups: Vec<WriteGroup>,
    request: Request,
    reply: Option<BatchReply>,
}

/// The SDK's side: the outcomes delivered to each workflow in memory, and the tasks that run.
#[derive(Clone, Debug, Default)]
struct Python {
    runs: BTreeMap<Uuid, Delivered>,
    tasks: BTreeSet<(Uuid, i64)>,
}

#[derive(Clone)]
struct Worker {
    id: Uuid,
    engine: State,
    python: Python,
    sent: Option<Sent>,
    /// A request that was sent, and of which the worker does not know whether it was committed (rule f).
    unknown: Vec<WriteGroup>,
    /// A hash of all that decides what it does next, or None if that has changed.
    fingerprint: Option<u64>,
}

/// One event; numbers are places of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new worker process starts.
    Start(usize),
    Pull(usize),
    Finish(usize, Uuid, i64),
    Send(usize),
    /// The request reaches the database and is committed.
    Apply(usize),
    Receive(usize),
    /// The connection breaks: the request may still be on its way, or its answer is lost.
    Lose(usize),
    Beat(usize),
    Fire(usize),
    Evict(usize, Uuid),
    Crash(usize),
    TakeOver(Uuid),
    Signal(Uuid),
    /// Timers are due from now on.
    TimePasses,
    /// A request that nobody waits for any more reaches the database nevertheless.
    Stray(usize),
}

#[derive(Clone)]
pub struct World {
    pub db: Database,
    programs: BTreeMap<Uuid, Program>,
    /// Shared with the world before this one while it is unchanged.
    workers: [Option<Arc<Worker>>; 2],
    born: u8,
    late: bool,
    budget: Budget,
    strays: Vec<Request>,
    pub violations: BTreeSet<&'static str>,
    pub fingerprint: u64,
    /// The same for all: heartbeats need one.
    at: Instant,
}

fn run_id(number: usize) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_0000 + ((number as u128 + 1) << 80))
}

impl World {
    pub fn new(programs: &[Program], budget: Budget, without: Without) -> World {
        let mut db = Database::new(without);
        let programs: BTreeMap<_, _> = programs.iter().enumerate().map(|(n, program)| (run_id(n), *program)).collect();
        programs.keys().for_each(|id| db.enqueue(*id, Kind::Workflow));
        let mut world = World {
            db,
            programs,
            workers: [None, None],
            born: 0,
            late: false,
            budget,
            strays: Vec::new(),
            violations: BTreeSet::new(),
            fingerprint: 0,
            at: Instant::now(),
        };
        (0..2).for_each(|place| world.start(place));
        world.settled()
    }

    pub fn ended(&self) -> bool {
        self.programs.keys().all(|id| self.db.executions[id].state == ExecutionState::Completed)
    }

    fn now(&self) -> Micros {
        if self.late { LATER } else { START }
    }

    fn start(&mut self, place: usize) {
        self.born += 1;
        let id = Uuid::from_u128(self.born.into());
        let engine = engine(id, self.now());
        self.db.register_worker(id);
        self.workers[place] = Some(Arc::new(Worker {
            id,
            engine,
            python: Python::default(),
            sent: None,
            unknown: Vec::new(),
            fingerprint: None,
        }));
    }

    /// All events that may happen now.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (place, worker) in self.workers.iter().enumerate() {
            match worker {
                Some(worker) => self.steps_of(place, worker, &mut steps),
                None if self.workers.iter().all(Option::is_none) => steps.push(Step::Start(place)),
                None => {}
            }
        }
        let alive: Vec<Uuid> = self.workers.iter().flatten().map(|worker| worker.id).collect();
        let dead = self.db.workers.iter().filter(|id| !alive.contains(id) || self.may_be_mistaken());
        steps.extend(dead.map(|id| Step::TakeOver(*id)));
        if self.budget.signals > 0 {
            let listening = self.programs.iter().filter(|(id, program)| program.listens() && !self.finished(**id));
            steps.extend(listening.map(|(id, _)| Step::Signal(*id)));
        }
        if !self.late && self.programs.values().any(|program| program.has_timer()) {
            steps.push(Step::TimePasses);
        }
        steps.extend((0..self.strays.len()).map(Step::Stray));
        steps
    }

    fn may_be_mistaken(&self) -> bool {
        self.budget.mistakes > 0 || self.db.takes_over_anybody()
    }

    fn finished(&self, id: Uuid) -> bool {
        self.db.executions[&id].endings > 0
    }

    fn steps_of(&self, place: usize, worker: &Worker, steps: &mut Vec<Step>) {
        if worker.engine.is_asked_to_evict() {
            steps.push(Step::Pull(place));
        }
        steps.extend(worker.python.tasks.iter().map(|(id, lease)| Step::Finish(place, *id, *lease)));
        match &worker.sent {
            None => {
                let writes = worker.engine.wants_commit() || !worker.unknown.is_empty();
                steps.push(if writes { Step::Send(place) } else { Step::Beat(place) });
            }
            Some(Sent { reply: None, .. }) => steps.push(Step::Apply(place)),
            Some(_) => steps.push(Step::Receive(place)),
        }
        if worker.sent.is_some() && self.budget.losses > 0 {
            steps.push(Step::Lose(place));
        }
        if worker.engine.next_due().is_some_and(|due| due <= self.now()) {
            steps.push(Step::Fire(place));
        }
        if self.budget.evictions > 0 {
            steps.extend(worker.engine.idle_runs().into_iter().map(|id| Step::Evict(place, id)));
        }
        if self.budget.crashes > 0 {
            steps.push(Step::Crash(place));
        }
    }

    /// The world after one step.
    pub fn after(&self, step: &Step) -> World {
        let mut next = self.clone();
        next.take(step);
        next.go_on();
        next.settled()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Start(place) => self.start(place),
            Step::TakeOver(id) => {
                if self.workers.iter().flatten().any(|worker| worker.id == id) {
                    self.budget.mistakes = self.budget.mistakes.saturating_sub(1);
                }
                let wakes = self.db.take_over(id);
                self.notify(wakes);
            }
            Step::Signal(id) => {
                self.budget.signals -= 1;
                let wakes = self.db.signal_send(id, SIGNAL);
                self.notify(wakes);
            }
            Step::TimePasses => {
                self.late = true;
                let now = self.now();
                for worker in self.workers.iter_mut().flatten() {
                    changed(worker).engine.set_clock(Clock::standing(now));
                }
            }
            Step::Stray(number) => {
                let request = self.strays.remove(number);
                let reply = self.db.commit_batch(request.worker, &request.batch, request.claim.as_ref());
                self.notify(reply.wakes); // nobody reads the rest
            }
            Step::Crash(place) => self.crash(place),
            Step::Pull(place) => self.pull(place),
            Step::Finish(place, id, lease) => {
                self.worker(place).python.tasks.remove(&(id, lease));
                let next = self.worker(place).engine.complete(id, lease, b"1".to_vec());
                self.activate(place, next);
            }
            Step::Send(place) => self.send(place),
            Step::Apply(place) => self.apply(place),
            Step::Receive(place) => self.receive(place),
            Step::Lose(place) => self.lose(place),
            Step::Beat(place) => self.beat(place),
            Step::Fire(place) => self.worker(place).engine.fire_due(),
            Step::Evict(place, id) => {
                self.budget.evictions -= 1;
                self.worker(place).engine.evict_now(id);
            }
        }
    }

    fn worker(&mut self, place: usize) -> &mut Worker {
        changed(self.workers[place].as_mut().expect("a step of a worker that is there"))
    }

    /// Notifications come at once, or never if the worker does not run.
    fn notify(&mut self, wakes: Wakes) {
        for (to, about) in wakes.workers {
            let worker = self.workers.iter_mut().flatten().find(|worker| worker.id == to);
            worker.into_iter().for_each(|worker| changed(worker).engine.notified(about));
        }
    }

    /// Each worker does all that it can do without waiting for anybody. Time passes only between the request to evict a run and the eviction.
    fn go_on(&mut self) {
        for place in 0..2 {
            while let Some(worker) = &self.workers[place] {
                if worker.sent.is_none() && worker.engine.wants_loads() {
                    self.load(place);
                } else if worker.engine.has_items() && !worker.engine.is_asked_to_evict() {
                    self.pull(place);
                } else {
                    break;
                }
            }
        }
    }

    /// The worker loses its memory. A request that it had sent may still arrive.
    fn crash(&mut self, place: usize) {
        self.budget.crashes -= 1;
        if let Some(worker) = self.workers[place].take() {
            let sent = worker.sent.clone();
            self.strays.extend(sent.filter(|sent| sent.reply.is_none()).map(|sent| sent.request));
        }
    }

    fn send(&mut self, place: usize) {
        let worker = self.worker(place);
        let unknown = std::mem::take(&mut worker.unknown);
        let (groups, claim) = if unknown.is_empty() {
            (worker.engine.take_groups(), worker.engine.claim_request())
        } else {
            (unknown, None)
        };
        let mut batch = Batch::default();
        groups.iter().for_each(|group| batch.merge(group.batch.clone()));
        worker.sent = Some(Sent { groups, request: Request { worker: worker.id, batch, claim }, reply: None });
    }

    fn apply(&mut self, place: usize) {
        let Some(sent) = self.worker(place).sent.clone() else { return };
        let reply = self.db.commit_batch(sent.request.worker, &sent.request.batch, sent.request.claim.as_ref());
        self.worker(place).sent = Some(Sent { reply: Some(reply), ..sent });
    }

    fn receive(&mut self, place: usize) {
        let worker = self.worker(place);
        let Some(Sent { groups, request, reply: Some(reply) }) = worker.sent.take() else { return };
        let wakes = worker.engine.committed(groups, request.claim.as_ref(), reply);
        self.notify(wakes);
    }

    fn lose(&mut self, place: usize) {
        self.budget.losses -= 1;
        let worker = self.worker(place);
        let Some(sent) = worker.sent.take() else { return };
        worker.unknown = sent.groups;
        worker.engine.claim_failed();
        worker.engine.beat_failed();
        if sent.reply.is_none() {
            self.strays.push(sent.request);
        }
    }

    fn beat(&mut self, place: usize) {
        let (now, at) = (self.now(), self.at);
        let id = self.worker(place).id;
        let reply = self.db.heartbeat(id, now);
        let engine = &mut self.worker(place).engine;
        let (flag, _) = engine.beat_to_send();
        if !reply.known {
            engine.forget_all();
        }
        engine.beaten(flag, &reply, at, at);
        if !reply.known {
            engine.registered();
            self.db.register_worker(id);
        }
    }

    fn load(&mut self, place: usize) {
        let (full, news) = self.worker(place).engine.take_loads();
        let (history, heard) = (self.db.load_runs(&full, false), self.db.load_runs(&news, true));
        self.worker(place).engine.loaded(history);
        self.worker(place).engine.heard(heard);
    }

    /// Python takes one item and answers it; a task that it starts ends by itself, later.
    fn pull(&mut self, place: usize) {
        for item in self.worker(place).engine.pull(1) {
            match item {
                Item::Task(task) => {
                    self.check_start(&task);
                    self.worker(place).python.tasks.insert((task.id, task.lease));
                }
                Item::Run(item) => self.rebuild(place, *item),
                Item::Activate(activation) => self.activate(place, Some(activation)),
                Item::Evict(id) => {
                    let worker = self.worker(place);
                    let lease = worker.engine.lease_of(id);
                    worker.python.runs.remove(&id);
                    lease.into_iter().for_each(|lease| worker.engine.suspended(id, lease));
                }
                Item::Drop { id, lease, .. } => self.drop_execution(place, id, lease),
                Item::Cancel { .. } | Item::Stop(_) | Item::Log { .. } => {}
            }
        }
    }

    fn drop_execution(&mut self, place: usize, id: Uuid, lease: i64) {
        let worker = self.worker(place);
        // The run may be here again already, under another lease.
        if !worker.engine.is_in_python(id) {
            worker.python.runs.remove(&id);
        }
        if worker.python.tasks.remove(&(id, lease)) {
            worker.engine.release(id, lease);
        }
    }

    /// Nothing starts before its cause is committed, and nothing starts again whose outcome is recorded.
    fn check_start(&mut self, task: &Claimed) {
        let Some(row) = self.db.executions.get_mut(&task.id) else {
            self.violations.insert("a step started that is not committed");
            return;
        };
        row.starts = (row.starts + 1).min(2);
        if row.starts > 1 && row.max_worker_losses == 0 {
            self.violations.insert("a task that may not be started twice was");
        }
        let row = &self.db.executions[&task.id];
        if row.endings > 0 && row.lease == task.lease {
            self.violations.insert("a recorded step ran again");
        }
        let known = task.parent.map(|run| self.db.delivered(run).len() as i64).unwrap_or_default();
        if known < row.after_seq {
            self.violations.insert("a step started before the outcome that it follows from was committed");
        }
    }

    fn rebuild(&mut self, place: usize, item: RunItem) {
        let id = item.claimed.id;
        let program = self.programs[&id];
        let delivered: Delivered = item.outcomes.iter().map(|past| (past.key.clone(), past.status)).collect();
        let recorded: BTreeSet<String> = item.records.iter().map(|record| record.key.clone()).collect();
        let asked = program.asked(&delivered);
        if !recorded.is_subset(&asked) {
            self.violations.insert("a replay did not make what was recorded");
        }
        let missing = (0..=delivered.len())
            .flat_map(|length| program.commands(&delivered[..length]))
            .filter(|command| match command {
                Command::Execute { key, .. } | Command::Signal { key, .. } => !recorded.contains(key),
                _ => true,
            })
            .collect();
        self.worker(place).python.runs.insert(id, delivered);
        let next = self.worker(place).engine.commands(id, item.claimed.lease, missing);
        self.activate(place, next);
    }

    /// Delivers outcomes to workflows in memory until none follows.
    fn activate(&mut self, place: usize, first: Option<Activation>) {
        let mut next = first;
        while let Some(activation) = next {
            let id = activation.run;
            let program = self.programs[&id];
            let worker = self.worker(place);
            let lease = worker.engine.lease_of(id).expect("an activation is for a run in memory");
            let delivered = worker.python.runs.entry(id).or_default();
            delivered.push((activation.key, activation.status));
            let repeated = delivered.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len() < delivered.len();
            let commands = program.commands(delivered);
            next = worker.engine.commands(id, lease, commands);
            if repeated {
                self.violations.insert("a step ended twice");
            }
        }
    }

    fn settled(mut self) -> World {
        for worker in self.workers.iter_mut().flatten().filter(|worker| worker.fingerprint.is_none()) {
            let worker = Arc::make_mut(worker);
            worker.fingerprint = Some(hash(print(worker)));
        }
        let strays: Vec<String> = self.strays.iter().map(|stray| format!("{stray:?}")).collect();
        let workers = self.workers.each_ref().map(|worker| worker.as_ref().map(|worker| worker.fingerprint));
        let programs_are_fixed = (&self.db, self.born, self.late, self.budget, strays, &self.violations, workers);
        self.fingerprint = hash(programs_are_fixed);
        self
    }

    /// The next event of a fair world, in which everything goes on and nothing fails, or None at its end.
    pub fn fair_step(&self) -> Option<World> {
        if self.ended() {
            return None;
        }
        let mut steps = self.steps();
        let alive: Vec<Uuid> = self.workers.iter().flatten().map(|worker| worker.id).collect();
        steps.retain(|step| match step {
            Step::Crash(_) | Step::Lose(_) | Step::Evict(..) | Step::Stray(_) => false,
            Step::TakeOver(id) => !alive.contains(id) || self.db.takes_over_anybody(),
            Step::Signal(id) => self.db.signals.keys().all(|(run, _)| run != id),
            _ => true,
        });
        steps.sort_by_key(|step| self.order(step));
        steps.iter().map(|step| self.after(step)).find(|next| next.fingerprint != self.fingerprint)
    }

    /// Time passes last: what a notification or a heartbeat should bring must not wait for a time-out.
    fn order(&self, step: &Step) -> u8 {
        match step {
            Step::Start(_) => 0,
            Step::TakeOver(_) if self.db.takes_over_anybody() => 1,
            Step::Receive(_) => 2,
            Step::Apply(_) => 3,
            Step::Pull(_) => 4,
            Step::Finish(..) => 5,
            Step::Fire(_) => 6,
            Step::Send(_) => 7,
            Step::TakeOver(_) => 8,
            Step::Beat(_) => 9,
            Step::Signal(_) => 10,
            _ => 11,
        }
    }
}

/// Where the worker is to be changed.
fn changed(worker: &mut Arc<Worker>) -> &mut Worker {
    let worker = Arc::make_mut(worker);
    worker.fingerprint = None;
    worker
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn engine(id: Uuid, now: Micros) -> State {
    State::new(config(id, 2), Clock::standing(now))
}

/// All of a worker that decides what it does, without what it counts and measures.
fn print(worker: &Worker) -> String {
    let memory = worker.engine.fingerprint();
    format!("{:?} {memory} {:?} {:?} {:?}", worker.id, worker.sent, worker.unknown, worker.python)
}

impl PartialEq for World {
    fn eq(&self, other: &World) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x} {:?}", self.fingerprint, self.violations)
    }
}
