//! A claim: what a worker asks for, and what it gets.
use uuid::Uuid;

use crate::base::types::call::Options;
use crate::base::types::moment::Micros;
use crate::base::types::names::Kind;

/// A request for up to `limit` ready executions of these queues, in turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimRequest {
    pub queues: Vec<String>,
    pub limit: i32,
    /// Whether one poison suspect may be among them. A worker asks for it while it has none.
    pub poison_suspect: bool,
    /// Whether the headers of what is claimed are wanted.
    pub headers: bool,
    /// Where something can be ready.
    pub ranges: Ranges,
    /// Whether the answer is also to say what is ready in each range of one priority.
    pub look: bool,
}

/// The parts of the queues in which something can be ready, in the order in which they are read. Empty: all of each queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    /// The number of ranges up to the last of each queue.
    pub ends: Vec<i32>,
    pub ranges: Vec<Range>,
}

/// Ready executions of a queue: those with a priority from `bottom` to `top` that a transaction from `from` to `to` made ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub top: i16,
    pub bottom: i16,
    pub from: i64,
    pub to: i64,
}

/// The answer to a look at a range of one priority that begins with the transaction `from`: the transaction that made the first execution there ready,
/// or None if nothing is ready there.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub queue: String,
    pub priority: i16,
    pub from: i64,
    pub first: Option<i64>,
}

/// Which transactions a statement sees: those before `next`, except `open`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub next: i64,
    pub open: Vec<i64>,
}

impl Snapshot {
    /// Reads `pg_snapshot` as text: `xmin:xmax:xip,xip`.
    pub fn parse(text: &str) -> Option<Snapshot> {
        let mut parts = text.splitn(3, ':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let open =
            parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Snapshot { next, open })
    }

    /// Whether this transaction may still be under way.
    pub fn is_open(&self, xid: i64) -> bool {
        xid >= self.next || self.open.contains(&xid)
    }
}

/// An execution leased to this worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    pub id: Uuid,
    pub lease: i64,
    pub kind: Kind,
    pub function: String,
    pub queue: String,
    pub priority: i16,
    pub attempt: i32,
    /// Attempts that ended with their worker: they are among `attempt`, and cost no retry.
    pub worker_losses: i32,
    pub args: Vec<u8>,
    pub options: Options,
    pub deadline: Option<Micros>,
    pub parent: Option<Uuid>,
    pub step_key: Option<String>,
    pub root: Uuid,
    pub epoch: i32,
    pub wakes: i64,
    pub started: Micros,
    /// Never ran and never woken: there is no history to load.
    pub fresh: bool,
    pub poison_suspect: bool,
    /// The execution's trace context, if the worker asked for it.
    pub headers: Option<String>,
    /// The transaction that made the execution ready.
    pub ready_xid: i64,
}
