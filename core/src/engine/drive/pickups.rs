//! How long executions were ready before they were claimed: asked of the database for a sample, beside the writer.
use std::sync::Arc;

use crate::client::verbs::PickUps;
use crate::engine::drive::shared::Shared;

/// Asks for the sample that waits, if any. In an outage the sample is lost, which needs no log line.
pub fn spawn(shared: &Arc<Shared>) {
    let ids = shared.state().take_sample();
    if ids.is_empty() {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        if let Ok(waits) = shared.client.ask(PickUps { ids }).await {
            shared.state().picked_up(&waits);
        }
    });
}
