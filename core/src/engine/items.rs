//! Values that cross between the engine and the SDK: `docs/internals/engine.md` is the protocol.
use uuid::Uuid;

use crate::base::types::{Call, Claimed, Micros, NewExecution, Status};

/// One thing for the SDK to do, as `pull` returns it.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Task(Box<Claimed>),
    Run(Box<RunItem>),
    Activate(Activation),
    Evict(Uuid),
    Drop {
        id: Uuid,
        lease: i64,
        reason: String,
    },
    Cancel {
        id: Uuid,
        lease: i64,
        reason: &'static str,
    },
    Stop(String),
    /// For the worker's log.
    Log {
        level: &'static str,
        message: String,
    },
}

/// A workflow to start, or to rebuild from its history.
#[derive(Clone, Debug, PartialEq)]
pub struct RunItem {
    pub claimed: Claimed,
    pub clock: Micros,
    pub records: Vec<Record>,
    pub outcomes: Vec<Activation>,
}

/// A command of this epoch that is in the database. `value`: for versions and side effects. `asked`: what Python compares in a replay
/// (`_workflow/replay_check.py`).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: String,
    /// A kind of execution or of step.
    pub kind: &'static str,
    pub name: String,
    pub value: Option<Vec<u8>>,
    pub asked: Option<Asked>,
    /// Whether the step failed or was cancelled before `currant retry` opened this epoch. It runs again, and the code may have been fixed since, so
    /// it may ask for something else at this step.
    pub retried: bool,
}

/// The request of a recorded command, beside its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The arguments of a child or of a detached start.
    Arguments(Vec<u8>),
    Verb(Verb),
    /// When a timer, or a wait for a signal, is due, or None for never.
    Due(Option<Micros>),
}

/// One outcome for one workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    pub run: Uuid,
    pub key: String,
    pub seq: i64,
    pub clock: Micros,
    pub status: Status,
    pub payload: Vec<u8>,
}

/// A command of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Execute {
        key: String,
        call: Call,
    },
    Detach {
        key: String,
        call: Call,
    },
    Timer {
        key: String,
        due: Micros,
    },
    Signal {
        key: String,
        name: String,
        due: Option<Micros>,
    },
    Cancel {
        key: String,
    },
    Version {
        key: String,
        name: String,
        value: Vec<u8>,
    },
    SideEffect {
        key: String,
        value: Vec<u8>,
    },
    Verb {
        key: String,
        verb: Verb,
    },
    /// New headers of the run itself, a JSON object.
    Headers(String),
    Complete(Vec<u8>),
    /// `retry`: try again if the policy allows it.
    Fail {
        error: Vec<u8>,
        retry: bool,
    },
    Cancelled,
    Hold(Vec<u8>),
}

/// A client's verb made by a workflow: recorded, then done, then its outcome delivered.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    Signal { target: Uuid, name: String, payload: Vec<u8> },
    Cancel { target: Uuid, force: bool },
    Status { target: Uuid },
    Result { target: Uuid },
    Enqueue(Box<NewExecution>),
}

impl Verb {
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Signal { .. } => "signal",
            Verb::Cancel { .. } => "cancel",
            Verb::Status { .. } => "status",
            Verb::Result { .. } => "result",
            Verb::Enqueue(_) => "enqueue",
        }
    }
}

/// A verb to do now: the run that asked under `lease`, its epoch, and the step's key.
#[derive(Clone, Debug, PartialEq)]
pub struct VerbRequest {
    pub run: Uuid,
    pub lease: i64,
    pub epoch: i32,
    pub key: String,
    pub verb: Verb,
}
