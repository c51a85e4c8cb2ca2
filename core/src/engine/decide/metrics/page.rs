//! The page of metrics, in the form of OpenMetrics.
use std::fmt::Write;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Counts, ENDINGS, ERRORS, Function, Histogram, Metrics, STATEMENTS};
use crate::base::types::Kind;

impl Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts.iter().copied()).collect();
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.counts.iter().sum(), &buckets, None)
    }
}

/// The counts for one scrape: copied under the lock, written as text without it.
#[derive(Debug)]
pub struct Page {
    metrics: Metrics,
    counts: Counts,
    gauges: [usize; 5],
}

impl Page {
    pub fn new(metrics: Metrics, counts: Counts, gauges: [usize; 5]) -> Page {
        Page { metrics, counts, gauges }
    }

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
            ("evictions", "Workflows evicted from memory", c.evictions),
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
        let help = "Executions that ended here, or are incompatible, by function and outcome";
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
    use crate::base::types::*;
    use crate::engine::decide::metrics::Ending;

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
}
