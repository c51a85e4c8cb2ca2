//! One attempt at a task that this worker has in hand.
use crate::base::types::{Claimed, Micros};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPhase {
    /// Written as claimed by us, not committed yet.
    Reserved,
    /// This worker has it, and it has waited for a slot since then.
    Buffered { since: Micros },
    /// Python has run it since then.
    Running { since: Micros },
    /// Its outcome is decided (time-out, cancel, lease lost), but the function has not ended: it keeps its slot.
    Over { since: Micros },
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub claimed: Claimed,
    pub phase: TaskPhase,
}
