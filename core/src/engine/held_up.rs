//! What cannot be written since somebody's open transaction holds a row of it: it waits, with all that must not overtake it, and
//! everything else of this worker is written. No I/O.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::state::Unit;
use crate::ids::derive_id;

/// Between two looks whether the rows are free.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub struct HeldUp {
    /// In the order in which they are to be written.
    units: Vec<Unit>,
    look_at: Option<Instant>,
}

/// Rows that the unit's transaction locks, but for steps that an ended run leaves behind.
pub fn rows(unit: &Unit) -> impl Iterator<Item = Uuid> + '_ {
    let batch = &unit.batch;
    let given_up = batch.abandoned.iter().map(|x| derive_id(x.run, &format!("{}:{}", x.epoch, x.key)));
    sequence(unit).chain(batch.parents.iter().copied()).chain(given_up)
}

/// Executions whose writes have an order, this unit among them.
fn sequence(unit: &Unit) -> impl Iterator<Item = Uuid> + '_ {
    let batch = &unit.batch;
    let delivered = batch.deliveries.iter().map(|delivery| delivery.id);
    batch.fences.iter().map(|fence| fence.0).chain(unit.told.iter().copied()).chain(delivered)
}

impl HeldUp {
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// All rows that it waits for, or might.
    pub fn rows(&self) -> Vec<Uuid> {
        self.units.iter().flat_map(rows).collect()
    }

    /// New units: those that follow one which waits are kept behind it; gives the others.
    pub fn queue_behind(&mut self, units: Vec<Unit>) -> Vec<Unit> {
        if self.units.is_empty() {
            return units;
        }
        let mut kept = self.units.iter().flat_map(sequence).collect();
        let (behind, free) = part(units, &HashSet::new(), &mut kept);
        self.units.extend(behind);
        free
    }

    /// What could not be written: units that touch these rows are kept, with all that follows them; gives the others. Units that were sent
    /// come before all that waits: they follow none of it.
    pub fn set_aside(&mut self, units: Vec<Unit>, locked: &HashSet<Uuid>, at: Instant) -> Vec<Unit> {
        let (mut aside, free) = part(units, locked, &mut HashSet::new());
        aside.append(&mut self.units);
        self.units = aside;
        self.look_at = (!self.units.is_empty()).then_some(at + LOOK_AGAIN);
        free
    }

    /// These rows are still locked; gives what may be written now.
    pub fn release(&mut self, locked: &HashSet<Uuid>, at: Instant) -> Vec<Unit> {
        let units = std::mem::take(&mut self.units);
        self.set_aside(units, locked, at)
    }

    /// Time to look again.
    pub fn is_due(&self, at: Instant) -> bool {
        self.look_at.is_some_and(|look_at| look_at <= at)
    }

    /// How long until then, at most `rest`.
    pub fn rest(&self, at: Instant, rest: Duration) -> Duration {
        self.look_at.map_or(rest, |look_at| rest.min(look_at.saturating_duration_since(at)))
    }
}

/// (those that touch a locked row or follow one of `kept`, the others)
fn part(units: Vec<Unit>, locked: &HashSet<Uuid>, kept: &mut HashSet<Uuid>) -> (Vec<Unit>, Vec<Unit>) {
    units.into_iter().partition(|unit| {
        let waits = rows(unit).any(|id| locked.contains(&id)) || sequence(unit).any(|id| kept.contains(&id));
        if waits {
            kept.extend(sequence(unit));
        }
        waits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Batch, Delivery};

    fn unit(fences: &[u128], parents: &[u128]) -> Unit {
        let fences = fences.iter().map(|id| (Uuid::from_u128(*id), 1)).collect();
        let parents = parents.iter().map(|id| Uuid::from_u128(*id)).collect();
        Unit { batch: Batch { fences, parents, ..Batch::default() }, ..Unit::default() }
    }

    fn locked(ids: &[u128]) -> HashSet<Uuid> {
        ids.iter().map(|id| Uuid::from_u128(*id)).collect()
    }

    fn first_fences(units: &[Unit]) -> Vec<u128> {
        units.iter().map(|unit| unit.batch.fences[0].0.as_u128()).collect()
    }

    #[test]
    fn what_touches_a_locked_row_waits_and_the_rest_does_not() {
        let (mut held, at) = (HeldUp::default(), Instant::now());
        let units = vec![unit(&[1], &[9]), unit(&[2], &[]), unit(&[3], &[8])];
        let free = held.set_aside(units, &locked(&[9, 2]), at);
        assert_eq!(first_fences(&free), [3]);
        assert!(!held.is_due(at) && held.is_due(at + LOOK_AGAIN));
        assert_eq!(first_fences(&held.release(&locked(&[2]), at)), [1]);
        assert_eq!(first_fences(&held.release(&locked(&[]), at)), [2]);
        assert!(held.is_empty() && !held.is_due(at + LOOK_AGAIN));
    }

    #[test]
    fn nothing_overtakes_an_earlier_write_of_its_run() {
        let (mut held, at) = (HeldUp::default(), Instant::now());
        assert!(held.set_aside(vec![unit(&[1], &[5]), unit(&[1], &[6])], &locked(&[5, 6]), at).is_empty());
        assert!(held.queue_behind(vec![unit(&[1], &[7])]).is_empty(), "what it follows is not written");
        assert_eq!(first_fences(&held.queue_behind(vec![unit(&[2], &[])])), [2]);
        let first = held.release(&locked(&[6]), at);
        assert_eq!(first[0].batch.parents[0].as_u128(), 5);
        held.set_aside(first, &locked(&[5]), at); // somebody locked it once more before it was written
        let parents: Vec<u128> =
            held.release(&locked(&[]), at).iter().map(|unit| unit.batch.parents[0].as_u128()).collect();
        assert_eq!(parents, [5, 6, 7]);
    }

    #[test]
    fn a_run_that_was_told_of_an_outcome_waits_until_that_is_written() {
        let (mut held, at) = (HeldUp::default(), Instant::now());
        let told = Unit { told: vec![Uuid::from_u128(7)], ..unit(&[1], &[7]) };
        let mut goes_on = unit(&[7], &[]);
        goes_on.batch.deliveries.push(Delivery { run: Uuid::from_u128(7), id: Uuid::from_u128(1), seq: 1, clock: 0 });
        let free = held.set_aside(vec![told, goes_on, unit(&[2], &[7])], &locked(&[1]), at);
        assert_eq!(first_fences(&free), [2], "a sibling's outcome goes ahead");
    }
}
