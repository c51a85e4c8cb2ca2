//! From decisions to transactions and back: what the next commit writes, and what its answer means.
use std::collections::HashSet;

use uuid::Uuid;

use crate::base::types::*;
use crate::engine::decide::errors::error_json;
use crate::engine::decide::group::{Lease, WriteGroup};
use crate::engine::decide::run::Run;
use crate::engine::decide::state::{LEASE_LOST, State};
use crate::engine::items::Item;

/// Groups in one commit at most: a bound for its duration and memory.
const MAX_GROUPS: usize = 1_000;

impl State {
    pub fn take_groups(&mut self) -> Vec<WriteGroup> {
        let count = self.groups.len().min(MAX_GROUPS);
        self.groups.drain(..count).collect()
    }

    /// These groups are committed, except what the database refused. Returns whom to wake in other workers.
    pub fn committed(&mut self, groups: Vec<WriteGroup>, claim: Option<&ClaimRequest>, mut reply: BatchReply) -> Wakes {
        let now = self.clock.now();
        self.counts.batches += 1;
        self.counts.written += groups.len() as u64;
        self.metrics.committed(groups.len());
        let refused: HashSet<Uuid> = reply.refused.iter().copied().collect();
        for id in &reply.postponed {
            self.attempts.remove(&(*id, 1));
        }
        let mut told = HashSet::new();
        for group in groups {
            told.extend(group.notified.iter().copied());
            self.settle(group, &refused, now);
        }
        let mut wakes = self.keep_own_wakes(std::mem::take(&mut reply.wakes), &told);
        if let Some(request) = claim {
            self.floors.claimed(request, &reply, now);
            if self.beat.claimed(reply.claimed.len() >= request.limit as usize) {
                wakes.add(self.wakes_of_own_queues());
            }
            self.take_in(reply.claimed, request.limit as usize, now);
        }
        self.evict_excess();
        wakes
    }

    fn settle(&mut self, group: WriteGroup, refused: &HashSet<Uuid>, now: Micros) {
        self.closed(&group.closes);
        let lost: Vec<Lease> = group.batch.fences.iter().copied().filter(|(id, _)| refused.contains(id)).collect();
        if lost.is_empty() {
            for lease in group.eager {
                if self.draining {
                    self.hand_back(lease);
                } else {
                    self.put_in_buffer(lease, now);
                }
            }
            self.verbs.extend(group.verbs);
            return;
        }
        self.counts.refused += lost.len() as u64;
        for lease in group.eager {
            self.attempts.remove(&lease);
        }
        for (id, lease) in group.batch.fences {
            if lost.contains(&(id, lease)) || self.runs.get(&id).is_some_and(|run| run.is_under(lease)) {
                self.drop_execution((id, lease), LEASE_LOST);
                self.forget_groups((id, lease));
            }
        }
        // Guarantee 3: a run that heard in memory of an outcome which is not recorded does not go on.
        for id in group.notified {
            if let Some(lease) = self.runs.get(&id).map(|run| run.lease()) {
                self.drop_execution(lease, LEASE_LOST);
                self.forget_groups(lease);
            }
        }
        // A run that is dropped because of its child still runs here for the database: the next heartbeat hands it back.
        self.beat.want();
    }

    /// Drops the writes of a dropped run that are not sent yet: its lease may still be good, so the database would take them.
    fn forget_groups(&mut self, lease: Lease) {
        let (gone, kept) =
            std::mem::take(&mut self.groups).into_iter().partition(|group| group.batch.fences.contains(&lease));
        self.groups = kept;
        for group in Vec::<WriteGroup>::from(gone) {
            self.closed(&group.closes);
            for eager in group.eager {
                self.attempts.remove(&eager);
            }
        }
    }

    /// These executions are written, or will never be: the next heartbeat hands back what the database still believes to run here.
    pub(super) fn closed(&mut self, ids: &[Uuid]) {
        for id in ids {
            if let Some(count) = self.closing.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.closing.remove(id);
                }
            }
        }
    }

    /// Drops an execution from memory; nothing more is written for it under this lease.
    pub(super) fn drop_execution(&mut self, (id, lease): Lease, reason: &str) {
        if self.runs.get(&id).is_some_and(|run| run.is_under(lease)) {
            let unwritten = self.runs.remove(&id).map(Run::unwritten).unwrap_or_default();
            self.closed(&unwritten);
        }
        self.urgent.push_back(Item::Drop { id, lease, reason: reason.into() });
    }

    fn keep_own_wakes(&mut self, wakes: Wakes, told: &HashSet<Uuid>) -> Wakes {
        let me = self.config.info.id;
        if wakes.queues.iter().any(|queue| self.config.info.queues.contains(queue)) {
            self.beat.expect_work();
        }
        let (own, others): (Vec<_>, _) = wakes.workers.iter().copied().partition(|(worker, _)| *worker == me);
        for (_, id) in own {
            match self.runs.get_mut(&id) {
                // The run has heard already: this wake is no news, now or when the run is evicted.
                Some(run) if told.contains(&id) => run.wake_was_heard(),
                _ => self.notified(id),
            }
        }
        Wakes { workers: others, ..wakes }
    }

    /// The database cannot take this group's data, whenever it is tried: its executions fail, and say why.
    pub fn culprit(&mut self, group: WriteGroup, message: &str) {
        let error = error_json("DataError", message);
        for lease in group.eager {
            self.attempts.remove(&lease);
        }
        for (id, lease) in group.batch.fences {
            self.drop_execution((id, lease), message);
            let parents = group.batch.parents.clone();
            let payload = Some(error.clone());
            let outcome = Outcome::new(id, Action::Fail, payload);
            let batch = Batch { fences: vec![(id, lease)], parents, outcomes: vec![outcome], ..Batch::default() };
            *self.closing.entry(id).or_default() += 1;
            self.groups.push_back(WriteGroup { batch, closes: vec![id], ..WriteGroup::default() });
        }
        self.closed(&group.closes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::fixtures::*;

    #[test]
    fn a_refused_commit_destroys_the_run_and_the_steps_it_would_have_started() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0")]);
        commit_with(&mut state, BatchReply { refused: vec![run.id], ..BatchReply::default() });
        assert!(matches!(state.pull(10).as_slice(), [Item::Drop { id, lease: 1, .. }] if *id == run.id));
        assert_eq!(state.commands(run.id, 1, vec![execute("1")]), None);
        assert!(state.take_groups().is_empty());
    }

    #[test]
    fn a_refused_outcome_refuses_the_run_that_went_on_from_it() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0")]);
        commit(&mut state);
        let (task, lease) = pulled_task(&mut state);
        state.complete(task, lease, b"7".to_vec());
        state.commands(run.id, 1, vec![execute("1")]);
        commit_with(&mut state, BatchReply { refused: vec![task, run.id], ..BatchReply::default() });
        let dropped: Vec<Uuid> = state
            .pull(10)
            .into_iter()
            .filter_map(|item| if let Item::Drop { id, .. } = item { Some(id) } else { None })
            .collect();
        assert!(dropped.contains(&run.id) && dropped.contains(&task));
    }

    #[test]
    fn a_run_that_only_heard_of_an_outcome_which_is_refused_is_dropped() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0"), execute("1")]);
        commit(&mut state);
        let (first, second) = (pulled_task(&mut state), pulled_task(&mut state));
        assert!(state.complete(first.0, 1, b"0".to_vec()).is_some());
        assert_eq!(state.complete(second.0, 1, b"1".to_vec()), None);
        let sent = state.take_groups();
        // While the outcome is on its way the run goes on from it, so nothing of this may be written any more.
        assert!(state.commands(run.id, 1, vec![]).is_some());
        state.commands(run.id, 1, vec![execute("2")]);
        let refused = BatchReply { refused: vec![second.0], ..BatchReply::default() };
        state.committed(sent, None, refused);
        assert!(state.take_groups().is_empty());
        assert!(state.pull(10).iter().any(|item| matches!(item, Item::Drop { id, .. } if *id == run.id)));
    }

    #[test]
    fn data_that_the_database_refuses_fails_the_culprit_and_says_why() {
        let mut state = worker(4);
        let task = claimed(Kind::Task);
        commit_with(&mut state, reply(vec![task.clone()]));
        pulled_task(&mut state);
        state.complete(task.id, 1, b"1".to_vec());
        let group = state.take_groups().pop().unwrap();
        state.culprit(group, "value too long");
        let batch = commit(&mut state);
        assert_eq!(batch.outcomes[0].action, Action::Fail);
        assert!(String::from_utf8(batch.outcomes[0].payload.clone().unwrap()).unwrap().contains("value too long"));
    }

    /// A worker that was notified in place of others has them notified if it cannot take all that is there.
    #[test]
    fn who_was_told_in_place_of_others_passes_on_what_it_has_no_room_for() {
        let answer = |state: &mut State, number: usize, limit: i32| {
            let claimed = (0..number).map(|_| claimed(Kind::Task)).collect();
            let request = ClaimRequest { limit, ..ClaimRequest::default() };
            state.committed(Vec::new(), Some(&request), reply(claimed)).queues
        };
        let mut state = worker(2);
        assert!(answer(&mut state, 2, 2).is_empty(), "nobody told it");
        state = worker(2);
        assert!(state.told().is_empty());
        assert!(answer(&mut state, 1, 4).is_empty(), "that was all");
        assert!(answer(&mut state, 3, 3).is_empty(), "it has answered for that");
        state = worker(2);
        assert!(state.told().is_empty());
        assert_eq!(answer(&mut state, 4, 4), ["q"]);
        assert_eq!(state.claim_limit(), 0);
        assert_eq!(state.told().queues, ["q"], "it has no room");
    }

    #[test]
    fn who_was_told_has_no_flag_any_more_and_sets_it_before_it_sleeps() {
        let mut state = worker(1);
        state.listening_began();
        commit(&mut state);
        beat(&mut state, &heartbeat(vec![]));
        commit(&mut state);
        assert!(!state.wants_beat(std::time::Instant::now()), "it sleeps, and its flag is set");
        state.told();
        assert!(state.claim_request().is_some());
        commit(&mut state);
        assert!(state.wants_beat(std::time::Instant::now()));
    }
}
