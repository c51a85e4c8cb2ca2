//! A worker: what it says of itself, and what a heartbeat answers.
use uuid::Uuid;

use crate::base::types::moment::Micros;

/// A worker's description of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerInfo {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub pid: i32,
    pub build: String,
    pub queues: Vec<String>,
    pub tasks: Vec<String>,
    pub workflows: Vec<String>,
    /// The options that the code gives these functions, as a JSON array of rows of `currant.functions`: for enqueues that cannot read the code.
    pub functions: String,
    pub concurrency: i32,
    /// Seconds without a heartbeat after which it is dead.
    pub timeout: f64,
    pub pod: Pod,
}

/// Where in Kubernetes a worker runs. All fields are None elsewhere. A new worker of the same `uid` ends the earlier one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// `namespace/name` of its WorkerPool.
    pub pool: Option<String>,
    pub name: Option<String>,
    pub uid: Option<String>,
}

/// The answer to a heartbeat, by the server's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// False if another worker declared this one dead: it has no lease any more.
    pub known: bool,
    pub now: Micros,
    pub ready: bool,
    pub next_due: Option<Micros>,
    /// Workers whose heartbeat is overdue.
    pub dead: Vec<Uuid>,
    /// When the next schedule is due.
    pub next_schedule: Option<Micros>,
    /// Whether it is time to delete runs past their retention.
    pub sweep_due: bool,
    /// The scaler asks this worker to take nothing more.
    pub drain: bool,
    /// (execution, lease, wakes) that the database believes to run here.
    pub running: Vec<(Uuid, i64, i64)>,
}
