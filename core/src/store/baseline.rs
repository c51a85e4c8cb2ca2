//! `currant bench`: what the server is like, and what bare SQL reaches on it; Currant's own part is measured in Python, by its public verbs.
//!
//! Bare SQL works on a scratch table of its own, of the shape that bench/candidates/limit.py has (and with the same meaning): a state,
//! arguments, two partial indexes; no retries, leases, time-outs or history. Its name is made at run time, so these statements, and only
//! these, are not checked by sqlx at compile time.
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::store::conn::Conn;
use crate::store::migrate;
use crate::store::read::to_json;
use crate::store::url::Target;

/// The number of statements before the measurement: they make Postgres plan, and fill caches.
const WARM_UP: usize = 5;
const PICK_UP_INTERVAL: Duration = Duration::from_millis(25);
/// The time after which a notification that has not come will not come.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of rows that the drain claims at a time.
const BATCH: usize = 100;
/// The number of rows in one statement of the bulk insert.
const BULK: usize = 1_000;

/// One thing to do, as JSON `{"part": "inserts", ...}`. `table` makes the scratch table's name; seconds and counts are upper bounds.
#[derive(Debug, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    Server,
    MakeTable { table: Uuid },
    DropTable { table: Uuid },
    RoundTrips { seconds: f64, most: usize },
    Inserts { table: Uuid, seconds: f64, most: usize },
    ConcurrentInserts { table: Uuid, seconds: f64, most: usize, in_flight: usize },
    BulkInserts { table: Uuid, seconds: f64, most: usize },
    Drain { table: Uuid, seconds: f64 },
    PickUps { table: Uuid, seconds: f64, most: usize },
    RemoveTasks { queue: String, from: Uuid, until: Uuid, limit: i64 },
    RemoveWorkers { queue: String },
}

/// The result of one part of the benchmark: how many operations there were, how many seconds all of them took, and how many milliseconds
/// each took, if that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Taken {
    count: usize,
    seconds: f64,
    ms: Vec<f64>,
    /// Whether notifications come through.
    listens: bool,
    /// The number of connections that were used at the same time.
    in_flight: usize,
}

/// Runs one part of the benchmark, `part` as JSON. Returns what it measured (`Taken`) as JSON.
pub async fn run(target: &Target, part: &str) -> Result<Vec<u8>> {
    let part: Part = serde_json::from_str(part).map_err(|error| Error::Invalid(format!("no part: {error}")))?;
    let limit = |seconds: f64| Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let taken = match part {
        Part::Server => return server(target).await,
        Part::RemoveTasks { queue, from, until, limit } => {
            let removed = remove_tasks(&mut target.connect().await?, &queue, from, until, limit).await?;
            Taken { count: removed, ..Taken::default() }
        }
        Part::RemoveWorkers { queue } => {
            remove_workers(&mut target.connect().await?, &queue).await?;
            Taken::default()
        }
        Part::MakeTable { table } => Bare::open(target, table).await?.make().await?,
        Part::DropTable { table } => Bare::open(target, table).await?.drop().await?,
        Part::RoundTrips { seconds, most } => {
            Bare::open(target, Uuid::nil()).await?.one_by_one("select 1", limit(seconds), most).await?
        }
        Part::Inserts { table, seconds, most } => {
            let mut bare = Bare::open(target, table).await?;
            let insert = bare.insert();
            bare.one_by_one(&insert, limit(seconds), most).await?
        }
        Part::ConcurrentInserts { table, seconds, most, in_flight } => {
            concurrent_inserts(target, table, seconds, most, in_flight).await?
        }
        Part::BulkInserts { table, seconds, most } => {
            Bare::open(target, table).await?.bulk(limit(seconds), most).await?
        }
        Part::Drain { table, seconds } => drain(target, table, limit(seconds)).await?,
        Part::PickUps { table, seconds, most } => pick_ups(target, table, limit(seconds), most).await?,
    };
    to_json(&taken)
}

// The state of the server, and the clean-up in Currant's own tables: checked by sqlx.

/// Settings, free connections, rights and what slows the server down, as a JSON object (docs/reference/bench.md). Refuses a schema that is not ours.
async fn server(target: &Target) -> Result<Vec<u8>> {
    let mut conn = target.connect().await?;
    migrate::check_schema(&mut conn).await?;
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(
        r#"select jsonb_build_object(
            'database', current_database(),
            'role', current_user,
            'version', current_setting('server_version'),
            'pooler', $1::boolean,
            'read_only', pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
            'settings', (select jsonb_object_agg(s.name, current_setting(s.name)) from pg_settings s where s.name in (
                'autovacuum', 'default_transaction_isolation', 'fsync', 'full_page_writes', 'jit', 'max_connections', 'max_wal_size',
                'shared_buffers', 'statement_timeout', 'synchronous_commit', 'synchronous_standby_names')),
            'shared_buffers_bytes', pg_size_bytes(current_setting('shared_buffers')),
            'statement_timeout_ms', (select s.setting::bigint from pg_settings s where s.name = 'statement_timeout'),
            'connections_free', (select current_setting('max_connections')::integer - sum(s.setting::integer) from pg_settings s
                    where s.name in ('superuser_reserved_connections', 'reserved_connections'))
                - (select count(*) from pg_stat_activity a where a.backend_type = 'client backend' and a.pid <> pg_backend_pid()),
            'may_create', has_schema_privilege('currant', 'CREATE'),
            'may_remove', has_table_privilege('currant.executions', 'DELETE') and has_table_privilege('currant.workers', 'DELETE')
                and has_table_privilege('currant.functions', 'DELETE'),
            'oldest_transaction_seconds', (select extract(epoch from max(clock_timestamp() - a.xact_start)) from pg_stat_activity a
                where (a.backend_xid is not null or a.backend_xmin is not null) and a.pid <> pg_backend_pid()
                    and (a.datname = current_database() or a.backend_type = 'walsender')),
            'oldest_prepared_seconds', (select extract(epoch from max(clock_timestamp() - p.prepared)) from pg_prepared_xacts p
                where p.database = current_database()),
            'oldest_xmin_age', (select max(age(x.xmin)) from (
                select coalesce(a.backend_xmin, a.backend_xid) as xmin from pg_stat_activity a
                where a.pid <> pg_backend_pid() and (a.datname = current_database() or a.backend_type = 'walsender')
                union all
                select r.xmin from pg_replication_slots r) x),
            'left_behind', (select coalesce(jsonb_agg(substr(c.relname, 7)), '[]') from pg_class c
                where c.relnamespace = 'currant'::regnamespace and c.relkind = 'r' and c.relname ~ '^bench_[0-9a-f]{32}$'),
            'live_rows', (select t.n_live_tup from pg_stat_user_tables t where t.relid = 'currant.executions'::regclass),
            'dead_rows', (select t.n_dead_tup from pg_stat_user_tables t where t.relid = 'currant.executions'::regclass)
        )::text as "facts!""#,
        target.pooler
    );
    let facts = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(facts.into_bytes())
}

/// Deletes up to `limit` executions of a queue whose ids are from `from` to `until`: by the primary key, because no index finds those that
/// have ended by their queue. Returns how many.
async fn remove_tasks(conn: &mut Conn, queue: &str, from: Uuid, until: Uuid, limit: i64) -> Result<usize> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!(
        "with old as (
            select e.id from currant.executions e where e.id between $2 and $3 and e.queue = $1 order by e.id limit $4)
        delete from currant.executions e using old where e.id = old.id",
        queue,
        from,
        until,
        limit
    );
    let done = query.execute(scope.conn()).await?;
    scope.done().await?;
    Ok(done.rows_affected() as usize)
}

/// Deletes the workers of a queue that only the benchmark has, and what they declared of its function.
async fn remove_workers(conn: &mut Conn, queue: &str) -> Result<()> {
    let mut scope = conn.transaction().await?;
    let workers = sqlx::query!(
        "with gone as (delete from currant.workers w where w.queues = array[$1::text] returning w.id)
        delete from currant.claims c using gone where c.worker_id = gone.id",
        queue
    );
    workers.execute(scope.conn()).await?;
    let functions = sqlx::query!("delete from currant.functions f where f.queue = $1", queue);
    functions.execute(scope.conn()).await?;
    scope.done().await
}

// Bare SQL

const TABLE: &str = "
    create table currant.{} (
        id bigint generated always as identity primary key,
        kind text not null,
        function text not null,
        queue text not null,
        priority smallint not null default 5,
        args bytea not null,
        state text not null default 'pending',
        worker integer,
        attempt integer not null default 0,
        result bytea,
        created_at timestamptz not null default clock_timestamp(),
        started_at timestamptz,
        finished_at timestamptz
    ) with (fillfactor = 80);
    comment on table currant.{} is 'Scratch table of `currant bench`, which drops it at its end. If it is there without one: drop it.';
    create index {}_ready on currant.{} (queue, priority desc, id) where state = 'pending';
    create index {}_running on currant.{} (worker) where state = 'running'";
const INSERT: &str = r#"
    insert into currant.{} (kind, function, queue, args)
    values ('task', 'currant.bench.noop', 'bench', convert_to('{"args":[1],"kwargs":{}}', 'UTF8'))"#;
const INSERT_MANY: &str = "
    insert into currant.{} (kind, function, queue, args) select 'task', 'currant.bench.noop', 'bench', u from unnest($1) u";
const COMPLETE_AND_CLAIM: &str = "
    with done as (
        update currant.{} set state = 'completed', result = convert_to('null', 'UTF8'), finished_at = clock_timestamp() where id = any ($1)
    ), next as (
        select id from currant.{} where queue = 'bench' and state = 'pending' and priority = 5 and id > $2
        order by priority desc, id limit 100 for update skip locked
    ), taken as (
        update currant.{} i set state = 'running', worker = 1, attempt = i.attempt + 1, started_at = clock_timestamp()
        from next where i.id = next.id and i.kind = 'task' returning i.id, i.function, i.args
    )
    select id, function, args from taken order by id";

/// The values in place of `$1`, `$2`.
enum Value {
    Id(i64),
    Ids(Vec<i64>),
    Args(Vec<Vec<u8>>),
}

impl Value {
    fn literal(&self) -> String {
        fn array<T>(items: &[T], one: impl Fn(&T) -> String) -> String {
            items.iter().map(one).collect::<Vec<_>>().join(",")
        }
        match self {
            Value::Id(id) => id.to_string(),
            Value::Ids(ids) => format!("'{{{}}}'::bigint[]", array(ids, i64::to_string)),
            Value::Args(args) => {
                let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                format!("array[{}]::bytea[]", array(args, |bytes| format!("'\\x{}'", hex(bytes))))
            }
        }
    }
}

/// A connection, and the scratch table's name. Statements are prepared; as plain text where a pooler would not know them again.
struct Bare {
    conn: Conn,
    pooler: bool,
    name: String,
}

impl Bare {
    async fn open(target: &Target, table: Uuid) -> Result<Bare> {
        let conn = target.connect().await?;
        Ok(Bare { conn, pooler: target.pooler, name: format!("bench_{}", table.simple()) })
    }

    fn on_table(&self, sql: &str) -> String {
        sql.replace("currant.{}", &format!("currant.{}", self.name)).replace("{}_", &format!("{}_", self.name))
    }

    fn insert(&self) -> String {
        self.on_table(INSERT)
    }

    /// Several statements, in one transaction.
    async fn text(&mut self, sql: String) -> Result<Taken> {
        self.conn.text(sql).await?;
        Ok(Taken::default())
    }

    async fn make(mut self) -> Result<Taken> {
        self.text(self.on_table(TABLE)).await
    }

    async fn drop(mut self) -> Result<Taken> {
        self.text(format!("drop table if exists currant.{}", self.name)).await
    }

    async fn fetch(&mut self, sql: &str, values: &[Value]) -> Result<Vec<PgRow>> {
        if self.pooler {
            let fill = |sql: String, (place, value): (usize, &Value)| {
                sql.replace(&format!("${}", place + 1), &value.literal())
            };
            let text = values.iter().enumerate().fold(sql.to_owned(), fill);
            return self.conn.text(text).await;
        }
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        for value in values {
            query = match value {
                Value::Id(id) => query.bind(*id),
                Value::Ids(ids) => query.bind(ids.clone()),
                Value::Args(args) => query.bind(args.clone()),
            };
        }
        let mut scope = self.conn.run().await?;
        let rows = query.fetch_all(scope.conn()).await?;
        scope.done().await?;
        Ok(rows)
    }

    /// Each statement waits for the one before it.
    async fn one_by_one(&mut self, sql: &str, limit: Instant, most: usize) -> Result<Taken> {
        for _ in 0..WARM_UP {
            self.fetch(sql, &[]).await?;
        }
        let start = Instant::now();
        let mut taken = Taken::default();
        while taken.count < most && Instant::now() < limit {
            let before = Instant::now();
            self.fetch(sql, &[]).await?;
            taken.ms.push(milliseconds(before));
            taken.count += 1;
        }
        taken.seconds = start.elapsed().as_secs_f64();
        Ok(taken)
    }

    async fn bulk(&mut self, limit: Instant, most: usize) -> Result<Taken> {
        let sql = self.on_table(INSERT_MANY);
        let args = |index: usize| format!(r#"{{"args":[{index}],"kwargs":{{}}}}"#).into_bytes();
        let start = Instant::now();
        let mut taken = Taken::default();
        while taken.count < most && Instant::now() < limit {
            let size = BULK.min(most - taken.count);
            self.fetch(&sql, &[Value::Args((0..size).map(args).collect())]).await?;
            taken.count += size;
        }
        taken.seconds = start.elapsed().as_secs_f64();
        Ok(taken)
    }

    /// Completes what was claimed before, and claims the next above `mark`; returns their ids.
    async fn complete_and_claim(&mut self, done: Vec<i64>, mark: i64) -> Result<Vec<i64>> {
        let sql = self.on_table(COMPLETE_AND_CLAIM);
        let rows = self.fetch(&sql, &[Value::Ids(done), Value::Id(mark)]).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }
}

/// A number of connections, or as many of them as the server allows; each runs one statement after the other.
async fn concurrent_inserts(
    target: &Target,
    table: Uuid,
    seconds: f64,
    most: usize,
    in_flight: usize,
) -> Result<Taken> {
    let mut connections = Vec::new();
    for _ in 0..in_flight.max(1) {
        let mut bare = match Bare::open(target, table).await {
            Err(_) if !connections.is_empty() => break,
            bare => bare?,
        };
        let insert = bare.insert();
        bare.fetch(&insert, &[]).await?;
        connections.push(bare);
    }
    let mut taken = Taken { in_flight: connections.len(), ..Taken::default() };
    let each = most / connections.len();
    let start = Instant::now();
    let limit = start + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut inserters = JoinSet::new();
    for mut bare in connections {
        inserters.spawn(async move {
            let insert = bare.insert();
            let mut count = 0;
            while count < each && Instant::now() < limit {
                bare.fetch(&insert, &[]).await?;
                count += 1;
            }
            Ok::<_, Error>(count)
        });
    }
    while let Some(count) = inserters.join_next().await {
        taken.count += count.map_err(|error| Error::Other(format!("an inserter ended: {error}")))??;
    }
    taken.seconds = start.elapsed().as_secs_f64();
    Ok(taken)
}

/// Drains the whole table, with a low-water mark; a last query without it finds what was committed late below it.
async fn drain(target: &Target, table: Uuid, limit: Instant) -> Result<Taken> {
    let start = Instant::now();
    let mut bare = Bare::open(target, table).await?;
    let (mut taken, mut done, mut mark) = (Taken::default(), Vec::new(), 0);
    while Instant::now() < limit {
        let claimed = bare.complete_and_claim(std::mem::take(&mut done), mark).await?;
        taken.count += claimed.len();
        match claimed.last() {
            Some(last) if claimed.len() == BATCH => mark = *last,
            Some(_) => mark = 0,
            None if mark == 0 => break,
            None => mark = 0,
        }
        done = claimed;
    }
    taken.seconds = start.elapsed().as_secs_f64();
    Ok(taken)
}

/// Measures pick-ups: INSERT and NOTIFY in one statement, and a listener that claims the row. The time is from just before the first statement to
/// just after the second.
async fn pick_ups(target: &Target, table: Uuid, limit: Instant, most: usize) -> Result<Taken> {
    let Some(mut listener) = target.listener().await? else { return Ok(Taken::default()) };
    let mut sender = Bare::open(target, table).await?;
    let mut worker = Bare::open(target, table).await?;
    listener.listen(std::slice::from_ref(&sender.name)).await?;
    let insert =
        format!("with new as ({} returning id) select pg_notify('{}', '') from new", sender.insert(), sender.name);

    let mut taken = Taken { listens: true, ..Taken::default() };
    let mut done = Vec::new();
    while taken.count < most + WARM_UP && Instant::now() < limit {
        let before = Instant::now();
        let (sent, claimed) = tokio::join!(sender.fetch(&insert, &[]), async {
            let Ok(heard) = timeout(PATIENCE, listener.hear()).await else { return Ok(None) };
            heard?;
            worker.complete_and_claim(std::mem::take(&mut done), 0).await.map(Some)
        });
        sent?;
        let Some(claimed) = claimed? else {
            taken.listens = false;
            break;
        };
        let took = milliseconds(before);
        if taken.count >= WARM_UP {
            taken.ms.push(took);
        }
        taken.count += 1;
        done = claimed;
        sleep(PICK_UP_INTERVAL.saturating_sub(before.elapsed())).await;
    }
    taken.count = taken.ms.len();
    for conn in [sender.conn, worker.conn] {
        conn.close().await;
    }
    Ok(taken)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_pooler_values_are_written_into_the_text() {
        assert_eq!(Value::Id(7).literal(), "7");
        assert_eq!(Value::Ids(vec![1, 2]).literal(), "'{1,2}'::bigint[]");
        assert_eq!(Value::Ids(Vec::new()).literal(), "'{}'::bigint[]");
        assert_eq!(Value::Args(vec![vec![0x7b, 0x00], vec![]]).literal(), r"array['\x7b00','\x']::bytea[]");
    }

    #[test]
    fn a_part_that_is_not_one_is_refused() {
        let wrong = |text: &str| serde_json::from_str::<Part>(text).is_err();
        assert!(wrong(r#"{"part": "drop_everything"}"#) && wrong(r#"{"part": "drop_table", "table": "executions"}"#));
        assert!(!wrong(r#"{"part": "round_trips", "seconds": 1.0, "most": 5}"#));
    }
}
