//! `currant._core.Engine`: translation of `engine::Engine`, see `docs/internals/engine.md`.
use std::sync::Arc;
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::convert::{to_id, to_new_execution};
use super::core::Core;
use super::errors::to_python;
use super::mailbox::{Reply, answer};
use super::values::FromPython;
use crate::base::ids::new_id;
use crate::base::types::{Call, Claimed, Pod, WorkerInfo};
use crate::engine::Engine;
use crate::engine::decide::config::Config;
use crate::engine::items::{Activation, Asked, Command, Item, Record, RunItem, Verb};

#[pyclass(name = "Engine", module = "currant._core", frozen)]
pub struct PyEngine {
    engine: Arc<Engine>,
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (core, name, queues, tasks, workflows, functions, build, concurrency, heartbeat_interval, heartbeat_timeout,
        poll_interval, max_hot = 10_000, long_wait = 300.0, http_port = None, pool = None, pod_name = None, pod_uid = None,
        tracing = false))]
    #[allow(clippy::too_many_arguments)] // the constructor's keywords in Python
    fn new(
        core: &Core,
        name: String,
        queues: Vec<String>,
        tasks: Vec<String>,
        workflows: Vec<String>,
        functions: String,
        build: String,
        concurrency: i32,
        heartbeat_interval: f64,
        heartbeat_timeout: f64,
        poll_interval: f64,
        max_hot: usize,
        long_wait: f64,
        http_port: Option<u16>,
        pool: Option<String>,
        pod_name: Option<String>,
        pod_uid: Option<String>,
        tracing: bool,
    ) -> PyResult<PyEngine> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let pid = std::process::id() as i32;
        let timeout = heartbeat_timeout;
        let pod = Pod { pool, name: pod_name, uid: pod_uid };
        let id = new_id();
        let info =
            WorkerInfo { id, name, host, pid, build, queues, tasks, workflows, functions, concurrency, timeout, pod };
        let config = Config { info, heartbeat_interval, poll_interval, max_hot, long_wait, http_port, tracing };
        let engine = Engine::new(core.client()?, config).map_err(to_python)?;
        Ok(PyEngine { engine: Arc::new(engine) })
    }

    #[getter]
    fn worker_id(&self) -> String {
        self.engine.worker_id().to_string()
    }

    fn start(&self) -> PyResult<()> {
        self.engine.start().map_err(to_python)
    }

    fn fileno(&self) -> i32 {
        self.engine.fileno()
    }

    fn pull<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let items = self.engine.pull(limit);
        let items: PyResult<Vec<_>> = items.into_iter().map(|item| item_tuple(py, item)).collect();
        PyList::new(py, items?)
    }

    fn complete<'py>(
        &self,
        py: Python<'py>,
        id: &str,
        lease: i64,
        payload: &[u8],
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let next = self.engine.complete(to_id(id)?, lease, payload.to_vec());
        next.map(|next| activation_tuple(py, next)).transpose()
    }

    fn fail<'py>(
        &self,
        py: Python<'py>,
        id: &str,
        lease: i64,
        error: &[u8],
        retryable: bool,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let next = self.engine.fail(to_id(id)?, lease, error.to_vec(), retryable);
        next.map(|next| activation_tuple(py, next)).transpose()
    }

    fn release(&self, id: &str, lease: i64) -> PyResult<()> {
        self.engine.release(to_id(id)?, lease);
        Ok(())
    }

    fn commands<'py>(
        &self,
        py: Python<'py>,
        run_id: &str,
        lease: i64,
        commands: Vec<Bound<'py, PyTuple>>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let commands: PyResult<Vec<Command>> = commands.iter().map(to_command).collect();
        let next = self.engine.commands(to_id(run_id)?, lease, commands?);
        next.map(|next| activation_tuple(py, next)).transpose()
    }

    fn suspended(&self, run_id: &str, lease: i64) -> PyResult<()> {
        self.engine.suspended(to_id(run_id)?, lease);
        Ok(())
    }

    fn drain(&self) {
        self.engine.drain();
    }

    #[pyo3(signature = (timeout, reply = None))]
    fn stop(&self, py: Python<'_>, timeout: f64, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        let engine = self.engine.clone();
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        answer(py, reply, async move { engine.stop(timeout).await })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        for (name, value) in self.engine.stats() {
            stats.set_item(name, value)?;
        }
        Ok(stats)
    }
}

fn item_tuple<'py>(py: Python<'py>, item: Item) -> PyResult<Bound<'py, PyTuple>> {
    match item {
        Item::Task(claimed) => task_tuple(py, &claimed),
        Item::Run(run) => run_tuple(py, *run),
        Item::Activate(next) => {
            let payload = PyBytes::new(py, &next.payload);
            ("activate", next.run.to_string(), next.key, next.seq, next.clock, next.status, payload).into_pyobject(py)
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
        task.timeout,
        &task.policy.non_retryable,
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

type RecordTuple<'py> = (String, String, String, Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyAny>>, bool);

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

type OutcomeTuple<'py> = (String, i64, i64, String, Bound<'py, PyBytes>);

fn outcome_tuple(py: Python<'_>, outcome: Activation) -> OutcomeTuple<'_> {
    (outcome.key, outcome.seq, outcome.clock, outcome.status, PyBytes::new(py, &outcome.payload))
}

fn activation_tuple(py: Python<'_>, next: Activation) -> PyResult<Bound<'_, PyTuple>> {
    let payload = PyBytes::new(py, &next.payload);
    (next.run.to_string(), next.key, next.seq, next.clock, next.status, payload).into_pyobject(py)
}

fn field<'a, 'py, T>(command: &'a Bound<'py, PyTuple>, place: usize) -> PyResult<T>
where
    T: for<'b> FromPyObjectOwned<'py>,
{
    command.get_item(place)?.extract::<T>().map_err(Into::into)
}

fn to_command(command: &Bound<'_, PyTuple>) -> PyResult<Command> {
    let name: String = field(command, 0)?;
    Ok(match name.as_str() {
        "execute" => Command::Execute { key: field(command, 1)?, call: Call::from_python(&command.get_item(2)?)? },
        "detach" => Command::Detach { key: field(command, 1)?, call: Call::from_python(&command.get_item(2)?)? },
        "timer" => Command::Timer { key: field(command, 1)?, due: field(command, 2)? },
        "signal" => Command::Signal { key: field(command, 1)?, name: field(command, 2)?, due: field(command, 3)? },
        "cancel" => Command::Cancel { key: field(command, 1)? },
        "version" => Command::Version { key: field(command, 1)?, name: field(command, 2)?, value: field(command, 3)? },
        "side_effect" => Command::SideEffect { key: field(command, 1)?, value: field(command, 2)? },
        "verb" => Command::Verb { key: field(command, 1)?, verb: to_verb(command)? },
        "enqueue" => {
            let execution = to_new_execution(&field(command, 2)?)?;
            Command::Verb { key: field(command, 1)?, verb: Verb::Enqueue(Box::new(execution)) }
        }
        "headers" => Command::Headers(field(command, 1)?),
        "complete" => Command::Complete(field(command, 1)?),
        "fail" => Command::Fail { error: field(command, 1)?, retry: command.len() < 3 || field::<bool>(command, 2)? },
        "cancelled" => Command::Cancelled,
        "hold" => Command::Hold(field(command, 1)?),
        other => return Err(PyValueError::new_err(format!("unknown command {other:?}"))),
    })
}

fn to_verb(command: &Bound<'_, PyTuple>) -> PyResult<Verb> {
    let target = to_id(&field::<String>(command, 3)?)?;
    let verb: String = field(command, 2)?;
    Ok(match verb.as_str() {
        "signal" => Verb::Signal { target, name: field(command, 4)?, payload: field(command, 5)? },
        "cancel" => Verb::Cancel { target, force: field::<Vec<u8>>(command, 5)? == b"true" },
        "status" => Verb::Status { target },
        "result" => Verb::Result { target },
        other => return Err(PyValueError::new_err(format!("unknown verb {other:?}"))),
    })
}
