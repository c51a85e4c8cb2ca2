//! Enqueues, and the trace contexts that go with executions.
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::base::calls::Calls;
use crate::base::error::{Error, Result};
use crate::base::types::{Created, NewExecution};
use crate::store::conn::{Conn, Scope};

/// Enqueues items. Returns what became of each, in order. The call may be repeated with the same ids.
pub async fn create(conn: &mut Conn, items: &[NewExecution]) -> Result<Vec<Created>> {
    Ok(create_all(conn, &items.iter().collect::<Vec<_>>(), false).await?.0)
}

/// The effects of an enqueue besides storing: whether its own commit notified the workers that slept then, and which transaction it was.
pub(crate) struct Notified {
    pub asleep: bool,
    pub since: i64,
}

/// As `create`. With `notify` workers that sleep on the queue are notified by the same commit, if it can; returns whether it did.
pub(crate) async fn create_all(
    conn: &mut Conn,
    items: &[&NewExecution],
    notify: bool,
) -> Result<(Vec<Created>, Notified)> {
    fn column<'a, T>(items: &[&'a NewExecution], value: impl Fn(&'a NewExecution) -> T) -> Vec<T> {
        items.iter().map(|item| value(item)).collect()
    }
    if let [item] = items {
        return create_one(conn, item, notify).await;
    }
    let calls = Calls::of(items.iter().map(|item| (&item.call, item.checked.as_deref())));
    let (options, given) = calls.options();
    let keyed = items.iter().any(|item| item.idempotency_key.is_some());
    let keys = if keyed { column(items, |n| n.idempotency_key.as_deref()) } else { Vec::new() };
    let headers: Vec<_> = items.iter().filter_map(|n| Some((n.id, n.call.headers.as_deref()?))).collect();
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let rows = sqlx::query!(
        r#"select ordinal, effective_id, queue, input_hash, input_schema, notified as "notified!",
            since as "since!" from currant.create_executions(
            p_ids => $1, p_args => $2, p_calls => $3, p_keys => $4, k_kinds => $5, k_functions => $6, k_queues => $7,
            k_priorities => $8, k_options => $9, k_delays => $10, k_run_ats => $11, k_given => $12, k_checked => $13,
            p_notify => $14)"#,
        &column(items, |n| n.id),
        column(items, |n| n.call.args.as_slice()) as _,
        &calls.places,
        keys as _,
        calls.column(|call| call.kind.as_str()) as _,
        calls.column(|call| call.function.as_str()) as _,
        calls.column(|call| call.queue.as_str()) as _,
        &calls.column(|call| call.priority),
        options as _,
        calls.column(|call| call.delay) as _,
        calls.column(|call| call.run_at) as _,
        &given,
        calls.distinct.iter().map(|(_, checked)| *checked).collect::<Vec<_>>() as _,
        notify
    )
    .fetch_all(scope.conn())
    .await?;
    write_headers(&mut scope, &headers).await?;
    scope.done().await?;
    if let [row] = &rows[..]
        && row.ordinal.is_none()
    {
        let stored = |item: &&NewExecution| Created::Stored { id: item.id, queue: Some(item.call.queue.clone()) };
        let notified = Notified { asleep: row.notified, since: row.since };
        return Ok((items.iter().map(stored).collect(), notified));
    }
    let mut created = Vec::with_capacity(rows.len());
    let notified = Notified { asleep: false, since: rows.first().map_or(0, |row| row.since) };
    for row in rows {
        created.push((row.ordinal, created_of(row.effective_id, row.queue, row.input_hash, row.input_schema)?));
    }
    created.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    Ok((created.into_iter().map(|(_, created)| created).collect(), notified))
}

/// As `create_all`, for one item.
async fn create_one(conn: &mut Conn, item: &NewExecution, notify: bool) -> Result<(Vec<Created>, Notified)> {
    let call = &item.call;
    let headers: Vec<_> = call.headers.as_deref().map(|headers| (item.id, headers)).into_iter().collect();
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let row = sqlx::query!(
        r#"select effective_id, queue, input_hash, input_schema, notified as "notified!", since as "since!" from currant.create_execution(
            p_id => $1, p_args => $2, p_key => $3, p_kind => $4, p_function => $5, p_queue => $6, p_priority => $7,
            p_options => $8, p_delay => $9, p_run_at => $10, p_given => $11, p_checked => $12, p_notify => $13)"#,
        item.id,
        call.args,
        item.idempotency_key,
        call.kind.as_str(),
        call.function,
        call.queue,
        call.priority,
        call.options.stored(call.kind),
        call.delay,
        call.run_at,
        call.given.join(","),
        item.checked,
        notify
    )
    .fetch_one(scope.conn())
    .await?;
    write_headers(&mut scope, &headers).await?;
    scope.done().await?;
    let created = created_of(row.effective_id, row.queue, row.input_hash, row.input_schema)?;
    Ok((vec![created], Notified { asleep: row.notified, since: row.since }))
}

fn created_of(
    id: Option<Uuid>,
    queue: Option<String>,
    input_hash: Option<String>,
    input_schema: Option<String>,
) -> Result<Created> {
    match (id, input_hash, input_schema) {
        (Some(id), _, _) => Ok(Created::Stored { id, queue }),
        (None, Some(hash), Some(schema)) => Ok(Created::Unchecked { hash, schema }),
        _ => Err(Error::Conflict("the definition was changed meanwhile".into())),
    }
}

/// Writes the trace contexts (JSON objects) of executions that the same transaction has written. An execution that was not stored gets none.
pub(crate) async fn write_headers(scope: &mut Scope<'_>, headers: &[(Uuid, &str)]) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update currant.executions e set headers = h.headers::jsonb from unnest($1::uuid[], $2::text[]) h(id, headers) where e.id = h.id",
        &headers.iter().map(|h| h.0).collect::<Vec<_>>(),
        headers.iter().map(|h| h.1).collect::<Vec<_>>() as _
    )
    .execute(scope.conn())
    .await?;
    Ok(())
}

/// As `create`; returns the ids in order, or one error if some were not stored.
pub async fn create_executions(conn: &mut Conn, items: &[NewExecution]) -> Result<Vec<Uuid>> {
    stored(items, &create(conn, items).await?)
}

/// The ids of one caller's enqueues. Where input schemas are to be checked first, the error has all of them.
pub(crate) fn stored(items: &[NewExecution], created: &[Created]) -> Result<Vec<Uuid>> {
    let mut ids = Vec::with_capacity(created.len());
    let mut schemas = std::collections::BTreeMap::new();
    for (item, created) in items.iter().zip(created) {
        match created {
            Created::Stored { id, .. } => ids.push(*id),
            Created::Unchecked { hash, schema } => {
                let schema = serde_json::from_str::<&RawValue>(schema).ok();
                schemas.insert(&item.call.function, serde_json::json!({"hash": hash, "schema": schema}));
            }
        }
    }
    if schemas.is_empty() { Ok(ids) } else { Err(Error::UncheckedInput(serde_json::json!(schemas).to_string())) }
}
