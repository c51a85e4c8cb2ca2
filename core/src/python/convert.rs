//! Python's tuples (named in `currant.rust_bridge`) to the core's types.
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyTuple;
use uuid::Uuid;

use crate::base::types::{Call, Kind, NewExecution, Policy};

pub(super) type PolicyTuple = (i32, f64, f64, f64, f64, Vec<String>, i32);
pub(super) type CallTuple =
    (String, String, String, i16, Vec<u8>, PolicyTuple, Option<f64>, Option<f64>, Option<i64>, i32, Option<String>);

pub(super) fn to_id(text: &str) -> PyResult<Uuid> {
    Uuid::parse_str(text).map_err(|_| PyValueError::new_err(format!("not the id of an execution: {text:?}")))
}

pub(super) fn to_policy(
    (max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses): PolicyTuple,
) -> Policy {
    Policy { max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses }
}

pub(super) fn from_policy(policy: &Policy) -> PolicyTuple {
    let Policy { max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses } =
        policy.clone();
    (max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses)
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

/// Most calls of a batch are the same objects but for their arguments: these are translated once.
pub(super) fn to_new_executions(items: &[Bound<'_, PyTuple>]) -> PyResult<Vec<NewExecution>> {
    let mut last = None;
    items.iter().map(|item| new_execution(item, &mut last)).collect()
}

pub(super) fn to_new_execution(item: &Bound<'_, PyTuple>) -> PyResult<NewExecution> {
    new_execution(item, &mut None)
}

/// A call and what it was translated to, without its arguments.
type Translated<'py> = (Bound<'py, PyTuple>, Call);

fn new_execution<'py>(item: &Bound<'py, PyTuple>, last: &mut Option<Translated<'py>>) -> PyResult<NewExecution> {
    let (id, tuple, idempotency_key, checked): (PyBackedStr, Bound<'_, PyTuple>, _, _) = item.extract()?;
    let call = match last {
        Some((other, call)) if alike(&tuple, other)? => {
            Call { args: tuple.get_borrowed_item(ARGS)?.extract()?, ..call.clone() }
        }
        _ => {
            let call = to_call(tuple.extract()?)?;
            *last = Some((tuple, Call { args: Vec::new(), ..call.clone() }));
            call
        }
    };
    Ok(NewExecution { id: to_id(&id)?, call, idempotency_key, checked })
}

/// The place of the arguments in `CallTuple`.
const ARGS: usize = 4;

fn alike(call: &Bound<'_, PyTuple>, other: &Bound<'_, PyTuple>) -> PyResult<bool> {
    if call.len() != other.len() {
        return Ok(false);
    }
    for place in (0..call.len()).filter(|place| *place != ARGS) {
        if !call.get_borrowed_item(place)?.is(other.get_borrowed_item(place)?) {
            return Ok(false);
        }
    }
    Ok(true)
}
