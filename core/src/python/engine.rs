//! `currant._core.Engine`: translation of `engine::Engine`, see `docs/internals/engine.md`.
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::commands::to_command;
use super::core::Core;
use super::errors::to_python;
use super::items::{activation_tuple, item_tuple};
use super::mailbox::{Reply, answer};
use super::values::to_id;
use crate::base::ids::new_id;
use crate::base::types::{Pod, WorkerInfo};
use crate::engine::Engine;
use crate::engine::decide::config::Config;
use crate::engine::items::Command;

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
