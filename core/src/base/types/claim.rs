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
    /// Where to go on, or None for the start.
    pub cursors: Option<ClaimCursors>,
}

/// How far earlier claims have read: (xid, id) of each priority of each queue in turn, and with the place of the cursor the
/// transactions that were open then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimCursors {
    pub xids: Vec<i64>,
    pub ids: Vec<Uuid>,
    pub open: Vec<(i32, i64)>,
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
