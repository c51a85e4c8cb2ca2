//! Claims: when to make one and for how many executions, and how this worker takes in what is claimed.
use crate::base::types::*;
use crate::engine::decide::attempt::{Attempt, TaskPhase};
use crate::engine::decide::run::{Phase, Run};
use crate::engine::decide::state::State;

/// Tasks shorter than this are claimed ahead of their slots, so that no slot is empty during a commit.
const SHORT_TASK_MICROS: f64 = 20_000.0;

impl State {
    fn in_hand(&self) -> usize {
        self.attempts.len() + self.starting.len() + self.loads.len()
    }

    pub(super) fn eager_room(&self) -> usize {
        (2 * self.config.concurrency()).saturating_sub(self.in_hand())
    }

    /// How many executions to claim now, if any.
    pub(super) fn claim_limit(&self) -> usize {
        if self.draining {
            return 0;
        }
        let ahead = if self.task_micros < SHORT_TASK_MICROS { self.config.concurrency() } else { 0 };
        (self.config.concurrency() + ahead).saturating_sub(self.in_hand())
    }

    /// The claim that goes with the next commit. The queues take turns in being first.
    pub fn claim_request(&mut self) -> Option<ClaimRequest> {
        let limit = self.claim_limit();
        if limit == 0 || !self.beat.expects_work() {
            return None;
        }
        let mut queues = self.config.info.queues.clone();
        let places = queues.len().max(1);
        queues.rotate_left(self.beat.claim() % places);
        let poison_suspect = !self.attempts.values().any(|attempt| attempt.claimed.poison_suspect)
            && !self.runs.values().any(|run| run.claimed().poison_suspect);
        self.floors.forget_old(self.clock.now());
        let (ranges, look) = (self.floors.ranges(&queues), self.floors.wants_look(&queues));
        Some(ClaimRequest { queues, limit: limit as i32, poison_suspect, headers: self.config.tracing, ranges, look })
    }

    /// The claim got no answer: it is made again.
    pub fn claim_failed(&mut self) {
        self.beat.expect_work();
    }

    pub(super) fn take_in(&mut self, mut claimed: Vec<Claimed>, limit: usize, now: Micros) {
        self.counts.claimed += claimed.len() as u64;
        self.metrics.claimed(&claimed, now);
        if claimed.len() >= limit {
            self.beat.expect_work();
        }
        claimed.sort_by_key(|claimed| (-claimed.priority, claimed.id));
        for claimed in claimed {
            let lease = (claimed.id, claimed.lease);
            if self.draining {
                self.hand_back_claimed(&claimed);
                continue;
            }
            match claimed.kind {
                Kind::Task => {
                    self.attempts.insert(lease, Attempt { claimed, phase: TaskPhase::Reserved });
                    self.put_in_buffer(lease, now);
                }
                Kind::Workflow => {
                    self.watch_deadline(&claimed);
                    let run = Run::new(claimed, now);
                    match run.phase() {
                        Phase::Ready => self.starting.push_back(lease.0),
                        _ => drop(self.loads.insert(lease.0)),
                    }
                    self.runs.insert(lease.0, run);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::decide::fixtures::*;

    #[test]
    fn a_claim_that_was_not_made_is_made_another_time() {
        let mut state = worker(1);
        state.registered();
        let request = state.claim_request();
        assert!(request.is_some() && state.claim_request().is_none());
        state.claim_failed();
        assert!(state.claim_request().is_some());
    }
}
