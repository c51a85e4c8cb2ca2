//! Executions as clients see them: enqueue, look, wait, cancel, retry; and the seed's verbs of one item, which are batches of one.
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::base::calls::Calls;
use crate::base::error::{Error, Result};
use crate::base::limits::{DEFAULT_MAX_WORKER_LOSSES, check_payload};
use crate::base::retry::retry_delay;
use crate::base::types::{Action, Batch, ClaimRequest, Claimed, Created, NewExecution, Outcome, Policy, Wakes};
use crate::store::conn::{Conn, Scope};
use crate::store::schedules;
use crate::store::worker;

/// Enqueues; what became of each, in order. May be repeated with the same ids.
pub async fn create(conn: &mut Conn, items: &[NewExecution]) -> Result<Vec<Created>> {
    Ok(create_all(conn, &items.iter().collect::<Vec<_>>(), false).await?.0)
}

/// Of an enqueue: whether its own commit notified who slept then, and which transaction it was.
pub(crate) struct Told {
    pub asleep: bool,
    pub since: i64,
}

/// As `create`. With `tell` workers that sleep on the queue are notified by the same commit, if it can; gives whether it did.
pub(crate) async fn create_all(conn: &mut Conn, items: &[&NewExecution], tell: bool) -> Result<(Vec<Created>, Told)> {
    fn column<'a, T>(items: &[&'a NewExecution], value: impl Fn(&'a NewExecution) -> T) -> Vec<T> {
        items.iter().map(|item| value(item)).collect()
    }
    if let [item] = items {
        return create_one(conn, item, tell).await;
    }
    let calls = Calls::of(items.iter().map(|item| (&item.call, item.checked.as_deref())));
    let keyed = items.iter().any(|item| item.idempotency_key.is_some());
    let keys = if keyed { column(items, |n| n.idempotency_key.as_deref()) } else { Vec::new() };
    let headers: Vec<_> = items.iter().filter_map(|n| Some((n.id, n.call.headers.as_deref()?))).collect();
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let rows = sqlx::query!(
        r#"select ordinal, effective_id, queue, input_hash, input_schema, told as "told!",
            since as "since!" from currant.create_executions(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"#,
        &column(items, |n| n.id),
        column(items, |n| n.call.args.as_slice()) as _,
        &calls.places,
        keys as _,
        calls.column(|call| call.kind.as_str()) as _,
        calls.column(|call| call.function.as_str()) as _,
        calls.column(|call| call.queue.as_str()) as _,
        &calls.column(|call| call.priority),
        &calls.column(|call| call.policy.max_attempts),
        &calls.column(|call| call.policy.initial),
        &calls.column(|call| call.policy.multiplier),
        &calls.column(|call| call.policy.max_delay),
        &calls.column(|call| call.policy.jitter),
        &calls.column(|call| call.policy.names_as_json()),
        &calls.column(|call| call.policy.max_worker_losses),
        calls.column(|call| call.timeout) as _,
        calls.column(|call| call.delay) as _,
        calls.column(|call| call.run_at) as _,
        &calls.column(|call| call.given),
        calls.distinct.iter().map(|(_, checked)| *checked).collect::<Vec<_>>() as _,
        tell
    )
    .fetch_all(scope.conn())
    .await?;
    write_headers(&mut scope, &headers).await?;
    scope.done().await?;
    if let [row] = &rows[..]
        && row.ordinal.is_none()
    {
        let stored = |item: &&NewExecution| Created::Stored { id: item.id, queue: Some(item.call.queue.clone()) };
        let told = Told { asleep: row.told, since: row.since };
        return Ok((items.iter().map(stored).collect(), told));
    }
    let mut created = Vec::with_capacity(rows.len());
    let told = Told { asleep: false, since: rows.first().map_or(0, |row| row.since) };
    for row in rows {
        created.push((row.ordinal, created_of(row.effective_id, row.queue, row.input_hash, row.input_schema)?));
    }
    created.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    Ok((created.into_iter().map(|(_, created)| created).collect(), told))
}

/// As `create_all`, of one.
async fn create_one(conn: &mut Conn, item: &NewExecution, tell: bool) -> Result<(Vec<Created>, Told)> {
    let call = &item.call;
    let headers: Vec<_> = call.headers.as_deref().map(|headers| (item.id, headers)).into_iter().collect();
    let mut scope = conn.run_several(!headers.is_empty()).await?;
    let row = sqlx::query!(
        r#"select effective_id, queue, input_hash, input_schema, told as "told!", since as "since!" from currant.create_execution(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"#,
        item.id,
        call.args,
        item.idempotency_key,
        call.kind.as_str(),
        call.function,
        call.queue,
        call.priority,
        call.policy.max_attempts,
        call.policy.initial,
        call.policy.multiplier,
        call.policy.max_delay,
        call.policy.jitter,
        call.policy.names_as_json(),
        call.policy.max_worker_losses,
        call.timeout,
        call.delay,
        call.run_at,
        call.given,
        item.checked,
        tell
    )
    .fetch_one(scope.conn())
    .await?;
    write_headers(&mut scope, &headers).await?;
    scope.done().await?;
    let created = created_of(row.effective_id, row.queue, row.input_hash, row.input_schema)?;
    Ok((vec![created], Told { asleep: row.told, since: row.since }))
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

/// Trace contexts, JSON objects, of executions that the same transaction has written. One that is not there gets none.
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

/// As `create`; gives the effective ids in order, or one error if some were not stored.
pub async fn create_executions(conn: &mut Conn, items: &[NewExecution]) -> Result<Vec<Uuid>> {
    stored(items, &create(conn, items).await?)
}

/// The ids of one caller's enqueues. Where an input schema is to be checked first, the error says which, for all of them.
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

/// One execution as `get_execution`, `show` and `list_executions` give it (docs/internals/engine.md). A view's columns are all nullable to sqlx.
#[derive(Serialize)]
struct Details {
    id: Option<Uuid>,
    kind: Option<String>,
    function: Option<String>,
    queue: Option<String>,
    priority: Option<i16>,
    state: Option<String>,
    attempt: Option<i32>,
    max_attempts: Option<i32>,
    worker_losses: Option<i32>,
    max_worker_losses: Option<i32>,
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
    timeout: Option<f64>,
    cancel_requested: Option<bool>,
    held: Option<bool>,
    #[serde(serialize_with = "json")]
    error: Option<Vec<u8>>,
    #[serde(serialize_with = "json")]
    args: Option<Vec<u8>>,
    #[serde(serialize_with = "json")]
    result: Option<Vec<u8>>,
}

/// A payload goes in as the JSON that it is, digit for digit; what is not JSON shows as null.
fn json<S: Serializer>(payload: &Option<Vec<u8>>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
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

/// Which executions `list_executions` gives.
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

const STATES: &[&str] = &["pending", "running", "suspended", "completed", "failed", "cancelled"];

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

/// Newest first; by default at most 100.
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

/// Workers that have not said good-bye; `stale` are those whose heartbeat is overdue.
pub async fn workers(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query_as!(
        WorkerRow,
        r#"select w.id, w.name, w.host, w.pid, w.build, w.queues, w.concurrency,
            (select count(*) from currant.executions e where e.worker_id = w.id and e.state = 'running') as "running!",
            case when w.last_heartbeat < clock_timestamp() - w.timeout * interval '1 second' then 'stale'
                when w.draining then 'draining' else 'alive' end as "state!",
            currant.iso(w.started_at) as started_at, currant.iso(w.last_heartbeat) as last_heartbeat,
            w.pool, w.pod_name, w.pod_uid
        from currant.workers w where w.stopped_at is null and w.claims order by w.started_at, w.id"#
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    to_json(&rows)
}

/// How an execution stands; `payload` is the result or the error of one that has ended so.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub id: Uuid,
    pub state: String,
    pub finished: bool,
    pub payload: Vec<u8>,
}

/// Those of `ids` that have ended, and of `unseen` all that there are, in one statement.
pub async fn standings(conn: &mut Conn, ids: &[Uuid], unseen: &[Uuid]) -> Result<Vec<Standing>> {
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id as "id!", state as "state!", finished as "finished!", payload from currant.standings($1, $2)"#,
        ids,
        unseen
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    let standing = rows.into_iter().map(|row| Standing {
        id: row.id,
        state: row.state,
        finished: row.finished,
        payload: row.payload.unwrap_or_default(),
    });
    Ok(standing.collect())
}

/// Cancels an execution and what is below it; `force` ends the whole tree without asking its workflows.
pub async fn cancel(conn: &mut Conn, id: Uuid, force: bool) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let row = sqlx::query!(
        r#"select status as "status!", queues as "queues!", workers as "workers!", ids as "ids!"
        from currant.cancel_tree($1, $2)"#,
        id,
        force
    )
    .fetch_one(scope.conn())
    .await?;
    scope.done().await?;
    match row.status.as_str() {
        "unknown" => Err(not_found(id)),
        "finished" => Err(Error::NotRunning(format!("execution {id} has already finished"))),
        _ => Ok(Wakes { queues: row.queues, workers: row.workers.into_iter().zip(row.ids).collect(), since: None }),
    }
}

/// Opens a new epoch of a failed or cancelled root, from its last good history.
pub async fn retry(conn: &mut Conn, id: Uuid) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(r#"select status as "status!", queues from currant.retry_run($1)"#, id);
    let row = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    match row.status.as_str() {
        "unknown" => Err(not_found(id)),
        "not_root" => Err(Error::Other(format!("execution {id} is a step of a run: retry the run"))),
        "not_failed" => Err(Error::Other(format!("execution {id} is neither failed nor cancelled"))),
        _ => Ok(Wakes { queues: row.queues.unwrap_or_default(), ..Wakes::default() }),
    }
}

// The seed's verbs. A worker that uses them is known by its heartbeats (`update_heartbeat`) or its first claim.

/// A claimed execution as the one-item verbs give it.
#[derive(Serialize)]
struct ClaimedJson<'a> {
    id: Uuid,
    lease: i64,
    kind: &'static str,
    function: &'a str,
    queue: &'a str,
    priority: i16,
    attempt: i32,
    timeout: Option<f64>,
    parent_id: Option<Uuid>,
    root_id: Uuid,
    #[serde(serialize_with = "json")]
    args: Option<Vec<u8>>,
}

fn claimed_json(claimed: &Claimed) -> Result<Vec<u8>> {
    to_json(&ClaimedJson {
        id: claimed.id,
        lease: claimed.lease,
        kind: claimed.kind.as_str(),
        function: &claimed.function,
        queue: &claimed.queue,
        priority: claimed.priority,
        attempt: claimed.attempt,
        timeout: claimed.timeout,
        parent_id: claimed.parent,
        root_id: claimed.root,
        args: Some(claimed.args.clone()),
    })
}

/// Without a name or queues it keeps those that it has; a new one is called by its id.
async fn introduce(conn: &mut Conn, worker: Uuid, name: &str, queues: &[String]) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!(
        "insert into currant.workers as w (id, name, queues) values ($1::uuid, coalesce(nullif($2::text, ''), $1::uuid::text), $3)
        on conflict (id) do update set name = case when $2::text = '' then w.name else excluded.name end,
            queues = case when cardinality(excluded.queues) = 0 then w.queues else excluded.queues end,
            last_heartbeat = clock_timestamp(), stopped_at = null",
        worker,
        name,
        queues
    )
    .execute(scope.conn())
    .await?;
    scope.done().await
}

/// Says that a worker lives; makes it known the first time.
pub async fn update_heartbeat(conn: &mut Conn, worker: Uuid, name: &str, queues: &[String]) -> Result<Wakes> {
    introduce(conn, worker, name, queues).await?;
    let beat = worker::heartbeat(conn, worker, None, false, None).await?;
    let mut wakes = Wakes::default();
    for dead in beat.dead {
        let more = worker::take_over(conn, dead).await?;
        wakes.add(more);
    }
    if beat.next_schedule.is_some_and(|due| due <= beat.now) {
        let (_, more) = schedules::fire(conn).await?;
        wakes.add(more);
    }
    Ok(wakes)
}

/// Claims up to `limit`: (id, lease, JSON).
pub async fn claim_executions(
    conn: &mut Conn,
    worker: Uuid,
    queues: &[String],
    limit: i32,
) -> Result<Vec<(Uuid, i64, Vec<u8>)>> {
    let request = ClaimRequest { queues: queues.to_vec(), limit, isolated: true, ..ClaimRequest::default() };
    let mut reply = worker::commit_and_claim(conn, worker, &Batch::default(), Some(&request)).await?;
    if reply.claimed.is_empty() {
        // It may be unknown yet, and what has come due is made ready by a heartbeat.
        introduce(conn, worker, "", queues).await?;
        worker::heartbeat(conn, worker, None, false, None).await?;
        reply = worker::commit_and_claim(conn, worker, &Batch::default(), Some(&request)).await?;
    }
    reply.claimed.iter().map(|claimed| Ok((claimed.id, claimed.lease, claimed_json(claimed)?))).collect()
}

/// Writes outcomes under their leases; gives the ids that were refused, since another has their lease, and whom to wake.
async fn write(
    conn: &mut Conn,
    worker: Uuid,
    fences: Vec<(Uuid, i64)>,
    outcomes: Vec<Outcome>,
) -> Result<(Vec<Uuid>, Wakes)> {
    let batch = Batch { fences, outcomes, ..Batch::default() };
    let reply = worker::commit_batch(conn, worker, &batch, None).await?;
    Ok((reply.refused, reply.wakes))
}

pub async fn complete_executions(
    conn: &mut Conn,
    worker: Uuid,
    items: &[(Uuid, i64, Vec<u8>)],
) -> Result<(Vec<Uuid>, Wakes)> {
    items.iter().try_for_each(|(_, _, result)| check_payload("result", result))?;
    let fences = items.iter().map(|(id, lease, _)| (*id, *lease)).collect();
    let outcomes =
        items.iter().map(|(id, _, result)| Outcome::new(*id, Action::Complete, Some(result.clone()))).collect();
    write(conn, worker, fences, outcomes).await
}

/// (id, lease, error, whether it may be tried again). It is, after the delay of its policy, while attempts are left.
pub async fn fail_executions(
    conn: &mut Conn,
    worker: Uuid,
    items: &[(Uuid, i64, Vec<u8>, bool)],
    random: f64,
) -> Result<(Vec<Uuid>, Wakes)> {
    items.iter().try_for_each(|(_, _, error, _)| check_payload("error", error))?;
    let ids: Vec<Uuid> = items.iter().map(|item| item.0).collect();
    let mut scope = conn.run().await?;
    let rows = sqlx::query!(
        r#"select id, attempt - worker_losses as "attempt!", max_attempts, retry_initial, retry_multiplier, retry_max_delay, retry_jitter,
            currant.micros(clock_timestamp()) as "now!"
        from currant.executions where id = any($1)"#,
        &ids
    )
    .fetch_all(scope.conn())
    .await?;
    scope.done().await?;
    let due = |id: Uuid| {
        let row = rows.iter().find(|row| row.id == id).filter(|row| row.attempt < row.max_attempts)?;
        let policy = Policy {
            max_attempts: row.max_attempts,
            initial: row.retry_initial,
            multiplier: row.retry_multiplier,
            max_delay: row.retry_max_delay,
            jitter: row.retry_jitter,
            non_retryable: Vec::new(),
            max_worker_losses: DEFAULT_MAX_WORKER_LOSSES, // nothing of a retry's delay
        };
        Some(row.now + (retry_delay(&policy, row.attempt, random) * 1e6) as i64)
    };
    let outcomes = items.iter().map(|(id, _, error, again)| match Some(*id).filter(|_| *again).and_then(due) {
        Some(at) => Outcome { due: Some(at), ..Outcome::new(*id, Action::Retry, Some(error.clone())) },
        None => Outcome::new(*id, Action::Fail, Some(error.clone())),
    });
    let outcomes = outcomes.collect();
    let fences = items.iter().map(|(id, lease, _, _)| (*id, *lease)).collect();
    write(conn, worker, fences, outcomes).await
}

/// Gives up the leases of workflows that wait; one that has something to hear meanwhile is ready at once.
pub async fn suspend_workflows(conn: &mut Conn, worker: Uuid, items: &[(Uuid, i64)]) -> Result<(Vec<Uuid>, Wakes)> {
    let outcomes = items.iter().map(|(id, _)| Outcome::new(*id, Action::Suspend, None)).collect();
    write(conn, worker, items.to_vec(), outcomes).await
}

/// Wakes workflows; gives the ids of those that had not finished.
pub async fn resume_workflows(conn: &mut Conn, ids: &[Uuid]) -> Result<(Vec<Uuid>, Wakes)> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(r#"select id as "id!", queue as "queue!", worker_id from currant.resume($1)"#, ids);
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    let mut wakes = Wakes::default();
    for row in &rows {
        match row.worker_id {
            Some(worker) => wakes.workers.push((worker, row.id)),
            None => wakes.queues.push(row.queue.clone()),
        }
    }
    Ok((rows.into_iter().map(|row| row.id).collect(), wakes))
}
