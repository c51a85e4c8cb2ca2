//! A durable call, and the enqueue of one.
use uuid::Uuid;

use crate::base::limits::DEFAULT_MAX_WORKER_LOSSES;
use crate::base::types::moment::Micros;
use crate::base::types::names::Kind;

/// When a failed attempt is tried again. Durations in seconds; `non_retryable` has names of exception classes.
///
/// An attempt that is lost with its worker is no failed attempt: `max_attempts` does not count it. `max_worker_losses` is the allowed number
/// of lost workers of which only this execution can be the cause; the next such loss fails it as `WorkerLost`. With 0 the execution fails when
/// any worker is lost that has claimed it, and a task also when a worker that stops would hand it back after it has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub max_attempts: i32,
    pub initial: f64,
    pub multiplier: f64,
    pub max_delay: f64,
    pub jitter: f64,
    pub non_retryable: Vec<String>,
    pub max_worker_losses: i32,
}

impl Default for Policy {
    /// The policy of `Retry()` in the SDK.
    fn default() -> Policy {
        Policy {
            max_attempts: 4,
            initial: 1.0,
            multiplier: 2.0,
            max_delay: 300.0,
            jitter: 0.1,
            non_retryable: Vec::new(),
            max_worker_losses: DEFAULT_MAX_WORKER_LOSSES,
        }
    }
}

impl Policy {
    /// `non_retryable` as a JSON array.
    pub(crate) fn names_as_json(&self) -> String {
        if self.non_retryable.is_empty() { "[]".into() } else { serde_json::json!(self.non_retryable).to_string() }
    }
}

/// The options that the caller itself chose, as bits of `Call::given`: they outrank the definition of the function.
pub const GIVEN_QUEUE: i32 = 1;

pub const GIVEN_PRIORITY: i32 = 2;

pub const GIVEN_TIMEOUT: i32 = 4;

pub const GIVEN_RETRY: i32 = 8;

pub const GIVEN_MAX_WORKER_LOSSES: i32 = 16;

/// One durable call. `delay` is in seconds. For what is not `given` the definition of the function, if any, outranks the call.
#[derive(Clone, Debug, PartialEq)]
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
    pub given: i32,
    /// The caller's trace context, a JSON object.
    pub headers: Option<String>,
}

impl Call {
    /// A call of priority 5 that is due at once, with the default policy; nothing is said by the caller itself.
    pub fn new(kind: Kind, function: &str, queue: &str, args: &[u8]) -> Call {
        Call {
            kind,
            function: function.into(),
            queue: queue.into(),
            priority: 5,
            args: args.into(),
            policy: Policy::default(),
            timeout: None,
            delay: None,
            run_at: None,
            given: 0,
            headers: None,
        }
    }
}

/// An enqueue by a client, which made its id. `checked`: the hash of the input schema that the arguments were checked against, empty
/// if the function has no schema, or None if no check is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct NewExecution {
    pub id: Uuid,
    pub call: Call,
    pub idempotency_key: Option<String>,
    pub checked: Option<String>,
}

/// The result of an enqueue.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The id (where another execution has the idempotency key: the id of that), and the queue of a new execution.
    Stored { id: Uuid, queue: Option<String> },
    /// The execution is not stored, because its arguments were not checked against this schema (JSON).
    Unchecked { hash: String, schema: String },
}
