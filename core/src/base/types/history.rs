//! The recorded history of a run.
use uuid::Uuid;

use crate::base::types::moment::Micros;
use crate::base::types::names::{Kind, Status, StepKind};

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
    /// A child; `outcome` (status, payload; no payload if cancelled) once it has ended, `delivered` (seq, clock) once it was delivered to the run.
    /// Without its arguments where only news are asked for.
    Child {
        key: String,
        kind: Kind,
        function: String,
        id: Uuid,
        lease: i64,
        args: Vec<u8>,
        outcome: Option<(Status, Vec<u8>)>,
        delivered: Option<(i64, Micros)>,
        abandoned: bool,
    },
    Step {
        key: String,
        kind: StepKind,
        name: String,
        outcome: Option<(Status, Vec<u8>)>,
        /// The stored verb, or the arguments of a detached start.
        request: Option<Vec<u8>>,
        delivered: Option<(i64, Micros)>,
        due: Option<Micros>,
        abandoned: bool,
    },
    /// A signal that no wait has consumed.
    Signal { name: String, ordinal: i64, payload: Vec<u8> },
    /// A row that this Currant cannot read, and why: the run is incompatible until a worker that can read it has it.
    Unknown(String),
}
