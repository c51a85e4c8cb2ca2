//! The model's view (`engine/model`) of a worker's memory.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use crate::base::types::Micros;
use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::clock::Clock;
use crate::engine::decide::run::Phase;
use crate::engine::decide::state::State;
use crate::engine::items::Item;

impl State {
    /// All that decides what the worker does next, without what it counts and measures.
    pub fn fingerprint(&self) -> String {
        let phase = |phase: TaskPhase| match phase {
            TaskPhase::Reserved => 0,
            TaskPhase::Buffered { .. } => 1,
            TaskPhase::Running { .. } => 2,
            TaskPhase::Over { .. } => 3,
        };
        let attempts: BTreeMap<_, _> =
            self.attempts.iter().map(|(lease, attempt)| (lease, phase(attempt.phase))).collect();
        let runs: BTreeMap<_, _> = self.runs.iter().collect();
        let closing: BTreeMap<_, _> = self.closing.iter().collect();
        let buffer: Vec<_> = self.buffer.values().collect();
        let loads: BTreeSet<_> = self.loads.iter().collect();
        let news: BTreeSet<_> = self.news.iter().collect();
        let starting: VecDeque<_> = self.starting.clone();
        let due = self.dues.sorted();
        let memory = (attempts, self.in_python, runs, closing, &self.urgent, starting, &self.with_news, buffer, due);
        let writer = (&self.groups, loads, news, self.beat.expects_work());
        format!("{memory:?} {writer:?}")
    }

    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    pub fn next_due(&self) -> Option<Micros> {
        self.dues.next()
    }

    pub fn idle_runs(&self) -> BTreeSet<Uuid> {
        self.runs.values().filter(|run| run.phase() == Phase::Idle).map(|run| run.id()).collect()
    }

    /// The lease of a run in memory.
    pub fn lease_of(&self, run: Uuid) -> Option<i64> {
        self.runs.get(&run).map(|run| run.lease().1)
    }

    /// Whether the SDK has a run: it has got the run, and was not asked to drop it.
    pub fn is_in_python(&self, run: Uuid) -> bool {
        self.runs.get(&run).is_some_and(|run| !matches!(run.phase(), Phase::Loading | Phase::Ready))
    }

    /// Whether the next item asks for an eviction.
    pub fn is_asked_to_evict(&self) -> bool {
        matches!(self.urgent.front(), Some(Item::Evict(_)))
    }

    pub fn evict_now(&mut self, run: Uuid) {
        self.evict(run);
    }
}
