//! Items for the worker, as the tuples that `Engine.pull` returns. `docs/internals/engine.md` lists them.
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::base::types::Claimed;
use crate::engine::items::{Activation, Asked, Item, Record, RunItem, Verb};

pub(super) fn item_tuple<'py>(py: Python<'py>, item: Item) -> PyResult<Bound<'py, PyTuple>> {
    match item {
        Item::Task(claimed) => task_tuple(py, &claimed),
        Item::Run(run) => run_tuple(py, *run),
        Item::Activate(next) => {
            let payload = PyBytes::new(py, &next.payload);
            ("activate", next.run.to_string(), next.key, next.seq, next.clock, next.status.as_str(), payload)
                .into_pyobject(py)
        }
        Item::Evict(run) => ("evict", run.to_string()).into_pyobject(py),
        Item::Drop { id, lease, reason } => ("drop", id.to_string(), lease, reason).into_pyobject(py),
        Item::Cancel { id, lease, reason } => ("cancel", id.to_string(), lease, reason).into_pyobject(py),
        Item::Stop(reason) => ("stop", reason).into_pyobject(py),
        Item::Log { level, message } => ("log", level, message).into_pyobject(py),
    }
}

fn task_tuple<'py>(py: Python<'py>, task: &Claimed) -> PyResult<Bound<'py, PyTuple>> {
    (
        "task",
        task.id.to_string(),
        task.lease,
        task.attempt,
        &task.function,
        &task.queue,
        task.parent.map(|parent| parent.to_string()),
        PyBytes::new(py, &task.args),
        task.options.timeout,
        &task.options.retry.non_retryable,
        &task.headers,
    )
        .into_pyobject(py)
}

fn run_tuple(py: Python<'_>, run: RunItem) -> PyResult<Bound<'_, PyTuple>> {
    let records: PyResult<Vec<_>> = run.records.into_iter().map(|record| record_tuple(py, record)).collect();
    let outcomes: Vec<_> = run.outcomes.into_iter().map(|outcome| outcome_tuple(py, outcome)).collect();
    let claimed = &run.claimed;
    (
        "run",
        claimed.id.to_string(),
        claimed.lease,
        claimed.attempt,
        &claimed.function,
        &claimed.queue,
        PyBytes::new(py, &claimed.args),
        run.clock,
        records?,
        outcomes,
        &claimed.headers,
    )
        .into_pyobject(py)
}

type RecordTuple<'py> = (String, &'static str, String, Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyAny>>, bool);

fn record_tuple(py: Python<'_>, record: Record) -> PyResult<RecordTuple<'_>> {
    let value = record.value.map(|value| PyBytes::new(py, &value));
    let asked = record.asked.map(|asked| asked_object(py, asked)).transpose()?;
    Ok((record.key, record.kind, record.name, value, asked, record.retried))
}

fn asked_object(py: Python<'_>, asked: Asked) -> PyResult<Bound<'_, PyAny>> {
    let verb = match asked {
        Asked::Arguments(args) => return Ok(PyBytes::new(py, &args).into_any()),
        Asked::Due(due) => return due.into_bound_py_any(py),
        Asked::Verb(verb) => verb,
    };
    let (about, name, payload) = match verb {
        Verb::Signal { target, name, payload } => (target.to_string(), name, payload),
        Verb::Cancel { target, force } => (target.to_string(), String::new(), force.to_string().into_bytes()),
        Verb::Status { target } | Verb::Result { target } => (target.to_string(), String::new(), b"null".to_vec()),
        Verb::Enqueue(new) => (new.call.function, new.idempotency_key.unwrap_or_default(), new.call.args),
    };
    (about, name, PyBytes::new(py, &payload)).into_bound_py_any(py)
}

type OutcomeTuple<'py> = (String, i64, i64, &'static str, Bound<'py, PyBytes>);

fn outcome_tuple(py: Python<'_>, outcome: Activation) -> OutcomeTuple<'_> {
    (outcome.key, outcome.seq, outcome.clock, outcome.status.as_str(), PyBytes::new(py, &outcome.payload))
}

pub(super) fn activation_tuple(py: Python<'_>, next: Activation) -> PyResult<Bound<'_, PyTuple>> {
    let payload = PyBytes::new(py, &next.payload);
    (next.run.to_string(), next.key, next.seq, next.clock, next.status.as_str(), payload).into_pyobject(py)
}
