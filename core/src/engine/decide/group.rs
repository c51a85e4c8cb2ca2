//! Writes that belong together, on their way to a transaction.
use uuid::Uuid;

use crate::base::types::Batch;
use crate::engine::items::VerbRequest;

/// The id of an execution and the number of the lease that this worker has of it.
pub type Lease = (Uuid, i64);

/// Writes that are committed together or not at all, and what may happen once they are.
#[derive(Clone, Debug, Default)]
pub struct WriteGroup {
    pub batch: Batch,
    pub eager: Vec<Lease>,
    pub verbs: Vec<VerbRequest>,
    /// Executions that this worker no longer has in hand once this group is written.
    pub closes: Vec<Uuid>,
    /// Runs that were notified in memory of an outcome which this group records.
    pub notified: Vec<Uuid>,
}

impl WriteGroup {
    pub fn merge(&mut self, other: WriteGroup) {
        self.batch.merge(other.batch);
        self.eager.extend(other.eager);
        self.verbs.extend(other.verbs);
        self.closes.extend(other.closes);
        self.notified.extend(other.notified);
    }
}
