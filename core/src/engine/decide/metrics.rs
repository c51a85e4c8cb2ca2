//! What a worker counts, and its page in OpenMetrics' form.
//!
//! Counted under the lock of the engine's state, which whoever counts holds anyway; a scrape takes a copy and writes its text beside
//! it. Labels are bounded: the functions that this worker registered, and enumerations.
use std::collections::HashMap;
use std::fmt::Write;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::state::{Counts, State};
use crate::base::error::{Error, Result};
use crate::base::types::*;

const DURATIONS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];
const LATENCIES: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const ROUND_TRIPS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// The pick-up latency of one batch of claims is asked for at most so often.
const SAMPLE_MICROS: Micros = 1_000_000;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Ending {
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
    /// What the action on an execution makes of its attempt; None: the attempt goes on.
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

    /// The worker hears of a task that was cancelled only that its lease is lost; a workflow is not handed back by its attempt.
    fn happens_to(self, kind: Kind) -> bool {
        match self {
            Ending::Cancelled | Ending::Held => kind == Kind::Workflow,
            Ending::HandedBack | Ending::Lost => kind == Kind::Task,
            _ => true,
        }
    }

    /// The execution has ended with it, or stands still until code that fits is deployed.
    fn ends_execution(self) -> bool {
        matches!(self, Ending::Completed | Ending::Failed | Ending::Cancelled | Ending::Held)
    }
}

/// A statement of the writer, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Statement {
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

/// Counts by upper bound. Not cumulative; the last one is what lies above every bound.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Histogram {
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

    fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts.iter().copied()).collect();
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.counts.iter().sum(), &buckets, None)
    }
}

#[derive(Clone, Debug)]
struct Function {
    kind: Kind,
    endings: [u64; ENDINGS.len()],
    /// Of a task: one attempt in Python. Of a workflow: from its first start to its end.
    seconds: Histogram,
}

#[derive(Clone, Debug)]
pub(in crate::engine) struct Metrics {
    functions: HashMap<String, Function>,
    claims: Histogram,
    commits: Histogram,
    pickup: Histogram,
    round_trips: [Histogram; STATEMENTS.len()],
    errors: [u64; ERRORS.len()],
    connects: u64,
    /// Claimed together a moment ago; their pick-up latency is to be asked for.
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

    /// What a commit brought; a batch of it becomes the next sample.
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

/// The page of one scrape: taken under the lock, written without it.
#[derive(Debug)]
pub(in crate::engine) struct Page {
    metrics: Metrics,
    counts: Counts,
    gauges: [usize; 5],
}

impl State {
    pub(in crate::engine) fn page(&self) -> Page {
        let gauges = [self.config.concurrency(), self.in_python, self.buffer.len(), self.runs.len(), self.groups.len()];
        Page { metrics: self.metrics.clone(), counts: self.counts, gauges }
    }
}

impl Page {
    pub fn text(self) -> String {
        let mut registry = Registry::with_prefix("currant_worker");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            let _ = writeln!(text, "# the metrics cannot be written");
        }
        text
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 9] {
        let c = &self.counts;
        [
            ("claims", "Executions claimed", c.claimed),
            ("timeouts", "Attempts over their time-out; they count as failed or retried too", c.timeouts),
            ("leases_lost", "Outcomes refused because their lease was lost", c.refused),
            ("replays", "Workflows rebuilt from their history", c.replays),
            ("evictions", "Workflows put out of memory", c.evictions),
            ("writes", "Outcomes and activations written", c.written),
            ("takeovers", "Workers declared dead by this one", c.takeovers),
            ("scheduled", "Runs of schedules that this worker started", c.scheduled),
            ("connects", "Connections of the writer to the database; the first is no reconnect", self.metrics.connects),
        ]
    }

    fn gauges(&self) -> [(&'static str, &'static str, usize); 5] {
        let [slots, running, buffered, hot, pending] = self.gauges;
        [
            ("slots", "Tasks that may run at once", slots),
            ("tasks_running", "Tasks in a slot", running),
            ("tasks_buffered", "Tasks claimed that wait for a slot", buffered),
            ("workflows_hot", "Workflows in memory", hot),
            ("writes_pending", "Writes that wait for their commit", pending),
        ]
    }

    fn functions(&self, kind: Option<Kind>) -> Vec<(&str, &Function)> {
        let chosen =
            self.metrics.functions.iter().filter(|(_, function)| kind.is_none_or(|kind| kind == function.kind));
        let mut chosen: Vec<_> = chosen.map(|(name, function)| (name.as_str(), function)).collect();
        chosen.sort_unstable_by_key(|(name, _)| *name);
        chosen
    }

    fn encode_endings(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str, all: bool) -> std::fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, function) in self.functions(None) {
            for (ending, outcome) in ENDINGS {
                if ending.happens_to(function.kind) && (all || ending.ends_execution()) {
                    let labels = [("function", name), ("outcome", outcome)];
                    let mut series = family.encode_family(&labels)?;
                    series.encode_counter::<NoLabelSet, u64, u64>(&function.endings[ending as usize], None)?;
                }
            }
        }
        Ok(())
    }

    fn encode_seconds(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str, kind: Kind) -> std::fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (name, function) in self.functions(Some(kind)) {
            function.seconds.encode(family.encode_family(&[("function", name)])?)?;
        }
        Ok(())
    }

    fn encode_database(&self, encoder: &mut DescriptorEncoder) -> std::fmt::Result {
        let help = "Round trips of the writer to the database, by what the statement does";
        let mut family =
            encoder.encode_descriptor("database_round_trip", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (statement, histogram) in STATEMENTS.iter().zip(&self.metrics.round_trips) {
            histogram.encode(family.encode_family(&[("statement", *statement)])?)?;
        }
        let help = "Statements of the writer, and tries to connect, that failed; they are tried again";
        let mut family = encoder.encode_descriptor("database_errors", help, None, MetricType::Counter)?;
        for (reason, count) in ERRORS.iter().zip(&self.metrics.errors) {
            let labels = [("reason", *reason)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
        Ok(())
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        for (name, help, value) in self.gauges() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&(value as i64))?;
        }
        for (name, help, value) in self.counters() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        let help = "Executions that ended here, or are held, by function and outcome";
        self.encode_endings(&mut encoder, "executions", help, false)?;
        let help = "Attempts that ended here, by function and outcome";
        self.encode_endings(&mut encoder, "attempts", help, true)?;
        let help = "Attempts of tasks, from their start in a slot to their end";
        self.encode_seconds(&mut encoder, "attempt_duration", help, Kind::Task)?;
        let help = "Workflows, from their first start to their end, waits included";
        self.encode_seconds(&mut encoder, "workflow_duration", help, Kind::Workflow)?;
        for (name, help, unit, histogram) in [
            ("claim_size", "Executions that came with a claim which found any", None, &self.metrics.claims),
            ("commit_size", "Outcomes and activations in one transaction", None, &self.metrics.commits),
            (
                "pickup_latency",
                "From ready to claimed, of one batch of claims a second at most",
                Some(&Unit::Seconds),
                &self.metrics.pickup,
            ),
        ] {
            histogram.encode(encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?)?;
        }
        self.encode_database(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let info = WorkerInfo {
            id: crate::base::ids::new_id(),
            name: "w".into(),
            host: "h".into(),
            pid: 1,
            build: "b".into(),
            queues: vec!["q".into()],
            tasks: vec!["t".into()],
            workflows: vec!["w".into()],
            functions: "[]".into(),
            concurrency: 1,
            timeout: 30.0,
            pod: Pod::default(),
        };
        Metrics::new(&info)
    }

    fn page(metrics: Metrics) -> String {
        Page { metrics, counts: Counts::default(), gauges: [0; 5] }.text()
    }

    #[test]
    fn a_value_on_a_bound_counts_below_it_and_one_above_all_bounds_counts() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [1.0, 1.5, 2.0, 9.0].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.counts, [1, 2, 1]);
        assert_eq!(histogram.sum, 13.5);
    }

    #[test]
    fn every_series_is_there_before_anything_happened_so_that_its_first_increase_is_seen() {
        let page = page(metrics());
        for series in [
            r#"currant_worker_executions_total{function="t",outcome="completed"} 0"#,
            r#"currant_worker_executions_total{function="w",outcome="held"} 0"#,
            r#"currant_worker_attempts_total{function="t",outcome="lost"} 0"#,
            r#"currant_worker_database_errors_total{reason="unavailable"} 0"#,
            r#"currant_worker_attempt_duration_seconds_count{function="t"} 0"#,
            r#"currant_worker_workflow_duration_seconds_bucket{le="+Inf",function="w"} 0"#,
        ] {
            assert!(page.contains(&format!("{series}\n")), "{series} is not in\n{page}");
        }
        assert!(!page.contains(r#"function="t",outcome="held""#), "a task is never held");
    }

    #[test]
    fn only_registered_functions_become_labels() {
        let mut metrics = metrics();
        metrics.ended("t", Some(Ending::Retried), Some(2_000_000));
        metrics.ended("somebody-else's", Some(Ending::Completed), Some(1));
        let page = page(metrics);
        assert!(page.contains(r#"currant_worker_attempts_total{function="t",outcome="retried"} 1"#), "{page}");
        assert!(page.contains(r#"currant_worker_attempt_duration_seconds_sum{function="t"} 2.0"#), "{page}");
        assert!(!page.contains("somebody"), "{page}");
    }

    #[test]
    fn the_pick_up_latency_of_one_batch_a_second_is_asked_for() {
        let mut metrics = metrics();
        let ids = |metrics: &mut Metrics, now| {
            let claimed = [super::super::tests::claimed(Kind::Task)];
            metrics.claimed(&claimed, now);
            metrics.take_sample().len()
        };
        assert_eq!(ids(&mut metrics, 0), 1);
        assert_eq!(ids(&mut metrics, SAMPLE_MICROS - 1), 0);
        assert_eq!(ids(&mut metrics, SAMPLE_MICROS), 1);
    }
}
