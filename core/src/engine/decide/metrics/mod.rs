//! Counts of a worker. `page` writes them in the form of OpenMetrics.
//!
//! The counts change under the lock of the engine's state, which the caller holds anyway; a scrape takes a copy, and writes its text without
//! the lock. Labels are bounded: the functions that this worker registered, and enumerations.
pub mod page;

use std::collections::HashMap;

use crate::base::error::{Error, Result};
use crate::base::types::*;

const DURATIONS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];
const LATENCIES: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const ROUND_TRIPS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// The shortest time between two queries for the pick-up latency of one batch of claims.
const SAMPLE_MICROS: Micros = 1_000_000;

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

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Completed,
    Failed,
    Cancelled,
    Held,
    Retried,
    HandedBack,
    Lost,
}

const ENDINGS: [(Ending, &str); 7] = [
    (Ending::Completed, "completed"),
    (Ending::Failed, "failed"),
    (Ending::Cancelled, "cancelled"),
    (Ending::Held, "held"),
    (Ending::Retried, "retried"),
    (Ending::HandedBack, "handed_back"),
    (Ending::Lost, "lost"),
];

impl Ending {
    /// How an action on an execution ends its attempt, or None if the attempt goes on.
    pub fn of(action: Action) -> Option<Ending> {
        Some(match action {
            Action::Complete => Ending::Completed,
            Action::Fail => Ending::Failed,
            Action::Cancel => Ending::Cancelled,
            Action::Hold => Ending::Held,
            Action::Retry => Ending::Retried,
            Action::Handback => Ending::HandedBack,
            Action::Suspend => return None,
        })
    }

    /// Whether an attempt of this kind can end so. A worker only hears of a cancelled task that its lease is lost, and a workflow's attempt is
    /// never handed back.
    fn happens_to(self, kind: Kind) -> bool {
        match self {
            Ending::Cancelled | Ending::Held => kind == Kind::Workflow,
            Ending::HandedBack | Ending::Lost => kind == Kind::Task,
            _ => true,
        }
    }

    /// Whether the execution has ended with the attempt, or waits until code that fits is deployed.
    fn ends_execution(self) -> bool {
        matches!(self, Ending::Completed | Ending::Failed | Ending::Cancelled | Ending::Held)
    }
}

/// A statement of the writer, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    Commit,
    Heartbeat,
    Load,
    TakeOver,
    Register,
    Stop,
    Locks,
}

const STATEMENTS: [&str; 7] = ["commit", "heartbeat", "load", "take_over", "register", "stop", "locks"];

const ERRORS: [&str; 4] = ["conflict", "data", "unavailable", "other"];

fn class(error: &Error) -> usize {
    match error {
        Error::Conflict(_) | Error::Locked(_) => 0,
        Error::Data { .. } => 1,
        error if error.is_transient() => 2,
        _ => 3,
    }
}

/// Counts by upper bound, not cumulative. The last count is of values above every bound.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }
}

#[derive(Clone, Debug)]
struct Function {
    kind: Kind,
    endings: [u64; ENDINGS.len()],
    /// For a task: the duration of one attempt in Python. For a workflow: from its first start to its end.
    seconds: Histogram,
}

#[derive(Clone, Debug)]
pub struct Metrics {
    functions: HashMap<String, Function>,
    claims: Histogram,
    commits: Histogram,
    pickup: Histogram,
    round_trips: [Histogram; STATEMENTS.len()],
    errors: [u64; ERRORS.len()],
    connects: u64,
    /// Executions that were claimed together a moment ago, and whose pick-up latency is to be asked for.
    sample: Vec<uuid::Uuid>,
    sampled: Micros,
}

impl Metrics {
    pub fn new(info: &WorkerInfo) -> Metrics {
        let of = |names: &[String], kind| {
            let function = Function { kind, endings: [0; ENDINGS.len()], seconds: Histogram::new(DURATIONS) };
            names.iter().map(|name| (name.clone(), function.clone())).collect::<Vec<_>>()
        };
        let functions = of(&info.tasks, Kind::Task).into_iter().chain(of(&info.workflows, Kind::Workflow));
        Metrics {
            functions: functions.collect(),
            claims: Histogram::new(SIZES),
            commits: Histogram::new(SIZES),
            pickup: Histogram::new(LATENCIES),
            round_trips: std::array::from_fn(|_| Histogram::new(ROUND_TRIPS)),
            errors: [0; ERRORS.len()],
            connects: 0,
            sample: Vec::new(),
            sampled: Micros::MIN / 2,
        }
    }

    /// An attempt has ended, `micros` after it began where that is known.
    pub fn ended(&mut self, function: &str, ending: Option<Ending>, micros: Option<Micros>) {
        let Some(function) = self.functions.get_mut(function) else { return };
        if let Some(ending) = ending {
            function.endings[ending as usize] += 1;
        }
        if let Some(micros) = micros {
            function.seconds.observe(micros.max(0) as f64 / 1e6);
        }
    }

    pub fn committed(&mut self, groups: usize) {
        if groups > 0 {
            self.commits.observe(groups as f64);
        }
    }

    /// A commit claimed these; a batch of them becomes the next sample.
    pub fn claimed(&mut self, claimed: &[Claimed], now: Micros) {
        if claimed.is_empty() {
            return;
        }
        self.claims.observe(claimed.len() as f64);
        if now - self.sampled >= SAMPLE_MICROS {
            self.sampled = now;
            self.sample = claimed.iter().map(|claimed| claimed.id).collect();
        }
    }

    pub fn take_sample(&mut self) -> Vec<uuid::Uuid> {
        std::mem::take(&mut self.sample)
    }

    pub fn picked_up(&mut self, seconds: &[f64]) {
        seconds.iter().for_each(|seconds| self.pickup.observe(*seconds));
    }

    pub fn connected<T>(&mut self, answer: &Result<T>) {
        match answer {
            Ok(_) => self.connects += 1,
            Err(error) => self.errors[class(error)] += 1,
        }
    }

    pub fn answered<T>(&mut self, statement: Statement, seconds: f64, answer: &Result<T>) {
        self.round_trips[statement as usize].observe(seconds);
        if let Err(error) = answer {
            self.errors[class(error)] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::fixtures;

    #[test]
    fn a_value_on_a_bound_counts_below_it_and_one_above_all_bounds_counts() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [1.0, 1.5, 2.0, 9.0].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.counts, [1, 2, 1]);
        assert_eq!(histogram.sum, 13.5);
    }

    #[test]
    fn the_pick_up_latency_of_one_batch_a_second_is_asked_for() {
        let mut metrics = Metrics::new(&fixtures::config(uuid::Uuid::nil(), 1).info);
        let ids = |metrics: &mut Metrics, now| {
            let claimed = [fixtures::claimed(Kind::Task)];
            metrics.claimed(&claimed, now);
            metrics.take_sample().len()
        };
        assert_eq!(ids(&mut metrics, 0), 1);
        assert_eq!(ids(&mut metrics, SAMPLE_MICROS - 1), 0);
        assert_eq!(ids(&mut metrics, SAMPLE_MICROS), 1);
    }
}
