//! Reports of a worker about itself: statistics, metrics, health.
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::metrics::page::Page;
use crate::engine::decide::state::State;

impl State {
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

    /// The page of metrics as it is now; its text is written without the lock.
    pub fn page(&self) -> Page {
        let gauges = [self.config.concurrency(), self.in_python, self.buffer.len(), self.runs.len(), self.groups.len()];
        Page::new(self.metrics.clone(), self.counts, gauges)
    }

    /// Executions claimed together a moment ago: a query is to ask how long they were ready before. Empty while nobody scrapes.
    pub fn take_sample(&mut self) -> Vec<Uuid> {
        if self.config.http_port.is_some() { self.metrics.take_sample() } else { Vec::new() }
    }

    /// How long the executions of a sample were ready before they were claimed, in seconds.
    pub fn picked_up(&mut self, seconds: &[f64]) {
        self.metrics.picked_up(seconds);
    }

    /// Why the worker should be restarted, if it should.
    pub fn ailment(&self, at: Instant) -> Option<&'static str> {
        self.pulse.ailment(at, self.longest_timeout())
    }

    /// The longest time-out of what runs.
    fn longest_timeout(&self) -> Duration {
        let timeouts = self.attempts.values().filter_map(|attempt| attempt.claimed.options.timeout);
        Duration::try_from_secs_f64(timeouts.fold(0.0, f64::max)).unwrap_or(Duration::MAX / 2)
    }

    /// Why the worker takes no work now, if it takes none.
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.draining {
            return Some("draining");
        }
        (!self.is_registered).then_some("starting")
    }
}
