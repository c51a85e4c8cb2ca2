//! The Python class `currant._core.Core`: a method converts its arguments, calls `client::Client`, and converts the answer. See
//! `docs/internals/engine.md`.
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::convert::to_new_executions;
use super::errors::to_python;
use super::mailbox::{Reply, answer};
use super::values::ToPython;
use super::values::to_id;
use crate::base::error::Error;
use crate::base::runtime;
use crate::client::Client;
use crate::client::verbs::Verb;
use crate::store::baseline;

#[pyclass(module = "currant._core", frozen)]
pub struct Core {
    url: String,
    /// None only while the object is dropped.
    client: Option<Client>,
    generation: usize,
}

impl Drop for Core {
    fn drop(&mut self) {
        // In the child of a fork the pool's connections and tasks are the parent's: they are left alone.
        if self.generation != runtime::generation() {
            std::mem::forget(self.client.take());
        }
    }
}

impl Core {
    /// The client, in the process that it was made in.
    pub(super) fn client(&self) -> PyResult<Client> {
        let client = self.client.as_ref().filter(|_| self.generation == runtime::generation());
        client
            .cloned()
            .ok_or_else(|| to_python(Error::Other("this Core belongs to the parent process: make a new one".into())))
    }

    /// Calls a verb. The type of its answer decides how that becomes a Python value.
    pub(super) fn ask<V>(&self, py: Python<'_>, reply: Option<Reply>, verb: V) -> PyResult<Py<PyAny>>
    where
        V: Verb + 'static,
        V::Answer: ToPython,
    {
        let client = self.client()?;
        answer(py, reply, async move { client.ask(verb).await })
    }
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (url, max_connections = 4))]
    fn new(url: String, max_connections: u32) -> PyResult<Core> {
        let client = Client::new(&url, max_connections).map_err(to_python)?;
        Ok(Core { url, client: Some(client), generation: runtime::generation() })
    }

    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// Closes the connections in the background, when the operations that are running have ended. A call after this one raises an error.
    fn close(&self) {
        if let Ok(client) = self.client() {
            runtime::handle().spawn(async move { client.close().await });
        }
    }

    #[pyo3(signature = (items, reply = None))]
    fn create_executions(
        &self,
        py: Python<'_>,
        items: Vec<Bound<'_, PyTuple>>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let (client, items) = (self.client()?, to_new_executions(&items)?);
        answer(py, reply, async move { client.create_executions(items).await })
    }

    #[pyo3(signature = (id, timeout = None, reply = None))]
    fn wait_execution(
        &self,
        py: Python<'_>,
        id: &str,
        timeout: Option<f64>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let (client, id) = (self.client()?, to_id(id)?);
        answer(py, reply, async move {
            let status = client.wait_execution(id, timeout).await?;
            Ok((status.state, status.payload))
        })
    }

    #[pyo3(signature = (queues, seconds, reply = None))]
    fn wait_for_work(
        &self,
        py: Python<'_>,
        queues: Vec<String>,
        seconds: f64,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        answer(py, reply, async move { client.wait_for_work(queues, seconds).await })
    }

    #[pyo3(signature = (id, name, payload, dedup_key = None, reply = None))]
    fn send_signal(
        &self,
        py: Python<'_>,
        id: &str,
        name: String,
        payload: Vec<u8>,
        dedup_key: Option<String>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let (client, id) = (self.client()?, to_id(id)?);
        answer(py, reply, async move { client.send_signal(id, name, payload, dedup_key).await })
    }

    /// One part of `currant bench`: JSON in, JSON out.
    #[pyo3(signature = (part, reply = None))]
    fn selftest(&self, py: Python<'_>, part: String, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        answer(py, reply, async move { baseline::run(client.target(), &part).await })
    }

    /// Returns when the notifications that follow commits have gone out, or after `timeout` seconds.
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let client = self.client()?;
        let limit = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        let flushed = async move {
            let _ = tokio::time::timeout(limit, client.flush()).await;
            Ok(())
        };
        answer::<()>(py, None, flushed).map(|_| ())
    }
}
