//! A worker that takes nothing more: for good, or for as long as it is asked to.
use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::group::Lease;
use crate::engine::decide::run::Phase;
use crate::engine::decide::state::State;

impl State {
    pub fn drain(&mut self) {
        self.leaving = true;
        self.draining = true;
        self.beat.want();
        self.sweep();
    }

    /// Each heartbeat says whether this worker is to drain: the scaler asks for it. A worker that leaves drains in any case.
    pub(super) fn asked_to_drain(&mut self, drain: bool) {
        let draining = self.leaving || drain;
        if draining == self.draining {
            return;
        }
        self.draining = draining;
        self.beat.draining_changed(draining);
        let what =
            if draining { "asked to drain: it takes nothing more" } else { "asked to go on: it takes work again" };
        let message = format!("this worker was {what}");
        self.say("info", message);
    }

    /// Hands back everything that is still in hand, whatever Python makes of it.
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
        for run in std::mem::take(&mut self.runs).into_values() {
            self.hand_back_stranger(run.lease());
        }
        self.urgent.clear();
        self.with_news.clear();
    }

    /// Workflows that Python has not seen yet.
    pub(super) fn hand_back_waiting_runs(&mut self) {
        let waiting: Vec<Lease> = self
            .runs
            .values()
            .filter(|run| matches!(run.phase(), Phase::Loading | Phase::Ready))
            .map(|run| run.lease())
            .collect();
        for lease in waiting {
            self.runs.remove(&lease.0);
            self.loads.remove(&lease.0);
            self.hand_back_stranger(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::types::*;
    use crate::engine::decide::fixtures::*;
    use crate::engine::items::Item;

    #[test]
    fn draining_claims_nothing_and_gives_back_what_has_not_started() {
        let mut state = worker(1);
        commit_with(&mut state, reply(vec![claimed(Kind::Task), claimed(Kind::Task), claimed(Kind::Workflow)]));
        state.drain();
        state.notified_queue();
        assert_eq!(state.claim_request(), None);
        let batch = commit(&mut state);
        assert!(batch.outcomes.iter().all(|outcome| outcome.action == Action::Handback));
        assert_eq!(batch.outcomes.len(), 3);
    }

    #[test]
    fn a_worker_that_is_asked_to_drain_takes_nothing_until_it_is_asked_to_go_on() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![wait("0", None)]);
        commit(&mut state);
        let here = |drain| Heartbeat { drain, ready: true, ..heartbeat(vec![(run.id, 1, 0)]) };
        beat(&mut state, &here(true));
        assert_eq!(state.claim_request(), None);
        assert!(state.beat_to_send().1, "the next heartbeat says so");
        assert!(state.pull(10).contains(&Item::Evict(run.id)), "a run that waits is evicted, not waited for");
        beat(&mut state, &here(false));
        assert!(state.claim_request().is_some() && !state.beat_to_send().1);
        state.drain();
        beat(&mut state, &here(false));
        assert_eq!(state.claim_request(), None, "one that leaves is not called back");
    }
}
