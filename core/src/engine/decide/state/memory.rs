//! Workflows that leave memory, and tasks that wait too long for a slot.
use uuid::Uuid;

use crate::base::types::*;
use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::group::Lease;
use crate::engine::decide::run::{Phase, Run};
use crate::engine::decide::state::State;
use crate::engine::items::Item;

/// A function that goes on for this long after its attempt was over is not expected to end.
const STUCK_MICROS: Micros = 10_000_000;
/// A workflow stays in memory at least this long after it last did something, or for `long_wait` where that is less.
const LINGER_MICROS: Micros = 5_000_000;

impl State {
    /// Evicts workflows that need not be in memory, and hands back tasks that wait here too long for a slot.
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
        let long = |run: &Run| !run.has_news() && run.touched() + linger <= now && run.waits_beyond(horizon);
        let idle = self.runs.values().filter(|run| run.phase() == Phase::Idle);
        let out: Vec<Uuid> = idle.filter(|run| self.draining || long(run)).map(Run::id).collect();
        out.into_iter().for_each(|id| self.evict(id));
        if self.draining {
            self.hand_back_waiting_runs();
        } else {
            self.stop_if_stuck(now);
        }
    }

    /// Stops the worker when functions that do not return, although their attempts are over, have all slots (rule n): nothing would ever run here
    /// again.
    fn stop_if_stuck(&mut self, now: Micros) {
        let long_over = |phase| matches!(phase, TaskPhase::Over { since } if since + STUCK_MICROS <= now);
        let stuck = self.attempts.values().filter(|attempt| long_over(attempt.phase)).count();
        if stuck >= self.config.concurrency() {
            let reason = format!("all {stuck} slots are taken by tasks that timed out and do not end");
            self.urgent.push_back(Item::Stop(reason));
        }
    }

    /// With too many workflows in memory, evicts those that have had nothing to do for the longest time, a tenth at a time.
    /// Claims go on meanwhile: what these workflows wait for may be among what is claimed.
    pub(super) fn evict_excess(&mut self) {
        if self.runs.len() <= self.config.max_hot {
            return; // as nearly always; asked at each commit, because a run becomes idle with one
        }
        let staying = self.runs.values().filter(|run| run.phase() != Phase::Evicting).count();
        if staying <= self.config.max_hot {
            return;
        }
        let excess = staying - self.config.max_hot * 9 / 10;
        // A run with a verb under way would be claimed again at once.
        let may_go = |run: &&Run| run.phase() == Phase::Idle && !run.has_news() && !run.waits_for_verb();
        let idle = self.runs.values().filter(may_go);
        let mut idle: Vec<(Micros, Uuid)> = idle.map(|run| (run.touched(), run.id())).collect();
        idle.sort_unstable();
        idle.into_iter().take(excess).for_each(|(_, id)| self.evict(id));
    }

    pub(super) fn evict(&mut self, id: Uuid) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.evict();
            self.urgent.push_back(Item::Evict(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::fixtures::*;

    #[test]
    fn a_run_put_out_with_news_in_hand_is_claimed_again_at_once() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![wait("0", None)]);
        state.drain();
        assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == run.id));
        state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
        state.suspended(run.id, 1);
        let outcome = commit(&mut state).outcomes.pop().unwrap();
        assert_eq!((outcome.action, outcome.wakes), (Action::Suspend, Some(-1)));
    }

    #[test]
    fn a_run_put_out_while_a_verb_is_under_way_is_claimed_again_at_once_since_nobody_else_would_wake_it() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![ask("0")]);
        commit(&mut state);
        assert_eq!(state.take_verbs().len(), 1);
        state.drain();
        assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == run.id));
        state.suspended(run.id, 1);
        let outcome = commit(&mut state).outcomes.pop().unwrap();
        assert_eq!((outcome.action, outcome.wakes), (Action::Suspend, Some(-1)));
    }

    #[test]
    fn of_too_many_runs_those_with_a_verb_under_way_stay() {
        let mut state = worker(4);
        state.config.max_hot = 1;
        let runs = [started_run(&mut state), started_run(&mut state)];
        state.commands(runs[0].id, 1, vec![ask("0")]);
        state.commands(runs[1].id, 1, vec![wait("0", None)]);
        commit(&mut state);
        assert!(matches!(state.pull(10).as_slice(), [Item::Evict(id)] if *id == runs[1].id));
    }

    #[test]
    fn runs_too_many_that_were_busy_when_they_were_claimed_are_put_out_once_they_wait() {
        let mut state = worker(4);
        state.config.max_hot = 1;
        let runs = [started_run(&mut state), started_run(&mut state), started_run(&mut state)];
        for run in &runs {
            state.commands(run.id, 1, vec![wait("0", None)]);
        }
        let groups = state.take_groups();
        state.committed(groups, None, BatchReply::default());
        assert!(matches!(state.pull(10).as_slice(), [Item::Evict(_), Item::Evict(_), ..]), "though nothing is claimed");
    }

    #[test]
    fn an_outcome_heard_in_memory_does_not_wake_the_run_again_when_it_is_put_out() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0"), execute("1"), wait("2", None)]);
        commit(&mut state);
        let tasks = [pulled_task(&mut state), pulled_task(&mut state)];
        assert!(state.complete(tasks[0].0, 1, b"0".to_vec()).is_some());
        assert_eq!(state.complete(tasks[1].0, 1, b"1".to_vec()), None, "Python is still busy with the first");
        assert!(state.commands(run.id, 1, vec![]).is_some());
        state.commands(run.id, 1, vec![]);
        let me = state.config.info.id;
        let wakes = Wakes { workers: vec![(me, run.id)], ..Wakes::default() };
        commit_with(&mut state, BatchReply { wakes, ..BatchReply::default() });
        assert!(!state.wants_loads());
        state.drain();
        state.pull(10);
        state.suspended(run.id, 1);
        assert_eq!(commit(&mut state).outcomes[0].wakes, Some(1));
    }

    #[test]
    fn a_worker_whose_slots_are_all_held_by_functions_that_never_end_stops() {
        let mut state = worker(1);
        let task = Claimed { options: timeout(1e-9), ..claimed(Kind::Task) };
        commit_with(&mut state, reply(vec![task]));
        pulled_task(&mut state);
        state.fire_due();
        commit(&mut state);
        beat(&mut state, &heartbeat(vec![]));
        assert!(!state.pull(10).iter().any(|item| matches!(item, Item::Stop(_))), "it had no time to end");
        let later = Heartbeat { now: START + 2 * STUCK_MICROS, ..heartbeat(vec![]) };
        beat(&mut state, &later);
        assert!(state.pull(10).iter().any(|item| matches!(item, Item::Stop(_))));
    }
}
