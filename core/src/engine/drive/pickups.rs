//! How long executions were ready before they were claimed: asked of the database for a sample, beside the writer.
use std::sync::Arc;

use crate::client::verbs::PickUps;
use crate::engine::Shared;

/// Asks for the sample that lies there, if any. An outage costs a sample, which nobody needs to hear of.
pub(in crate::engine) fn spawn(shared: &Arc<Shared>) {
    let ids = {
        let mut state = shared.state();
        if state.config.http_port.is_none() {
            return; // nobody scrapes
        }
        state.metrics.take_sample()
    };
    if ids.is_empty() {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        if let Ok(waits) = shared.client.ask(PickUps { ids }).await {
            shared.state().metrics.picked_up(&waits);
        }
    });
}
