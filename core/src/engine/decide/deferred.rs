//! Writes that must wait, since somebody's open transaction holds a lock on a row of theirs. The others go on meanwhile.
use std::collections::HashSet;

use uuid::Uuid;

use super::state::Unit;
use crate::base::types::Action;

/// What was set aside, in the order in which it was to be written.
#[derive(Default)]
pub(in crate::engine) struct Aside {
    units: Vec<Unit>,
    /// The executions that these units write for. Whatever follows from them comes behind them.
    written: HashSet<Uuid>,
}

impl Aside {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Sets aside, of these units, what touches a locked row and what follows from what is set aside. Gives the rest.
    pub(in crate::engine) fn keep(&mut self, units: Vec<Unit>, locked: &HashSet<Uuid>) -> Vec<Unit> {
        let mut rest = Vec::new();
        for unit in units {
            if rows(&unit).any(|id| locked.contains(&id)) || premises(&unit).any(|id| self.written.contains(&id)) {
                self.written.extend(unit.batch.fences.iter().map(|(id, _)| *id));
                self.units.push(unit);
            } else {
                rest.push(unit);
            }
        }
        rest
    }

    /// Gives back what may be written now: what is behind none of these locks.
    pub(in crate::engine) fn release(&mut self, locked: &HashSet<Uuid>) -> Vec<Unit> {
        self.sort(Vec::new(), locked)
    }

    /// As `release`, with units that could not be written: they follow from nothing that is set aside, so they come first.
    pub(in crate::engine) fn sort(&mut self, mut units: Vec<Unit>, locked: &HashSet<Uuid>) -> Vec<Unit> {
        units.append(&mut self.units);
        self.written.clear();
        self.keep(units, locked)
    }

    /// The rows that these units and those set aside lock, and the runs among them of which they may cancel children.
    pub(in crate::engine) fn rows_with(&self, units: &[Unit]) -> (Vec<Uuid>, Vec<Uuid>) {
        let all: HashSet<Uuid> = self.units.iter().chain(units).flat_map(rows).collect();
        let ending: HashSet<Uuid> = self.units.iter().chain(units).flat_map(ending).collect();
        (all.into_iter().collect(), ending.into_iter().collect())
    }
}

fn rows(unit: &Unit) -> impl Iterator<Item = Uuid> {
    premises(unit).chain(unit.batch.parents.iter().copied())
}

/// Runs that end, start anew or give up steps.
fn ending(unit: &Unit) -> impl Iterator<Item = Uuid> {
    let goes_on = |action| matches!(action, Action::Handback | Action::Suspend | Action::Hold);
    let ended = unit.batch.outcomes.iter().filter(move |outcome| !goes_on(outcome.action)).map(|outcome| outcome.id);
    ended.chain(unit.batch.abandoned.iter().map(|abandoned| abandoned.run))
}

/// What must be written before the unit: what was written before for the same executions, and the outcomes that it delivers.
fn premises(unit: &Unit) -> impl Iterator<Item = Uuid> {
    let delivered = unit.batch.deliveries.iter().map(|delivery| delivery.id);
    unit.batch.fences.iter().map(|(id, _)| *id).chain(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::new_id;
    use crate::base::types::{Batch, Delivery};

    fn unit(fences: &[Uuid], parents: &[Uuid], delivers: &[Uuid]) -> Unit {
        let fences = fences.iter().map(|id| (*id, 1)).collect();
        let deliveries = delivers.iter().map(|id| Delivery { run: *id, id: *id, seq: 1, clock: 1 }).collect();
        Unit { batch: Batch { fences, parents: parents.to_vec(), deliveries, ..Batch::default() }, ..Unit::default() }
    }

    fn fences(units: &[Unit]) -> Vec<Uuid> {
        units.iter().flat_map(|unit| unit.batch.fences.iter().map(|(id, _)| *id)).collect()
    }

    #[test]
    fn what_touches_no_locked_row_is_written_at_once() {
        let [free, fenced, parent, told] = [(); 4].map(|()| new_id());
        let mut aside = Aside::default();
        let units = vec![
            unit(&[fenced], &[], &[]),
            unit(&[free], &[], &[]),
            unit(&[new_id()], &[parent], &[]),
            unit(&[new_id()], &[], &[told]),
        ];
        assert_eq!(fences(&aside.keep(units, &HashSet::from([fenced, parent, told]))), [free]);
        assert_eq!(aside.rows_with(&[]).0.len(), 5);
    }

    #[test]
    fn what_follows_from_what_is_set_aside_comes_behind_it() {
        let [locked, run, other] = [(); 3].map(|()| new_id());
        let mut aside = Aside::default();
        aside.keep(vec![unit(&[locked, run], &[], &[])], &HashSet::from([locked]));
        let later = vec![unit(&[run], &[], &[]), unit(&[other], &[], &[locked]), unit(&[other], &[], &[])];
        assert!(aside.keep(later, &HashSet::new()).is_empty(), "each follows from the one before it");
        assert!(aside.release(&HashSet::from([locked])).is_empty());
        assert_eq!(fences(&aside.release(&HashSet::new())), [locked, run, run, other, other], "in their order");
        assert!(aside.is_empty());
    }

    #[test]
    fn what_was_given_back_and_could_not_be_written_keeps_its_place() {
        let [run, child] = [(); 2].map(|()| new_id());
        let mut aside = Aside::default();
        aside.keep(vec![unit(&[run], &[], &[]), unit(&[run, child], &[], &[])], &HashSet::from([run, child]));
        let first = aside.release(&HashSet::from([child]));
        assert_eq!(fences(&first), [run]);
        assert!(aside.sort(first, &HashSet::from([run])).is_empty());
        assert_eq!(fences(&aside.release(&HashSet::new())), [run, run, child]);
    }

    #[test]
    fn when_one_of_two_locks_is_let_go_what_was_behind_it_alone_is_written() {
        let [first, second] = [(); 2].map(|()| new_id());
        let mut aside = Aside::default();
        aside.keep(vec![unit(&[first], &[], &[]), unit(&[second], &[], &[])], &HashSet::from([first, second]));
        assert_eq!(fences(&aside.release(&HashSet::from([second]))), [first]);
        assert_eq!(fences(&aside.release(&HashSet::new())), [second]);
    }
}
