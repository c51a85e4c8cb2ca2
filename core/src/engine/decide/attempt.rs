//! One attempt at a task that this worker has in hand.
use crate::base::types::{Claimed, Micros};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPhase {
    /// The row is to be written as claimed by this worker, and is not committed yet.
    Reserved,
    /// This worker has it, and it has waited for a slot since then.
    Buffered { since: Micros },
    /// Python has run it since then.
    Running { since: Micros },
    /// The outcome is decided (time-out, cancel, lease lost), but the function has not returned: the attempt keeps its slot.
    Over { since: Micros },
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub claimed: Claimed,
    pub phase: TaskPhase,
}
