//! The recorded history of runs.
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::{HistoryRow, HistorySource, Kind, Status, StepKind, Unknown};
use crate::store::columns::there;
use crate::store::conn::Conn;

/// The history of runs, read in one snapshot. With `news` only the outcomes that were not delivered yet. The rows of a run begin with its
/// `Run` row.
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
        let kind = Kind::parse(&row.kind);
        let step_kind = StepKind::parse(&row.kind);
        let outcome = row.status.as_deref().map(Status::parse).transpose();
        let outcome = outcome.map(|status| status.map(|status| (status, row.payload.clone().unwrap_or_default())));
        let unknown = |unknown: Unknown| HistorySource::Unknown(format!("step {}: {unknown}", row.key));
        let source = match (row.source.as_str(), outcome) {
            ("run", _) => HistorySource::Run {
                wakes: there(row.ordinal)?,
                lease: there(row.lease)?,
                deadline: row.due,
                cancel_requested: row.status.is_some(),
            },
            ("signal", _) => HistorySource::Signal {
                name: row.name,
                ordinal: there(row.ordinal)?,
                payload: row.payload.unwrap_or_default(),
            },
            ("child", Ok(outcome)) => match kind {
                Ok(kind) => HistorySource::Child {
                    key: row.key,
                    kind,
                    function: row.name,
                    id: there(row.id)?,
                    lease: there(row.lease)?,
                    args: row.asked.unwrap_or_default(),
                    outcome,
                    delivered,
                    abandoned: row.abandoned,
                },
                Err(error) => unknown(error),
            },
            ("step", Ok(outcome)) => match step_kind {
                Ok(kind) => HistorySource::Step {
                    key: row.key,
                    kind,
                    name: row.name,
                    request: row.asked,
                    outcome,
                    delivered,
                    due: row.due,
                    abandoned: row.abandoned,
                },
                Err(error) => unknown(error),
            },
            (_, Err(error)) => unknown(error),
            (other, _) => HistorySource::Unknown(format!("rows of the source {other:?} are unknown")),
        };
        history.push(HistoryRow { run: row.run_id, source });
    }
    Ok(history)
}
