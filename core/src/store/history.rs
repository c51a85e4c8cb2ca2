//! The recorded history of runs.
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::{HistoryRow, HistorySource};
use crate::store::columns::{kind, there};
use crate::store::conn::Conn;

/// The history of runs in one snapshot; with `news` only what was not delivered yet. Each run's `Run` row comes first of its rows.
pub async fn load_runs(conn: &mut Conn, ids: &[Uuid], news: bool) -> Result<Vec<HistoryRow>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select run_id as "run_id!", source as "source!", key as "key!", kind as "kind!", name as "name!", id, status, payload,
            seq, clock, due, ordinal, abandoned as "abandoned!", lease, asked
        from currant.load_runs($1, $2)"#,
        ids,
        news
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;

    let mut history = Vec::with_capacity(rows.len());
    for row in rows {
        let delivered = row.seq.zip(row.clock);
        let status = row.status;
        let source = match row.source.as_str() {
            "run" => HistorySource::Run {
                wakes: there(row.ordinal)?,
                lease: there(row.lease)?,
                deadline: row.due,
                cancel_requested: status.is_some(),
            },
            "child" => HistorySource::Child {
                key: row.key,
                kind: kind(&row.kind)?,
                function: row.name,
                id: there(row.id)?,
                lease: there(row.lease)?,
                args: row.asked.unwrap_or_default(),
                outcome: status.map(|status| (status, row.payload.unwrap_or_default())),
                delivered,
                abandoned: row.abandoned,
            },
            "step" => HistorySource::Step {
                key: row.key,
                kind: row.kind,
                name: row.name,
                request: row.asked,
                outcome: status.map(|status| (status, row.payload.unwrap_or_default())),
                delivered,
                due: row.due,
                abandoned: row.abandoned,
            },
            _ => HistorySource::Signal {
                name: row.name,
                ordinal: there(row.ordinal)?,
                payload: row.payload.unwrap_or_default(),
            },
        };
        history.push(HistoryRow { run: row.run_id, source });
    }
    Ok(history)
}
