//! The client's link to the database: its pool, how long it waits, and what it tries again.
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::verbs::{Limit, Verb};
use crate::base::error::{Error, Result};
use crate::base::types::Wakes;
use crate::store::conn::{Conn, Pool};
use crate::store::migrate;
use crate::store::url::Target;

/// The least time that a statement may take before it is given up, even where the client's time-out is shorter: a server may be busy.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(2);

/// The pauses between two tries while the database does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    pub target: Target,
    pub pool: Pool,
    pub checked: OnceCell<()>,
    /// Permits for enqueues with an idempotency key, fewer than there are connections. Such an enqueue may wait for another transaction that
    /// has taken the key; at least one connection stays free for all other calls (docs/internals/rules.md, rule l).
    pub keyed: Semaphore,
}

pub(crate) fn closed() -> Error {
    Error::Refused("the connection to the database is closed".into())
}

/// A pause that grows from try to try.
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
    async fn once<V: Verb>(&self, verb: &V) -> Result<(V::Answer, Wakes)> {
        if V::NEEDS_NO_SCHEMA {
            let mut conn = self.pool.acquire().await?;
            return verb.run(&mut conn).await;
        }
        let mut conn = self.connection().await?;
        let limit = match V::LIMIT {
            Limit::Patience => self.patience(),
            Limit::WholeTimeout => self.target.connect_timeout,
            Limit::Exactly(limit) => limit,
        };
        let result = within(limit, verb.run(&mut conn)).await;
        keep_or_close(&mut conn, result)
    }

    pub(crate) async fn ask<V: Verb>(&self, verb: &V) -> Result<(V::Answer, Wakes)> {
        let deadline = self.deadline();
        let mut pauses = Pauses::new();
        let mut lost = false;
        loop {
            match self.once(verb).await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    lost |= matches!(error, Error::Unavailable(_));
                    pauses.pause().await;
                }
                Err(error) => {
                    let done = if lost { verb.done_already(&error) } else { None };
                    return match done {
                        Some(answer) => Ok((answer, Wakes::default())),
                        None => Err(self.reason(error).await),
                    };
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// The reason why the pool got no connection. The pool does not say it, so this tries to connect once more.
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

/// Limits one try. A server that is gone with its node, or behind a firewall, never answers: a new connection may.
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
