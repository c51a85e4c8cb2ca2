//! Events outside the worker, as the driver reports them, and the work that the driver is to do now.
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::Wakes;
use crate::engine::decide::metrics::Statement;
use crate::engine::decide::state::State;
use crate::engine::items::Item;

/// The driver's work in one turn, and how long it may rest if it has none.
pub struct Turn {
    pub commit: bool,
    pub load: bool,
    pub beat: bool,
    pub rest: Duration,
}

/// The state after a turn.
pub struct Turned {
    /// Whether the SDK has something to pull.
    pub has_items: bool,
    /// Whether the driver has nothing to do.
    pub quiet: bool,
}

impl State {
    /// The driver has connected to the database, or could not.
    pub fn connected<T>(&mut self, result: &Result<T>) {
        self.metrics.connected(result);
        // Rule g: what is in memory is compared with the database before anything else.
        self.beat.want();
    }

    /// The database knows this worker, which has no execution yet.
    pub fn registered(&mut self) {
        self.is_registered = true;
        self.beat.expect_work();
    }

    /// Worker `dead` was declared dead by this one; what it ran is ready again.
    pub fn took_over(&mut self, dead: Uuid) {
        self.counts.takeovers += 1;
        self.beat.expect_work();
        self.say("warning", format!("worker {dead} is dead; what it was running is ready again"));
    }

    /// A statement was answered, `seconds` after it was sent, or failed.
    pub fn answered<T>(&mut self, statement: Statement, seconds: f64, result: &Result<T>) {
        self.metrics.answered(statement, seconds, result);
    }

    /// A commit was undone because of a deadlock: nothing is written, and it is sent again.
    pub fn conflicted(&mut self, message: &str) {
        self.counts.conflicts += 1;
        self.say("warning", format!("a commit is sent again: {message}"));
    }

    /// Notifications come from now on. What came before may have been missed.
    pub fn listening_began(&mut self) {
        self.beat.listening_began();
    }

    pub fn listening_ended(&mut self) {
        self.beat.listening_ended();
    }

    /// The worker cannot go on: the SDK is to drain and end it.
    pub fn cannot_go_on(&mut self, reason: String) {
        self.urgent.push_back(Item::Stop(reason));
    }

    /// The database does not answer; the driver goes on trying.
    pub fn unreachable(&mut self, at: Instant) {
        self.beat_failed();
        self.pulse.turned(at);
    }

    /// The driver begins a turn. Returns what it is to do.
    pub fn turn(&mut self, at: Instant) -> Turn {
        self.fire_due();
        self.pulse.turned(at);
        Turn {
            commit: self.wants_commit(),
            load: self.wants_loads(),
            beat: self.wants_beat(at),
            rest: self.idle_time(at),
        }
    }

    /// The driver has done what was to be done.
    pub fn turned(&mut self, at: Instant) -> Turned {
        let has_items = self.has_items();
        if has_items {
            self.pulse.lies(at);
        }
        Turned { has_items, quiet: !self.wants_driver() && !self.wants_beat(at) }
    }

    /// A queue of this worker got work, or delayed work.
    pub fn notified_queue(&mut self) {
        self.beat.queue_notified(self.clock.now());
    }

    /// As `notified_queue`, in place of others that sleep. Returns whom to wake if this worker has no room.
    pub fn told(&mut self) -> Wakes {
        self.beat.told(self.clock.now());
        if self.claim_limit() > 0 {
            return Wakes::default();
        }
        if self.beat.claimed(true) { self.wakes_of_own_queues() } else { Wakes::default() }
    }

    /// For the workers that sleep on this worker's queues.
    pub(super) fn wakes_of_own_queues(&self) -> Wakes {
        Wakes { queues: self.config.info.queues.clone(), ..Wakes::default() }
    }

    /// A schedule was applied: its first fire time may be sooner than anything we know of. Or this worker is to drain, or to go on.
    pub fn notified_control(&mut self) {
        self.beat.want();
    }

    /// Something happened to an execution that runs here.
    pub fn notified(&mut self, id: Uuid) {
        if self.runs.contains_key(&id) {
            self.news.insert(id);
        } else {
            self.beat.want();
        }
    }

    pub fn wants_commit(&self) -> bool {
        !self.groups.is_empty() || (self.beat.expects_work() && self.claim_limit() > 0)
    }

    /// Whether the driver has something to do before its next heartbeat.
    pub fn wants_driver(&self) -> bool {
        self.wants_commit() || self.wants_loads() || !self.verbs.is_empty() || self.beat.is_wanted()
    }

    pub fn wants_loads(&self) -> bool {
        !self.loads.is_empty() || !self.news.is_empty()
    }

    /// For how long nothing needs to be done, if nobody calls.
    pub fn idle_time(&self, at: Instant) -> Duration {
        let beat = self.beat.idle_time(at, self.interval());
        let timer = self.dues.next();
        let schedule = self.firing.due().filter(|_| !self.draining);
        let dues = [timer, schedule].into_iter().chain(self.beat.dues());
        dues.flatten().map(|due| self.clock.until(due)).fold(beat, Duration::min)
    }

    pub fn say(&mut self, level: &'static str, message: String) {
        self.urgent.push_back(Item::Log { level, message });
    }
}
