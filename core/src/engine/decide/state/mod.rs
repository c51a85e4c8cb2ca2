//! All that one worker has in hand. What it decides about that is in the files beside this one, by subject: each adds methods to `State`.
//! The driver tells it what happened (`connected`, `registered`, `committed`, `beaten` ...) and asks what is to be done.
mod claims;
mod commits;
mod draining;
pub(in crate::engine) mod events;
mod heartbeats;
mod memory;
#[cfg(test)]
mod model_view;
mod reports;
mod schedules;
mod tasks;
mod timers;
mod workflows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use uuid::Uuid;

use crate::engine::decide::attempt::Attempt;
use crate::engine::decide::beat::Beat;
use crate::engine::decide::clock::Clock;
use crate::engine::decide::config::Config;
use crate::engine::decide::dues::Dues;
use crate::engine::decide::firing::Firing;
use crate::engine::decide::floors::Floors;
use crate::engine::decide::group::{Lease, WriteGroup};
use crate::engine::decide::metrics::{Counts, Metrics};
use crate::engine::decide::pulse::Pulse;
use crate::engine::decide::run::Run;
use crate::engine::items::{Item, VerbRequest};

const LEASE_LOST: &str = "LeaseLost: another worker, a cancel or a retry took it over";

#[cfg_attr(test, derive(Clone))]
pub struct State {
    config: Config,
    clock: Clock,
    counts: Counts,
    metrics: Metrics,
    /// The worker takes nothing more, because it leaves, or for as long as the scaler asks it to.
    draining: bool,
    /// The worker leaves, and will never take anything again.
    leaving: bool,
    /// Whether the database knows this worker.
    is_registered: bool,
    attempts: HashMap<Lease, Attempt>,
    in_python: usize,
    runs: HashMap<Uuid, Run>,
    /// Executions whose last write by us is on its way.
    closing: HashMap<Uuid, usize>,
    urgent: VecDeque<Item>,
    starting: VecDeque<Uuid>,
    with_news: VecDeque<Uuid>,
    buffer: BTreeMap<(Reverse<i16>, u64), Lease>,
    buffered: u64,
    dues: Dues,
    groups: VecDeque<WriteGroup>,
    verbs: Vec<VerbRequest>,
    loads: HashSet<Uuid>,
    news: HashSet<Uuid>,
    /// Smoothed duration of a task in Python, microseconds: short tasks are claimed ahead.
    task_micros: f64,
    beat: Beat,
    floors: Floors,
    firing: Firing,
    pulse: Pulse,
}

impl State {
    pub fn new(config: Config, clock: Clock) -> State {
        State {
            clock,
            counts: Counts::default(),
            metrics: Metrics::new(&config.info),
            draining: false,
            leaving: false,
            is_registered: false,
            attempts: HashMap::new(),
            in_python: 0,
            runs: HashMap::new(),
            closing: HashMap::new(),
            urgent: VecDeque::new(),
            starting: VecDeque::new(),
            with_news: VecDeque::new(),
            buffer: BTreeMap::new(),
            buffered: 0,
            dues: Dues::new(),
            groups: VecDeque::new(),
            verbs: Vec::new(),
            loads: HashSet::new(),
            news: HashSet::new(),
            task_micros: 1e6,
            beat: Beat::default(),
            floors: Floors::default(),
            firing: Firing::default(),
            pulse: Pulse::new(Instant::now()),
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
}
