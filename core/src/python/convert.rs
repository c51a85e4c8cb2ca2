//! Python's tuples (named in `currant.rust_bridge`) to the core's types.
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use uuid::Uuid;

use crate::types::{Call, Kind, NewExecution, Policy};

pub(super) type PolicyTuple = (i32, f64, f64, f64, f64, Vec<String>);
pub(super) type CallTuple =
    (String, String, String, i16, Vec<u8>, PolicyTuple, Option<f64>, Option<f64>, Option<i64>, i32, Option<String>);
pub(super) type NewExecutionTuple = (String, CallTuple, Option<String>, Option<String>);

pub(super) fn to_id(text: &str) -> PyResult<Uuid> {
    Uuid::parse_str(text).map_err(|_| PyValueError::new_err(format!("not the id of an execution: {text:?}")))
}

pub(super) fn to_policy((max_attempts, initial, multiplier, max_delay, jitter, non_retryable): PolicyTuple) -> Policy {
    Policy { max_attempts, initial, multiplier, max_delay, jitter, non_retryable }
}

pub(super) fn from_policy(policy: &Policy) -> PolicyTuple {
    let Policy { max_attempts, initial, multiplier, max_delay, jitter, non_retryable } = policy.clone();
    (max_attempts, initial, multiplier, max_delay, jitter, non_retryable)
}

pub(super) fn to_call(tuple: CallTuple) -> PyResult<Call> {
    let (kind, function, queue, priority, args, policy, timeout, delay, run_at, given, headers) = tuple;
    let kind = match kind.as_str() {
        "task" => Kind::Task,
        "workflow" => Kind::Workflow,
        other => return Err(PyValueError::new_err(format!("kind must be 'task' or 'workflow', not {other:?}"))),
    };
    Ok(Call {
        kind,
        function,
        queue,
        priority,
        args,
        policy: to_policy(policy),
        timeout,
        delay,
        run_at,
        given,
        headers,
    })
}

pub(super) fn to_new_execution(tuple: NewExecutionTuple) -> PyResult<NewExecution> {
    let (id, call, idempotency_key, checked) = tuple;
    Ok(NewExecution { id: to_id(&id)?, call: to_call(call)?, idempotency_key, checked })
}
