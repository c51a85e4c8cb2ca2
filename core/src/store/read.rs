//! Queries for people and clients: executions, runs as trees, queues, workers, results.
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::{Kind, Options};
use crate::store::conn::Conn;

/// One execution as `get_execution`, `show` and `list_executions` return it (docs/internals/engine.md). A view's columns are all nullable to sqlx.
#[derive(Serialize)]
struct Details {
    id: Option<Uuid>,
    kind: Option<String>,
    function: Option<String>,
    queue: Option<String>,
    priority: Option<i16>,
    state: Option<String>,
    attempt: Option<i32>,
    worker_losses: Option<i32>,
    created_at: Option<String>,
    run_at: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
    parent_id: Option<Uuid>,
    root_id: Option<Uuid>,
    epoch: Option<i32>,
    parent_epoch: Option<i32>,
    step_key: Option<String>,
    seq: Option<i64>,
    worker_id: Option<Uuid>,
    worker: Option<String>,
    build: Option<String>,
    #[serde(flatten, serialize_with = "shown")]
    options: Option<String>,
    cancel_requested: Option<bool>,
    held: Option<bool>,
    #[serde(serialize_with = "json")]
    error: Option<Vec<u8>>,
    #[serde(serialize_with = "json")]
    args: Option<Vec<u8>>,
    #[serde(serialize_with = "json")]
    result: Option<Vec<u8>>,
}

/// Each option under its name; of the retry policy only `max_attempts`.
fn shown<S: Serializer>(options: &Option<String>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let options = Options::parse(Kind::Task, options.as_deref()).map_err(serde::ser::Error::custom)?;
    let mut shown = options.as_map();
    shown.remove("retry");
    shown.insert("max_attempts".into(), options.retry.max_attempts.into());
    shown.serialize(serializer)
}

/// A payload becomes part of the answer as the JSON that it is, digit for digit; what is not JSON becomes null.
pub(crate) fn json<S: Serializer>(payload: &Option<Vec<u8>>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let text = payload.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()).serialize(serializer)
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Other(format!("cannot show this as JSON: {error}")))
}

pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("there is no execution {id}"))
}

pub async fn get_execution(conn: &mut Conn, id: Uuid) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(Details, "select * from currant.execution_details where id = $1", id);
    let row = query.fetch_optional(scope.conn()).await?;
    scope.done().await?;
    to_json(&row.ok_or_else(|| not_found(id))?)
}

#[derive(Serialize)]
struct Step {
    execution_id: Uuid,
    epoch: i32,
    key: String,
    kind: String,
    name: String,
    state: String,
    due_at: Option<String>,
    created_at: Option<String>,
    finished_at: Option<String>,
    #[serde(serialize_with = "json")]
    payload: Option<Vec<u8>>,
    seq: Option<i64>,
}

#[derive(Serialize)]
struct Signal {
    execution_id: Uuid,
    name: String,
    #[serde(serialize_with = "json")]
    payload: Option<Vec<u8>>,
    created_at: Option<String>,
    consumed_by: Option<String>,
}

#[derive(Serialize)]
struct Tree {
    executions: Vec<Details>,
    steps: Vec<Step>,
    signals: Vec<Signal>,
}

/// The whole tree below an execution, all epochs.
pub async fn show(conn: &mut Conn, id: Uuid) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let ids = sqlx::query_scalar!(
        r#"select e.id as "id!" from currant.executions e where e.id = $1
        union all select b.id from currant.below(array[$1]) b"#,
        id
    )
    .fetch_all(scope.conn())
    .await?;
    if ids.is_empty() {
        return Err(not_found(id));
    }
    let executions = sqlx::query_as!(
        Details,
        "select * from currant.execution_details where id = any($1) order by created_at, id",
        &ids
    )
    .fetch_all(scope.conn())
    .await?;
    let steps = sqlx::query_as!(
        Step,
        r#"select execution_id, epoch, key, kind, name,
            coalesce(status, case when abandoned is null then 'waiting' else 'cancelled' end) as "state!",
            currant.iso(due_at) as due_at, currant.iso(created_at) as created_at, currant.iso(finished_at) as finished_at, payload, seq
        from currant.steps where execution_id = any($1) order by execution_id, epoch, after_seq, key"#,
        &ids
    )
    .fetch_all(scope.conn())
    .await?;
    let signals = sqlx::query_as!(
        Signal,
        r#"select execution_id, name, payload, currant.iso(created_at) as created_at, consumed_by
        from currant.signals where execution_id = any($1) order by execution_id, ordinal"#,
        &ids
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    to_json(&Tree { executions, steps, signals })
}

/// Which executions `list_executions` returns.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Filters {
    pub queue: Option<String>,
    pub state: Option<String>,
    pub function: Option<String>,
    pub limit: Option<i64>,
    pub held: Option<bool>,
    pub roots: Option<bool>,
}

impl Filters {
    pub fn parse(text: &[u8]) -> Result<Filters> {
        let filters: Filters =
            serde_json::from_slice(text).map_err(|error| Error::Invalid(format!("the filters are wrong: {error}")))?;
        if let Some(state) = filters.state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(Error::Invalid(format!("there is no state {state}: known are {}", STATES.join(", "))));
        }
        if filters.limit.is_some_and(|limit| limit < 0) {
            return Err(Error::Invalid("the limit must not be negative".into()));
        }
        Ok(filters)
    }
}

const STATES: &[&str] = &["pending", "running", "suspended", "completed", "failed", "cancelled"];

/// Lists executions, newest first; by default at most 100.
pub async fn list_executions(conn: &mut Conn, filters: &Filters) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(
        Details,
        r#"select * from currant.execution_details
        where ($1::text is null or queue = $1) and ($2::text is null or state = $2) and ($3::text is null or function = $3)
            and ($4::boolean is null or held = $4) and (not $5::boolean or parent_id is null)
        order by id desc limit $6"#,
        filters.queue,
        filters.state,
        filters.function,
        filters.held,
        filters.roots.unwrap_or(false),
        filters.limit.unwrap_or(100)
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    to_json(&rows)
}

#[derive(Serialize)]
struct QueueStats {
    queue: Option<String>,
    ready: Option<i64>,
    delayed: Option<i64>,
    running: Option<i64>,
    suspended: Option<i64>,
    held: Option<i64>,
    oldest_ready_seconds: Option<f64>,
    workers: Option<i64>,
    blocked: Option<i64>,
}

pub async fn queues(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(QueueStats, "select * from currant.queue_stats order by queue");
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    to_json(&rows)
}

#[derive(Serialize)]
struct WorkerRow {
    id: Uuid,
    name: String,
    host: String,
    pid: Option<i32>,
    build: String,
    queues: Vec<String>,
    concurrency: i32,
    running: i64,
    state: String,
    started_at: Option<String>,
    last_heartbeat: Option<String>,
    pool: Option<String>,
    pod_name: Option<String>,
    pod_uid: Option<String>,
}

/// Workers that have not stopped; `stale` are those whose heartbeat is overdue.
pub async fn workers(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(
        WorkerRow,
        r#"select w.id, w.name, w.host, w.pid, w.build, w.queues, w.concurrency,
            coalesce(r.number, 0) as "running!",
            case when not currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout) then 'stale'
                when w.draining then 'draining' else 'alive' end as "state!",
            currant.iso(w.started_at) as started_at, currant.iso(w.last_heartbeat) as last_heartbeat,
            w.pool, w.pod_name, w.pod_uid
        from currant.workers w
        left join (select e.worker_id, count(*) as number from currant.running_executions e group by e.worker_id) r on r.worker_id = w.id
        where w.stopped_at is null and w.claims order by w.started_at, w.id"#
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    to_json(&rows)
}

/// How an execution stands; `payload` is the result or the error of one that has ended so.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionStatus {
    pub id: Uuid,
    pub state: String,
    pub finished: bool,
    pub payload: Vec<u8>,
}

/// The status of the executions in `ids` that have ended, and of those in `unseen` that exist, in one statement.
pub async fn statuses(conn: &mut Conn, ids: &[Uuid], unseen: &[Uuid]) -> Result<Vec<ExecutionStatus>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id as "id!", state as "state!", finished as "finished!", payload from currant.statuses($1, $2)"#,
        ids,
        unseen
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    let status = rows.into_iter().map(|row| ExecutionStatus {
        id: row.id,
        state: row.state,
        finished: row.finished,
        payload: row.payload.unwrap_or_default(),
    });
    Ok(status.collect())
}

/// For how many seconds these were ready before they were claimed. One that another worker has now has no answer.
pub async fn pick_ups(conn: &mut Conn, ids: &[Uuid]) -> Result<Vec<f64>> {
    let mut scope = conn.run().await?;
    let waits = sqlx::query_scalar!(
        r#"select extract(epoch from e.attempt_at - e.ready_at)::double precision as "seconds!"
        from currant.executions e where e.id = any ($1) and e.attempt_at >= e.ready_at"#,
        ids
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    Ok(waits)
}
