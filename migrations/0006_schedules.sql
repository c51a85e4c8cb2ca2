-- Schedules, which any worker fires, and what an operator asks of a whole fleet.
--
-- Order of locks: a schedule before executions. What fires when is decided by the workers (core/src/base/cron.rs), by the server's clock.

-- Makes these the schedules of a function, in the caller's transaction: those no longer named go, the others keep their id and what
-- they last did. p_schedules: [{"name", "cron", "time_zone", "args" (JSON as text), "overlap", "catch_up", "starting_deadline",
-- "jitter", "suspended", "next_fire_at" (microseconds, or null)}]. True if that changed anything; then some workers are told, since
-- the fire times that they know of may be later.
create function currant.apply_schedules(p_function text, p_owner text, p_definition_suspended boolean, p_schedules jsonb)
returns boolean language plpgsql as $$
declare
    v_gone bigint;
    v_changed bigint;
begin
    delete from currant.schedules s where s.function = p_function
        and not exists (select 1 from jsonb_array_elements(p_schedules) n where n.value ->> 'name' = s.name);
    get diagnostics v_gone = row_count;
    insert into currant.schedules as s (id, function, name, owner, cron, time_zone, args, overlap, catch_up, starting_deadline, jitter,
        suspended, definition_suspended, next_fire_at, due_at)
    select currant.new_id(), p_function, n.name, p_owner, n.cron, n.time_zone, convert_to(n.args, 'UTF8'), n.overlap, n.catch_up,
        n.starting_deadline, n.jitter, n.suspended, p_definition_suspended, currant.from_micros(n.next_fire_at), currant.from_micros(n.next_fire_at)
    from jsonb_to_recordset(p_schedules) n(name text, cron text, time_zone text, args text, overlap text, catch_up text,
        starting_deadline double precision, jitter double precision, suspended boolean, next_fire_at bigint)
    on conflict (function, name) do update set
        owner = excluded.owner, cron = excluded.cron, time_zone = excluded.time_zone, args = excluded.args, overlap = excluded.overlap,
        catch_up = excluded.catch_up, starting_deadline = excluded.starting_deadline, jitter = excluded.jitter,
        suspended = excluded.suspended, definition_suspended = excluded.definition_suspended,
        next_fire_at = excluded.next_fire_at, due_at = excluded.due_at
    where (s.owner, s.cron, s.time_zone, s.args, s.overlap, s.catch_up, s.starting_deadline, s.jitter, s.suspended,
            s.definition_suspended, s.next_fire_at)
        is distinct from (excluded.owner, excluded.cron, excluded.time_zone, excluded.args, excluded.overlap, excluded.catch_up,
            excluded.starting_deadline, excluded.jitter, excluded.suspended, excluded.definition_suspended, excluded.next_fire_at);
    get diagnostics v_changed = row_count;
    -- One that listens is enough; of a large fleet not all are woken. Those that cannot be told look at their next heartbeat.
    if v_changed > 0 and coalesce(current_setting('currant.notify', true), 'on') not in ('off', 'false', 'no', '0') then
        perform pg_notify('currant_w_' || w.id, 'schedules') from (
            select o.id from currant.workers o where o.stopped_at is null and not o.draining order by o.last_heartbeat desc limit 20) w;
    end if;
    return v_gone + v_changed > 0;
end $$;

-- The schedules of these owners go; runs that they started are not touched.
create function currant.delete_schedules(p_owners text[]) returns bigint language sql as $$
    with gone as (delete from currant.schedules s where s.owner = any (p_owners) returning 1) select count(*) from gone
$$;

-- The last fire time that started a run, and the next one that will, of each of these functions.
create function currant.schedule_times(p_functions text[]) returns table (function text, last_schedule bigint, next_schedule bigint)
language sql stable as $$
    select s.function, currant.micros(max(s.last_fire_at)),
        currant.micros(min(s.next_fire_at) filter (where not s.suspended and not s.definition_suspended))
    from currant.schedules s where s.function = any (p_functions) group by s.function
$$;

-- Schedules that are due, oldest first, locked until the caller's transaction ends; those that another worker has in hand are left.
create function currant.take_due_schedules(p_limit integer) returns table (id uuid) language sql as $$
    select s.id from currant.schedules s
    where s.due_at <= now() and not s.suspended and not s.definition_suspended
    order by s.due_at limit p_limit for update skip locked
$$;

-- Carries out what a worker decided for schedules that it holds, each by itself: what goes wrong with one is noted there (`problem`),
-- and it is looked at again in five seconds. p_decisions: [{"id", "fires": [{"fire_time", "run_at"}], "replace", "next_fire_at",
-- "outcome", "missed"}], times in microseconds. Runs are enqueued as by anybody else, so that their definition is obeyed. Gives whom to wake
-- because of what was cancelled; enqueuing notifies by itself.
-- `lock_timeout`: a run to be replaced whose row another open transaction holds must not keep the other schedules waiting.
create function currant.fire_schedules(p_decisions jsonb) returns table (
    schedule text, started integer, problem text, queues text[], workers uuid[], ids uuid[]
) language plpgsql
set lock_timeout = '1s' as $$
declare
    decision record;
    fire record;
    own currant.schedules;
    earlier uuid;
    cancelled record;
    v_run uuid;
begin
    for decision in select d.* from jsonb_to_recordset(p_decisions)
        d(id uuid, fires jsonb, "replace" boolean, next_fire_at bigint, outcome text, missed bigint)
    loop
        select * into own from currant.schedules s where s.id = decision.id;
        schedule := own.function || '/' || own.name;
        started := 0; problem := null; queues := '{}'; workers := '{}'; ids := '{}';
        begin
            if decision."replace" then
                for earlier in select e.id from currant.executions e
                    where e.schedule_id = own.id and e.state in ('pending', 'running', 'suspended') order by e.id
                loop
                    select * into cancelled from currant.cancel_tree(earlier, false);
                    queues := queues || cancelled.queues; workers := workers || cancelled.workers; ids := ids || cancelled.ids;
                end loop;
            end if;
            for fire in select f.* from jsonb_to_recordset(decision.fires) f(fire_time bigint, run_at bigint) order by f.fire_time loop
                continue when exists (select 1 from currant.executions e
                    where e.schedule_id = own.id and e.fire_time = currant.from_micros(fire.fire_time));
                v_run := currant.enqueue_bytes(own.function, own.args, jsonb_strip_nulls(jsonb_build_object('run_at', fire.run_at)));
                update currant.executions e set schedule_id = own.id, fire_time = currant.from_micros(fire.fire_time) where e.id = v_run;
                own.last_fire_at := currant.from_micros(fire.fire_time);
                started := started + 1;
            end loop;
            update currant.schedules s set next_fire_at = currant.from_micros(decision.next_fire_at),
                due_at = currant.from_micros(decision.next_fire_at), last_fire_at = own.last_fire_at,
                last_outcome = coalesce(decision.outcome, s.last_outcome), missed = s.missed + coalesce(decision.missed, 0)
            where s.id = own.id;
        exception when others then
            started := 0; problem := sqlerrm; queues := '{}'; workers := '{}'; ids := '{}';
        end;
        if problem is not null then
            update currant.schedules s set due_at = clock_timestamp() + interval '5 seconds', last_outcome = 'failed: ' || problem
            where s.id = decision.id;
        end if;
        return next;
    end loop;
end $$;

-- Notes for a schedule that a worker holds and cannot read why it does not fire; it is looked at again in a minute.
create function currant.defer_schedule(p_id uuid, p_problem text) returns void language sql as $$
    update currant.schedules s set due_at = clock_timestamp() + interval '1 minute', last_outcome = 'failed: ' || p_problem where s.id = p_id
$$;

create view currant.schedule_details as
select s.function, s.name, s.owner, s.cron, s.time_zone, s.overlap, s.catch_up, s.starting_deadline, s.jitter,
    s.suspended or s.definition_suspended as suspended, currant.iso(s.last_fire_at) as last_fire_at,
    case when not s.suspended and not s.definition_suspended then currant.iso(s.next_fire_at) end as next_fire_at, s.last_outcome, s.missed
from currant.schedules s;

-- How pools of workers stand, for whoever sizes them; asked every few seconds, so it counts by index and never more than 100,000 of
-- a kind in a pool: that number means "at least". p_pools: [{"key": text, "queues": [text]}]. `oldest_ready_seconds` looks at those
-- counted and at the first of each priority.
create function currant.fleet(p_pools jsonb) returns jsonb language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with pool as (
        select p.value ->> 'key' as key, array(select distinct q.value from jsonb_array_elements_text(p.value -> 'queues') q) as queues
        from jsonb_array_elements(p_pools) p
    ),
    running as materialized (
        select e.worker_id, e.queue, count(*) as number from currant.executions e where e.state = 'running' group by e.worker_id, e.queue
    ),
    depth as (
        select pool.key, least(100000, ready.number + gated.number) as ready, due.number as due, busy.number as running,
            coalesce(greatest(0, extract(epoch from clock_timestamp() - least(ready.oldest, first.oldest, gated.oldest))), 0)::double precision as oldest
        from pool
        cross join lateral (
            select count(*) as number, min(one.ready_at) as oldest from (
                select e.ready_at from unnest(pool.queues) lane(queue) cross join lateral (
                    (select x.ready_at from currant.executions x
                    where x.queue = lane.queue and x.state = 'pending' and x.run_at is null and not x.isolated and not x.parked
                    order by x.priority desc, x.ready_xid, x.id limit 100000)
                    union all
                    (select x.ready_at from currant.executions x
                    where x.queue = lane.queue and x.state = 'pending' and x.run_at is null and x.isolated
                    order by x.priority desc, x.id limit 100000)) e
                limit 100000) one
        ) ready
        cross join lateral (
            select min(one.ready_at) as oldest from unnest(pool.queues) lane(queue) cross join generate_series(0, 10) level(priority)
            cross join lateral (
                select x.ready_at from currant.executions x
                where x.queue = lane.queue and x.priority = level.priority and x.state = 'pending' and x.run_at is null
                    and not x.isolated and not x.parked
                order by x.ready_xid, x.id limit 1) one
        ) first
        cross join lateral (  -- of what waits for a place, as much as there are places
            select coalesce(sum(open.number), 0)::bigint as number, min(open.oldest) as oldest
            from currant.gates(pool.queues, 100000) gate cross join lateral (
                select count(*) as number, min(one.ready_at) as oldest from (
                    select e.ready_at from unnest(pool.queues) lane(queue) cross join lateral (
                        select x.ready_at from currant.executions x
                        where x.parked and x.queue = lane.queue and x.function = gate.function
                        order by x.priority desc, x.id limit gate.room) e
                    limit gate.room) one) open
            where gate.room > 0
        ) gated
        cross join lateral (
            select count(*) as number from (
                select 1 from unnest(pool.queues) lane(queue) cross join lateral (
                    select 1 from currant.executions x where x.queue = lane.queue and x.run_at is not null and not x.held
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
            from currant.workers w where w.stopped_at is null
                and w.last_heartbeat > clock_timestamp() - w.timeout * interval '1 second'))
$$;
