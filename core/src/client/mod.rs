//! One process's way to one database: what is asked at the same time goes in one statement.
//!
//! Three tasks of the runtime serve all callers: one commits enqueues, whatever has gathered while the last commit was under way; one
//! sends the wake-ups that follow commits; one looks for the results that callers wait for.
mod results;
pub mod verbs;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use self::results::{Waiter, look_for_results};
use self::verbs::{Answer, Verb, enqueued};
use self::watcher::Watcher;
use crate::base::calls;
use crate::base::error::{Error, Result};
use crate::base::runtime;
use crate::base::types::{Created, NewExecution, Wakes};
use crate::store::conn::{Conn, Pool};
use crate::store::executions::{self, Standing};
use crate::store::migrate;
use crate::store::url::Target;
use crate::store::worker;

/// A commit takes at most so many executions, and no more once it has so many bytes of arguments.
const MAX_ITEMS: usize = 2_000;
const MAX_BYTES: usize = 8 << 20;

/// So much later comes the look for workers that fell asleep during an enqueue which told all those that slept before.
const LATER: Duration = Duration::from_millis(20);

/// After so long without an enqueue the connection goes back to the pool.
const LINGER: Duration = Duration::from_millis(200);

/// Even an impatient client gives a busy server so much time for a statement.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(2);

/// Applying definitions may take so long.
const LONGEST_APPLY: Duration = Duration::from_secs(120);

/// Between two tries while the database does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone; the clones share everything. Its tasks end with the last clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    enqueues: mpsc::UnboundedSender<Enqueue>,
    wakes: mpsc::UnboundedSender<Notice>,
    waiters: mpsc::UnboundedSender<Waiter>,
    watcher: Arc<Mutex<Watcher>>,
}

pub(crate) struct Shared {
    target: Target,
    pool: Pool,
    checked: OnceCell<()>,
    /// Keyed enqueues may block on a key that another transaction has taken: they leave a connection for the others (rule l).
    keyed: Semaphore,
}

struct Enqueue {
    items: Vec<NewExecution>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Vec<Uuid>>>,
}

enum Notice {
    Wake(Wakes),
    /// Who slept when this was enqueued was told by the commit itself; it is about who fell asleep during it.
    WakeLater(Wakes),
    Flush(oneshot::Sender<()>),
}

impl Client {
    /// Connects when first used, with at most `max_connections` (at least 2). A wrong URL is refused at once.
    pub fn new(url: &str, max_connections: u32) -> Result<Client> {
        let target = Target::parse(url)?;
        let handle = runtime::handle();
        let _inside = handle.enter();
        let connections = max_connections.max(2);
        let shared = Arc::new(Shared {
            pool: target.pool(connections),
            target,
            checked: OnceCell::new(),
            keyed: Semaphore::new(connections as usize - 1),
        });
        let (enqueues, enqueue_inbox) = mpsc::unbounded_channel();
        let (wakes, wake_inbox) = mpsc::unbounded_channel();
        let (waiters, waiter_inbox) = mpsc::unbounded_channel();
        handle.spawn(commit_enqueues(shared.clone(), enqueue_inbox, wakes.clone()));
        handle.spawn(send_wakes(shared.clone(), wake_inbox));
        handle.spawn(look_for_results(shared.clone(), waiter_inbox));
        Ok(Client { shared, enqueues, wakes, waiters, watcher: Arc::new(Mutex::new(Watcher::new())) })
    }

    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    pub async fn close(&self) {
        self.shared.pool.close().await;
    }

    /// Does a verb; again, as long as the client's time-out allows, while the database does not answer.
    pub async fn ask(&self, verb: Verb) -> Result<Answer> {
        let (answer, wakes) = self.shared.ask(&verb).await?;
        self.tell(wakes);
        Ok(answer)
    }

    /// Committed when this returns. Gives the effective ids: the winner's where an idempotency key was taken.
    pub async fn create_executions(&self, items: Vec<NewExecution>) -> Result<Vec<Uuid>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        calls::check(&items)?;
        if items.iter().any(|item| item.idempotency_key.is_some()) {
            let _turn = self.shared.keyed.acquire().await.map_err(|_| closed())?;
            return match self.ask(Verb::Create(items.clone())).await? {
                Answer::Created(created) => executions::stored(&items, &created),
                _ => Ok(Vec::new()),
            };
        }
        let (reply, answer) = oneshot::channel();
        let deadline = self.shared.deadline();
        self.enqueues.send(Enqueue { items, deadline, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Without a `dedup_key` of the caller's one is made, so that a lost answer does not send the signal twice.
    pub async fn send_signal(&self, id: Uuid, name: String, payload: Vec<u8>, dedup_key: Option<String>) -> Result<()> {
        calls::check_text("name", &name, 500)?;
        calls::check_payload("payload", &payload)?;
        let dedup_key = dedup_key.unwrap_or_else(|| Uuid::now_v7().to_string());
        self.ask(Verb::Signal { id, name, payload, dedup_key }).await.map(|_| ())
    }

    pub async fn cancel(&self, id: Uuid, force: bool) -> Result<()> {
        self.ask(Verb::Cancel { id, force }).await.map(|_| ())
    }

    /// Waits until an execution has ended. After `seconds` gives how it stands, with `finished` false.
    pub async fn wait_execution(&self, id: Uuid, seconds: Option<f64>) -> Result<Standing> {
        if seconds.is_some_and(|seconds| seconds <= 0.0) {
            return self.standing(id).await;
        }
        let (reply, answer) = oneshot::channel();
        self.waiters.send(Waiter { id, reply }).map_err(|_| closed())?;
        let Some(seconds) = seconds else { return answer.await.map_err(|_| closed())? };
        if let Ok(standing) = timeout(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)), answer).await {
            return standing.map_err(|_| closed())?;
        }
        self.standing(id).await
    }

    /// Waits until something becomes ready in these queues, without being a worker; gives false after `seconds`, and when the client is
    /// closed. One waits at a time.
    pub async fn wait_for_work(&self, queues: Vec<String>, seconds: f64) -> Result<bool> {
        let patience = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        let mut watcher = self.watcher.lock().await;
        tokio::select! {
            heard = watcher.wait(self, queues, patience) => heard,
            () = self.shared.pool.closed() => Ok(false),
        }
    }

    async fn standing(&self, id: Uuid) -> Result<Standing> {
        match self.ask(Verb::Standing(id)).await? {
            Answer::Standing(standing) => Ok(standing),
            _ => Err(executions::not_found(id)),
        }
    }

    /// Sends the wake-ups of a commit; nobody waits for it but `flush`.
    pub fn tell(&self, wakes: Wakes) {
        if !wakes.is_empty() {
            // Without its task the client is being dropped; workers find the work at their next poll.
            let _ = self.wakes.send(Notice::Wake(wakes));
        }
    }

    /// Sends wake-ups, and returns when they have gone out.
    pub async fn wake(&self, wakes: &Wakes) -> Result<()> {
        send(&self.shared, wakes).await
    }

    /// Returns when the notifications of all commits before this call have gone out.
    pub async fn flush(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.wakes.send(Notice::Flush(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }
}

pub(crate) fn closed() -> Error {
    Error::Refused("the connection to the database is closed".into())
}

/// Longer pauses from try to try.
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) fn new() -> Pauses {
        Pauses(FIRST_PAUSE)
    }

    pub(crate) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

impl Shared {
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.target.connect_timeout
    }

    /// How long a short statement may take, so that there is time for another try.
    pub(crate) fn patience(&self) -> Duration {
        (self.target.connect_timeout / 3).max(SHORTEST_PATIENCE)
    }

    pub(crate) async fn connection(&self) -> Result<Conn> {
        let mut conn = self.pool.acquire().await?;
        self.checked.get_or_try_init(|| check(&mut conn)).await?;
        Ok(conn)
    }

    /// One try of a verb.
    async fn once(&self, verb: &Verb) -> Result<(Answer, Wakes)> {
        if verb.needs_no_schema() {
            let mut conn = self.pool.acquire().await?;
            return verb.run(&mut conn).await;
        }
        let mut conn = self.connection().await?;
        // A key may be in the hands of another transaction, for as long as that takes.
        let limit = match verb {
            Verb::Create(_) => self.target.connect_timeout,
            // A thousand of them, and all that waits is marked.
            Verb::ApplyDefinitions(_) => LONGEST_APPLY,
            _ => self.patience(),
        };
        let result = within(limit, verb.run(&mut conn)).await;
        keep_or_close(&mut conn, result)
    }

    async fn ask(&self, verb: &Verb) -> Result<(Answer, Wakes)> {
        let deadline = self.deadline();
        let mut pauses = Pauses::new();
        let mut lost = false;
        loop {
            match self.once(verb).await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    lost |= matches!(error, Error::Unavailable(_));
                    pauses.pause().await;
                }
                Err(error) if lost && verb.done_already(&error) => return Ok((Answer::Nothing, Wakes::default())),
                Err(error) => return Err(self.reason(error).await),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// A pool that gave up does not say why: one more connection does.
    pub(crate) async fn reason(&self, error: Error) -> Error {
        if !matches!(&error, Error::Unavailable(message) if message.contains("no connection in time")) {
            return error;
        }
        match timeout(Duration::from_secs(2), self.target.connect()).await {
            Ok(Err(why)) => why,
            Ok(Ok(conn)) => {
                conn.close().await;
                error
            }
            Err(_) => error,
        }
    }
}

/// A server that is gone without a word (with its node, behind a firewall) never answers: better a new connection and another try.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Unavailable("the database cannot be reached: it does not answer".into())),
    }
}

/// A connection whose server cannot do its work is not used again: after a fail-over it may lead to one that is read-only.
pub(crate) fn keep_or_close<T>(conn: &mut Conn, result: Result<T>) -> Result<T> {
    if matches!(result, Err(Error::Unavailable(_))) {
        conn.close_on_drop();
    }
    result
}

async fn check(conn: &mut Conn) -> Result<()> {
    migrate::check_schema(conn).await.map(|_| ())
}

/// Takes whatever has gathered while the last commit was under way, and commits it.
async fn commit_enqueues(
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

/// What commits enqueues. It keeps its connection while they come: to give one back to the pool and take it again is two round trips.
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

    /// Commits all in one statement. A value that the database refuses is searched by halves: its enqueue alone fails.
    /// What was not decided is given back with the reason. `again`: it may have been committed before, and the reply lost.
    async fn commit(&mut self, batch: Vec<Enqueue>, again: bool) -> std::result::Result<(), (Error, Vec<Enqueue>)> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let items: Vec<&NewExecution> = part.iter().flat_map(|enqueue| &enqueue.items).collect();
            match self.create(&items).await {
                Ok((created, told)) => {
                    let notice = if told.asleep { Notice::WakeLater } else { Notice::Wake };
                    let _ = self.wakes.send(notice(enqueued(&created, (!again).then_some(told.since))));
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

    async fn create(&mut self, items: &[&NewExecution]) -> Result<(Vec<Created>, executions::Told)> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.shared.connection().await?),
        };
        let result = within(self.shared.patience(), executions::create_all(conn, items, true)).await;
        let result = keep_or_close(conn, result);
        if result.is_err() {
            self.conn = None;
        }
        result
    }
}

/// Nobody may be there any more to hear it: a caller that gave up.
fn answer(part: Vec<Enqueue>, created: &[Created]) {
    let mut rest = created;
    for enqueue in part {
        let (own, others) = rest.split_at(enqueue.items.len().min(rest.len()));
        rest = others;
        let _ = enqueue.reply.send(executions::stored(&enqueue.items, own));
    }
}

/// Sends wake-ups, as many as have gathered in one statement. One that cannot be sent is dropped: workers poll too.
async fn send_wakes(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Notice>) {
    let mut notices = Vec::new();
    let mut wakes = Wakes::default();
    let mut due: Option<Instant> = None;
    loop {
        let received = match due {
            None => inbox.recv_many(&mut notices, MAX_ITEMS).await,
            // Out of time: what has gathered goes.
            Some(due) => timeout_at(due, inbox.recv_many(&mut notices, MAX_ITEMS)).await.unwrap_or(1),
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

/// Tries again for a while: what lies in the pool may be connections to a server that is gone, and whoever is not told waits for a poll.
async fn send(shared: &Shared, wakes: &Wakes) -> Result<()> {
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
    let result = within(shared.patience(), worker::wake(&mut conn, wakes)).await;
    keep_or_close(&mut conn, result)
}
