//! Heartbeats: when one is sent, what it is about, and what its answer means.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::base::types::*;
use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::beat::Answered;
use crate::engine::decide::group::Lease;
use crate::engine::decide::run::Phase;
use crate::engine::decide::state::{LEASE_LOST, State};

impl State {
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.config.heartbeat_interval.min(self.config.poll_interval))
    }

    /// Whether it is time for a heartbeat.
    pub fn wants_beat(&self, at: Instant) -> bool {
        self.beat.is_due(at, self.clock.now(), self.interval(), self.claim_limit() > 0)
    }

    /// (sleep_until, draining) of the heartbeat to send.
    pub fn beat_to_send(&mut self) -> (Option<Micros>, bool) {
        (self.beat.send(self.clock.now(), self.interval(), self.claim_limit() > 0), self.draining)
    }

    /// The executions that the next heartbeat is about, or None for all that the database believes to run here.
    pub fn beat_about(&mut self) -> Option<Vec<Uuid>> {
        if self.beat.asks_for_all(self.clock.now()) {
            return None;
        }
        Some(self.attempts.keys().map(|lease| lease.0).chain(self.runs.keys().copied()).collect())
    }

    /// Where something can be ready in this worker's queues.
    pub fn beat_ranges(&self) -> Ranges {
        self.floors.ranges(&self.config.info.queues)
    }

    /// The heartbeat is committed. Returns the workers that this one may declare dead.
    pub fn beaten(&mut self, flag: Option<Micros>, reply: &Heartbeat, sent: Instant, received: Instant) -> Vec<Uuid> {
        self.clock.adjust(reply.now, sent, received);
        let now = self.clock.now();
        let may_judge = self.beat.answered(&Answered {
            reply,
            flag,
            sent,
            received,
            now,
            timeout: Duration::from_secs_f64(self.config.info.timeout),
            unwritten: !self.groups.is_empty(),
        });
        self.firing.expect(reply.next_schedule);
        self.asked_to_drain(reply.drain);
        self.reconcile(&reply.running);
        self.sweep();
        if may_judge { reply.dead.clone() } else { Vec::new() }
    }

    /// A heartbeat could not be committed.
    pub fn beat_failed(&mut self) {
        self.beat.failed();
        self.floors.forget();
    }

    /// This worker was declared dead: everything in hand belongs to others now. The worker goes on under the same id with nothing in hand.
    pub fn forget_all(&mut self) {
        const REASON: &str = "LeaseLost: this worker was declared dead";
        let runs: Vec<Lease> = self.runs.values().map(|run| run.lease()).collect();
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
        let believed: HashSet<Lease> = running.iter().map(|(id, lease, _)| (*id, *lease)).collect();
        for (id, lease, wakes) in running {
            let run = self.runs.get(id).filter(|run| run.is_under(*lease));
            if let Some(run) = run {
                if run.is_behind(*wakes) && run.phase() != Phase::Loading {
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
        let lost: Vec<Lease> =
            self.runs.values().map(|run| run.lease()).filter(|lease| !believed.contains(lease)).collect();
        for lease in lost {
            self.drop_execution(lease, LEASE_LOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::new_id;
    use crate::engine::decide::fixtures::*;
    use crate::engine::items::Item;

    /// Rule f holds under an old snapshot too.
    #[test]
    fn a_heartbeat_for_a_reason_and_one_now_and_then_looks_at_everything_also_where_that_takes_long() {
        let mut state = worker(4);
        // Every answer takes long here.
        let beat = |state: &mut State, reply: &Heartbeat| {
            state.beat_to_send();
            let received = Instant::now();
            state.beaten(None, reply, received - Duration::from_millis(100), received);
        };
        assert_eq!(state.beat_about(), None);
        beat(&mut state, &heartbeat(vec![]));
        assert_eq!(state.beat_about(), Some(vec![]));
        state.notified(Uuid::now_v7());
        assert_eq!(state.beat_about(), None, "somebody believes that it runs here");
        let now = state.clock.now() + 29_000_000;
        beat(&mut state, &Heartbeat { now, ..heartbeat(vec![]) });
        assert_eq!(state.beat_about(), Some(vec![]));
        let now = state.clock.now() + 1_000_000;
        beat(&mut state, &Heartbeat { now, ..heartbeat(vec![]) });
        assert_eq!(state.beat_about(), None);
    }

    #[test]
    fn strangers_are_handed_back_and_lost_tasks_are_told() {
        let mut state = worker(4);
        let task = claimed(Kind::Task);
        commit_with(&mut state, reply(vec![task.clone()]));
        pulled_task(&mut state);
        let stranger = new_id();
        beat(&mut state, &heartbeat(vec![(stranger, 3, 0)]));
        let batch = commit(&mut state);
        assert_eq!(
            (batch.outcomes[0].id, batch.outcomes[0].action, batch.fences[0]),
            (stranger, Action::Handback, (stranger, 3))
        );
        let told = state.pull(10);
        assert!(
            matches!(told.as_slice(), [Item::Drop { id, lease: 1, reason }] if *id == task.id && reason.starts_with("LeaseLost"))
        );
        assert_eq!(state.complete(task.id, 1, b"1".to_vec()), None);
        assert!(state.take_groups().is_empty(), "an outcome under a lost lease was written");
    }

    #[test]
    fn what_is_being_written_is_no_stranger() {
        let mut state = worker(4);
        let task = claimed(Kind::Task);
        commit_with(&mut state, reply(vec![task.clone()]));
        pulled_task(&mut state);
        state.complete(task.id, 1, b"1".to_vec());
        beat(&mut state, &heartbeat(vec![(task.id, 1, 0)]));
        let actions: Vec<_> = commit(&mut state).outcomes.into_iter().map(|outcome| outcome.action).collect();
        assert_eq!(actions, vec![Action::Complete]);
    }

    #[test]
    fn before_it_sleeps_a_worker_sets_its_flag_and_looks_once_more() {
        let mut state = worker(1);
        state.listening_began();
        state.claim_request();
        assert!(state.wants_beat(Instant::now()));
        let (flag, _) = state.beat_to_send();
        assert!(flag.is_some());
        let at = Instant::now();
        state.beaten(flag, &heartbeat(vec![]), at, at);
        assert!(state.claim_request().is_some(), "slept without a second look");
        commit(&mut state);
        assert!(!state.wants_commit() && !state.wants_beat(Instant::now()));
    }

    #[test]
    fn only_a_worker_with_a_gapless_pulse_declares_others_dead() {
        let mut state = worker(1);
        let other = new_id();
        let reply = Heartbeat { dead: vec![other], ..heartbeat(vec![]) };
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let judge = |state: &mut State, seconds| state.beaten(None, &reply, at(seconds), at(seconds));
        assert!(judge(&mut state, 0).is_empty());
        assert!((1..6).all(|beat| judge(&mut state, beat * 5).is_empty()));
        assert_eq!(judge(&mut state, 30), vec![other]);
        state.beat_failed();
        assert!(judge(&mut state, 35).is_empty(), "it judged right after an outage");
        assert!(judge(&mut state, 70).is_empty(), "a gap of a time-out is an outage");
    }
}
