//! Notifications: who is to be woken after a commit, and on which channels.
use md5::{Digest, Md5};
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::Wakes;
use crate::store::columns::column;
use crate::store::conn::Conn;

/// Where notifications for this worker arrive: its own channel, and one for each of its queues (callers' transactions).
pub fn channels(worker: Uuid, queues: &[String]) -> Vec<String> {
    let own = format!("currant_w_{worker}");
    let lanes = queues.iter().map(|queue| format!("currant_q_{:x}", Md5::digest(queue)));
    std::iter::once(own).chain(lanes).collect()
}

/// The workers and queues to wake, as the functions that end workers return them.
pub(crate) struct Wake {
    pub queue: Option<String>,
    pub worker_id: Option<Uuid>,
    pub id: Option<Uuid>,
}

pub(crate) fn wakes_of(rows: Vec<Wake>) -> Wakes {
    let mut wakes = Wakes::default();
    for row in rows {
        add_wake(&mut wakes, row.queue, row.worker_id, row.id);
    }
    wakes
}

pub(crate) fn add_wake(wakes: &mut Wakes, queue: Option<String>, worker: Option<Uuid>, execution: Option<Uuid>) {
    match (worker, execution) {
        (Some(worker), Some(execution)) => wakes.workers.push((worker, execution)),
        _ => wakes.queues.extend(queue.filter(|queue| !wakes.queues.contains(queue))),
    }
}

/// The second statement after a commit (rule e): notifies the workers that would sleep although there is work for them now.
pub async fn wake(conn: &mut Conn, wakes: &Wakes) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!(
        "select currant.wake($1, $2, $3, $4)",
        &wakes.queues,
        &column(&wakes.workers, |w| w.0),
        &column(&wakes.workers, |w| w.1),
        wakes.since
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await
}
