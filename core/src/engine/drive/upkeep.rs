//! Deleting runs past their retention: any worker does it, beside its writer and in small transactions, at most once a minute in a database.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::error::Result;
use crate::client::verbs::Sweep;
use crate::engine::drive::shared::Shared;

/// Runs in one transaction, and the pause between two, so that others get on. Together they bound how many runs a second can go.
const BITE: i32 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

/// A heartbeat said that it is time.
pub fn spawn(shared: &Arc<Shared>) {
    if shared.sweeping.swap(true, Ordering::AcqRel) {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        // The writer reports an outage, once.
        if let Err(error) = sweep(&shared).await
            && !error.is_transient()
        {
            let message = format!("runs past their retention could not be deleted, it is tried again: {error}");
            shared.say("warning", message);
        }
        shared.sweeping.store(false, Ordering::Release);
    });
}

async fn sweep(shared: &Shared) -> Result<()> {
    let mut begin = true;
    while !*shared.gone.borrow() {
        if !shared.client.ask(Sweep { limit: BITE, begin }).await?.more {
            break;
        }
        begin = false;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
