-- A worker's heartbeat, in one statement: notes that it is alive, makes ready what is due, releases incompatible runs that this build may fit, and
-- returns whether there is ready work, the next due times of work and of schedules, what runs here according to the database, and whether the worker
-- is asked to drain. `known` is false when this worker was declared dead.
-- p_ids: the answer says which of these run here, instead of all that run here, which may take long under an old snapshot.
-- The arguments from l_ends on are as in select_claimable, for the queues with which the worker is registered; without them all that is ready is read.
create or replace function currant.heartbeat(
    p_worker uuid, p_sleep_until bigint, p_draining boolean, p_ids uuid[] default null,
    l_ends integer[] default '{}', r_tops smallint[] default '{}', r_bottoms smallint[] default '{}',
    r_from bigint[] default '{}', r_to bigint[] default '{}')
returns table (known boolean, now_micros bigint, ready boolean, next_due bigint, dead uuid[], ids uuid[], leases bigint[], wakes bigint[],
    next_schedule bigint, sweep_due boolean, drain boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    me currant.workers;
begin
    update currant.workers w set last_heartbeat = clock_timestamp(), draining = p_draining,
        sleep_until = coalesce(currant.from_micros(p_sleep_until), '-infinity')
    where w.id = p_worker and w.stopped_at is null and not w.pod_gone returning * into me;
    known := found;
    drain := me.drain_asked_at is not null;
    now_micros := currant.micros(clock_timestamp());
    if known and not p_draining then
        perform 1 from unnest(me.queues) lane(queue) cross join lateral (
            select 1 from currant.executions e where e.queue = lane.queue and e.run_at <= now() and not e.incompatible limit 1) due;
        if found then perform currant.promote(me.queues); end if;
        with free as (
            select e.id from currant.executions e
            where e.incompatible and e.queue = any (me.queues) and not me.build = any (e.refused_builds) and e.function = any (me.workflows)
            order by e.id limit 1000 for update skip locked
        )
        update currant.executions e set state = 'pending', defined_state = case when e.defined then 'pending' end, suspended_at = null,
            incompatible = false, run_at = null, ready_at = clock_timestamp(),
            ready_xid = currant.xid()
        from free where e.id = free.id;
    end if;
    if cardinality(l_ends) = 0 or cardinality(l_ends) <> cardinality(me.queues) then
        select * into l_ends, r_tops, r_bottoms, r_from, r_to from currant.whole_queues(coalesce(me.queues, '{}'));
    end if;
    ready := exists (
        select 1 from unnest(me.queues) with ordinality lane(queue, place) cross join lateral (
            (select 1 from generate_series(coalesce(l_ends[lane.place::integer - 1], 0) + 1, l_ends[lane.place::integer]) i cross join lateral (
                select 1 from currant.ready_executions e
                where e.queue = lane.queue and e.priority between r_bottoms[i] and r_tops[i] and e.ready_xid between r_from[i] and r_to[i]
                    and (e.refused_builds is null or not me.build = any (e.refused_builds)) limit 1) there
                limit 1)
            union all
            (select 1 from currant.ready_poison_suspects e where e.queue = lane.queue
                and (e.refused_builds is null or not me.build = any (e.refused_builds)) limit 1)) something);
    -- A statement of its own: in the one above the function would be called for each queue, whether or not anything awaits a permit there.
    if not ready and exists (select 1 from currant.executions e where e.awaiting_permit and e.queue = any (me.queues)) then
        ready := exists (select 1 from currant.awaiting_functions(me.queues, 1) g where g.free > 0);
    end if;
    select currant.micros(min(first.run_at)) into next_due from unnest(me.queues) lane(queue) cross join lateral (
        select e.run_at from currant.executions e where e.queue = lane.queue and e.run_at is not null and not e.incompatible
        order by e.run_at limit 1) first;
    -- Schedules belong to no queue: the first worker that sees one due fires it.
    sweep_due := known and not p_draining
        and (exists (select 1 from currant.definitions d where d.retention is not null) or exists (select 1 from currant.queue_retentions))
        and exists (select 1 from currant.upkeep u where u.swept_at < clock_timestamp() - interval '1 minute');
    select currant.micros(s.due_at) into next_schedule from currant.schedules s
    where s.due_at is not null and not s.suspended and not s.definition_suspended order by s.due_at limit 1;
    dead := array(select w.id from currant.workers w where w.stopped_at is null and w.id <> p_worker
        and not currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout));
    if p_ids is null then
        -- One statement, so that a claim which is committed meanwhile is not taken for one of which nothing runs.
        with ran as materialized (
            select c.xid, e.id, e.lease, e.wakes from currant.claims c cross join lateral unnest(c.executions) named(id) cross join lateral (
                select x.id, x.lease, x.wakes from currant.executions x
                where x.id = named.id and x.state = 'running' and x.worker_id = p_worker offset 0) e
            where c.worker_id = p_worker
        ),
        -- An execution that ended otherwise than by this worker's outcome (cancelled, taken over) is still counted as unended.
        over as (delete from currant.claims c where c.worker_id = p_worker and not exists (select 1 from ran where ran.xid = c.xid))
        select coalesce(array_agg(r.id), '{}'), coalesce(array_agg(r.lease), '{}'), coalesce(array_agg(r.wakes), '{}')
        into ids, leases, wakes from (select distinct ran.id, ran.lease, ran.wakes from ran) r;
    else
        select coalesce(array_agg(e.id), '{}'), coalesce(array_agg(e.lease), '{}'), coalesce(array_agg(e.wakes), '{}')
        into ids, leases, wakes from currant.executions e where e.id = any (p_ids) and e.worker_id = p_worker and e.state = 'running';
    end if;
    return next;
end $$;
