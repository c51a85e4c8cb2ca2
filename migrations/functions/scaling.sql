-- All that pools are sized by, in one statement for all pools of a database, asked every few seconds: currant.fleet, and by pool
--   `work`: by function `kind ready due running seconds` (what those that run have run for, taken together). `ready` is counted in the
--   first 2,000 of a queue: the shares of `fleet`'s `ready`. What is overdue and was not made ready, because no worker is there to do it,
--   and what a dead worker ran, is ready. `due` comes due within the pool's `horizon` seconds, schedules too. Of what runs only tasks
--   count: a workflow that waits takes no slot of a worker.
--   `spare` is work that could start now, though fleet's `ready` does not count it: it is overdue and was not made ready, or a dead worker ran it.
-- A pool's `running` is that of tasks, too, and `hot` are the workflows in its workers' memory; a worker's `running` is all that it has.
-- and by function `service`: how many attempts of tasks ended lately and the seconds that they took, among the newest thousand
-- executions and the three hundred before the first that waits in a pool; and `connections`: how many the server has left.
-- p_pools: [{"key": text, "queues": [text], "horizon": seconds}].
create or replace function currant.scaling(p_pools jsonb) returns jsonb language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with pool as (
        select p.value ->> 'key' as key, coalesce((p.value ->> 'horizon')::double precision, 0) * interval '1 second' as horizon,
            array(select distinct q.value from jsonb_array_elements_text(p.value -> 'queues') q) as queues
        from jsonb_array_elements(p_pools) p
    ),
    running as materialized (
        select e.queue, e.function, e.kind, e.worker_id, w.id is not null as alive, count(*) as number,
            sum(extract(epoch from clock_timestamp() - e.attempt_at))::double precision as seconds
        from currant.running_executions e left join currant.workers w on w.id = e.worker_id and currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout)
        group by e.queue, e.function, e.kind, e.worker_id, w.id
    ),
    work as (
        select pool.key, part.function, part.kind, sum(part.ready) as ready, sum(part.spare) as spare, sum(part.due) as due,
            sum(part.running) as running, sum(part.seconds) as seconds
        from pool cross join lateral (
            select one.function, one.kind, count(*) as ready, 0 as spare, 0 as due, 0 as running, 0 as seconds
            from unnest(pool.queues) lane(queue) cross join lateral (
                select e.function, e.kind from currant.ready_executions e
                where e.queue = lane.queue
                order by e.priority desc, e.ready_xid, e.id limit 2000) one
            group by one.function, one.kind
            union all
            select one.function, one.kind, 0, count(*) filter (where one.run_at <= clock_timestamp()),
                count(*) filter (where one.run_at > clock_timestamp()), 0, 0
            from unnest(pool.queues) lane(queue) cross join lateral (
                select e.function, e.kind, e.run_at from currant.executions e
                where e.queue = lane.queue and e.run_at <= clock_timestamp() + pool.horizon and not e.incompatible
                order by e.run_at limit 10000) one
            group by one.function, one.kind
            union all
            select r.function, r.kind, 0, sum(r.number) filter (where not r.alive), 0,
                sum(r.number) filter (where r.alive and r.kind = 'task'), sum(r.seconds) filter (where r.alive and r.kind = 'task')
            from running r where r.queue = any (pool.queues) group by r.function, r.kind
            union all
            select s.function, 'task', 0, count(*) filter (where s.due_at <= clock_timestamp()),
                count(*) filter (where s.due_at > clock_timestamp()), 0, 0
            from currant.schedules s left join currant.definitions d on d.function = s.function
            where not s.suspended and not s.definition_suspended and s.due_at <= clock_timestamp() + pool.horizon
                and coalesce(d.queue, (currant.declared(s.function)).queue, 'default') = any (pool.queues)
            group by s.function
        ) part group by pool.key, part.function, part.kind
    ),
    lately as (
        (select e.id, e.function, e.kind, e.state, e.attempt_at, e.finished_at from currant.executions e order by e.id desc limit 1000)
        union
        select b.id, b.function, b.kind, b.state, b.attempt_at, b.finished_at from pool cross join lateral (
            select e.id from unnest(pool.queues) lane(queue) cross join lateral (
                select x.id from currant.ready_executions x
                where x.queue = lane.queue
                order by x.priority desc, x.ready_xid, x.id limit 1) e
            order by e.id limit 1) first
        cross join lateral (
            select x.id, x.function, x.kind, x.state, x.attempt_at, x.finished_at from currant.executions x
            where x.id < first.id order by x.id desc limit 300) b
    )
    select fleet.answer || jsonb_build_object(
        'pools', (select coalesce(jsonb_object_agg(p.key, p.value || jsonb_build_object('running', busy.running, 'hot', busy.hot)), '{}')
            from jsonb_each(fleet.answer -> 'pools') p join pool on pool.key = p.key cross join lateral (
                select coalesce(sum(r.number) filter (where r.kind = 'task'), 0) as running,
                    coalesce(sum(r.number) filter (where r.kind = 'workflow'), 0) as hot
                from running r where r.queue = any (pool.queues)) busy),
        'work', (select coalesce(jsonb_object_agg(k.key, k.functions), '{}') from (
            select w.key, jsonb_agg(jsonb_build_object('function', w.function, 'kind', w.kind, 'ready', w.ready, 'spare', coalesce(w.spare, 0),
                'due', w.due, 'running', coalesce(w.running, 0), 'seconds', coalesce(w.seconds, 0)) order by w.function) as functions
            from work w group by w.key) k),
        'incompatible', (select coalesce(jsonb_object_agg(k.key, k.functions), '{}') from (
            select pool.key, jsonb_object_agg(kept.function, kept.number) as functions from pool cross join lateral (
                select one.function, count(*) as number from unnest(pool.queues) lane(queue) cross join lateral (
                    select e.function from currant.executions e where e.queue = lane.queue and e.incompatible limit 10000) one
                group by one.function) kept
            group by pool.key) k),
        'service', (select coalesce(jsonb_object_agg(s.function, jsonb_build_object('ended', s.ended, 'seconds', s.seconds)), '{}') from (
            select l.function, count(*) as ended, sum(extract(epoch from l.finished_at - l.attempt_at))::double precision as seconds
            from lately l
            where l.kind = 'task' and l.state in ('completed', 'failed') and l.attempt_at is not null and l.finished_at > l.attempt_at
                and l.finished_at > clock_timestamp() - interval '1 hour'
            group by l.function) s),
        'drains', (select coalesce(jsonb_object_agg(w.id, jsonb_build_object('started', currant.micros(w.started_at),
                'asked', currant.micros(w.drain_asked_at),
                'attempts', (select coalesce(sum(r.number), 0) from running r where r.worker_id = w.id and r.kind = 'task'))), '{}')
            from currant.workers w where w.stopped_at is null),
        'connections', (select current_setting('max_connections')::integer - (select count(*) from pg_stat_activity a
            where a.backend_type = 'client backend')
            - (select sum(s.setting::integer) from pg_settings s where s.name in ('superuser_reserved_connections', 'reserved_connections'))))
    from (select currant.fleet(p_pools) as answer offset 0) fleet
$$;
