//! Time-outs of attempts and runs, timers, and waits with an end, when they come due.
use crate::base::types::*;
use crate::engine::decide::dues::Due;
use crate::engine::decide::group::Lease;
use crate::engine::decide::run::{Phase, TIMEOUT_KEY};
use crate::engine::decide::state::State;

impl State {
    /// Fires what is due now.
    pub fn fire_due(&mut self) {
        let now = self.clock.now();
        while let Some((at, due)) = self.dues.pop(now) {
            match due {
                Due::Attempt(lease) => self.time_out(lease),
                Due::Run((id, lease), key) => {
                    if let Some(run) = self.runs.get_mut(&id)
                        && run.is_under(lease)
                        && run.phase() != Phase::Loading
                        && run.fire(at, &key)
                    {
                        self.with_news.push_back(id);
                    }
                }
            }
        }
    }

    /// Forgets the time-outs of what has ended long before: with short tasks the memory would have those of several minutes.
    pub(super) fn forget_past_dues(&mut self) {
        let (attempts, runs) = (&self.attempts, &self.runs);
        self.dues.forget_some(|due| match due {
            Due::Attempt(lease) => attempts.contains_key(lease),
            Due::Run((id, lease), _) => runs.get(id).is_some_and(|run| run.is_under(*lease)),
        });
    }

    pub(super) fn watch(&mut self, lease: Lease, timers: Vec<(Micros, String)>) {
        for (due, key) in timers {
            self.dues.push(due, Due::Run(lease, key));
        }
    }

    /// Starts watching a fresh workflow's time-out.
    pub(super) fn watch_deadline(&mut self, claimed: &Claimed) {
        if let Some(deadline) = claimed.deadline {
            self.watch((claimed.id, claimed.lease), vec![(deadline, TIMEOUT_KEY.to_string())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::fixtures::*;
    use crate::engine::items::Item;

    #[test]
    fn a_wait_ends_by_signal_or_by_time_out_never_by_both() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![wait("0", Some(START - 1))]);
        state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
        state.fire_due();
        assert!(matches!(state.pull(10).as_slice(), [Item::Activate(next)] if next.status == Status::Completed));
        assert_eq!(state.commands(run.id, 1, vec![wait("1", Some(START - 1))]), None);
        state.fire_due();
        assert!(matches!(state.pull(10).as_slice(), [Item::Activate(next)] if next.status == Status::Timeout));
        assert_eq!(state.commands(run.id, 1, vec![]), None);
        // This signal is too late for the second wait.
        assert!(hear(&mut state, run.id, vec![signal(2, b"2")]).is_empty());
    }

    #[test]
    fn the_time_outs_of_tasks_that_have_ended_do_not_gather_in_memory() {
        let mut state = worker(2);
        let slow = Claimed { options: timeout(1e-9), ..claimed(Kind::Task) };
        commit_with(&mut state, reply(vec![slow.clone()]));
        pulled_task(&mut state);
        for _ in 0..5_000 {
            commit_with(&mut state, reply(vec![Claimed { options: timeout(300.0), ..claimed(Kind::Task) }]));
            let (id, lease) = pulled_task(&mut state);
            state.complete(id, lease, b"1".to_vec());
        }
        assert!(state.dues.len() < 2_000, "{} are kept", state.dues.len());
        commit(&mut state);
        state.fire_due();
        let batch = commit(&mut state);
        assert_eq!(
            (batch.outcomes[0].id, batch.outcomes[0].action),
            (slow.id, Action::Fail),
            "what still runs is not forgotten"
        );
    }
}
