-- The state of pools of workers, for the scaler. It is asked for every few seconds, so it counts by index and never more than 100,000 of a kind in a
-- pool: that number means "at least". p_pools: [{"key": text, "queues": [text]}]. `oldest_ready_seconds` is read from the counted ones and from the
-- first of each priority.
create or replace function currant.fleet(p_pools jsonb) returns jsonb language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with pool as (
        select p.value ->> 'key' as key, array(select distinct q.value from jsonb_array_elements_text(p.value -> 'queues') q) as queues
        from jsonb_array_elements(p_pools) p
    ),
    running as materialized (
        select e.worker_id, e.queue, count(*) as number from currant.running_executions e group by e.worker_id, e.queue
    ),
    depth as (
        select pool.key, least(100000, ready.number + limited.number) as ready, due.number as due, busy.number as running,
            coalesce(greatest(0, extract(epoch from clock_timestamp() - least(ready.oldest, first.oldest, limited.oldest))), 0)::double precision as oldest
        from pool
        cross join lateral (
            select count(*) as number, min(one.ready_at) as oldest from (
                select e.ready_at from unnest(pool.queues) lane(queue) cross join lateral (
                    (select x.ready_at from currant.ready_executions x
                    where x.queue = lane.queue
                    order by x.priority desc, x.ready_xid, x.id limit 100000)
                    union all
                    (select x.ready_at from currant.ready_poison_suspects x
                    where x.queue = lane.queue
                    order by x.priority desc, x.id limit 100000)) e
                limit 100000) one
        ) ready
        cross join lateral (
            select min(one.ready_at) as oldest from unnest(pool.queues) lane(queue) cross join generate_series(0, 10) level(priority)
            cross join lateral (
                select x.ready_at from currant.ready_executions x
                where x.queue = lane.queue and x.priority = level.priority
                order by x.ready_xid, x.id limit 1) one
        ) first
        cross join lateral (  -- of what awaits a permit, as many as there are free permits
            select coalesce(sum(open.number), 0)::bigint as number, min(open.oldest) as oldest
            from currant.awaiting_functions(pool.queues, 100000) awaiting cross join lateral (
                select count(*) as number, min(one.ready_at) as oldest from (
                    select e.ready_at from unnest(pool.queues) lane(queue) cross join lateral (
                        select x.ready_at from currant.executions x
                        where x.awaiting_permit and x.queue = lane.queue and x.function = awaiting.function
                        order by x.priority desc, x.id limit awaiting.free) e
                    limit awaiting.free) one) open
            where awaiting.free > 0
        ) limited
        cross join lateral (
            select count(*) as number from (
                select 1 from unnest(pool.queues) lane(queue) cross join lateral (
                    select 1 from currant.executions x where x.queue = lane.queue and x.run_at is not null and not x.incompatible
                    order by x.run_at limit 100000) e
                limit 100000) one
        ) due
        cross join lateral (
            select coalesce(sum(r.number), 0)::bigint as number from running r where r.queue = any (pool.queues)
        ) busy
    )
    select jsonb_build_object(
        'now', currant.micros(clock_timestamp()),
        'schema_version', (select max(m.version) from currant.migrations m),
        'pools', (select coalesce(jsonb_object_agg(d.key, jsonb_build_object('ready', d.ready, 'due', d.due, 'running', d.running,
            'oldest_ready_seconds', d.oldest)), '{}') from depth d),
        'workers', (select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'name', w.name, 'pool', w.pool, 'pod_name', w.pod_name,
            'pod_uid', w.pod_uid, 'build', w.build, 'queues', w.queues, 'tasks', w.tasks, 'workflows', w.workflows,
            'concurrency', w.concurrency, 'draining', w.draining,
            'running', (select coalesce(sum(r.number), 0)::bigint from running r where r.worker_id = w.id),
            'heartbeat_age_seconds', extract(epoch from clock_timestamp() - w.last_heartbeat)::double precision)
            order by w.started_at, w.id), '[]')
            from currant.workers w where currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout)))
$$;
