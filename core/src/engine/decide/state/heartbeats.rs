//! The worker's rhythm: when to claim, to beat, to sleep; what a heartbeat's answer means; draining.
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Lease, State, TaskPhase};
use crate::base::types::*;
use crate::engine::decide::metrics::Ending;
use crate::engine::decide::run::{Phase, Run};
use crate::engine::items::Item;

/// Tasks shorter than this are claimed ahead of their slots, so that none runs dry during a commit.
const SHORT_TASK_MICROS: f64 = 20_000.0;
/// After a notification that may have announced delayed work, the next due time is asked for within this time.
const PEEK_MICROS: Micros = 500_000;
/// When something that is due cannot be made ready, say because it is locked, look again after this time.
const RETRY_DUE_MICROS: Micros = 50_000;
/// While heartbeats are about what is in hand, one at least this often is about everything that the database believes to run here.
const STRANGERS_MICROS: Micros = 30_000_000;
/// A function that goes on for this long after its attempt was over is not expected to end.
pub(in crate::engine) const STUCK_MICROS: Micros = 10_000_000;
/// A workflow stays in memory at least this long after it last did something, or for `long_wait` where that is less.
const LINGER_MICROS: Micros = 5_000_000;
pub(in crate::engine) const LEASE_LOST: &str = "LeaseLost: another worker, a cancel or a retry took it over";

#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// A claim may find something: since we were told, or never looked.
    pub maybe_work: bool,
    /// Beat as soon as possible.
    pub wanted: bool,
    /// A LISTEN is up: notifications will come.
    pub listening: bool,
    last: Option<Instant>,
    /// Since then our heartbeats have been committed without a gap (rule g).
    steady_since: Option<Instant>,
    next_due: Option<Micros>,
    peek_by: Option<Micros>,
    /// Until then enqueuers see that we sleep and notify us (rule e).
    flag_until: Micros,
    turn: usize,
    /// When a heartbeat last asked for all that the database believes to run here.
    looked_at: Micros,
}

impl Beat {
    /// Something of our queues comes due then.
    pub fn expect(&mut self, due: Micros) {
        self.next_due = Some(self.next_due.map_or(due, |known| known.min(due)));
    }

    pub fn expect_some(&mut self, due: Option<Micros>) {
        if let Some(due) = due {
            self.expect(due);
        }
    }
}

impl State {
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.config.heartbeat_interval.min(self.config.poll_interval))
    }

    /// A queue of ours got work, or delayed work.
    pub fn notified_queue(&mut self) {
        self.beat.maybe_work = true;
        let by = self.clock.now() + PEEK_MICROS;
        self.beat.peek_by.get_or_insert(by);
    }

    /// A schedule was applied: its first fire time may be sooner than anything we know of. Or this worker is to drain, or to go on.
    pub fn notified_control(&mut self) {
        self.beat.wanted = true;
    }

    /// Something happened to an execution that runs here.
    pub fn notified(&mut self, id: Uuid) {
        if self.runs.contains_key(&id) {
            self.news.insert(id);
        } else {
            self.beat.wanted = true;
        }
    }

    fn in_hand(&self) -> usize {
        self.attempts.len() + self.starting.len() + self.loads.len()
    }

    pub(in crate::engine) fn eager_room(&self) -> usize {
        (2 * self.config.concurrency()).saturating_sub(self.in_hand())
    }

    /// How many executions to claim now, if any.
    fn claim_limit(&self) -> usize {
        if self.draining {
            return 0;
        }
        let ahead = if self.task_micros < SHORT_TASK_MICROS { self.config.concurrency() } else { 0 };
        (self.config.concurrency() + ahead).saturating_sub(self.in_hand())
    }

    /// The claim that goes with the next commit. The queues take turns in being first.
    pub fn claim_request(&mut self) -> Option<ClaimRequest> {
        let limit = self.claim_limit();
        if limit == 0 || !self.beat.maybe_work {
            return None;
        }
        self.beat.maybe_work = false;
        let mut queues = self.config.info.queues.clone();
        let places = queues.len().max(1);
        queues.rotate_left(self.beat.turn % places);
        self.beat.turn += 1;
        let poison_suspect = !self.attempts.values().any(|attempt| attempt.claimed.poison_suspect)
            && !self.runs.values().any(|run| run.claimed.poison_suspect);
        let cursors = self.cursors.for_claim(&queues, self.clock.now());
        Some(ClaimRequest { queues, limit: limit as i32, poison_suspect, headers: self.config.tracing, cursors })
    }

    /// The claim was not answered: look again.
    pub fn claim_failed(&mut self) {
        self.beat.maybe_work = true;
    }

    pub fn wants_commit(&self) -> bool {
        !self.groups.is_empty() || (self.beat.maybe_work && self.claim_limit() > 0)
    }

    /// The driver should look, without waiting for its next heartbeat.
    pub fn wants_driver(&self) -> bool {
        self.wants_commit() || self.wants_loads() || !self.verbs.is_empty() || self.beat.wanted
    }

    pub fn wants_loads(&self) -> bool {
        !self.loads.is_empty() || !self.news.is_empty()
    }

    /// Time for a heartbeat: the interval is over, something came due, or we are about to sleep without a flag.
    pub fn wants_beat(&self, at: Instant) -> bool {
        let now = self.clock.now();
        let due = |when: Option<Micros>| when.is_some_and(|when| when <= now);
        self.beat.wanted
            || self.beat.last.is_none_or(|last| at.saturating_duration_since(last) >= self.interval())
            || due(self.beat.next_due)
            || due(self.beat.peek_by)
            || (self.sleepy() && self.beat.flag_until <= now)
    }

    /// Nothing to claim, and room for more.
    fn sleepy(&self) -> bool {
        self.beat.listening && !self.beat.maybe_work && self.claim_limit() > 0
    }

    /// (sleep_until, draining) of the heartbeat to send.
    pub fn beat_to_send(&mut self) -> (Option<Micros>, bool) {
        self.beat.wanted = false;
        let until = self.clock.now() + 3 * self.interval().as_micros() as Micros;
        (self.sleepy().then_some(until), self.draining)
    }

    /// What the next heartbeat is to be about; None: also what the database believes to run here and is not in hand. Where a look
    /// at everything takes long (`Cursors`) that is for when there is a reason, and for now and then.
    pub fn beat_about(&mut self) -> Option<Vec<Uuid>> {
        let now = self.clock.now();
        if self.beat.wanted || !self.cursors.in_use(now) || now >= self.beat.looked_at + STRANGERS_MICROS {
            self.beat.looked_at = now;
            return None;
        }
        Some(self.attempts.keys().map(|lease| lease.0).chain(self.runs.keys().copied()).collect())
    }

    /// The heartbeat is committed. Gives the workers that we may declare dead.
    pub fn beaten(
        &mut self,
        sent_flag: Option<Micros>,
        reply: &Heartbeat,
        sent: Instant,
        received: Instant,
    ) -> Vec<Uuid> {
        self.clock.adjust(reply.now, sent, received);
        let timeout = Duration::from_secs_f64(self.config.info.timeout);
        let gap = self.beat.last.is_none_or(|last| sent.saturating_duration_since(last) >= timeout);
        if gap || !reply.known {
            self.beat.steady_since = None;
        }
        let steady_since = *self.beat.steady_since.get_or_insert(sent);
        self.beat.last = Some(sent);
        // What is not committed yet, the answer could not know; what could not be made ready is tried again soon.
        let now = self.clock.now();
        let unwritten = self.beat.next_due.filter(|due| *due > now && !self.groups.is_empty());
        self.beat.next_due =
            reply.next_due.map(|due| due.max(now + RETRY_DUE_MICROS)).into_iter().chain(unwritten).min();
        self.beat.peek_by = None;
        self.firing.expect(reply.next_schedule);
        let had_flag = self.beat.flag_until > self.clock.now();
        self.beat.flag_until = sent_flag.unwrap_or(Micros::MIN);
        // Rule e: after the flag is committed, look once more before sleeping.
        self.beat.maybe_work |= reply.ready || (sent_flag.is_some() && !had_flag) || self.cursors.in_use(now);
        self.asked_to_drain(reply.drain);
        self.reconcile(&reply.running);
        self.sweep();
        let steady = received.saturating_duration_since(steady_since) >= timeout;
        if steady { reply.dead.clone() } else { Vec::new() }
    }

    /// A heartbeat could not be committed: others may have declared us dead, we may not judge them.
    pub fn beat_failed(&mut self) {
        self.beat.steady_since = None;
        self.beat.wanted = true;
        self.beat.flag_until = Micros::MIN;
        self.cursors.forget();
    }

    /// We were declared dead: everything in hand belongs to others now. Go on under the same id with nothing in hand.
    pub fn forget_all(&mut self) {
        const REASON: &str = "LeaseLost: this worker was declared dead";
        let runs: Vec<Lease> = self.runs.values().map(|run| (run.claimed.id, run.claimed.lease)).collect();
        for lease in runs {
            self.drop_execution(lease, REASON);
        }
        self.loads.clear();
        self.starting.clear();
        let leases: Vec<Lease> = self.attempts.keys().copied().collect();
        for lease in leases {
            self.lose(lease, REASON);
        }
        self.buffer.clear();
    }

    /// Rule f: compares what the database believes to run here with what is in memory.
    fn reconcile(&mut self, running: &[(Uuid, i64, i64)]) {
        let believed: std::collections::HashSet<Lease> = running.iter().map(|(id, lease, _)| (*id, *lease)).collect();
        for (id, lease, wakes) in running {
            let run = self.runs.get(id).filter(|run| run.claimed.lease == *lease);
            if let Some(run) = run {
                if *wakes > run.wakes_seen && run.phase != Phase::Loading {
                    self.news.insert(*id);
                }
            } else if !self.attempts.contains_key(&(*id, *lease)) && !self.closing.contains_key(id) {
                self.hand_back_stranger((*id, *lease));
            }
        }
        let lost: Vec<Lease> = self
            .attempts
            .iter()
            .filter(|(lease, attempt)| attempt.phase != TaskPhase::Reserved && !believed.contains(*lease))
            .map(|(lease, _)| *lease)
            .collect();
        for lease in lost {
            self.lose(lease, LEASE_LOST);
        }
        let lost: Vec<Lease> = self
            .runs
            .values()
            .map(|run| (run.claimed.id, run.claimed.lease))
            .filter(|lease| !believed.contains(lease))
            .collect();
        for lease in lost {
            self.drop_execution(lease, LEASE_LOST);
        }
    }

    /// A task's lease is gone: if it runs, it is told, and keeps its slot until it has ended.
    fn lose(&mut self, lease: Lease, reason: &str) {
        let Some(attempt) = self.attempts.get_mut(&lease) else { return };
        match attempt.phase {
            TaskPhase::Running { .. } => {
                attempt.phase = TaskPhase::Over { since: self.clock.now() };
                self.metrics.ended(&attempt.claimed.function, Some(Ending::Lost), None);
                self.urgent.push_back(Item::Drop { id: lease.0, lease: lease.1, reason: reason.into() });
            }
            TaskPhase::Over { .. } => {}
            TaskPhase::Reserved | TaskPhase::Buffered { .. } => {
                self.attempts.remove(&lease);
                self.buffer.retain(|_, kept| *kept != lease);
            }
        }
    }

    /// Puts out of memory what need not be there, and gives back what waits here too long for a slot.
    pub fn sweep(&mut self) {
        let now = self.clock.now();
        let patience = self.interval().as_micros() as Micros;
        let horizon = now + (self.config.long_wait * 1e6) as Micros;
        let stale: Vec<Lease> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| matches!(attempt.phase, TaskPhase::Buffered { since } if since + patience <= now || self.draining))
            .map(|(lease, _)| *lease)
            .collect();
        for lease in stale {
            self.buffer.retain(|_, kept| *kept != lease);
            self.hand_back(lease);
        }
        let linger = LINGER_MICROS.min(horizon - now);
        let long = |run: &Run| !run.has_news() && run.touched + linger <= now && run.waits_beyond(horizon);
        let idle = self.runs.values().filter(|run| run.phase == Phase::Idle);
        let out: Vec<Uuid> = idle.filter(|run| self.draining || long(run)).map(Run::id).collect();
        out.into_iter().for_each(|id| self.evict(id));
        if self.draining {
            self.hand_back_waiting_runs();
        } else {
            self.stop_if_stuck(now);
        }
    }

    /// Every slot held by a function that does not end although its attempt is over (rule n): nothing would ever run here again.
    fn stop_if_stuck(&mut self, now: Micros) {
        let long_over = |phase| matches!(phase, TaskPhase::Over { since } if since + STUCK_MICROS <= now);
        let stuck = self.attempts.values().filter(|attempt| long_over(attempt.phase)).count();
        if stuck >= self.config.concurrency() {
            let reason = format!("all {stuck} slots are held by tasks that do not end after their timeout");
            self.urgent.push_back(Item::Stop(reason));
        }
    }

    /// Too many workflows in memory: those go that have had nothing to do for longest, a tenth at a time.
    /// Claims go on meanwhile: what these workflows wait for may be among what is claimed.
    pub(in crate::engine) fn evict_excess(&mut self) {
        if self.runs.len() <= self.config.max_hot {
            return; // as nearly always; asked at each commit, since a run becomes idle with one
        }
        let staying = self.runs.values().filter(|run| run.phase != Phase::Evicting).count();
        if staying <= self.config.max_hot {
            return;
        }
        let excess = staying - self.config.max_hot * 9 / 10;
        // One with a verb under way would be claimed again at once.
        let may_go = |run: &&Run| run.phase == Phase::Idle && !run.has_news() && !run.waits_for_verb();
        let idle = self.runs.values().filter(may_go);
        let mut idle: Vec<(Micros, Uuid)> = idle.map(|run| (run.touched, run.id())).collect();
        idle.sort_unstable();
        idle.into_iter().take(excess).for_each(|(_, id)| self.evict(id));
    }

    pub(in crate::engine) fn evict(&mut self, id: Uuid) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.phase = Phase::Evicting;
            self.urgent.push_back(Item::Evict(id));
        }
    }

    /// Workflows that Python has not seen yet.
    fn hand_back_waiting_runs(&mut self) {
        let waiting: Vec<Lease> = self
            .runs
            .values()
            .filter(|run| matches!(run.phase, Phase::Loading | Phase::Ready))
            .map(|run| (run.claimed.id, run.claimed.lease))
            .collect();
        for lease in waiting {
            self.runs.remove(&lease.0);
            self.loads.remove(&lease.0);
            self.hand_back_stranger(lease);
        }
    }

    pub fn drain(&mut self) {
        self.leaving = true;
        self.draining = true;
        self.beat.wanted = true;
        self.sweep();
    }

    /// What whoever sizes the fleet wants, as each heartbeat tells. A worker that leaves does so all the same.
    fn asked_to_drain(&mut self, drain: bool) {
        let draining = self.leaving || drain;
        if draining == self.draining {
            return;
        }
        self.draining = draining;
        // The next heartbeat says so: only then is this worker known to claim nothing, or to be back.
        self.beat.wanted = true;
        self.beat.maybe_work = !draining;
        let what =
            if draining { "asked to drain: it takes nothing more" } else { "asked to go on: it takes work again" };
        let message = format!("this worker was {what}");
        self.urgent.push_back(Item::Log { level: "info", message });
    }

    /// Gives back everything that is still in hand, whatever Python makes of it.
    pub fn halt(&mut self) {
        self.drain();
        let leases: Vec<Lease> = self.attempts.keys().copied().collect();
        for lease in leases {
            let Some(attempt) = self.attempts.remove(&lease) else { continue };
            match attempt.phase {
                TaskPhase::Running { .. } => self.give_back_started(attempt.claimed),
                TaskPhase::Buffered { .. } => self.hand_back_claimed(&attempt.claimed),
                TaskPhase::Over { .. } | TaskPhase::Reserved => {}
            }
        }
        for (id, run) in std::mem::take(&mut self.runs) {
            self.hand_back_stranger((id, run.claimed.lease));
        }
        self.urgent.clear();
        self.with_news.clear();
    }

    /// How long nothing needs to be done, if nobody calls.
    pub fn idle_time(&self, at: Instant) -> Duration {
        let beat = self.beat.last.map_or(Duration::ZERO, |last| (last + self.interval()).saturating_duration_since(at));
        let timer = self.due.peek().map(|entry| entry.0.0);
        let schedule = self.firing.due().filter(|_| !self.draining);
        let dues = [timer, schedule, self.beat.next_due, self.beat.peek_by];
        dues.into_iter().flatten().map(|due| self.clock.until(due)).fold(beat, Duration::min)
    }
}
