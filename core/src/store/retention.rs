//! How long ended runs are kept: the retention of queues, and the deletion.
use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::limits;
use crate::store::conn::Conn;
use crate::store::read::to_json;

#[derive(Serialize)]
struct QueueRetention {
    queue: String,
    retention: f64,
}

/// A JSON array of the queues that say how long their ended runs stay, in seconds.
pub async fn list(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query =
        sqlx::query_as!(QueueRetention, "select queue, retention from currant.queue_retentions r order by r.queue");
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    to_json(&rows)
}

/// Sets for how many seconds ended runs of `queue` stay (None: for ever). This applies to existing runs, too.
pub async fn set(conn: &mut Conn, queue: &str, seconds: Option<f64>) -> Result<()> {
    limits::QUEUE.check(queue)?;
    if seconds.is_some_and(|seconds| !(seconds.is_finite() && seconds > 0.0)) {
        return Err(Error::Invalid("a retention is more than 0 seconds".into()));
    }
    let mut scope = conn.run().await?;
    match seconds {
        Some(seconds) => sqlx::query!(
            "insert into currant.queue_retentions (queue, retention) values ($1, $2)
             on conflict (queue) do update set retention = excluded.retention, updated_at = clock_timestamp()",
            queue,
            seconds
        ),
        None => sqlx::query!("delete from currant.queue_retentions r where r.queue = $1", queue),
    }
    .execute(scope.conn())
    .await?;
    scope.done().await
}

/// The result of a sweep: the number of deleted runs (with their trees), and whether there is more to delete now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swept {
    pub deleted: i32,
    pub more: bool,
}

/// Deletes up to `limit` runs that are past the retention of their function, and as many past that of their queue, with their trees.
/// `begin`: only if nobody has begun in the last minute.
pub async fn sweep(conn: &mut Conn, limit: i32, begin: bool) -> Result<Swept> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(
        Swept,
        r#"select deleted as "deleted!", more as "more!" from currant.sweep($1, $2)"#,
        limit,
        begin
    );
    let swept = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(swept)
}
