-- The counts of each queue, for people and dashboards; a stable view. It counts by index, so history does not slow it.
--   queue: the name of the queue
--   ready: executions that a worker can claim now
--   delayed: executions whose time has not come, or whose retry waits
--   running: executions that run
--   suspended: workflows that wait, and are only rows
--   held: incompatible runs
--   oldest_ready_seconds: for how long the oldest of the ready ones has been so
--   workers: how many live workers serve the queue
--   blocked: executions that await a permit, and their function has none free (concurrency limit, suspended)
create or replace view currant.queue_stats as
with waiting as (
    select e.queue, count(*) as number, currant.free_permits(e.function, count(*)) as open, min(e.ready_at) as oldest
    from currant.executions e where e.awaiting_permit group by e.queue, e.function
),
counted as (
    select e.queue, count(*) as ready, 0::bigint as delayed, 0::bigint as running, 0::bigint as suspended, 0::bigint as held,
        0::bigint as blocked, min(e.ready_at) as oldest
    from currant.ready_executions e group by e.queue
    union all
    select e.queue, count(*), 0, 0, 0, 0, 0, min(e.ready_at)
    from currant.ready_poison_suspects e group by e.queue
    union all
    select w.queue, w.open, 0, 0, 0, 0, w.number - w.open, case when w.open > 0 then w.oldest end from waiting w
    union all
    select e.queue, 0, count(*), 0, 0, 0, 0, null from currant.executions e where e.run_at is not null and e.state = 'pending' group by e.queue
    union all
    select e.queue, 0, 0, count(*), 0, 0, 0, null from currant.running_executions e group by e.queue
    union all
    select e.queue, 0, 0, 0, count(*) filter (where not e.incompatible), count(*) filter (where e.incompatible), 0, null
    from currant.executions e where e.suspended_at is not null group by e.queue
    union all
    select lane.queue, 0, 0, 0, 0, 0, 0, null from currant.workers w cross join unnest(w.queues) lane(queue)
    where w.stopped_at is null and w.claims
)
select c.queue, sum(c.ready)::bigint as ready, sum(c.delayed)::bigint as delayed, sum(c.running)::bigint as running,
    sum(c.suspended)::bigint as suspended, sum(c.held)::bigint as held,
    coalesce(greatest(0, extract(epoch from clock_timestamp() - min(c.oldest))), 0)::double precision as oldest_ready_seconds,
    (select count(*) from currant.workers w where c.queue = any (w.queues) and w.claims
        and currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout)) as workers,
    sum(c.blocked)::bigint as blocked
from counted c group by c.queue;
