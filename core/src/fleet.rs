//! What an operator asks of all workers and queues at once.
use sqlx::PgConnection;

use crate::db;
use crate::error::Result;

/// How these pools stand (`pools` is JSON: `[{"key", "queues"}]`) and every live worker, as JSON, in one statement (docs/engine.md).
pub async fn fleet(conn: &mut PgConnection, pools: &str) -> Result<Vec<u8>> {
    let mut scope = db::scope(conn).await?;
    let query = sqlx::query_scalar!(r#"select currant.fleet($1::text::jsonb)::text as "fleet!""#, pools);
    let fleet = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(fleet.into_bytes())
}
