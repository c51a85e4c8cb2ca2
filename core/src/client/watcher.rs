//! Waiting for work without being a worker: whoever looks after queues that no worker serves is told when something becomes ready.
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::runtime;
use crate::client::link::Shared;
use crate::client::verbs::{AnyReady, SleepFor};
use crate::store::conn::Listener;
use crate::store::notify;
use crate::store::url::Target;

/// One connection that listens, kept from wait to wait.
pub(crate) struct Watcher {
    id: Uuid,
    listening: Option<(Vec<String>, Listener)>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A listener ends on the runtime, wherever its owner is let go.
        let _inside = runtime::handle().enter();
        self.listening = None;
    }
}

impl Watcher {
    pub(crate) fn new() -> Watcher {
        Watcher { id: Uuid::now_v7(), listening: None }
    }

    /// Waits until something becomes ready in these queues, or may have: true; or for so long: false. Where nobody can listen (a pooler
    /// without a way past it) that is all it does.
    pub(crate) async fn wait(&mut self, shared: &Shared, queues: Vec<String>, patience: Duration) -> Result<bool> {
        if !self.listen(&shared.target, &queues).await? {
            sleep(patience).await;
            return Ok(false);
        }
        let seconds = patience.as_secs_f64();
        let watcher = self.id;
        shared.ask(&SleepFor { watcher, queues: queues.clone(), seconds }).await?;
        let ready = shared.ask(&AnyReady { queues: queues.clone() }).await?.0 || self.hears(patience).await;
        if ready {
            // Awake: a burst must not notify for each of its enqueues.
            shared.ask(&SleepFor { watcher, queues, seconds: 0.0 }).await?;
        }
        Ok(ready)
    }

    /// Gives false where it cannot listen.
    async fn listen(&mut self, target: &Target, queues: &[String]) -> Result<bool> {
        if self.listening.as_ref().is_some_and(|(known, _)| known == queues) {
            return Ok(true);
        }
        self.listening = None;
        let Some(mut listener) = target.listener().await? else { return Ok(false) };
        listener.listen(&notify::channels(self.id, queues)).await?;
        self.listening = Some((queues.to_vec(), listener));
        Ok(true)
    }

    async fn hears(&mut self, patience: Duration) -> bool {
        let Some((_, listener)) = &mut self.listening else { return false };
        match timeout(patience, listener.next()).await {
            Ok(Ok(_)) => true,
            // What was sent while the connection was lost is lost: better to look.
            Ok(Err(_)) => {
                self.listening = None;
                true
            }
            Err(_) => false,
        }
    }
}
