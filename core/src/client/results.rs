//! Waiting for results: one statement fetches all that a process waits for. No LISTEN, so that it works through any pooler.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::client::link::{Pauses, Shared, keep_or_close, within};
use crate::store::read;
use crate::store::read::ExecutionStatus;

/// The pause between two fetches: longer and longer while nothing ends.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);
/// The pause before a fetch for a new waiter: others may join, and fetches take at most a third of the time.
const BREATH: Duration = Duration::from_millis(1);

pub(crate) struct Waiter {
    pub id: Uuid,
    pub reply: oneshot::Sender<Result<ExecutionStatus>>,
}

#[derive(Default)]
struct Waiting {
    waiters: HashMap<Uuid, Vec<oneshot::Sender<Result<ExecutionStatus>>>>,
    /// Executions that a caller waits for and that were not fetched yet: whether they exist is not known.
    unseen: Vec<Uuid>,
}

impl Waiting {
    fn add(&mut self, waiter: Waiter) {
        let replies = self.waiters.entry(waiter.id).or_default();
        if replies.is_empty() {
            self.unseen.push(waiter.id);
        }
        replies.push(waiter.reply);
    }

    /// Results that no caller waits for any more, after a time-out of theirs, are no longer fetched.
    fn forget_the_gone(&mut self) {
        self.waiters.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });
    }

    fn answer(&mut self, id: Uuid, result: &Result<ExecutionStatus>) {
        for reply in self.waiters.remove(&id).unwrap_or_default() {
            let _ = reply.send(result.clone());
        }
    }

    fn fail_all(&mut self, error: &Error) {
        for (_, replies) in self.waiters.drain() {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
        self.unseen.clear();
    }

    /// Answers the callers that wait for an execution which has ended or does not exist. Returns whether any were answered.
    fn answer_ended(&mut self, unseen: Vec<Uuid>, found: Vec<ExecutionStatus>) -> bool {
        let mut answered = false;
        let mut there: std::collections::HashSet<Uuid> = std::collections::HashSet::new();
        for status in found {
            there.insert(status.id);
            if status.finished {
                answered = true;
                self.answer(status.id, &Ok(status));
            }
        }
        for id in unseen.into_iter().filter(|id| !there.contains(id)) {
            answered = true;
            self.answer(id, &Err(read::not_found(id)));
        }
        answered
    }
}

pub(crate) async fn fetch_results(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Waiter>) {
    let mut waiting = Waiting::default();
    let mut interval = SHORTEST;
    loop {
        waiting.forget_the_gone();
        if waiting.waiters.is_empty() {
            waiting.unseen.clear();
            let Some(first) = inbox.recv().await else { return };
            waiting.add(first);
            interval = SHORTEST;
        }
        while let Ok(next) = inbox.try_recv() {
            waiting.add(next);
        }
        let began = Instant::now();
        interval = match fetch(&shared, &mut waiting).await {
            Ok(true) => SHORTEST,
            Ok(false) => (interval * 3 / 2).min(LONGEST),
            Err(error) => {
                waiting.fail_all(&error);
                SHORTEST
            }
        };
        let floor = BREATH.max(began.elapsed() * 2);
        let ended = Instant::now();
        if let Ok(Some(next)) = timeout(interval.max(floor), inbox.recv()).await {
            // A new waiter: fetch soon, together with those that come until then.
            waiting.add(next);
            interval = SHORTEST;
            sleep_until(ended + floor).await;
        }
    }
}

/// Does one fetch. While the database does not answer it waits, as long as the client's time-out allows.
async fn fetch(shared: &Shared, waiting: &mut Waiting) -> Result<bool> {
    let unseen = std::mem::take(&mut waiting.unseen);
    let ids: Vec<Uuid> = waiting.waiters.keys().copied().collect();
    let deadline = shared.deadline();
    let mut pauses = Pauses::new();
    loop {
        let result = match shared.connection().await {
            Ok(mut conn) => {
                let result = within(shared.patience(), read::statuses(&mut conn, &ids, &unseen)).await;
                keep_or_close(&mut conn, result)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(found) => return Ok(waiting.answer_ended(unseen, found)),
            Err(error) if error.is_transient() && Instant::now() < deadline => pauses.pause().await,
            Err(error) => return Err(shared.reason(error).await),
        }
    }
}
