//! The writes of one transaction of a worker, and the answer.
use uuid::Uuid;

use crate::base::types::call::Call;
use crate::base::types::claim::{Claimed, Look, Snapshot};
use crate::base::types::moment::Micros;
use crate::base::types::names::{Action, Kind, Status, StepKind};
use crate::base::types::wakes::Wakes;

/// The writes of one transaction: the arguments of `currant.commit_batch`, which says what each part means.
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
    /// When it is due: the engine has resolved `call.delay` and `call.run_at`.
    pub run_at: Option<Micros>,
    /// Whether it is inserted as claimed already by this worker, under lease 1.
    pub eager: bool,
}

/// A step that is not an execution. With `status`, `seq` and `clock` it is recorded as delivered already.
#[derive(Clone, Debug, PartialEq)]
pub struct NewStep {
    pub run: Uuid,
    pub epoch: i32,
    pub key: String,
    pub kind: StepKind,
    pub name: String,
    pub due: Option<Micros>,
    pub after_seq: i64,
    pub status: Option<Status>,
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
    pub status: Status,
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

/// The change of an execution of this worker. `delivered`: the run that got its outcome in the same commit, with the outcome's `seq` and clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub id: Uuid,
    pub action: Action,
    pub payload: Option<Vec<u8>>,
    pub due: Option<Micros>,
    /// For `Suspend`: the wakes this worker has seen. The run is pending at once if there were more.
    pub wakes: Option<i64>,
    pub delivered: Option<(Uuid, i64, Micros)>,
    /// Whether the outcome is known to be a task's whose parent, if any, is among the batch's `parents`. If not, the database finds out.
    pub of_task: bool,
}

impl Outcome {
    /// An outcome with nothing but its id, lease and action.
    pub fn new(id: Uuid, action: Action, payload: Option<Vec<u8>>) -> Outcome {
        Outcome { id, action, payload, due: None, wakes: None, delivered: None, of_task: false }
    }
}

/// A step that the run no longer waits for. If `abandon` is false, its child is cancelled and the outcome is still delivered.
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

/// The answer to a batch. For the refused executions this worker had no lease any more; nothing of them was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchReply {
    pub refused: Vec<Uuid>,
    /// Children that were to start here and are pending instead, because the definition of their function says so.
    pub postponed: Vec<Uuid>,
    pub wakes: Wakes,
    pub claimed: Vec<Claimed>,
    /// How long it took to find what is claimed, if that was long.
    pub slow: Option<Micros>,
    pub looks: Vec<Look>,
    /// The snapshot by which `looks` are so.
    pub snapshot: Option<Snapshot>,
}
