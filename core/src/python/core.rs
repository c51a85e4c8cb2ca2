//! `currant._core.Core`: translation of `client::Client`, see `docs/internals/engine.md`.
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use uuid::Uuid;

use super::convert::{to_id, to_new_executions};
use super::errors::to_python;
use super::mailbox::{Gift, Reply, answer};
use crate::base::error::Error;
use crate::base::runtime;
use crate::client::Client;
use crate::client::verbs::{Answer, Verb};
use crate::store::baseline;
use crate::store::read::Filters;

#[pyclass(module = "currant._core", frozen)]
pub struct Core {
    url: String,
    /// None only while it is dropped.
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

    fn ask<T: Gift>(
        &self,
        py: Python<'_>,
        reply: Option<Reply>,
        verb: Verb,
        unpack: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        answer(py, reply, async move {
            let given = client.ask(verb).await?;
            unpack(given).ok_or_else(|| Error::Other("the verb gave an answer of another kind".into()))
        })
    }

    fn ask_json(&self, py: Python<'_>, reply: Option<Reply>, verb: Verb) -> PyResult<Py<PyAny>> {
        self.ask(py, reply, verb, |given| match given {
            Answer::Json(json) => Some(json),
            _ => None,
        })
    }

    fn ask_number(&self, py: Python<'_>, reply: Option<Reply>, verb: Verb) -> PyResult<Py<PyAny>> {
        self.ask(py, reply, verb, |given| match given {
            Answer::Number(number) => Some(number),
            _ => None,
        })
    }

    fn ask_ids(&self, py: Python<'_>, reply: Option<Reply>, verb: Verb) -> PyResult<Py<PyAny>> {
        self.ask(py, reply, verb, |given| match given {
            Answer::Ids(ids) => Some(texts(ids)),
            _ => None,
        })
    }

    fn ask_nothing(&self, py: Python<'_>, reply: Option<Reply>, verb: Verb) -> PyResult<Py<PyAny>> {
        self.ask(py, reply, verb, |_| Some(()))
    }
}

fn texts(ids: Vec<Uuid>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

fn to_ids(texts: Vec<String>) -> PyResult<Vec<Uuid>> {
    texts.iter().map(|text| to_id(text)).collect()
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

    /// Closes the connections once what is under way has ended; verbs then raise.
    fn close(&self) {
        if let Ok(client) = self.client() {
            runtime::handle().spawn(async move { client.close().await });
        }
    }

    #[pyo3(signature = (reply = None))]
    fn migrate(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_number(py, reply, Verb::Migrate)
    }

    #[pyo3(signature = (reply = None))]
    fn schema_version(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_number(py, reply, Verb::SchemaVersion)
    }

    #[pyo3(signature = (items, reply = None))]
    fn create_executions(
        &self,
        py: Python<'_>,
        items: Vec<Bound<'_, PyTuple>>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let (client, items) = (self.client()?, to_new_executions(&items)?);
        answer(py, reply, async move { client.create_executions(items).await.map(texts) })
    }

    #[pyo3(signature = (id, reply = None))]
    fn get_execution(&self, py: Python<'_>, id: &str, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Get(to_id(id)?))
    }

    #[pyo3(signature = (id, reply = None))]
    fn show(&self, py: Python<'_>, id: &str, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Show(to_id(id)?))
    }

    #[pyo3(signature = (filters, reply = None))]
    fn list_executions(&self, py: Python<'_>, filters: &[u8], reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::List(Filters::parse(filters).map_err(to_python)?))
    }

    #[pyo3(signature = (reply = None))]
    fn queues(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Queues)
    }

    #[pyo3(signature = (reply = None))]
    fn workers(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Workers)
    }

    #[pyo3(signature = (reply = None))]
    fn doctor(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Doctor)
    }

    #[pyo3(signature = (pools, reply = None))]
    fn fleet(&self, py: Python<'_>, pools: String, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Fleet(pools))
    }

    #[pyo3(signature = (reply = None))]
    fn queue_retentions(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::QueueRetentions)
    }

    #[pyo3(signature = (queue, retention, reply = None))]
    fn set_queue_retention(
        &self,
        py: Python<'_>,
        queue: String,
        retention: Option<f64>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        self.ask_nothing(py, reply, Verb::SetQueueRetention { queue, retention })
    }

    #[pyo3(signature = (reply = None))]
    fn list_schedules(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Schedules)
    }

    #[pyo3(signature = (items, reply = None))]
    fn apply_definitions(&self, py: Python<'_>, items: String, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::ApplyDefinitions(items))
    }

    #[pyo3(signature = (owners, reply = None))]
    fn delete_definitions(&self, py: Python<'_>, owners: Vec<String>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_number(py, reply, Verb::DeleteDefinitions(owners))
    }

    #[pyo3(signature = (reply = None))]
    fn list_definitions(&self, py: Python<'_>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Definitions)
    }

    #[pyo3(signature = (functions, reply = None))]
    fn definition_stats(&self, py: Python<'_>, functions: Vec<String>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::DefinitionStats(functions))
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
            let standing = client.wait_execution(id, timeout).await?;
            Ok((standing.state, standing.payload))
        })
    }

    #[pyo3(signature = (pools, reply = None))]
    fn scaling(&self, py: Python<'_>, pools: String, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_json(py, reply, Verb::Scaling(pools))
    }

    #[pyo3(signature = (pod_uids, drain, reply = None))]
    fn ask_to_drain(
        &self,
        py: Python<'_>,
        pod_uids: Vec<String>,
        drain: bool,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        self.ask_nothing(py, reply, Verb::AskToDrain(pod_uids, drain))
    }

    #[pyo3(signature = (pods, reply = None))]
    fn end_pods(&self, py: Python<'_>, pods: Vec<(String, String)>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        let (uids, reasons) = pods.into_iter().unzip();
        self.ask_nothing(py, reply, Verb::EndPods(uids, reasons))
    }

    #[pyo3(signature = (containers, reply = None))]
    fn end_containers(
        &self,
        py: Python<'_>,
        containers: Vec<(String, String, i64)>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let ended = containers.iter().map(|(_, _, ended)| *ended).collect();
        let (uids, reasons) = containers.into_iter().map(|(uid, reason, _)| (uid, reason)).unzip();
        self.ask_nothing(py, reply, Verb::EndContainers(uids, reasons, ended))
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

    #[pyo3(signature = (id, force = false, reply = None))]
    fn cancel_execution(&self, py: Python<'_>, id: &str, force: bool, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_nothing(py, reply, Verb::Cancel { id: to_id(id)?, force })
    }

    #[pyo3(signature = (id, reply = None))]
    fn retry_execution(&self, py: Python<'_>, id: &str, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_nothing(py, reply, Verb::Retry(to_id(id)?))
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

    #[pyo3(signature = (worker_id, queues, limit, reply = None))]
    fn claim_executions(
        &self,
        py: Python<'_>,
        worker_id: &str,
        queues: Vec<String>,
        limit: i32,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let verb = Verb::Claim { worker: to_id(worker_id)?, queues, limit };
        self.ask(py, reply, verb, |given| match given {
            Answer::Claimed(claimed) => {
                let claimed = claimed.into_iter().map(|(id, lease, json)| (id.to_string(), lease, json));
                Some(claimed.collect::<Vec<_>>())
            }
            _ => None,
        })
    }

    #[pyo3(signature = (worker_id, items, reply = None))]
    fn complete_executions(
        &self,
        py: Python<'_>,
        worker_id: &str,
        items: Vec<(String, i64, Vec<u8>)>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let items: PyResult<Vec<_>> =
            items.into_iter().map(|(id, lease, result)| Ok((to_id(&id)?, lease, result))).collect();
        self.ask_ids(py, reply, Verb::Complete { worker: to_id(worker_id)?, items: items? })
    }

    #[pyo3(signature = (worker_id, items, reply = None))]
    fn fail_executions(
        &self,
        py: Python<'_>,
        worker_id: &str,
        items: Vec<(String, i64, Vec<u8>, bool)>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let items: PyResult<Vec<_>> =
            items.into_iter().map(|(id, lease, error, again)| Ok((to_id(&id)?, lease, error, again))).collect();
        self.ask_ids(py, reply, Verb::Fail { worker: to_id(worker_id)?, items: items? })
    }

    #[pyo3(signature = (worker_id, items, reply = None))]
    fn suspend_workflows(
        &self,
        py: Python<'_>,
        worker_id: &str,
        items: Vec<(String, i64)>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        let items: PyResult<Vec<_>> = items.into_iter().map(|(id, lease)| Ok((to_id(&id)?, lease))).collect();
        self.ask_ids(py, reply, Verb::Suspend { worker: to_id(worker_id)?, items: items? })
    }

    #[pyo3(signature = (ids, reply = None))]
    fn resume_workflows(&self, py: Python<'_>, ids: Vec<String>, reply: Option<Reply>) -> PyResult<Py<PyAny>> {
        self.ask_ids(py, reply, Verb::Resume(to_ids(ids)?))
    }

    #[pyo3(signature = (worker_id, name, queues, reply = None))]
    fn update_heartbeat(
        &self,
        py: Python<'_>,
        worker_id: &str,
        name: String,
        queues: Vec<String>,
        reply: Option<Reply>,
    ) -> PyResult<Py<PyAny>> {
        self.ask_nothing(py, reply, Verb::Heartbeat { worker: to_id(worker_id)?, name, queues })
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
