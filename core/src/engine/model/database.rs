//! The database of the model: what the functions of migrations/functions do to rows, under the same names, as
//! far as leases, wakes, outcomes and signals go. A call is atomic, as a transaction that holds its locks to the end is.
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::base::limits::DEFAULT_MAX_WORKER_LOSSES;
use crate::base::types::*;

/// A rule that is taken out on purpose, to see that the model needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Without {
    Nothing,
    /// Rule b: writes are taken whatever their lease.
    Fence,
    /// Rule c: a suspension does not check whether its run was woken meanwhile.
    Wakes,
    /// The parent of what ended is not woken.
    WakeParents,
    /// Rule f: what is recorded already is written once more.
    Done,
    /// A worker is declared dead although its heartbeat is not overdue.
    Expiry,
    /// Rule g: a worker that was declared dead goes on claiming.
    DeadClaimNothing,
    /// Rule a: a history gives the outcomes of children in the order of their calls, not in that of their delivery.
    ReplayOrder,
    /// max_worker_losses = 0: what a lost worker ran is nevertheless given to another worker.
    AtMostOnce,
}

#[derive(Clone, Debug, Hash)]
pub struct Row {
    pub kind: Kind,
    pub parent: Option<Uuid>,
    pub step_key: Option<String>,
    pub state: ExecutionState,
    pub run_at: Option<Micros>,
    pub worker: Option<Uuid>,
    pub lease: i64,
    pub attempt: i32,
    pub max_worker_losses: i32,
    pub wakes: i64,
    pub after_seq: i64,
    pub seq: Option<i64>,
    pub abandoned: Option<i64>,
    pub cancel_requested: bool,
    pub payload: Vec<u8>,
    signal_seq: i64,
    /// Not a column: how often an outcome was recorded.
    pub endings: u8,
    /// Not a column: how often the execution was started.
    pub starts: u8,
}

#[derive(Clone, Debug, Hash)]
pub struct StepRow {
    pub kind: StepKind,
    pub name: String,
    pub due: Option<Micros>,
    pub status: Option<Status>,
    pub seq: Option<i64>,
    pub abandoned: Option<i64>,
    /// Not a column: an outcome was written over another one.
    pub overwritten: bool,
}

#[derive(Clone, Debug, Hash)]
pub struct SignalRow {
    pub name: String,
    pub consumed_by: Option<String>,
    /// Not a column: whether a second step took the signal.
    pub taken_again: bool,
}

#[derive(Clone, Debug, Hash)]
pub struct Database {
    without: Without,
    pub executions: BTreeMap<Uuid, Row>,
    pub steps: BTreeMap<(Uuid, String), StepRow>,
    pub signals: BTreeMap<(Uuid, i64), SignalRow>,
    /// The workers that were not taken over.
    pub workers: BTreeSet<Uuid>,
}

/// How the step that waits for an execution in this state has ended.
fn status_of(state: ExecutionState) -> Option<Status> {
    match state {
        ExecutionState::Completed => Some(Status::Completed),
        ExecutionState::Failed => Some(Status::Failed),
        ExecutionState::Cancelled => Some(Status::Cancelled),
        ExecutionState::Pending | ExecutionState::Running | ExecutionState::Suspended => None,
    }
}

impl Database {
    pub fn new(without: Without) -> Database {
        let (executions, steps, signals) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Database { without, executions, steps, signals, workers: BTreeSet::new() }
    }

    pub fn enqueue(&mut self, id: Uuid, kind: Kind) {
        self.executions.insert(id, new_row(kind, None, None));
    }

    pub fn register_worker(&mut self, id: Uuid) {
        self.workers.insert(id);
    }

    pub fn commit_batch(&mut self, worker: Uuid, batch: &Batch, claim: Option<&ClaimRequest>) -> BatchReply {
        let mut reply = BatchReply { refused: self.refused(worker, batch), ..BatchReply::default() };
        let done = self.done(worker, batch);
        let refused: BTreeSet<Uuid> = reply.refused.iter().chain(&done).copied().collect();
        self.insert(worker, batch, &refused);
        self.record_step_outcomes(batch, &refused);
        let finished = self.record_outcomes(batch, &refused);
        for delivery in batch.deliveries.iter().filter(|delivery| !refused.contains(&delivery.run)) {
            if let Some(row) = self.executions.get_mut(&delivery.id).filter(|row| row.state.has_ended()) {
                row.seq = Some(delivery.seq);
            }
        }
        let dropped = self.give_up(batch, &finished, &refused, &mut reply.wakes);
        self.wake_parents(finished.into_iter().chain(dropped).collect(), &mut reply.wakes);
        if let Some(request) = claim {
            reply.claimed = self.claim(worker, request.limit);
        }
        reply
    }

    fn is_done(&self, worker: Uuid, (id, lease): (Uuid, i64)) -> bool {
        let row = self.executions.get(&id);
        row.is_some_and(|row| row.lease == lease && row.worker == Some(worker) && row.state.has_ended())
    }

    fn done(&self, worker: Uuid, batch: &Batch) -> Vec<Uuid> {
        let fences = batch.fences.iter().filter(|fence| self.is_done(worker, **fence));
        if self.without == Without::Done { Vec::new() } else { fences.map(|fence| fence.0).collect() }
    }

    fn refused(&self, worker: Uuid, batch: &Batch) -> Vec<Uuid> {
        let good = |(id, lease): (Uuid, i64)| {
            self.without == Without::Fence
                || self.is_done(worker, (id, lease))
                || self.executions.get(&id).is_some_and(|row| {
                    row.lease == lease && row.worker == Some(worker) && row.state == ExecutionState::Running
                })
        };
        let mut refused: Vec<Uuid> = batch.fences.iter().filter(|fence| !good(**fence)).map(|fence| fence.0).collect();
        loop {
            let of_outcomes = batch.outcomes.iter().filter_map(|o| Some((o.delivered?.0, refused.contains(&o.id))));
            let of_deliveries =
                batch.deliveries.iter().map(|d| (d.run, refused.contains(&d.id) || !self.ends(batch, d.id)));
            let more: BTreeSet<Uuid> = of_outcomes
                .chain(of_deliveries)
                .filter(|(run, lost)| *lost && !refused.contains(run))
                .map(|(run, _)| run)
                .collect();
            if more.is_empty() {
                return refused;
            }
            refused.extend(more);
        }
    }

    /// Whether the execution has ended, or does so with this batch.
    fn ends(&self, batch: &Batch, id: Uuid) -> bool {
        let here = |o: &Outcome| o.id == id && matches!(o.action, Action::Complete | Action::Fail | Action::Cancel);
        batch.outcomes.iter().any(here) || self.executions.get(&id).is_some_and(|row| row.state.has_ended())
    }

    fn insert(&mut self, worker: Uuid, batch: &Batch, refused: &BTreeSet<Uuid>) {
        for child in batch.children.iter().filter(|child| !refused.contains(&child.run)) {
            let mut row = new_row(child.call.kind, child.parent, Some(child.key.clone()));
            row.after_seq = child.after_seq;
            row.max_worker_losses = child.call.options.max_worker_losses;
            if child.eager {
                (row.state, row.worker, row.lease, row.attempt) = (ExecutionState::Running, Some(worker), 1, 1);
            }
            self.executions.entry(child.id).or_insert(row);
        }
        for step in batch.steps.iter().filter(|step| !refused.contains(&step.run)) {
            let row = StepRow {
                kind: step.kind,
                name: step.name.clone(),
                due: step.due,
                status: step.status,
                seq: step.seq,
                abandoned: None,
                overwritten: false,
            };
            self.steps.entry((step.run, step.key.clone())).or_insert(row);
        }
    }

    fn record_step_outcomes(&mut self, batch: &Batch, refused: &BTreeSet<Uuid>) {
        for outcome in batch.step_outcomes.iter().filter(|outcome| !refused.contains(&outcome.run)) {
            let Some(step) = self.steps.get_mut(&(outcome.run, outcome.key.clone())) else { continue };
            let new = (Some(outcome.seq), Some(outcome.status));
            step.overwritten |= step.seq.is_some() && (step.seq, step.status) != new;
            (step.seq, step.status) = new;
            let Some(signal) = outcome.ordinal.and_then(|ordinal| self.signals.get_mut(&(outcome.run, ordinal))) else {
                continue;
            };
            signal.taken_again |= signal.consumed_by.as_ref().is_some_and(|key| *key != outcome.key);
            signal.consumed_by = Some(outcome.key.clone());
        }
    }

    /// Returns the executions that ended.
    fn record_outcomes(&mut self, batch: &Batch, refused: &BTreeSet<Uuid>) -> Vec<Uuid> {
        let mut finished = Vec::new();
        for outcome in batch.outcomes.iter().filter(|outcome| !refused.contains(&outcome.id)) {
            let without = self.without;
            let Some(row) = self.executions.get_mut(&outcome.id) else { continue };
            let woken = outcome.wakes.is_some_and(|wakes| wakes != row.wakes) && without != Without::Wakes;
            row.run_at = None;
            row.state = match outcome.action {
                Action::Complete => ExecutionState::Completed,
                Action::Fail => ExecutionState::Failed,
                Action::Cancel => ExecutionState::Cancelled,
                Action::Suspend if !woken => ExecutionState::Suspended,
                Action::Hold => ExecutionState::Suspended,
                Action::Suspend | Action::Retry | Action::Handback => ExecutionState::Pending,
            };
            if matches!(outcome.action, Action::Handback | Action::Suspend | Action::Hold) {
                row.attempt -= 1;
            }
            if row.state == ExecutionState::Suspended || matches!(outcome.action, Action::Retry | Action::Handback) {
                row.run_at = outcome.due;
            }
            if row.state.has_ended() {
                row.payload = outcome.payload.clone().unwrap_or_default();
                row.endings = (row.endings + 1).min(2);
                finished.push(outcome.id);
            } else {
                row.lease += 1;
            }
            if let Some((run, seq, _)) = outcome.delivered
                && !refused.contains(&run)
            {
                row.seq = Some(seq);
            }
        }
        finished
    }

    /// Steps no longer waited for, and the children that ended runs leave behind. Returns the children that are cancelled at once.
    fn give_up(&mut self, batch: &Batch, finished: &[Uuid], refused: &BTreeSet<Uuid>, wakes: &mut Wakes) -> Vec<Uuid> {
        let mut dropped: BTreeSet<Uuid> = BTreeSet::new();
        for x in batch.abandoned.iter().filter(|x| !refused.contains(&x.run)) {
            if let Some(step) = self.steps.get_mut(&(x.run, x.key.clone())).filter(|s| s.seq.is_none() && x.abandon) {
                step.abandoned = Some(x.seq);
            }
            for (id, row) in &mut self.executions {
                if row.parent == Some(x.run) && row.step_key.as_ref() == Some(&x.key) {
                    if row.seq.is_none() && x.abandon {
                        row.abandoned = Some(x.seq);
                    }
                    dropped.insert(*id);
                }
            }
        }
        let left =
            self.executions.iter().filter(|(_, row)| row.parent.is_some_and(|parent| finished.contains(&parent)));
        dropped.extend(left.map(|(id, _)| *id));
        dropped.retain(|id| !self.executions[id].state.has_ended() && !self.executions[id].cancel_requested);
        let dropped: Vec<Uuid> = dropped.into_iter().collect();
        self.cancel_rows(&dropped, wakes);
        dropped
    }

    /// The model's children are tasks: they end at once.
    fn cancel_rows(&mut self, ids: &[Uuid], wakes: &mut Wakes) {
        for id in ids {
            let Some(row) = self.executions.get_mut(id) else { continue };
            if let Some(worker) = row.worker.filter(|_| row.state == ExecutionState::Running) {
                wakes.workers.push((worker, *id));
            }
            row.state = ExecutionState::Cancelled;
            row.endings = (row.endings + 1).min(2);
            row.cancel_requested = true;
            row.run_at = None;
            row.lease += 1;
            row.wakes += 1;
        }
    }

    fn wake_parents(&mut self, ids: Vec<Uuid>, wakes: &mut Wakes) {
        if self.without == Without::WakeParents {
            return;
        }
        let news = |row: &Row| row.abandoned.is_none() && row.seq.is_none();
        let parents: BTreeSet<Uuid> = ids
            .iter()
            .filter_map(|id| self.executions.get(id))
            .filter(|row| news(row))
            .filter_map(|r| r.parent)
            .collect();
        for parent in parents {
            self.wake(parent, wakes);
        }
    }

    fn wake(&mut self, id: Uuid, wakes: &mut Wakes) {
        let Some(row) = self.executions.get_mut(&id).filter(|row| !row.state.has_ended()) else { return };
        row.wakes += 1;
        match row.state {
            ExecutionState::Running => wakes.workers.extend(row.worker.map(|worker| (worker, id))),
            ExecutionState::Suspended => (row.state, row.run_at) = (ExecutionState::Pending, None),
            _ => {}
        }
    }

    fn claim(&mut self, worker: Uuid, limit: i32) -> Vec<Claimed> {
        if !self.workers.contains(&worker) && self.without != Without::DeadClaimNothing {
            return Vec::new();
        }
        let ready = |row: &Row| row.state == ExecutionState::Pending && row.run_at.is_none();
        let rows = self.executions.iter_mut().filter(|(_, row)| ready(row)).take(limit as usize);
        rows.map(|(id, row)| {
            (row.state, row.worker) = (ExecutionState::Running, Some(worker));
            row.lease += 1;
            row.attempt += 1;
            claimed(*id, row)
        })
        .collect()
    }

    pub fn load_runs(&self, ids: &[Uuid], news: bool) -> Vec<HistoryRow> {
        let mut rows = Vec::new();
        for id in ids {
            let Some(run) = self.executions.get(id) else { continue };
            let mut add = |source| rows.push(HistoryRow { run: *id, source });
            add(HistorySource::Run {
                wakes: run.wakes,
                lease: run.lease,
                deadline: None,
                cancel_requested: run.cancel_requested,
            });
            for (child, row) in self.executions.iter().filter(|(_, row)| row.parent == Some(*id)) {
                let untold = row.seq.is_none() && row.abandoned.is_none() && row.state.has_ended();
                if !news || untold {
                    add(child_source(*child, row, self.number(row)));
                }
            }
            if !news {
                self.steps
                    .iter()
                    .filter(|((run, _), _)| run == id)
                    .for_each(|((_, key), row)| add(step_source(key, row)));
            }
            for ((_, ordinal), signal) in
                self.signals.iter().filter(|((run, _), s)| run == id && s.consumed_by.is_none())
            {
                add(HistorySource::Signal { name: signal.name.clone(), ordinal: *ordinal, payload: Vec::new() });
            }
        }
        rows
    }

    /// The number under which a history has the outcome of a child.
    fn number(&self, row: &Row) -> Option<i64> {
        let before = |other: &&Row| other.parent == row.parent && other.seq.is_some() && other.step_key <= row.step_key;
        let in_order_of_calls = || self.executions.values().filter(before).count() as i64;
        row.seq.map(|seq| if self.without == Without::ReplayOrder { in_order_of_calls() } else { seq })
    }

    /// Whether workers are taken over without a check that their heartbeat is overdue.
    pub fn takes_over_anybody(&self) -> bool {
        self.without == Without::Expiry
    }

    /// The answer to a heartbeat of this worker at that time; executions that are due are ready from then on.
    pub fn heartbeat(&mut self, worker: Uuid, now: Micros) -> Heartbeat {
        for row in self.executions.values_mut().filter(|row| row.run_at.is_some_and(|due| due <= now)) {
            (row.state, row.run_at) = (ExecutionState::Pending, None);
        }
        let running =
            self.executions.iter().filter(|(_, r)| r.worker == Some(worker) && r.state == ExecutionState::Running);
        Heartbeat {
            known: self.workers.contains(&worker),
            now,
            ready: self.executions.values().any(|row| row.state == ExecutionState::Pending && row.run_at.is_none()),
            next_due: None,
            dead: Vec::new(),
            next_schedule: None,
            sweep_due: false,
            drain: false,
            running: running.map(|(id, row)| (*id, row.lease, row.wakes)).collect(),
        }
    }

    pub fn take_over(&mut self, dead: Uuid) -> Wakes {
        let mut wakes = Wakes::default();
        if !self.workers.remove(&dead) {
            return wakes;
        }
        let at_most_once = self.without != Without::AtMostOnce;
        let mut lost = Vec::new();
        let ran =
            self.executions.iter_mut().filter(|(_, r)| r.worker == Some(dead) && r.state == ExecutionState::Running);
        for (id, row) in ran {
            row.lease += 1;
            (row.state, row.run_at) = (ExecutionState::Pending, None);
            if row.max_worker_losses == 0 && at_most_once {
                row.state = ExecutionState::Failed;
                row.endings = (row.endings + 1).min(2);
                lost.push(*id);
            }
        }
        self.wake_parents(lost, &mut wakes);
        wakes
    }

    pub fn signal_send(&mut self, id: Uuid, name: &str) -> Wakes {
        let mut wakes = Wakes::default();
        let Some(row) = self.executions.get_mut(&id).filter(|row| !row.state.has_ended()) else { return wakes };
        row.signal_seq += 1;
        let signal = SignalRow { name: name.into(), consumed_by: None, taken_again: false };
        self.signals.insert((id, row.signal_seq), signal);
        self.wake(id, &mut wakes);
        wakes
    }

    /// The outcomes that were delivered to a run, (key, status), by their numbers.
    pub fn delivered(&self, run: Uuid) -> Vec<(i64, String, Status)> {
        let children = self
            .executions
            .values()
            .filter(|row| row.parent == Some(run))
            .filter_map(|row| Some((row.seq?, row.step_key.clone().unwrap_or_default(), status_of(row.state)?)));
        let steps = self.steps.iter().filter(|((of, _), _)| *of == run);
        let steps = steps.filter_map(|((_, key), row)| Some((row.seq?, key.clone(), row.status?)));
        let mut delivered: Vec<_> = children.chain(steps).collect();
        delivered.sort_by_key(|(seq, ..)| *seq);
        delivered
    }
}

fn new_row(kind: Kind, parent: Option<Uuid>, step_key: Option<String>) -> Row {
    Row {
        kind,
        parent,
        step_key,
        state: ExecutionState::Pending,
        run_at: None,
        worker: None,
        lease: 0,
        attempt: 0,
        max_worker_losses: DEFAULT_MAX_WORKER_LOSSES,
        wakes: 0,
        after_seq: 0,
        seq: None,
        abandoned: None,
        cancel_requested: false,
        payload: Vec::new(),
        signal_seq: 0,
        endings: 0,
        starts: 0,
    }
}

fn claimed(id: Uuid, row: &Row) -> Claimed {
    let mut claimed = super::program::bare_claim(id, row.kind);
    claimed.options.max_worker_losses = row.max_worker_losses;
    Claimed {
        lease: row.lease,
        attempt: row.attempt,
        parent: row.parent,
        step_key: row.step_key.clone(),
        root: row.parent.unwrap_or(id),
        wakes: row.wakes,
        fresh: row.lease == 1 && row.wakes == 0,
        ..claimed
    }
}

fn child_source(id: Uuid, row: &Row, seq: Option<i64>) -> HistorySource {
    HistorySource::Child {
        key: row.step_key.clone().unwrap_or_default(),
        kind: row.kind,
        function: super::program::TASK.into(),
        id,
        lease: row.lease,
        args: Vec::new(),
        outcome: status_of(row.state).map(|status| (status, row.payload.clone())),
        delivered: seq.map(|seq| (seq, super::program::START)),
        abandoned: row.abandoned.is_some(),
    }
}

fn step_source(key: &str, row: &StepRow) -> HistorySource {
    HistorySource::Step {
        key: key.into(),
        kind: row.kind,
        name: row.name.clone(),
        outcome: row.status.map(|status| (status, Vec::new())),
        request: None,
        delivered: row.seq.map(|seq| (seq, super::program::START)),
        due: row.due,
        abandoned: row.abandoned.is_some(),
    }
}
