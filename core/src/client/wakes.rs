//! Wake-ups of the workers that sleep, in a second statement after each commit (rule e).
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::link::{Pauses, Shared, keep_or_close, within};
use crate::base::error::Result;
use crate::base::types::Wakes;
use crate::store::notify;

/// The number of notices that are read at once.
const MAX_NOTICES: usize = 2_000;

/// An enqueue notifies the workers that slept before it. Those that fell asleep during it are notified after this time.
const LATER: Duration = Duration::from_millis(20);

pub(super) enum Notice {
    Wake(Wakes),
    /// For workers that fell asleep during the enqueue: those that slept before were notified by its commit.
    WakeLater(Wakes),
    Flush(oneshot::Sender<()>),
}

/// Sends wake-ups, as many as have gathered in one statement. One that cannot be sent is dropped: workers poll too.
pub(super) async fn send_wakes(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Notice>) {
    let mut notices = Vec::new();
    let mut wakes = Wakes::default();
    let mut due: Option<Instant> = None;
    loop {
        let received = match due {
            None => inbox.recv_many(&mut notices, MAX_NOTICES).await,
            // The time is over: the notices that have gathered are sent.
            Some(due) => timeout_at(due, inbox.recv_many(&mut notices, MAX_NOTICES)).await.unwrap_or(1),
        };
        if received == 0 {
            return;
        }
        let mut urgent = due.is_some_and(|due| due <= Instant::now());
        let mut flushes = Vec::new();
        for notice in notices.drain(..) {
            urgent |= !matches!(notice, Notice::WakeLater(_));
            match notice {
                Notice::Wake(more) | Notice::WakeLater(more) => wakes.add(more),
                Notice::Flush(reply) => flushes.push(reply),
            }
        }
        wakes.queues.sort_unstable();
        wakes.queues.dedup();
        if !urgent {
            due.get_or_insert_with(|| Instant::now() + LATER);
            continue;
        }
        due = None;
        let wakes = std::mem::take(&mut wakes);
        if !wakes.is_empty()
            && let Err(error) = send(&shared, &wakes).await
        {
            tracing::debug!(%error, "a wake-up was not sent");
        }
        for reply in flushes {
            let _ = reply.send(());
        }
    }
}

/// Tries again for a while: the pool may hold connections to a server that is gone, and a worker that is not notified sleeps until it polls.
pub(super) async fn send(shared: &Shared, wakes: &Wakes) -> Result<()> {
    let deadline = Instant::now() + shared.patience();
    let mut pauses = Pauses::new();
    loop {
        match send_once(shared, wakes).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => pauses.pause().await,
            result => return result,
        }
    }
}

async fn send_once(shared: &Shared, wakes: &Wakes) -> Result<()> {
    let mut conn = shared.connection().await?;
    let result = within(shared.patience(), notify::wake(&mut conn, wakes)).await;
    keep_or_close(&mut conn, result)
}
