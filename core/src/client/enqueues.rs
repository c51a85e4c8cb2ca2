//! Enqueues: those that gather while one commit is under way go into the next one.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::link::{Pauses, Shared, keep_or_close, within};
use super::verbs::enqueued;
use super::wakes::Notice;
use crate::base::error::{Error, Result};
use crate::base::types::{Created, NewExecution};
use crate::store::conn::Conn;
use crate::store::enqueue;

/// The largest number of executions in one commit, and the number of bytes of arguments at which it takes no more.
const MAX_ITEMS: usize = 2_000;
const MAX_BYTES: usize = 8 << 20;

/// The connection goes back to the pool after this time without an enqueue: before a wake-up is due (`wakes::LATER`), so that a client that enqueues
/// now and then has one connection.
const LINGER: Duration = Duration::from_millis(10);

pub(super) struct Enqueue {
    pub items: Vec<NewExecution>,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Vec<Uuid>>>,
}

/// Takes the enqueues that have gathered while the last commit was under way, and commits them.
pub(super) async fn commit_enqueues(
    shared: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Enqueue>,
    wakes: mpsc::UnboundedSender<Notice>,
) {
    let mut line = Line { shared, conn: None, wakes };
    loop {
        let next = match line.conn {
            None => Ok(inbox.recv().await),
            Some(_) => timeout(LINGER, inbox.recv()).await,
        };
        match next {
            Ok(Some(first)) => line.commit_or_retry(gather(first, &mut inbox)).await,
            Ok(None) => return,
            Err(_) => line.conn = None,
        }
    }
}

/// Commits enqueues. It keeps its connection while they come: giving a connection back to the pool and taking it again costs two round trips.
struct Line {
    shared: Arc<Shared>,
    conn: Option<Conn>,
    wakes: mpsc::UnboundedSender<Notice>,
}

fn gather(first: Enqueue, inbox: &mut mpsc::UnboundedReceiver<Enqueue>) -> Vec<Enqueue> {
    let mut items = first.items.len();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while items < MAX_ITEMS && bytes < MAX_BYTES {
        let Ok(next) = inbox.try_recv() else { break };
        items += next.items.len();
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

fn size(enqueue: &Enqueue) -> usize {
    enqueue.items.iter().map(|item| item.call.args.len()).sum()
}

impl Line {
    async fn commit_or_retry(&mut self, mut batch: Vec<Enqueue>) {
        let mut pauses = Pauses::new();
        let mut again = false;
        loop {
            let Err((error, left)) = self.commit(batch, again).await else { return };
            again = true;
            let now = Instant::now();
            let (over, waiting): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|enqueue| !error.is_transient() || enqueue.deadline <= now);
            if !over.is_empty() {
                let reason = self.shared.reason(error).await;
                for enqueue in over {
                    let _ = enqueue.reply.send(Err(reason.clone()));
                }
            }
            if waiting.is_empty() {
                return;
            }
            batch = waiting;
            pauses.pause().await;
        }
    }

    /// Commits all in one statement. A value that the database refuses is found by halving the batch: its enqueue alone fails.
    /// Enqueues that were not decided are given back with the reason. `again`: they may be committed already, and the reply lost.
    async fn commit(&mut self, batch: Vec<Enqueue>, again: bool) -> std::result::Result<(), (Error, Vec<Enqueue>)> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let items: Vec<&NewExecution> = part.iter().flat_map(|enqueue| &enqueue.items).collect();
            match self.create(&items).await {
                Ok((created, notified)) => {
                    let notice = if notified.asleep { Notice::WakeLater } else { Notice::Wake };
                    let _ = self.wakes.send(notice(enqueued(&created, (!again).then_some(notified.since))));
                    answer(part, &created);
                }
                Err(Error::Data { .. }) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                Err(error @ Error::Data { .. }) => {
                    for enqueue in part {
                        let _ = enqueue.reply.send(Err(error.clone()));
                    }
                }
                Err(error) => {
                    let left = std::iter::once(part).chain(parts).flatten().collect();
                    return Err((error, left));
                }
            }
        }
        Ok(())
    }

    async fn create(&mut self, items: &[&NewExecution]) -> Result<(Vec<Created>, enqueue::Notified)> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.shared.connection().await?),
        };
        let result = within(self.shared.patience(), enqueue::create_all(conn, items, true)).await;
        let result = keep_or_close(conn, result);
        if result.is_err() {
            self.conn = None;
        }
        result
    }
}

/// Sends a caller its answer. A caller that gave up does not get it.
fn answer(part: Vec<Enqueue>, created: &[Created]) {
    let mut rest = created;
    for enqueue in part {
        let (own, others) = rest.split_at(enqueue.items.len().min(rest.len()));
        rest = others;
        let _ = enqueue.reply.send(enqueue::stored(&enqueue.items, own));
    }
}
