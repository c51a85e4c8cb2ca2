//! What the layers pass to each other. The names are explained in docs/internals/words.md: execution, step, lease, epoch, seq, clock.
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::limits::DEFAULT_MAX_WORKER_LOSSES;

/// A moment by the server's clock: microseconds since 1970, UTC.
pub type Micros = i64;

fn default_max_worker_losses() -> i32 {
    DEFAULT_MAX_WORKER_LOSSES
}

/// When a failed attempt is tried again. Durations in seconds; `non_retryable` holds names of exception classes.
///
/// An attempt that ends with its worker is no failed attempt: `max_attempts` does not count it. So many workers may be lost of which only
/// this execution can be the cause; 0: it is not started again after any worker is lost (at most once).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub max_attempts: i32,
    pub initial: f64,
    pub multiplier: f64,
    pub max_delay: f64,
    pub jitter: f64,
    pub non_retryable: Vec<String>,
    #[serde(default = "default_max_worker_losses")]
    pub max_worker_losses: i32,
}

impl Policy {
    /// `non_retryable` as a JSON array.
    pub(crate) fn names_as_json(&self) -> String {
        if self.non_retryable.is_empty() { "[]".into() } else { serde_json::json!(self.non_retryable).to_string() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Task,
    Workflow,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Task => "task",
            Kind::Workflow => "workflow",
        }
    }
}

/// What a call was given itself, as bits of `Call::given`: it outranks the definition of its function.
pub const GIVEN_QUEUE: i32 = 1;
pub const GIVEN_PRIORITY: i32 = 2;
pub const GIVEN_TIMEOUT: i32 = 4;
pub const GIVEN_RETRY: i32 = 8;
pub const GIVEN_MAX_WORKER_LOSSES: i32 = 16;

/// One durable call. `delay` is in seconds. What is not `given` is overruled by the definition of its function, if there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub kind: Kind,
    pub function: String,
    pub queue: String,
    pub priority: i16,
    pub args: Vec<u8>,
    pub policy: Policy,
    pub timeout: Option<f64>,
    pub delay: Option<f64>,
    pub run_at: Option<Micros>,
    #[serde(default)]
    pub given: i32,
    /// The caller's trace context, a JSON object.
    #[serde(default)]
    pub headers: Option<String>,
}

/// An enqueue by a client, which made its id. `checked`: the hash of the input schema that the arguments were checked against, empty for
/// none; None: no check is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewExecution {
    pub id: Uuid,
    pub call: Call,
    pub idempotency_key: Option<String>,
    #[serde(default)]
    pub checked: Option<String>,
}

/// What became of an enqueue.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The effective id (the winner's of an idempotency key), and the queue that a new one went to.
    Stored { id: Uuid, queue: Option<String> },
    /// Nothing is stored: its arguments were not checked against this schema, JSON.
    Unchecked { hash: String, schema: String },
}

/// What a worker writes in one transaction: the arguments of `currant.commit_batch`, which says what each part means.
/// The writes of several runs merge by `Batch::merge`; each carries its own fences, so one refused run does not harm another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// (execution, lease): the leases these writes are made under. A refused one takes all of its run's writes with it.
    pub fences: Vec<(Uuid, i64)>,
    /// Runs that wait for an execution which ends here: locked in order, perhaps woken.
    pub parents: Vec<Uuid>,
    pub children: Vec<NewChild>,
    pub steps: Vec<NewStep>,
    pub step_outcomes: Vec<StepOutcome>,
    pub deliveries: Vec<Delivery>,
    pub outcomes: Vec<Outcome>,
    pub abandoned: Vec<Abandoned>,
    /// Runs that made progress under their present lease.
    pub progressed: Vec<Uuid>,
    /// New headers of executions of ours, JSON objects.
    pub headers: Vec<(Uuid, String)>,
}

/// A child or (no parent) detached execution that `run` starts.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChild {
    pub run: Uuid,
    pub id: Uuid,
    pub root: Uuid,
    pub parent: Option<Uuid>,
    pub epoch: i32,
    pub key: String,
    pub after_seq: i64,
    pub call: Call,
    /// Due then; the engine has resolved `call.delay` and `call.run_at`.
    pub run_at: Option<Micros>,
    /// Inserted as already claimed by this worker, under lease 1.
    pub eager: bool,
}

/// A step that is not an execution. With `status`, `seq` and `clock` it is recorded as delivered already.
#[derive(Clone, Debug, PartialEq)]
pub struct NewStep {
    pub run: Uuid,
    pub epoch: i32,
    pub key: String,
    pub kind: &'static str,
    pub name: String,
    pub due: Option<Micros>,
    pub after_seq: i64,
    pub status: Option<&'static str>,
    pub payload: Option<Vec<u8>>,
    pub seq: Option<i64>,
    pub clock: Option<Micros>,
}

/// The outcome of a step recorded before; `ordinal` is the signal it consumes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    pub run: Uuid,
    pub epoch: i32,
    pub key: String,
    pub status: &'static str,
    pub payload: Option<Vec<u8>>,
    pub seq: i64,
    pub clock: Micros,
    pub ordinal: Option<i64>,
}

/// The outcome of child `id`, recorded earlier, was delivered to `run` as number `seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub run: Uuid,
    pub id: Uuid,
    pub seq: i64,
    pub clock: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Complete,
    Fail,
    Cancel,
    Retry,
    Handback,
    Suspend,
    Hold,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Complete => "complete",
            Action::Fail => "fail",
            Action::Cancel => "cancel",
            Action::Retry => "retry",
            Action::Handback => "handback",
            Action::Suspend => "suspend",
            Action::Hold => "hold",
        }
    }
}

/// What becomes of an execution of this worker. `delivered` says to which run it was handed in the same commit, and how numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub id: Uuid,
    pub action: Action,
    pub payload: Option<Vec<u8>>,
    pub due: Option<Micros>,
    /// For `Suspend`: the wakes this worker has seen. The run is pending at once if there were more.
    pub wakes: Option<i64>,
    pub delivered: Option<(Uuid, i64, Micros)>,
    /// Of a task whose parent, if it has one, is among the batch's `parents`. False: the database looks up what it is of.
    pub of_task: bool,
}

impl Outcome {
    /// One that nothing more is known of.
    pub fn new(id: Uuid, action: Action, payload: Option<Vec<u8>>) -> Outcome {
        Outcome { id, action, payload, due: None, wakes: None, delivered: None, of_task: false }
    }
}

/// A step no longer waited for. `abandon` false: its child is cancelled, its outcome is still delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    pub run: Uuid,
    pub epoch: i32,
    pub key: String,
    pub seq: i64,
    pub abandon: bool,
}

/// All that a commit writes for a run that goes one step further: a task that ended and was handed to it, and the next one, started here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextStep<'a> {
    pub run: (Uuid, i64),
    pub seq: i64,
    pub clock: Micros,
    pub ended: (Uuid, i64),
    pub completed: bool,
    pub payload: Option<&'a [u8]>,
    pub child: &'a NewChild,
}

impl Batch {
    /// This batch as the next step of one run, if it is nothing else: `currant.commit_step` is for that.
    pub fn as_next_step(&self) -> Option<NextStep<'_>> {
        let ([ended, run], [child], [outcome]) =
            (self.fences.as_slice(), self.children.as_slice(), self.outcomes.as_slice())
        else {
            return None;
        };
        let (id, seq, clock) = outcome.delivered?;
        let completed = outcome.action == Action::Complete;
        let fits = (completed || outcome.action == Action::Fail)
            && (outcome.id, id) == (ended.0, run.0)
            && self.parents == [id]
            && (child.parent, child.after_seq, child.eager) == (Some(id), seq, true)
            && child.call.kind == Kind::Task
            && child.call.headers.is_none();
        let nothing_else = self.steps.is_empty()
            && self.step_outcomes.is_empty()
            && self.deliveries.is_empty()
            && self.abandoned.is_empty()
            && self.progressed.is_empty()
            && self.headers.is_empty();
        let payload = outcome.payload.as_deref();
        (fits && nothing_else).then_some(NextStep { run: *run, seq, clock, ended: *ended, completed, payload, child })
    }

    pub fn merge(&mut self, other: Batch) {
        self.fences.extend(other.fences);
        self.parents.extend(other.parents);
        self.children.extend(other.children);
        self.steps.extend(other.steps);
        self.step_outcomes.extend(other.step_outcomes);
        self.deliveries.extend(other.deliveries);
        self.outcomes.extend(other.outcomes);
        self.abandoned.extend(other.abandoned);
        self.progressed.extend(other.progressed);
        self.headers.extend(other.headers);
    }
}

/// Refill the claim buffer: up to `limit` ready executions of these queues, in turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimRequest {
    pub queues: Vec<String>,
    pub limit: i32,
    /// Also one poison suspect; asked for by a worker with nothing of that kind in hand.
    pub poison_suspect: bool,
    /// With the headers of what is claimed.
    pub headers: bool,
    /// Where to go on; None: from the start.
    pub cursors: Option<ClaimCursors>,
}

/// How far earlier claims have looked: (xid, id) of each priority of each queue in turn, and with the place of the cursor the
/// transactions that were open then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimCursors {
    pub xids: Vec<i64>,
    pub ids: Vec<Uuid>,
    pub open: Vec<(i32, i64)>,
}

/// Which transactions a statement sees: those before `next`, but for `open`.
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
    pub timeout: Option<f64>,
    pub deadline: Option<Micros>,
    pub policy: Policy,
    pub parent: Option<Uuid>,
    pub step_key: Option<String>,
    pub root: Uuid,
    pub epoch: i32,
    pub wakes: i64,
    pub started: Micros,
    /// Never ran and never woken: there is no history to load.
    pub fresh: bool,
    pub poison_suspect: bool,
    /// Its trace context, if the worker asked for it.
    pub headers: Option<String>,
    /// The transaction that made it ready.
    pub ready_xid: i64,
}

/// Whom to wake once a write is committed: workers that sleep on these queues, and (worker, execution) pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wakes {
    pub queues: Vec<String>,
    pub workers: Vec<(Uuid, Uuid)>,
    /// The first of the transactions that made something ready in `queues`; None: not known.
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

/// The answer to a batch. Refused executions were not ours any more; nothing of them was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchReply {
    pub refused: Vec<Uuid>,
    /// Children that were to start here and are pending instead, since the definition of their function says so.
    pub postponed: Vec<Uuid>,
    pub wakes: Wakes,
    pub claimed: Vec<Claimed>,
    /// How long the claim took, if that was long for what it claimed.
    pub slow: Option<Micros>,
    /// Taken before a claim with cursors.
    pub snapshot: Option<Snapshot>,
    /// The batch is written, but the claim after it was not made: another time.
    pub unclaimed: bool,
}

/// One row of a run's history (`currant.load_runs`).
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    pub run: Uuid,
    pub source: HistorySource,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HistorySource {
    /// The run itself: the wakes these rows answer, its lease.
    Run { wakes: i64, lease: i64, deadline: Option<Micros>, cancel_requested: bool },
    /// A child; `outcome` (status, payload; no payload if cancelled) once it has ended, `delivered` (seq, clock) once the run was told.
    /// Without its arguments where only news are asked for.
    Child {
        key: String,
        kind: Kind,
        function: String,
        id: Uuid,
        lease: i64,
        args: Vec<u8>,
        outcome: Option<(String, Vec<u8>)>,
        delivered: Option<(i64, Micros)>,
        abandoned: bool,
    },
    Step {
        key: String,
        kind: String,
        name: String,
        outcome: Option<(String, Vec<u8>)>,
        /// What a verb was asked to do, or the arguments of a detached start.
        request: Option<Vec<u8>>,
        delivered: Option<(i64, Micros)>,
        due: Option<Micros>,
        abandoned: bool,
    },
    /// A signal that no wait has consumed.
    Signal { name: String, ordinal: i64, payload: Vec<u8> },
}

/// What a worker says of itself.
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
    /// What its code says of them, a JSON array of the rows of `currant.functions`: for enqueues that come without it.
    pub functions: String,
    pub concurrency: i32,
    /// Seconds without a heartbeat after which it is dead.
    pub timeout: f64,
    pub pod: Pod,
}

/// Where in Kubernetes a worker runs; all None elsewhere. A new worker of the same `uid` ends the earlier one.
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
    /// False: another worker declared this one dead; nothing it holds is its own any more.
    pub known: bool,
    pub now: Micros,
    pub ready: bool,
    pub next_due: Option<Micros>,
    /// Workers whose heartbeat is overdue.
    pub dead: Vec<Uuid>,
    /// When the next schedule is to be looked at.
    pub next_schedule: Option<Micros>,
    /// Runs past their retention are to be looked for.
    pub sweep_due: bool,
    /// Whoever sizes the fleet wants this worker to take nothing more.
    pub drain: bool,
    /// (execution, lease, wakes) that the database believes to run here.
    pub running: Vec<(Uuid, i64, i64)>,
}

/// What firing came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fired {
    /// Schedules that were looked at.
    pub taken: usize,
    /// Runs that were started.
    pub started: u64,
    /// One line for each schedule that could not be fired; it is tried again.
    pub problems: Vec<String>,
}
