//! Workers to wake after a commit.
use uuid::Uuid;

/// Workers to wake once a write is committed: those that sleep on these queues, and (worker, execution) pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wakes {
    pub queues: Vec<String>,
    pub workers: Vec<(Uuid, Uuid)>,
    /// The first of the transactions that made something ready in `queues`, or None if it is not known.
    pub since: Option<i64>,
}

impl Wakes {
    /// Both in one.
    pub fn add(&mut self, more: Wakes) {
        if self.queues.is_empty() {
            self.since = more.since;
        } else if !more.queues.is_empty() {
            self.since = self.since.zip(more.since).map(|(one, other)| one.min(other));
        }
        self.queues.extend(more.queues);
        self.workers.extend(more.workers);
    }

    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.workers.is_empty()
    }
}
