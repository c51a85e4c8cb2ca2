//! Waiting for work without being a worker: the scaler is notified when something becomes ready in queues that no worker serves.
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::runtime;
use crate::client::link::Shared;
use crate::client::verbs::{AnyReady, SleepFor};
use crate::store::conn::Conn;
use crate::store::notify;
use crate::store::url::Target;

/// One connection that listens, kept from wait to wait.
pub(crate) struct Watcher {
    id: Uuid,
    listening: Option<(Vec<String>, Conn)>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A listener ends on the runtime, wherever its owner is dropped.
        let _inside = runtime::handle().enter();
        self.listening = None;
    }
}

impl Watcher {
    pub(crate) fn new() -> Watcher {
        Watcher { id: Uuid::now_v7(), listening: None }
    }

    /// Returns true once something becomes ready in these queues, or may have; false after `patience`. Behind a pooler without a
    /// direct URL nothing can listen: then it only waits.
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
            // No longer asleep: otherwise each enqueue of a burst would notify.
            shared.ask(&SleepFor { watcher, queues, seconds: 0.0 }).await?;
        }
        Ok(ready)
    }

    /// Returns false where it cannot listen.
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
        match timeout(patience, listener.hear()).await {
            Ok(Ok(_)) => true,
            // A notification that was sent while the connection was lost is lost: something may be ready.
            Ok(Err(_)) => {
                self.listening = None;
                true
            }
            Err(_) => false,
        }
    }
}
