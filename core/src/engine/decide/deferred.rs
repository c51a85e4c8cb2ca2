//! Deferred writes: they must wait because another open transaction holds a lock on a row of theirs. The others go on meanwhile.
use std::collections::HashSet;

use uuid::Uuid;

use crate::base::types::Action;
use crate::engine::decide::group::WriteGroup;

/// Deferred groups, in the order in which they were to be written.
#[derive(Default)]
pub struct DeferredWrites {
    groups: Vec<WriteGroup>,
    /// The executions that these groups write for. Groups that follow from them come behind them.
    written: HashSet<Uuid>,
}

impl DeferredWrites {
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Defers those of these groups that touch a locked row or follow from a deferred group. Returns the rest.
    pub fn keep(&mut self, groups: Vec<WriteGroup>, locked: &HashSet<Uuid>) -> Vec<WriteGroup> {
        let mut rest = Vec::new();
        for group in groups {
            if rows(&group).any(|id| locked.contains(&id)) || premises(&group).any(|id| self.written.contains(&id)) {
                self.written.extend(group.batch.fences.iter().map(|(id, _)| *id));
                self.groups.push(group);
            } else {
                rest.push(group);
            }
        }
        rest
    }

    /// Returns the groups that may be written now because none of these locks is in their way.
    pub fn release(&mut self, locked: &HashSet<Uuid>) -> Vec<WriteGroup> {
        self.sort(Vec::new(), locked)
    }

    /// As `release`, with groups that could not be written. These do not follow from a deferred group, so they come first.
    pub fn sort(&mut self, mut groups: Vec<WriteGroup>, locked: &HashSet<Uuid>) -> Vec<WriteGroup> {
        groups.append(&mut self.groups);
        self.written.clear();
        self.keep(groups, locked)
    }

    /// The rows that these groups and the deferred ones lock, and the runs among them whose children they may cancel.
    pub fn rows_with(&self, groups: &[WriteGroup]) -> (Vec<Uuid>, Vec<Uuid>) {
        let all: HashSet<Uuid> = self.groups.iter().chain(groups).flat_map(rows).collect();
        let ending: HashSet<Uuid> = self.groups.iter().chain(groups).flat_map(ending).collect();
        (all.into_iter().collect(), ending.into_iter().collect())
    }
}

fn rows(group: &WriteGroup) -> impl Iterator<Item = Uuid> {
    premises(group).chain(group.batch.parents.iter().copied())
}

/// Runs that end, start anew or give up steps.
fn ending(group: &WriteGroup) -> impl Iterator<Item = Uuid> {
    let goes_on = |action| matches!(action, Action::Handback | Action::Suspend | Action::Hold);
    let ended = group.batch.outcomes.iter().filter(move |outcome| !goes_on(outcome.action)).map(|outcome| outcome.id);
    ended.chain(group.batch.abandoned.iter().map(|abandoned| abandoned.run))
}

/// The executions whose earlier writes must come first: those that the group writes for, and those whose outcomes it delivers.
fn premises(group: &WriteGroup) -> impl Iterator<Item = Uuid> {
    let delivered = group.batch.deliveries.iter().map(|delivery| delivery.id);
    group.batch.fences.iter().map(|(id, _)| *id).chain(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::new_id;
    use crate::base::types::{Batch, Delivery};

    fn group(fences: &[Uuid], parents: &[Uuid], delivers: &[Uuid]) -> WriteGroup {
        let fences = fences.iter().map(|id| (*id, 1)).collect();
        let deliveries = delivers.iter().map(|id| Delivery { run: *id, id: *id, seq: 1, clock: 1 }).collect();
        WriteGroup {
            batch: Batch { fences, parents: parents.to_vec(), deliveries, ..Batch::default() },
            ..WriteGroup::default()
        }
    }

    fn fences(groups: &[WriteGroup]) -> Vec<Uuid> {
        groups.iter().flat_map(|group| group.batch.fences.iter().map(|(id, _)| *id)).collect()
    }

    #[test]
    fn what_touches_no_locked_row_is_written_at_once() {
        let [free, fenced, parent, told] = [(); 4].map(|()| new_id());
        let mut deferred = DeferredWrites::default();
        let groups = vec![
            group(&[fenced], &[], &[]),
            group(&[free], &[], &[]),
            group(&[new_id()], &[parent], &[]),
            group(&[new_id()], &[], &[told]),
        ];
        assert_eq!(fences(&deferred.keep(groups, &HashSet::from([fenced, parent, told]))), [free]);
        assert_eq!(deferred.rows_with(&[]).0.len(), 5);
    }

    #[test]
    fn what_follows_from_what_is_set_aside_comes_behind_it() {
        let [locked, run, other] = [(); 3].map(|()| new_id());
        let mut deferred = DeferredWrites::default();
        deferred.keep(vec![group(&[locked, run], &[], &[])], &HashSet::from([locked]));
        let later = vec![group(&[run], &[], &[]), group(&[other], &[], &[locked]), group(&[other], &[], &[])];
        assert!(deferred.keep(later, &HashSet::new()).is_empty(), "each follows from the one before it");
        assert!(deferred.release(&HashSet::from([locked])).is_empty());
        assert_eq!(fences(&deferred.release(&HashSet::new())), [locked, run, run, other, other], "in their order");
        assert!(deferred.is_empty());
    }

    #[test]
    fn what_was_given_back_and_could_not_be_written_keeps_its_place() {
        let [run, child] = [(); 2].map(|()| new_id());
        let mut deferred = DeferredWrites::default();
        deferred.keep(vec![group(&[run], &[], &[]), group(&[run, child], &[], &[])], &HashSet::from([run, child]));
        let first = deferred.release(&HashSet::from([child]));
        assert_eq!(fences(&first), [run]);
        assert!(deferred.sort(first, &HashSet::from([run])).is_empty());
        assert_eq!(fences(&deferred.release(&HashSet::new())), [run, run, child]);
    }

    #[test]
    fn when_one_of_two_locks_is_let_go_what_was_behind_it_alone_is_written() {
        let [first, second] = [(); 2].map(|()| new_id());
        let mut deferred = DeferredWrites::default();
        deferred.keep(vec![group(&[first], &[], &[]), group(&[second], &[], &[])], &HashSet::from([first, second]));
        assert_eq!(fences(&deferred.release(&HashSet::from([second]))), [first]);
        assert_eq!(fences(&deferred.release(&HashSet::new())), [second]);
    }
}
