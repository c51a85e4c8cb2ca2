//! One process's way to one database: what callers ask for at the same time goes in one statement.
//!
//! Three tasks of the runtime serve all callers: one commits enqueues, whatever has gathered while the last commit was under way; one
//! sends the wake-ups that follow commits; one fetches the results that callers wait for.
mod enqueues;
mod link;
mod results;
pub mod verbs;
mod wakes;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use self::enqueues::{Enqueue, commit_enqueues};
use self::link::{Shared, closed};
use self::results::{Waiter, fetch_results};
use self::verbs::{CancelExecution, CreateKeyed, GetStatus, SendSignal, Verb};
use self::wakes::{Notice, send, send_wakes};
use self::watcher::Watcher;
use crate::base::calls;
use crate::base::error::Result;
use crate::base::limits;
use crate::base::runtime;
use crate::base::types::{NewExecution, Wakes};
use crate::store::enqueue;
use crate::store::read::ExecutionStatus;
use crate::store::url::Target;

/// A client of one database. It is cheap to clone; the clones share everything. Its tasks end with the last clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    enqueues: mpsc::UnboundedSender<Enqueue>,
    wakes: mpsc::UnboundedSender<Notice>,
    waiters: mpsc::UnboundedSender<Waiter>,
    watcher: Arc<Mutex<Watcher>>,
}

impl Client {
    /// Makes a client that connects when first used, with at most `max_connections` (at least 2). A wrong URL is refused at once.
    pub fn new(url: &str, max_connections: u32) -> Result<Client> {
        let target = Target::parse(url)?;
        let handle = runtime::handle();
        let _inside = handle.enter();
        let connections = max_connections.max(2);
        let shared = Arc::new(Shared {
            pool: target.pool(connections),
            target,
            checked: OnceCell::new(),
            keyed: Semaphore::new(connections as usize - 1),
        });
        let (enqueues, enqueue_inbox) = mpsc::unbounded_channel();
        let (wakes, wake_inbox) = mpsc::unbounded_channel();
        let (waiters, waiter_inbox) = mpsc::unbounded_channel();
        handle.spawn(commit_enqueues(shared.clone(), enqueue_inbox, wakes.clone()));
        handle.spawn(send_wakes(shared.clone(), wake_inbox));
        handle.spawn(fetch_results(shared.clone(), waiter_inbox));
        Ok(Client { shared, enqueues, wakes, waiters, watcher: Arc::new(Mutex::new(Watcher::new())) })
    }

    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    pub async fn close(&self) {
        self.shared.pool.close().await;
    }

    /// Closes the pooled connections that nothing has used since the last call.
    pub async fn close_unused(&self) {
        self.shared.pool.close_unused().await;
    }

    /// Does a verb. While the database does not answer it tries again, as long as the client's time-out allows.
    pub async fn ask<V: Verb>(&self, verb: V) -> Result<V::Answer> {
        let (answer, wakes) = self.shared.ask(&verb).await?;
        self.send_wakes(wakes);
        Ok(answer)
    }

    /// Returns, once the executions are committed, their ids: where an idempotency key was taken, the id of the execution that has it.
    pub async fn create_executions(&self, items: Vec<NewExecution>) -> Result<Vec<Uuid>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        calls::check(&items)?;
        if items.iter().any(|item| item.idempotency_key.is_some()) {
            let _turn = self.shared.keyed.acquire().await.map_err(|_| closed())?;
            let created = self.ask(CreateKeyed { items: items.clone() }).await?;
            return enqueue::stored(&items, &created);
        }
        let (reply, answer) = oneshot::channel();
        let deadline = self.shared.deadline();
        self.enqueues.send(Enqueue { items, deadline, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Sends a signal. If the caller has no `dedup_key`, one is made, so that a lost answer does not send the signal twice.
    pub async fn send_signal(&self, id: Uuid, name: String, payload: Vec<u8>, dedup_key: Option<String>) -> Result<()> {
        limits::SIGNAL_NAME.check(&name)?;
        limits::check_payload("payload", &payload)?;
        let dedup_key = dedup_key.unwrap_or_else(|| Uuid::now_v7().to_string());
        self.ask(SendSignal { id, name, payload, dedup_key }).await
    }

    pub async fn cancel(&self, id: Uuid, force: bool) -> Result<()> {
        self.ask(CancelExecution { id, force }).await
    }

    /// Waits until an execution has ended. After `seconds` returns its status then, with `finished` false.
    pub async fn wait_execution(&self, id: Uuid, seconds: Option<f64>) -> Result<ExecutionStatus> {
        if seconds.is_some_and(|seconds| seconds <= 0.0) {
            return self.ask(GetStatus { id }).await;
        }
        let (reply, answer) = oneshot::channel();
        self.waiters.send(Waiter { id, reply }).map_err(|_| closed())?;
        let Some(seconds) = seconds else { return answer.await.map_err(|_| closed())? };
        if let Ok(status) = timeout(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)), answer).await {
            return status.map_err(|_| closed())?;
        }
        self.ask(GetStatus { id }).await
    }

    /// Waits until something becomes ready in these queues, without being a worker; returns false after `seconds`, and when the client is
    /// closed. Only one caller can wait at a time.
    pub async fn wait_for_work(&self, queues: Vec<String>, seconds: f64) -> Result<bool> {
        let patience = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        let mut watcher = self.watcher.lock().await;
        tokio::select! {
            heard = watcher.wait(&self.shared, queues, patience) => heard,
            () = self.shared.pool.closed() => Ok(false),
        }
    }

    /// Sends the wake-ups of a commit; nobody waits for it but `flush`.
    pub fn send_wakes(&self, wakes: Wakes) {
        if !wakes.is_empty() {
            // Without its task the client is being dropped; workers find the work at their next poll.
            let _ = self.wakes.send(Notice::Wake(wakes));
        }
    }

    /// Sends wake-ups, and returns when they have gone out.
    pub async fn wake(&self, wakes: &Wakes) -> Result<()> {
        send(&self.shared, wakes).await
    }

    /// Returns when the notifications of all commits before this call have gone out.
    pub async fn flush(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.wakes.send(Notice::Flush(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }
}
