//! Time-outs and timers of executions in hand, in the order in which they come due.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::types::Micros;
use crate::engine::decide::group::Lease;

/// Nothing is forgotten before there is this number of entries.
const LEAST_LIMIT: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The time-out of an attempt at a task.
    Attempt(Lease),
    /// A step of a run, or its own time-out, by its key.
    Run(Lease, String),
}

#[derive(Clone, Debug)]
pub struct Dues {
    heap: BinaryHeap<Reverse<(Micros, Due)>>,
    /// At this number of entries those that cannot matter any more are forgotten.
    limit: usize,
}

impl Dues {
    pub fn new() -> Dues {
        Dues { heap: BinaryHeap::new(), limit: LEAST_LIMIT }
    }

    pub fn push(&mut self, at: Micros, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// The time of the next entry.
    pub fn next(&self) -> Option<Micros> {
        self.heap.peek().map(|entry| entry.0.0)
    }

    /// Takes the next entry, if it is due by `now`.
    pub fn pop(&mut self, now: Micros) -> Option<(Micros, Due)> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|entry| entry.0)
    }

    /// Forgets the entries that cannot matter any more, when there are many.
    pub fn forget_some(&mut self, mut is_live: impl FnMut(&Due) -> bool) {
        if self.heap.len() >= self.limit {
            self.heap.retain(|Reverse((_, due))| is_live(due));
            self.limit = (2 * self.heap.len()).max(LEAST_LIMIT);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    #[cfg(test)]
    pub fn sorted(&self) -> Vec<Reverse<(Micros, Due)>> {
        self.heap.clone().into_sorted_vec()
    }
}
