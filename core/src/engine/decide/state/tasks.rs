//! Tasks in hand: from the claim to the end of an attempt.
use std::cmp::Reverse;

use uuid::Uuid;

use crate::base::retry;
use crate::base::types::*;
use crate::engine::decide::attempt::TaskPhase;
use crate::engine::decide::dues::Due;
use crate::engine::decide::errors::{error_json, names_type};
use crate::engine::decide::group::{Lease, WriteGroup};
use crate::engine::decide::metrics::Ending;
use crate::engine::decide::run::Phase;
use crate::engine::decide::state::State;
use crate::engine::items::{Activation, Item};

impl State {
    pub(super) fn next_task(&mut self, now: Micros) -> Option<Item> {
        if self.in_python >= self.config.concurrency() {
            return None;
        }
        let (_, lease) = self.buffer.pop_first()?;
        let attempt = self.attempts.get_mut(&lease)?;
        attempt.phase = TaskPhase::Running { since: now };
        self.in_python += 1;
        if let Some(timeout) = attempt.claimed.options.timeout {
            self.dues.push(now + (timeout * 1e6) as Micros, Due::Attempt(lease));
        }
        let task = Item::Task(Box::new(attempt.claimed.clone()));
        self.forget_past_dues();
        Some(task)
    }

    pub(super) fn put_in_buffer(&mut self, lease: Lease, now: Micros) {
        if let Some(attempt) = self.attempts.get_mut(&lease) {
            attempt.phase = TaskPhase::Buffered { since: now };
            self.buffer.insert((Reverse(attempt.claimed.priority), self.buffered), lease);
            self.buffered += 1;
        }
    }

    pub fn complete(&mut self, id: Uuid, lease: i64, payload: Vec<u8>) -> Option<Activation> {
        let claimed = self.take_running((id, lease))?;
        self.counts.completed += 1;
        self.finish(claimed, Action::Complete, Some(payload), None, true)
    }

    pub fn fail(&mut self, id: Uuid, lease: i64, error: Vec<u8>, retryable: bool) -> Option<Activation> {
        let claimed = self.take_running((id, lease))?;
        self.fail_attempt(claimed, error, retryable, true)
    }

    /// The code of an attempt has returned. If its outcome was not decided before, it is handed back, which costs no attempt.
    pub fn release(&mut self, id: Uuid, lease: i64) {
        if let Some(claimed) = self.take_running((id, lease)) {
            self.give_back_started(claimed);
        }
    }

    /// An attempt that this worker began and cuts off goes back at no cost; one that may not be started twice has ended with its worker.
    pub(super) fn give_back_started(&mut self, claimed: Claimed) {
        if claimed.options.max_worker_losses > 0 {
            self.finish(claimed, Action::Handback, None, None, false);
            return;
        }
        const MESSAGE: &str = "its worker stopped before it ended, and max_worker_losses=0: it is not started again";
        let error = error_json("WorkerLost", MESSAGE);
        self.counts.failed += 1;
        self.finish(claimed, Action::Fail, Some(error), None, false);
    }

    /// Takes a task, and its slot, from Python. None when its outcome was decided before.
    fn take_running(&mut self, lease: Lease) -> Option<Claimed> {
        let now = self.clock.now();
        match self.attempts.get(&lease)?.phase {
            TaskPhase::Reserved | TaskPhase::Buffered { .. } => return None,
            TaskPhase::Running { since } => {
                self.task_micros += ((now - since) as f64 - self.task_micros) * 0.05;
                let function = &self.attempts.get(&lease)?.claimed.function;
                self.metrics.ended(function, None, Some(now - since));
            }
            TaskPhase::Over { .. } => {}
        }
        let attempt = self.attempts.remove(&lease)?;
        self.in_python -= 1;
        matches!(attempt.phase, TaskPhase::Running { .. }).then_some(attempt.claimed)
    }

    pub(super) fn fail_attempt(
        &mut self,
        claimed: Claimed,
        error: Vec<u8>,
        retryable: bool,
        answering: bool,
    ) -> Option<Activation> {
        match self.retry_due(&claimed, retryable) {
            Some(due) => {
                self.counts.retried += 1;
                self.beat.expect(Some(due));
                self.finish(claimed, Action::Retry, Some(error), Some(due), answering)
            }
            None => {
                self.counts.failed += 1;
                self.finish(claimed, Action::Fail, Some(error), None, answering)
            }
        }
    }

    /// When to try again; None when it has failed for good. Attempts that ended with their worker cost nothing.
    pub(super) fn retry_due(&self, claimed: &Claimed, retryable: bool) -> Option<Micros> {
        let attempt = (claimed.attempt - claimed.worker_losses).max(1);
        if !retryable || attempt >= claimed.options.retry.max_attempts {
            return None;
        }
        let delay = retry::retry_delay(&claimed.options.retry, attempt, rand::random());
        Some(self.clock.now() + (delay * 1e6) as Micros)
    }

    /// Writes the outcome of an attempt. Where the run that waits for it is idle here, and we are `answering` Python, the
    /// outcome is recorded and delivered in one commit: that activation is returned.
    pub(super) fn finish(
        &mut self,
        claimed: Claimed,
        action: Action,
        payload: Option<Vec<u8>>,
        due: Option<Micros>,
        answering: bool,
    ) -> Option<Activation> {
        self.metrics.ended(&claimed.function, Ending::of(action), None);
        let outcome = Outcome { due, of_task: true, ..Outcome::new(claimed.id, action, payload) };
        let fence = Batch { fences: vec![(claimed.id, claimed.lease)], ..Batch::default() };
        let group = WriteGroup { batch: fence, closes: vec![claimed.id], ..WriteGroup::default() };
        *self.closing.entry(claimed.id).or_default() += 1;
        self.hand_over(claimed.parent, claimed.step_key, outcome, group, answering)
    }

    /// Records `outcome` by `group`, and tells the parent if it is here.
    pub(super) fn hand_over(
        &mut self,
        parent: Option<Uuid>,
        key: Option<String>,
        outcome: Outcome,
        mut group: WriteGroup,
        answering: bool,
    ) -> Option<Activation> {
        let now = self.clock.now();
        if let (Some(parent), Some(key), Some(status)) = (parent, key, outcome.action.status()) {
            group.batch.parents.push(parent);
            if let Some(run) = self.runs.get_mut(&parent) {
                if answering && run.can_deliver(&key, outcome.id) {
                    return Some(run.deliver_child(&key, outcome, status, group, now));
                }
                if run.phase() != Phase::Loading
                    && run.child_ended(&key, outcome.id, status, outcome.payload.clone().unwrap_or_default())
                {
                    group.notified.push(parent);
                    self.with_news.push_back(parent);
                }
            }
        }
        group.batch.outcomes.push(outcome);
        self.groups.push_back(group);
        None
    }

    /// A task's lease is gone. One that runs is dropped: the SDK cancels it, and it keeps its slot until it has ended.
    pub(super) fn lose(&mut self, lease: Lease, reason: &str) {
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

    pub(super) fn time_out(&mut self, lease: Lease) {
        let Some(attempt) = self.attempts.get_mut(&lease) else { return };
        if !matches!(attempt.phase, TaskPhase::Running { .. }) {
            return;
        }
        attempt.phase = TaskPhase::Over { since: self.clock.now() };
        let claimed = attempt.claimed.clone();
        self.counts.timeouts += 1;
        self.urgent.push_back(Item::Cancel { id: lease.0, lease: lease.1, reason: "timeout" });
        let error = error_json(
            "TimeoutError",
            &format!(
                "attempt {} exceeded its timeout of {} s",
                claimed.attempt,
                claimed.options.timeout.unwrap_or(0.0)
            ),
        );
        let retryable = !names_type(&claimed.options.retry.non_retryable, &error);
        self.fail_attempt(claimed, error, retryable, false);
    }

    /// A task that has not started goes back to the queue; it costs no attempt.
    pub(super) fn hand_back(&mut self, lease: Lease) {
        if let Some(attempt) = self.attempts.remove(&lease) {
            self.hand_back_claimed(&attempt.claimed);
        }
    }

    pub(super) fn hand_back_claimed(&mut self, claimed: &Claimed) {
        self.hand_back_stranger((claimed.id, claimed.lease));
    }

    pub(super) fn hand_back_stranger(&mut self, (id, lease): Lease) {
        let outcome = Outcome::new(id, Action::Handback, None);
        let batch = Batch { fences: vec![(id, lease)], outcomes: vec![outcome], ..Batch::default() };
        *self.closing.entry(id).or_default() += 1;
        self.groups.push_back(WriteGroup { batch, closes: vec![id], ..WriteGroup::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::fixtures::*;

    #[test]
    fn a_failed_attempt_is_tried_again_until_the_policy_ends() {
        for (attempt, worker_losses, retryable, expected) in [
            (1, 0, true, Action::Retry),
            (2, 0, true, Action::Fail),
            (2, 1, true, Action::Retry),
            (1, 0, false, Action::Fail),
        ] {
            let mut state = worker(1);
            let task = Claimed { attempt, worker_losses, options: attempts(2), ..claimed(Kind::Task) };
            commit_with(&mut state, reply(vec![task.clone()]));
            pulled_task(&mut state);
            state.fail(task.id, 1, b"{}".to_vec(), retryable);
            assert_eq!(commit(&mut state).outcomes[0].action, expected, "{attempt} {worker_losses} {retryable}");
        }
    }

    #[test]
    fn a_task_over_its_time_is_failed_and_keeps_its_slot_until_it_ends() {
        let mut state = worker(1);
        let mut task = claimed(Kind::Task);
        task.options.timeout = Some(1e-9);
        let waiting = claimed(Kind::Task);
        commit_with(&mut state, reply(vec![task.clone(), waiting.clone()]));
        let (first, _) = pulled_task(&mut state);
        assert_eq!(first, task.id);
        state.fire_due();
        let batch = commit(&mut state);
        assert_eq!(batch.outcomes[0].action, Action::Fail);
        assert!(String::from_utf8(batch.outcomes[0].payload.clone().unwrap()).unwrap().contains("TimeoutError"));
        let items = state.pull(10);
        assert!(matches!(items[0], Item::Cancel { reason: "timeout", .. }));
        assert_eq!(items.len(), 1, "the slot is not free: {items:?}");
        state.release(task.id, 1);
        assert_eq!(pulled_task(&mut state).0, waiting.id);
    }

    #[test]
    fn what_may_not_be_started_twice_is_given_back_only_if_it_has_not_begun() {
        for (max_worker_losses, expected) in [(0, Action::Fail), (1, Action::Handback)] {
            let mut state = worker(1);
            let tasks: Vec<_> = (0..2).map(|_| claimed(Kind::Task)).collect();
            let options = Options { max_worker_losses, ..attempts(4) };
            let tasks = tasks.into_iter().map(|task| Claimed { options: options.clone(), ..task });
            commit_with(&mut state, reply(tasks.collect()));
            let (begun, _) = pulled_task(&mut state);
            state.halt();
            for outcome in commit(&mut state).outcomes {
                let of_begun = outcome.id == begun;
                assert_eq!(outcome.action, if of_begun { expected } else { Action::Handback }, "{max_worker_losses}");
                let error = String::from_utf8(outcome.payload.unwrap_or_default()).unwrap();
                assert_eq!(error.contains("WorkerLost"), of_begun && max_worker_losses == 0, "{error}");
            }
        }
    }
}
