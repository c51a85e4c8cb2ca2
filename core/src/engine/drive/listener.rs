//! Notifications that a worker hears. The writer's connection listens. Where that leads to a pooler, and there is a way past it, a connection of its own listens
//! here.
use std::sync::Arc;
use std::time::Duration;

use crate::base::error::Result;
use crate::base::types::Wakes;
use crate::engine::drive::shared::Shared;
use crate::engine::drive::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::store::conn::Conn;
use crate::store::notify;
use crate::store::url::Listening;

/// A notification to ourselves that takes longer than this does not come: the direct URL leads to a pooler, too.
const ECHO_TIMEOUT: Duration = Duration::from_secs(3);
/// The time after which LISTEN is tried again where notifications do not come.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);

/// Listens past the pooler, if that is possible and needed, and passes on what it hears. Where nothing listens (a pooler, an outage) the worker
/// polls.
pub async fn listen(shared: Arc<Shared>) {
    if !matches!(shared.client.target().listening, Listening::Elsewhere(_)) {
        return;
    }
    let mut pause = FIRST_PAUSE;
    while !*shared.gone.borrow() {
        let heard = match shared.client.target().listener().await {
            Ok(Some(listener)) => hear(&shared, listener).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        shared.state().listening_ended();
        pause = match heard {
            Ok(true) => FIRST_PAUSE,
            Ok(false) => LISTEN_AGAIN,
            Err(_) => (pause * 2).min(LONGEST_PAUSE),
        };
        tokio::time::sleep(pause).await;
    }
}

/// Returns false when notifications do not come through; an error when the connection is lost.
async fn hear(shared: &Shared, mut listener: Conn) -> Result<bool> {
    let (me, queues) = (shared.config.info.id, &shared.config.info.queues);
    listener.listen(&notify::channels(me, queues)).await?;
    // Not `tell`: only what was sent and not heard says that there is a pooler in between.
    shared.client.wake(&Wakes { workers: vec![(me, uuid::Uuid::nil())], ..Wakes::default() }).await?;
    match tokio::time::timeout(ECHO_TIMEOUT, listener.hear()).await {
        Ok(first) => pass_on(shared, &first?),
        Err(_) => return Ok(false),
    }
    shared.state().listening_began();
    shared.kick.notify_one();
    let mut gone = shared.gone.subscribe();
    loop {
        let payload = tokio::select! {
            // Without this the connection of a worker that has ended stays until somebody notifies its queues.
            _ = gone.wait_for(|gone| *gone) => return Ok(true),
            payload = listener.hear() => payload?,
        };
        pass_on(shared, &payload);
        shared.kick.notify_one();
    }
}

/// The payload of a notification about what a heartbeat reads: schedules, and whether to drain.
const CONTROL: &str = "control";

/// The payload for one of several workers that sleep.
const TOLD: &str = "told";

/// Tells the state what was heard.
pub fn pass_on(shared: &Shared, payload: &str) {
    if payload == TOLD {
        let wakes = shared.state().told();
        return shared.client.send_wakes(wakes);
    }
    let mut state = shared.state();
    if payload == CONTROL {
        return state.notified_control();
    }
    match payload.parse::<uuid::Uuid>() {
        Ok(id) if id.is_nil() => {}
        Ok(id) => state.notified(id),
        Err(_) => state.notified_queue(),
    }
}
