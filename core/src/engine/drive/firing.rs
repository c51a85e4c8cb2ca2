//! Firing schedules: any worker does it, beside its writer, so that a schedule that hangs does not stop the heartbeats.
use std::sync::Arc;

use crate::client::verbs::FireSchedules;
use crate::engine::drive::shared::Shared;

/// Fires the schedules that are due, unless this worker is firing already.
pub fn spawn(shared: &Arc<Shared>) {
    if !shared.state().begin_fire() {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let result = shared.client.ask(FireSchedules {}).await;
        shared.state().fired(result);
        shared.kick.notify_one();
        shared.wake_fd.wake();
    });
}
