-- The definitions of functions (Kubernetes: Workflow). Every enqueue and every start of a step obeys them (currant.rules), every claim
-- their limits (currant.pick), and what they say of retention is done by any worker (sweep).
--
-- Order of locks: executions before definitions, schedules after them.

-- Makes this the definition of its function, unless another owner has it; gives who has it then. p_item has the columns of the table.
-- With a new limit, and when it is new, it is not settled: see settle_runs.
create function currant.apply_definition(p_item jsonb) returns text language plpgsql as $$
declare
    v_owner text;
begin
    insert into currant.definitions as d (function, owner, version, queue, priority, timeout, max_attempts, retry_initial, retry_multiplier,
        retry_max_delay, retry_jitter, non_retryable, max_worker_losses, concurrency_limit, suspended, retention, input_schema, input_hash, item)
    select n.function, n.owner, n.version, n.queue, n.priority, n.timeout, n.max_attempts, n.retry_initial, n.retry_multiplier,
        n.retry_max_delay, n.retry_jitter, n.non_retryable, n.max_worker_losses, n.concurrency_limit, n.suspended, n.retention, n.input_schema, n.input_hash, n.item
    from jsonb_to_record(p_item) n(function text, owner text, version integer, queue text, priority smallint, timeout double precision,
        max_attempts integer, retry_initial double precision, retry_multiplier double precision, retry_max_delay double precision,
        retry_jitter double precision, non_retryable text[], max_worker_losses integer, concurrency_limit integer, suspended boolean, retention double precision,
        input_schema jsonb, input_hash text, item text)
    on conflict (function) do update set
        version = excluded.version, queue = excluded.queue, priority = excluded.priority, timeout = excluded.timeout,
        max_attempts = excluded.max_attempts, retry_initial = excluded.retry_initial, retry_multiplier = excluded.retry_multiplier,
        retry_max_delay = excluded.retry_max_delay, retry_jitter = excluded.retry_jitter, non_retryable = excluded.non_retryable,
        max_worker_losses = excluded.max_worker_losses,
        settled = d.settled and (d.gate is not null or (excluded.concurrency_limit is null and not excluded.suspended)),
        concurrency_limit = excluded.concurrency_limit, suspended = excluded.suspended, retention = excluded.retention,
        input_schema = excluded.input_schema, input_hash = excluded.input_hash, item = excluded.item, updated_at = clock_timestamp()
    where d.owner = excluded.owner
    returning d.owner into v_owner;
    if v_owner is null then
        select d.owner into v_owner from currant.definitions d where d.function = p_item ->> 'function';
    end if;
    return v_owner;
end $$;

-- The definitions of these owners go, with their schedules; runs are not touched, and those that waited for a place are free.
-- Gives their functions.
create function currant.delete_definitions(p_owners text[]) returns setof text language plpgsql as $$
begin
    perform currant.delete_schedules(p_owners);
    return query delete from currant.definitions d where d.owner = any (p_owners) returning d.function;
end $$;

-- Executions from before their definition, or before it had a gate, that are to be marked by settle_runs: not those that have ended.
create function currant.unsettled_runs() returns setof uuid language sql stable
set enable_seqscan = off set jit = off as $$
    with unsettled as materialized (select d.function, d.gate is not null as gated from currant.definitions d where not d.settled),
    there as (
        select e.id, e.function, e.defined, e.parked from currant.executions e
        where e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'pending' and e.run_at is null and e.isolated
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.run_at is not null
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'running'
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'suspended' and e.run_at is null
    )
    select there.id from there join unsettled u on u.function = there.function where not there.defined or (u.gated and not there.parked)
$$;

-- Marks executions of defined functions: those that have started have a place, those that are ready wait for one if there is a gate.
-- Gives those that somebody else has locked.
create function currant.settle_runs(p_ids uuid[]) returns setof uuid language sql
set enable_seqscan = off set jit = off as $$
    with free as (
        select e.id from currant.executions e where e.id = any (p_ids) for update skip locked
    ),
    marked as (
        update currant.executions e set
            defined = true,
            slot = e.slot or (not e.defined and (e.started_at is not null or e.state in ('running', 'suspended'))),
            parked = e.parked or (d.gate is not null and e.state = 'pending' and e.run_at is null and not e.isolated and not e.slot
                and (e.defined or e.started_at is null))
        from free, currant.definitions d
        where e.id = free.id and e.finished_at is null and d.function = e.function
    )
    select u.id from unnest(p_ids) u(id) where not exists (select 1 from free where free.id = u.id)
        and exists (select 1 from currant.executions e where e.id = u.id)
$$;

-- From now on their limits are counted.
create function currant.settled(p_functions text[]) returns void language sql as $$
    update currant.definitions d set settled = true where d.function = any (p_functions) and not d.settled
$$;

-- How the executions of these functions stand since they are defined. By index alone.
create function currant.definition_stats(p_functions text[]) returns jsonb language plpgsql stable
set enable_seqscan = off set jit = off as $$
begin
    return (select coalesce(jsonb_object_agg(asked.function, jsonb_build_object(
        'pending', coalesce(counted.pending, 0), 'running', coalesce(counted.running, 0), 'suspended', coalesce(counted.suspended, 0),
        'completed', coalesce(counted.completed, 0), 'failed', coalesce(counted.failed, 0), 'cancelled', coalesce(counted.cancelled, 0),
        'last_schedule', times.last_schedule, 'next_schedule', times.next_schedule)), '{}')
    from (select distinct u.function from unnest(p_functions) u(function)) asked
    left join lateral (
        select sum(s.number) filter (where s.state = 'pending') as pending, sum(s.number) filter (where s.state = 'running') as running,
            sum(s.number) filter (where s.state = 'suspended') as suspended, sum(s.number) filter (where s.state = 'completed') as completed,
            sum(s.number) filter (where s.state = 'failed') as failed, sum(s.number) filter (where s.state = 'cancelled') as cancelled
        from (select e.state, count(*) as number from currant.executions e where e.defined and e.function = asked.function group by e.state) s
    ) counted on true
    left join currant.schedule_times(p_functions) times on times.function = asked.function);
end $$;

-- Runs that are past the retention of their queue, at most p_limit, oldest first. It is a walk over the primary key, a piece at a time:
-- an index on the time of the end would cost every outcome of everybody, and this costs only those who want it. The walk begins anew
-- when a twentieth of the shortest retention has passed. `more`: it is not through yet.
create function currant.past_queue_retention(p_limit integer, out ids uuid[], out more boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_shortest interval;
    v_upkeep currant.upkeep;
    v_last uuid;
begin
    ids := '{}';
    more := false;
    select min(r.retention) * interval '1 second' into v_shortest from currant.queue_retentions r;
    if v_shortest is null then return; end if;
    select * into v_upkeep from currant.upkeep u for update skip locked;
    if not found then return; end if;
    if v_upkeep.walked_to is null then
        if v_upkeep.walk_began_at > clock_timestamp() - greatest(v_shortest / 20, interval '1 minute') then return; end if;
        v_upkeep.walk_began_at := clock_timestamp();
        v_upkeep.walked_to := '00000000-0000-0000-0000-000000000000';
    end if;
    -- The piece is read only as far as it takes to find p_limit: where most of it is past, that is not far.
    ids := array(
        select p.id from (
            select e.id, e.queue, e.function, e.parent_id, e.finished_at from currant.executions e
            where e.id > v_upkeep.walked_to order by e.id limit 20 * p_limit) p
        where p.parent_id is null
            and exists (
                select 1 from currant.queue_retentions r
                where r.queue = p.queue and p.finished_at < now() - r.retention * interval '1 second' offset 0)
            and not exists (
                select 1 from currant.definitions d where d.function = p.function and d.retention is not null offset 0)
        order by p.id limit p_limit);
    if cardinality(ids) = p_limit then
        more := true;
        v_last := ids[p_limit];
    else
        select e.id into v_last from currant.executions e where e.id > v_upkeep.walked_to order by e.id offset 20 * p_limit - 1 limit 1;
        more := found;
    end if;
    update currant.upkeep set walk_began_at = v_upkeep.walk_began_at, walked_to = case when more then v_last end;
end $$;

-- Deletes runs that ended longer ago than the retention of their function, or else of their queue, says, each with its whole tree, at
-- most p_limit of either kind. Nothing with p_begin unless a minute has passed since it was last begun, by whomever. Of what somebody has
-- locked a part, the whole tree, and what still has something unfinished below it, is left for another time. `more`: there is more to do now.
create function currant.sweep(p_limit integer, p_begin boolean, out deleted integer, out more boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_roots uuid[];
    v_old uuid[];
    v_tops uuid[];
    v_below uuid[]; -- and what each of v_tops has below it
    v_steps uuid[];
    v_keyed uuid[];
    v_kept uuid[];
    v_tree uuid[];
begin
    deleted := 0;
    more := false;
    if p_begin then
        perform 1 from currant.upkeep u where u.swept_at < clock_timestamp() - interval '1 minute' for update skip locked;
        if not found then return; end if;
        update currant.upkeep set swept_at = clock_timestamp();
    end if;
    v_roots := array(
        select old.id from currant.definitions d
        cross join unnest(array['completed', 'failed', 'cancelled']) ended(state) cross join unnest(array[true, false]) had(slot)
        cross join lateral (
            select e.id from currant.executions e
            where e.defined and e.function = d.function and e.state = ended.state and e.slot = had.slot and (e.parent_id is null)
                and e.finished_at < now() - d.retention * interval '1 second'
                and not exists (select 1 from currant.below(array[e.id]) b where not b.finished)
            order by e.finished_at limit p_limit for update skip locked
        ) old
        where d.retention is not null limit p_limit);
    select p.ids, p.more into v_old, more from currant.past_queue_retention(p_limit) p;
    more := more or cardinality(v_roots) = p_limit;
    v_roots := v_roots || array(
        select e.id from currant.executions e
        where e.id = any (v_old) and e.finished_at is not null
            and not exists (select 1 from currant.below(array[e.id]) b where not b.finished)
        for update skip locked);
    select coalesce(array_agg(b.top), '{}'), coalesce(array_agg(b.id), '{}') into v_tops, v_below from currant.below(v_roots) b;
    v_steps := array(select e.id from currant.executions e where e.id = any (v_below) for update skip locked);
    v_kept := array(select distinct b.top from unnest(v_tops, v_below) b(top, id) where not b.id = any (v_steps));
    -- Whoever has a key locked may want its execution next: keys come first in the order of locks, so this waits for none.
    v_keyed := array(select k.execution_id from currant.idempotency_keys k where k.execution_id = any (v_roots) for update skip locked);
    v_kept := v_kept || array(
        select k.execution_id from currant.idempotency_keys k
        where k.execution_id = any (v_roots) and not k.execution_id = any (v_keyed));
    v_roots := array(select r.id from unnest(v_roots) r(id) where not r.id = any (v_kept));
    v_tree := v_roots || array(select b.id from unnest(v_tops, v_below) b(top, id) where not b.top = any (v_kept));
    delete from currant.signals g where g.execution_id = any (v_tree);
    delete from currant.steps s where s.execution_id = any (v_tree);
    delete from currant.idempotency_keys k where k.execution_id = any (v_roots);
    delete from currant.executions e where e.id = any (v_tree);
    deleted := cardinality(v_roots);
end $$;
