//! The facts that `currant doctor` judges: why work does not go on. The caller decides what is wrong.
use serde::Serialize;
use serde_json::value::RawValue;

use crate::base::error::{Error, Result};
use crate::store::conn::{Conn, Scope};
use crate::store::migrate;
use crate::store::read::to_json;

/// Each field is a JSON array, except `schema`; docs/reference/doctor.md has their fields.
#[derive(Serialize)]
struct Facts {
    schema: Box<RawValue>,
    pins: Box<RawValue>,
    lock_waits: Box<RawValue>,
    tables: Box<RawValue>,
    dead_workers: Box<RawValue>,
    orphans: Box<RawValue>,
    held: Box<RawValue>,
    queues: Box<RawValue>,
    unknown_functions: Box<RawValue>,
    schedules: Box<RawValue>,
    unsettled: Box<RawValue>,
    handed_back: Box<RawValue>,
}

fn json(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|error| Error::Other(format!("cannot show this as JSON: {error}")))
}

/// The facts as JSON, read in one transaction.
pub async fn facts(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut transaction = conn.transaction().await?;
    let scope = &mut transaction;
    let facts = Facts {
        schema: json(schema(scope).await?)?,
        pins: json(pins(scope).await?)?,
        lock_waits: json(lock_waits(scope).await?)?,
        tables: json(tables(scope).await?)?,
        dead_workers: json(dead_workers(scope).await?)?,
        orphans: json(orphans(scope).await?)?,
        held: json(held(scope).await?)?,
        queues: json(queues(scope).await?)?,
        unknown_functions: json(unknown_functions(scope).await?)?,
        schedules: json(schedules(scope).await?)?,
        unsettled: json(unsettled(scope).await?)?,
        handed_back: json(handed_back(scope).await?)?,
    };
    transaction.done().await?;
    to_json(&facts)
}

/// `sees_all`: without it the server shows this role nothing of others' sessions except that they exist.
async fn schema(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select jsonb_build_object('version', (select max(m.version) from currant.migrations m), 'needed', $1::integer,
            'server', current_setting('server_version'), 'sees_all', pg_has_role('pg_read_all_stats', 'usage'))::text as "json!""#,
        migrate::SCHEMA_VERSION
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// The pins that keep dead rows from being removed: transactions of this database, prepared ones, slots, and stand-bys that ask for it. `rows`: how
/// many transactions old what they may still look at is.
async fn pins(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(p order by p.transactions desc), '[]')::text as "json!" from (
            select case when a.backend_type = 'walsender' then 'standby' else 'transaction' end as kind, a.pid::text as name,
                a.usename::text as role, a.application_name as application, a.state, age(coalesce(a.backend_xmin, a.backend_xid)) as transactions,
                extract(epoch from clock_timestamp() - a.xact_start)::double precision as seconds
            from pg_stat_activity a
            where (a.datname = current_database() or a.backend_type = 'walsender') and a.pid <> pg_backend_pid()
                and coalesce(a.backend_xmin, a.backend_xid) is not null and a.backend_type <> 'autovacuum worker'
            union all
            select 'prepared', p.gid, p.owner::text, '', 'prepared', age(p.transaction),
                extract(epoch from clock_timestamp() - p.prepared)::double precision
            from pg_prepared_xacts p where p.database = current_database()
            union all
            select 'slot', s.slot_name::text, '', coalesce(s.plugin::text, ''), case when s.active then 'active' else 'inactive' end,
                greatest(age(s.xmin), age(s.catalog_xmin)), null
            from pg_replication_slots s where coalesce(s.xmin, s.catalog_xmin) is not null) p"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Sessions of this database that wait for a lock, and the sessions that have it.
async fn lock_waits(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(w order by w.seconds desc), '[]')::text as "json!" from (
            select a.pid, a.application_name as application, coalesce(min(l.relation::regclass::text), min(l.locktype)) as waits_for,
                extract(epoch from clock_timestamp() - min(l.waitstart))::double precision as seconds,
                (select coalesce(jsonb_agg(jsonb_build_object('pid', b.pid, 'role', b.usename, 'application', b.application_name,
                    'state', b.state, 'seconds', extract(epoch from clock_timestamp() - b.xact_start))), '[]')
                    from pg_stat_activity b where b.pid = any (pg_blocking_pids(a.pid))) as blocked_by
            from pg_stat_activity a join pg_locks l on l.pid = a.pid and not l.granted
            where a.datname = current_database() group by a.pid, a.application_name) w"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// `due`: the number of dead rows at which autovacuum begins.
async fn tables(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(t order by t.dead desc), '[]')::text as "json!" from (
            select s.relname as name, s.n_live_tup as live, s.n_dead_tup as dead, pg_total_relation_size(s.relid) as bytes,
                current_setting('autovacuum_vacuum_threshold')::double precision
                    + (select coalesce(
                            max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_scale_factor'),
                            current_setting('autovacuum_vacuum_scale_factor'))
                        from pg_options_to_table(c.reloptions) o)::double precision * greatest(c.reltuples, 0) as due,
                age(c.relfrozenxid) as transactions, current_setting('autovacuum_freeze_max_age')::bigint as freeze_at,
                current_setting('autovacuum')::boolean as autovacuum,
                currant.iso(greatest(s.last_vacuum, s.last_autovacuum)) as vacuumed_at
            from pg_stat_user_tables s join pg_class c on c.oid = s.relid where s.schemaname = 'currant') t"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Workers whose heartbeat is overdue and whom no other has taken over from.
async fn dead_workers(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(d order by d.silent_seconds desc), '[]')::text as "json!" from (
            select w.id, w.name, w.host, w.queues, w.timeout,
                coalesce(nullif(extract(epoch from clock_timestamp() - w.last_heartbeat), 'infinity'), 0)::double precision as silent_seconds,
                coalesce(r.number, 0) as running
            from currant.workers w
            left join (select e.worker_id, count(*) as number from currant.running_executions e group by e.worker_id) r on r.worker_id = w.id
            where w.stopped_at is null and w.claims and not currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout)) d"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Executions that run on a worker that has stopped, or is not known: nobody would ever take them over.
async fn orphans(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(o), '[]')::text as "json!" from (
            select e.id, e.function, e.queue, e.worker_id from currant.running_executions e
            where not exists (select 1 from currant.workers w where w.id = e.worker_id and w.stopped_at is null) limit 20) o"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Incompatible runs by function, with one of them and its error.
async fn held(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(h order by h.number desc), '[]')::text as "json!" from (
            select e.function, e.queue, count(*) as number, min(e.id::text) as example,
                (select currant.payload_text(x.error, x.encoding) from currant.executions x where x.id = min(e.id::text)::uuid) as error
            from currant.executions e where e.incompatible group by e.function, e.queue) h"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

async fn queues(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(q order by q.queue), '[]')::text as "json!" from currant.queue_stats q"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Functions among the first thousand that are ready, and the first that wait, in each queue that is served, which none of its live workers
/// has. Workers that do not say what they have (the one-item verbs) may have anything.
async fn unknown_functions(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"with live as (
            select w.queues, w.tasks || w.workflows as functions from currant.workers w
            where w.claims and currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout)
        ),
        served as (
            select lane.queue from live cross join unnest(live.queues) lane(queue)
            group by lane.queue having bool_and(cardinality(live.functions) > 0)
        ),
        seen as (
            select s.queue, e.function from served s cross join lateral (
                (select x.function from currant.ready_executions x
                where x.queue = s.queue
                order by x.priority desc, x.ready_xid, x.id limit 1000)
                union all
                (select x.function from currant.executions x where x.queue = s.queue and x.run_at is not null order by x.run_at limit 1000)
                union all
                (select x.function from currant.executions x where x.queue = s.queue and x.suspended_at is not null limit 1000)) e
        )
        select coalesce(jsonb_agg(u order by u.queue, u.function), '[]')::text as "json!" from (
            select seen.queue, seen.function, count(*) as number from seen
            where not exists (select 1 from live where seen.queue = any (live.queues) and seen.function = any (live.functions))
            group by seen.queue, seen.function) u"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Schedules that are late, or went wrong the last time.
async fn schedules(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(s order by s.late_seconds desc), '[]')::text as "json!" from (
            select s.function, s.name, greatest(0, extract(epoch from clock_timestamp() - s.due_at))::double precision as late_seconds,
                s.last_outcome
            from currant.schedules s
            where not s.suspended and not s.definition_suspended and (s.due_at < clock_timestamp() or s.last_outcome like 'failed:%')) s"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Definitions whose executions have not all been marked yet: if a definition has a limit, nothing of its function starts meanwhile.
async fn unsettled(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(d order by d.seconds desc), '[]')::text as "json!" from (
            select d.function, d.owner, d.permits is not null as gated,
                extract(epoch from clock_timestamp() - d.updated_at)::double precision as seconds
            from currant.definitions d where not d.runs_marked) d"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

/// Tasks that have gone back three times and more at no cost, among those that run and the first thousand that are ready in each queue. A
/// lease grows when it is given and when it ends, so half of it is how often the task was claimed; `attempt` is how many of those cost one.
/// (`currant retry` sets attempts to 0: the number is then larger than what went back.)
async fn handed_back(scope: &mut Scope<'_>) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"select coalesce(jsonb_agg(b order by b.times desc), '[]')::text as "json!" from (
            select e.id, e.function, e.queue, e.state, (e.lease + 1) / 2 - e.attempt as times from (
                select x.id, x.kind, x.function, x.queue, x.state, x.lease, x.attempt from currant.running_executions x
                union all
                select r.* from (select distinct lane.queue from currant.workers w cross join unnest(w.queues) lane(queue)) served
                cross join lateral (
                    select x.id, x.kind, x.function, x.queue, x.state, x.lease, x.attempt from currant.ready_executions x
                    where x.queue = served.queue
                    order by x.priority desc, x.ready_xid, x.id limit 1000) r) e
            where e.kind = 'task' and (e.lease + 1) / 2 - e.attempt >= 3 limit 20) b"#
    );
    Ok(query.fetch_one(scope.conn()).await?)
}
