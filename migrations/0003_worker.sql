-- What workers call. Every write under a lease goes through commit_batch, or its short form commit_step.
--
-- Order of locks: rows of executions in the order of their ids, with the parents that may have to be woken, before anything
-- is written; signals and steps only after their execution. Whoever takes what is free (claim, promote) skips locked rows.
-- Whoever ends a worker locks its row before changing it: a claim of such a worker passes over a row that is locked, and would wait
-- for one that is changed and then locked, with executions in hand.
-- A deadlock that this leaves (a retry of a whole tree) ends in an error that callers answer by trying again.
--
-- Functions with a `lock_timeout` give up when another transaction holds a row: writers then set aside what waits for that row, and the rest
-- goes on. `pick` and `take` run with the settings of the function that calls them (claim, claim_ready).

-- Makes a worker known. Gives whom to wake when that ended an earlier worker of the same pod (see take_over).
create function currant.register_worker(
    p_id uuid, p_name text, p_host text, p_pid integer, p_build text, p_queues text[], p_tasks text[], p_workflows text[],
    p_concurrency integer, p_timeout double precision, p_pool text default null, p_pod_name text default null,
    p_pod_uid text default null, p_code text default ''
) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    v_new boolean := not exists (select 1 from currant.workers w where w.id = p_id);
    v_before uuid[] := '{}';
begin
    insert into currant.workers as w
        (id, name, host, pid, build, code, queues, tasks, workflows, concurrency, timeout, pool, pod_name, pod_uid)
    values (p_id, p_name, p_host, p_pid, p_build, p_code, p_queues, p_tasks, p_workflows, p_concurrency, p_timeout, p_pool, p_pod_name, p_pod_uid)
    on conflict on constraint workers_pkey do update set
        name = excluded.name, host = excluded.host, pid = excluded.pid, build = excluded.build, code = excluded.code, queues = excluded.queues,
        tasks = excluded.tasks, workflows = excluded.workflows, concurrency = excluded.concurrency,
        timeout = excluded.timeout, last_heartbeat = clock_timestamp(), stopped_at = null,
        pool = excluded.pool, pod_name = excluded.pod_name, pod_uid = excluded.pod_uid
        where not w.pod_gone;
    -- A pod has one worker: whoever was here before us has died, however fresh its last heartbeat is. Only a new worker says so:
    -- one that registers again may itself have been declared dead by mistake, and two would do it to each other for ever.
    if v_new and p_pod_uid is not null then
        v_before := array(
            select w.id from currant.workers w where w.pod_uid = p_pod_uid and w.id <> p_id and w.stopped_at is null
            order by w.id for update);
        update currant.workers w set last_heartbeat = '-infinity' where w.id = any (v_before);
        return query select t.tag, t.queue, t.worker_id, t.id from unnest(v_before) dead(id) cross join lateral currant.take_over(dead.id) t;
    end if;
end $$;

-- Keeps what a worker's code says of its functions (currant.functions), once it is known. p_code: a hash of that. Nothing is written where
-- that is there already, so that of ten workers that start at once nine only look; rows are taken in order, so that none waits in a circle.
-- What older versions of the code said of these functions goes, if no worker has them any more.
create function currant.declare_functions(p_worker uuid, p_code text, p_build text, p_functions jsonb) returns void language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_names text[] := array(select f.value ->> 'function' from jsonb_array_elements(p_functions) f);
    v_returns boolean := not currant.is_live(p_code, p_worker);
begin
    insert into currant.functions as f (function, code, build, kind, queue, priority, timeout, max_attempts, retry_initial, retry_multiplier,
        retry_max_delay, retry_jitter, non_retryable, max_worker_losses)
    select n.function, p_code, p_build, n.kind, n.queue, n.priority, n.timeout, n.max_attempts, n.retry_initial, n.retry_multiplier,
        n.retry_max_delay, n.retry_jitter, n.non_retryable, n.max_worker_losses
    from jsonb_to_recordset(p_functions) n(function text, kind text, queue text, priority smallint, timeout double precision,
        max_attempts integer, retry_initial double precision, retry_multiplier double precision, retry_max_delay double precision,
        retry_jitter double precision, non_retryable text[], max_worker_losses integer)
    -- The hash says that the rest is the same. After a roll-back it is there, and no longer the last that came.
    where not exists (select 1 from currant.functions o where o.function = n.function and o.code = p_code
        and not (v_returns and exists (
            select 1 from currant.functions x where x.function = n.function and x.registered_at > o.registered_at)))
    order by n.function
    on conflict (function, code) do update set registered_at = clock_timestamp(), build = excluded.build;
    delete from currant.functions f using (
        select o.function, o.code from currant.functions o
        where o.function = any (v_names) and o.code <> p_code and not currant.is_live(o.code)
        order by o.function, o.code for update skip locked) gone
    where f.function = gone.function and f.code = gone.code;
end $$;

-- The second statement after a commit (rule e): whoever sleeps on these queues past something that is there by now looks
-- again, and these workers look at these executions. Decided in a snapshot taken after that commit, so a worker that
-- committed its flag (sleep_worker) before it looked is always seen; one that is awake costs no notification.
-- p_since: the first of the transactions that this is about (currant.xid). What earlier ones made ready is not looked for, so that the
-- index entries of what has been claimed long ago, and cannot be removed while somebody's old snapshot sees them, are not walked.
create function currant.wake(p_queues text[], p_workers uuid[], p_ids uuid[] default '{}', p_since bigint default null)
returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_asleep uuid[] := '{}';
    v_ready text[];  -- the queues where something is to be had now
begin
    -- One question a statement, so that nobody pays for those that do not come up. Who is asleep comes first: whoever falls
    -- asleep after that looks after that as well.
    if cardinality(p_queues) > 0 then
        v_asleep := array(select w.id from currant.workers w
            where w.queues && p_queues and w.sleep_until > now() and w.stopped_at is null);
    end if;
    if cardinality(v_asleep) > 0 then
        -- The limits keep the planner from reading all that is ready to answer whether anything is.
        if p_since is null then
            v_ready := array(select lane.queue from unnest(p_queues) lane(queue) cross join lateral (
                select 1 from currant.executions e where e.queue = lane.queue and e.state = 'pending' and e.run_at is null
                    and not e.isolated and not e.parked limit 1) any_ready);
        else
            v_ready := array(select lane.queue from unnest(p_queues) lane(queue) cross join generate_series(0, 10) level(priority)
                cross join lateral (
                    select 1 from currant.executions e where e.queue = lane.queue and e.priority = level.priority
                        and e.ready_xid >= p_since and e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked
                    limit 1) any_ready);
        end if;
        v_ready := v_ready || array(select lane.queue from unnest(p_queues) lane(queue) cross join lateral (
            select 1 from currant.executions e where e.queue = lane.queue and e.state = 'pending' and e.run_at is null
                and e.isolated limit 1) any_isolated);
        if exists (select 1 from currant.executions e where e.parked and e.queue = any (p_queues)) then
            v_ready := v_ready || array(select lane.queue from unnest(p_queues) lane(queue)
                where exists (select 1 from currant.gates(array[lane.queue], 1) g where g.room > 0));
        end if;
        perform pg_notify('currant_w_' || w.id, '') from currant.workers w
        where w.id = any (v_asleep) and (w.queues && v_ready or exists (
            select 1 from unnest(p_queues) lane(queue) cross join lateral (
                select 1 from currant.executions e where e.queue = lane.queue and e.run_at < w.sleep_until and not e.held limit 1) due
            where lane.queue = any (w.queues)));
    end if;
    if cardinality(p_workers) > 0 then
        perform pg_notify('currant_w_' || u.worker_id, u.id::text) from unnest(p_workers, p_ids) u(worker_id, id)
        where u.worker_id is not null;
    end if;
end $$;

-- The functions of which executions wait for a place in these queues, and how many may start now, at most p_most; `gated`: their
-- definition says how many. A place is had from the start of an execution to its end, suspended or between two attempts too.
create function currant.gates(p_queues text[], p_most integer) returns table (function text, gated boolean, room bigint) language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with recursive waiting as (  -- one probe of the index for each queue and function
        select lane.queue, first.function from unnest(p_queues) lane(queue) cross join lateral (
            select e.function from currant.executions e where e.parked and e.queue = lane.queue order by e.function limit 1) first
        union all
        select w.queue, next.function from waiting w cross join lateral (
            select e.function from currant.executions e where e.parked and e.queue = w.queue and e.function > w.function
            order by e.function limit 1) next
    )
    select w.function, d.gate is not null, currant.room(w.function, p_most)
    from (select distinct waiting.function from waiting) w left join currant.definitions d on d.function = w.function
$$;

-- The queues in which executions of this function wait for a place.
create function currant.parked_queues(p_function text) returns setof text language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with recursive lane as (
        (select e.queue from currant.executions e where e.parked order by e.queue limit 1)
        union all
        select next.queue from lane cross join lateral (
            select e.queue from currant.executions e where e.parked and e.queue > lane.queue order by e.queue limit 1) next
    )
    -- With a limit, so that the planner probes and does not read all that is parked to join it.
    select lane.queue from lane cross join lateral (
        select 1 from currant.executions e where e.parked and e.queue = lane.queue and e.function = p_function limit 1) there
$$;

-- Out of the way of what is ready: these of a function with a gate which have not started, and such among the first thousand of the queues.
create function currant.park(p_ids uuid[], p_queues text[]) returns void language sql
set enable_seqscan = off set jit = off as $$
    with stray as (
        select e.id from currant.executions e
        where e.id = any (p_ids || array(
                select f.id from unnest(p_queues) lane(queue) cross join lateral (
                    select x.id, x.function, x.defined, x.slot, x.started_at from currant.executions x
                    where x.queue = lane.queue and x.state = 'pending' and x.run_at is null and not x.isolated and not x.parked
                    order by x.priority desc, x.ready_xid, x.id limit 1000) f
                where not f.slot and (f.defined or f.started_at is null)
                    and exists (select 1 from currant.definitions d where d.function = f.function and d.gate is not null)))
            and e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked and not e.slot
            and (e.defined or e.started_at is null)
        for update skip locked
    )
    update currant.executions e set parked = true, defined = true from stray where e.id = stray.id;
$$;

-- Sets due rows of these queues ready, oldest due first, at most a thousand of each at a time.
create function currant.promote(p_queues text[]) returns void language sql
set enable_seqscan = off set jit = off as $$
    with due as (
        select d.id from unnest(p_queues) lane(queue) cross join lateral (
            select e.id from currant.executions e
            where e.queue = lane.queue and e.run_at <= now() and not e.held
            order by e.run_at limit 1000 for update skip locked
        ) d
    )
    update currant.executions e set state = 'pending', run_at = null, ready_at = clock_timestamp(), ready_xid = currant.xid(),
        parked = e.defined and not e.slot and not e.isolated
            and exists (select 1 from currant.definitions d where d.function = e.function and d.gate is not null)
    from due where e.id = due.id;
$$;

create type currant.claimed as (
    id uuid, lease bigint, kind text, function text, queue text, priority smallint, attempt integer, worker_losses integer,
    args bytea, timeout double precision, deadline bigint, max_attempts integer, retry_initial double precision,
    retry_multiplier double precision, retry_max_delay double precision, retry_jitter double precision,
    non_retryable text[], max_worker_losses integer, parent_id uuid, step_key text, root_id uuid, epoch integer, wakes bigint,
    started bigint, fresh boolean, isolated boolean, ready_xid bigint
);

-- Picks and locks up to p_limit ready executions to be claimed, by priority, then age. Queues take turns: in a first pass each gives at most its
-- share, in a second whatever is left goes to those that have more, in the order given (callers rotate it). One index scan
-- per queue, since `queue = any (...) order by priority` sorts the backlog (rule d).
-- m_: how far the worker has looked (rule d), for each priority from 0 to 10 of each queue in turn: whatever was made ready by
-- transactions before m_xid, or by m_xid with an id up to m_id, it has seen. o_: what was open then, to be looked at again: the place of
-- the mark and the transaction. Without marks (empty arrays) everything is looked at; with them what others had locked meanwhile is
-- not, so a worker looks without them now and then. They are for when a scan from the start is slow: entries of what was claimed stay
-- in the index while an old snapshot sees them.
-- Of a function with a gate (its definition limits how many may have started and not ended) as many start as there is room for. What
-- waits for a place is parked: not among what is ready, however much it is. The gates are locked in the order of their names before
-- anything is claimed, and counted after that; no lock is waited for later. What is ready and should have been parked (its definition
-- is younger) is parked now.
-- A worker that was declared dead claims nothing: the lock on its row keeps take_over out until this commits.
-- The claimer's registry decides the kind. What was enqueued as a task and turns out to be a workflow (SQL clients cannot know)
-- is not retried and loses the default time-out of tasks.
create function currant.pick(
    p_worker uuid, p_queues text[], p_limit integer, p_isolated boolean,
    m_xids bigint[] default '{}', m_ids uuid[] default '{}', o_places integer[] default '{}', o_xids bigint[] default '{}',
    out ids uuid[], out my_build text, out my_tasks text[], out my_workflows text[]
) language plpgsql as $$
declare
    lane text;
    v_ids uuid[] := '{}';
    v_more uuid[];
    v_lanes integer := cardinality(p_queues);
    v_want integer;
    v_gated text[];
    v_parked boolean;
    v_isolated boolean;          -- whether any suspect of killing workers is wanted, and there
    v_locked text[] := '{}';
    v_open text[] := '{}';       -- functions of which parked ones may start, and how many
    v_rooms bigint[] := '{}';
    v_started text[] := '{}';    -- the functions of those taken from there
    v_more_started text[];
    v_more_strays uuid[];
    v_strays uuid[] := '{}';
    v_place integer;
begin
    select w.build, w.tasks, w.workflows, exists (select 1 from currant.executions e where e.parked and e.queue = any (p_queues)),
        p_isolated and exists (select 1 from currant.executions e
            where e.queue = any (p_queues) and e.state = 'pending' and e.run_at is null and e.isolated),
        array(select d.function from currant.definitions d where d.gate is not null)
    into my_build, my_tasks, my_workflows, v_parked, v_isolated, v_gated
    from currant.workers w where w.id = p_worker and w.stopped_at is null and not w.pod_gone for key share skip locked;
    if not found then return; end if;
    for round in 1..10 loop
        if v_parked then
            select coalesce(array_agg(g.function), '{}') into v_open from currant.gates(p_queues, p_limit) g where g.room > 0;
            if round = 1 then
                v_locked := array(select d.function from currant.definitions d
                    where d.function = any (v_open) and d.gate is not null order by d.function for update);
            else  -- in whatever order: whoever holds one wakes others when he is done
                v_locked := array(select d.function from currant.definitions d
                    where d.function = any (v_open) and d.gate is not null order by d.function for update skip locked);
            end if;
            select coalesce(array_agg(g.function), '{}'), coalesce(array_agg(g.room), '{}') into v_open, v_rooms
            from currant.gates(p_queues, p_limit) g
            where g.room > 0 and g.function = any (v_open) and (not g.gated or g.function = any (v_locked));
        end if;
        v_ids := '{}'; v_started := '{}'; v_strays := '{}';
        for pass in 1..2 loop
            foreach lane in array p_queues loop
                v_want := p_limit - cardinality(v_ids);
                exit when v_want <= 0;
                if pass = 1 then v_want := least(v_want, (p_limit + v_lanes - 1) / v_lanes); end if;
                if cardinality(v_gated) = 0 and cardinality(v_open) = 0 and cardinality(m_xids) > 0 then
                    v_place := 11 * (array_position(p_queues, lane) - 1);
                    select coalesce(array_agg(q.id), '{}') into v_more from (
                        select c.id from generate_series(10, 0, -1) level(priority) cross join lateral (
                            select open.id from unnest(o_places, o_xids) o(place, xid) cross join lateral (
                                select e.id from currant.executions e
                                where o.place = v_place + level.priority and e.ready_xid = o.xid
                                    and e.queue = lane and e.priority = level.priority and e.state = 'pending' and e.run_at is null
                                    and not e.isolated and not e.parked
                                    and (e.refused_builds is null or not my_build = any (e.refused_builds))
                                    and not e.id = any (v_ids)
                                order by e.id limit v_want for update skip locked) open
                            union all
                            select beyond.id from (
                                select e.id from currant.executions e
                                where (e.ready_xid, e.id) > (m_xids[v_place + level.priority + 1], m_ids[v_place + level.priority + 1])
                                    and e.queue = lane and e.priority = level.priority and e.state = 'pending' and e.run_at is null
                                    and not e.isolated and not e.parked
                                    and (e.refused_builds is null or not my_build = any (e.refused_builds))
                                    and not e.id = any (v_ids)
                                order by e.ready_xid, e.id limit v_want for update skip locked) beyond
                        ) c limit v_want
                    ) q;
                elsif cardinality(v_gated) = 0 and cardinality(v_open) = 0 then
                    select coalesce(array_agg(q.id), '{}') into v_more from (
                        select e.id from currant.executions e
                        where e.queue = lane and e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked
                            and (e.refused_builds is null or not my_build = any (e.refused_builds))
                            and not e.id = any (v_ids)
                        order by e.priority desc, e.ready_xid, e.id limit v_want for update skip locked
                    ) q;
                else
                    select coalesce(array_agg(q.id) filter (where not q.stray), '{}'), coalesce(array_agg(q.id) filter (where q.stray), '{}'),
                        coalesce(array_agg(q.function) filter (where q.parked), '{}')
                    into v_more, v_more_strays, v_more_started from (
                        select c.id, c.function, c.parked,
                            -- What has started before its definition is marked in a moment (settle_runs).
                            not c.parked and not c.slot and (c.defined or c.started_at is null) and c.function = any (v_gated) as stray
                        from (
                            select r.* from (
                                select e.id, e.function, e.priority, e.ready_xid, e.parked, e.defined, e.slot, e.started_at
                                from currant.executions e
                                where e.queue = lane and e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked
                                    and (e.refused_builds is null or not my_build = any (e.refused_builds))
                                    and not e.id = any (v_ids || v_strays)
                                order by e.priority desc, e.ready_xid, e.id limit v_want for update skip locked
                            ) r
                            union all
                            select p.* from unnest(v_open, v_rooms) o(function, room) cross join lateral (
                                select e.id, e.function, e.priority, e.ready_xid, e.parked, e.defined, e.slot, e.started_at
                                from currant.executions e
                                where e.parked and e.queue = lane and e.function = o.function and not e.id = any (v_ids)
                                order by e.priority desc, e.id
                                limit greatest(0, least(v_want, o.room - (select count(*) from unnest(v_started) s(function) where s.function = o.function)))
                                for update skip locked
                            ) p
                        ) c
                        order by c.priority desc, c.ready_xid, c.id limit v_want
                    ) q;
                    v_started := v_started || v_more_started;
                    v_strays := v_strays || v_more_strays;
                end if;
                v_ids := v_ids || v_more;
            end loop;
            exit when v_lanes = 1;
        end loop;
        exit when cardinality(v_strays) = 0;
        perform currant.park(v_strays, p_queues);
        v_parked := true;
    end loop;
    if v_isolated and cardinality(v_ids) < p_limit then
        v_ids := v_ids || array(
            select e.id from unnest(p_queues) with ordinality t(queue, place) cross join lateral (
                select x.id from currant.executions x
                where x.queue = t.queue and x.state = 'pending' and x.run_at is null and x.isolated
                    and (x.refused_builds is null or not my_build = any (x.refused_builds))
                order by x.priority desc, x.id limit 1
            ) e order by t.place limit 1);
        -- Locked apart: of one candidate a queue only the first is wanted.
        v_ids := array(select e.id from currant.executions e where e.id = any (v_ids) and e.state = 'pending' for update skip locked);
    end if;
    ids := v_ids;
end $$;

-- What was picked is this worker's from now on, in the order in which it is to start.
create function currant.take(
    p_worker uuid, p_queues text[], p_ids uuid[], p_build text, p_tasks text[], p_workflows text[]
) returns setof currant.claimed language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    return query
    with taken as (
        update currant.executions e set
            state = 'running', worker_id = p_worker, lease = e.lease + 1, attempt = e.attempt + 1, build = p_build,
            attempt_at = v_now, started_at = coalesce(e.started_at, v_now),
            slot = e.slot or e.defined, parked = false,
            kind = case when e.function = any (p_workflows) then 'workflow' when e.function = any (p_tasks) then 'task' else e.kind end,
            max_attempts = case when e.kind = 'task' and e.function = any (p_workflows) then 1 else e.max_attempts end,
            timeout = case when e.kind = 'task' and e.function = any (p_workflows) then nullif(e.timeout, 300) else e.timeout end,
            deadline = case
                when e.function = any (p_workflows) or (e.kind = 'workflow' and not e.function = any (p_tasks)) then coalesce(e.deadline,
                    v_now + (case when e.kind = 'task' then nullif(e.timeout, 300) else e.timeout end) * interval '1 second') end
        where e.id = any (p_ids)
        -- No more than is wanted: whole rows would be copied, and taken apart again.
        returning e.id, e.lease, e.kind, e.function, e.queue, e.priority, e.attempt, e.worker_losses, e.args, e.timeout,
            currant.micros(e.deadline), e.max_attempts, e.retry_initial, e.retry_multiplier, e.retry_max_delay,
            e.retry_jitter, e.non_retryable, e.max_worker_losses, e.parent_id, e.step_key, e.root_id, e.epoch, e.wakes,
            currant.micros(e.started_at), e.lease = 1 and e.wakes = 0, e.isolated, e.ready_xid
    )
    select * from taken t
    order by array_position(p_queues, t.queue), t.priority desc, t.ready_xid, t.id;
end $$;

create function currant.claim(
    p_worker uuid, p_queues text[], p_limit integer, p_isolated boolean,
    m_xids bigint[] default '{}', m_ids uuid[] default '{}', o_places integer[] default '{}', o_xids bigint[] default '{}')
returns setof currant.claimed language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    picked record;
begin
    select * into picked from currant.pick(p_worker, p_queues, p_limit, p_isolated, m_xids, m_ids, o_places, o_xids);
    if cardinality(picked.ids) > 0 then
        return query select t.* from
            currant.take(p_worker, p_queues, picked.ids, picked.my_build, picked.my_tasks, picked.my_workflows) t;
    end if;
end $$;

-- As claim without marks. A last row without an id: it took long to find them, so many microseconds (`lease`).
create function currant.claim_ready(p_worker uuid, p_queues text[], p_limit integer, p_isolated boolean)
returns setof currant.claimed language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_began timestamptz := clock_timestamp();
    v_looked interval;
    picked record;
    late currant.claimed;
begin
    select * into picked from currant.pick(p_worker, p_queues, p_limit, p_isolated);
    v_looked := clock_timestamp() - v_began;
    if cardinality(picked.ids) > 0 then
        return query select t.* from
            currant.take(p_worker, p_queues, picked.ids, picked.my_build, picked.my_tasks, picked.my_workflows) t;
    end if;
    -- To find rows takes a fraction of the time that it takes to write them, on any machine.
    if v_looked > greatest(interval '2 ms', clock_timestamp() - v_began - v_looked) then
        late.lease := extract(epoch from v_looked) * 1000000;
        return next late;
    end if;
end $$;

-- The recorded history of runs, or (p_news) only what is not delivered yet. One snapshot: the row of the run itself
-- (source 'run') says how many wakes these rows answer. The rows come in the order of its parts, so no part may run in parallel.
create function currant.load_runs(p_ids uuid[], p_news boolean) returns table (
    run_id uuid, source text, key text, kind text, name text, id uuid, status text, payload bytea, seq bigint, clock bigint,
    due bigint, ordinal bigint, abandoned boolean, lease bigint, asked bytea
) language sql stable
set enable_seqscan = off set max_parallel_workers_per_gather = 0 set jit = off as $$
    select r.id, 'run', '', r.kind, r.function, r.id, case when r.cancel_requested then 'cancel' end, null::bytea, null::bigint,
        null::bigint, currant.micros(r.deadline), r.wakes, false, r.lease, null::bytea
    from currant.executions r where r.id = any (p_ids)
    union all
    select r.id, 'child', e.step_key, e.kind, e.function, e.id,
        case when e.state in ('completed', 'failed', 'cancelled') then e.state end,
        case when e.state = 'completed' then e.result when e.state = 'failed' then e.error end, e.seq, e.clock,
        null, null, e.abandoned is not null, e.lease, case when not p_news then e.args end
    from currant.executions r join currant.executions e on e.parent_id = r.id and e.parent_epoch = r.epoch
    where r.id = any (p_ids)
        and (not p_news or (e.seq is null and e.abandoned is null and e.state in ('completed', 'failed', 'cancelled')))
    union all
    select r.id, 'step', s.key, s.kind, s.name, null, s.status, s.payload, s.seq, s.clock, currant.micros(s.due_at), null,
        s.abandoned is not null, null, s.request
    from currant.executions r join currant.steps s on s.execution_id = r.id and s.epoch = r.epoch
    where r.id = any (p_ids) and not p_news
    union all
    (select r.id, 'signal', '', 'signal', g.name, null, null, g.payload, null, null, null, g.ordinal, false, null, null
    from currant.executions r join currant.signals g on g.execution_id = r.id and g.consumed_by is null
    where r.id = any (p_ids) order by g.execution_id, g.ordinal)
$$;

-- Parents of these finished executions that still wait for them, in the same epoch: their wakes grow, a suspended one becomes ready.
create function currant.wake_parents(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
begin
    return query
    with news as (
        select distinct e.parent_id, e.parent_epoch from currant.executions e
        where e.id = any (p_ids) and e.parent_id is not null and e.abandoned is null and e.seq is null
            and e.state in ('completed', 'failed', 'cancelled')
    )
    update currant.executions p set
        wakes = p.wakes + 1,
        run_at = case when p.state = 'suspended' and not p.held then null else p.run_at end,
        ready_at = case when p.state = 'suspended' and not p.held then clock_timestamp() else p.ready_at end,
        ready_xid = case when p.state = 'suspended' and not p.held then currant.xid() else p.ready_xid end,
        state = case when p.state = 'suspended' and not p.held then 'pending' else p.state end
    from news where p.id = news.parent_id and p.epoch = news.parent_epoch and p.state in ('pending', 'running', 'suspended')
    returning case when p.state = 'running' then 'worker' else 'queue' end, p.queue,
        case when p.state = 'running' then p.worker_id end, p.id;
end $$;

-- The queues where others wait for the places that these finished executions had.
create function currant.wake_waiting(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_functions text[] := array(
        select distinct e.function from currant.executions e where e.id = any (p_ids) and e.slot and e.finished_at is not null);
begin
    if cardinality(v_functions) > 0 then
        return query select distinct 'queue', lane.queue, null::uuid, null::uuid
            from unnest(v_functions) f(function) cross join lateral currant.parked_queues(f.function) lane(queue);
    end if;
end $$;

-- Cancels executions that are not finished: a task, or a workflow that never started, ends at once (the lease grows, so its
-- worker's write is refused); a started workflow is asked. The caller has locked the rows.
create function currant.cancel_rows(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
begin
    return query
    with was as (
        select e.id, e.state from currant.executions e
        where e.id = any (p_ids) and e.state in ('pending', 'running', 'suspended')
    )
    update currant.executions e set
        state = case when e.kind = 'task' or e.started_at is null then 'cancelled'
                     when e.state = 'suspended' and not e.held then 'pending' else e.state end,
        finished_at = case when e.kind = 'task' or e.started_at is null then clock_timestamp() end,
        run_at = null,
        parked = false,
        ready_at = clock_timestamp(), ready_xid = currant.xid(),
        lease = e.lease + (case when e.kind = 'task' or e.started_at is null then 1 else 0 end),
        cancel_requested = true,
        wakes = e.wakes + 1
    from was where e.id = was.id
    returning case when was.state = 'running' then 'worker' else 'queue' end, e.queue,
        case when was.state = 'running' then e.worker_id end, e.id;
end $$;

-- Whether anything waits for the run that it was not told yet. Only for whoever holds the lock on its row, in a statement after
-- the one that took it.
create function currant.has_news(p_id uuid) returns boolean language sql stable as $$
    select exists (select 1 from currant.signals g where g.execution_id = p_id and g.consumed_by is null)
        or exists (
            select 1 from currant.executions r join currant.executions e on e.parent_id = r.id and e.parent_epoch = r.epoch
            where r.id = p_id and e.seq is null and e.abandoned is null and e.state in ('completed', 'failed', 'cancelled'))
$$;

-- On which of these executions' rows somebody holds a lock at this moment; of `p_ending` ones, also on a row of an unfinished child. A
-- function, since the role of workers has no right to lock rows itself.
create function currant.locked_rows(p_ids uuid[], p_ending uuid[]) returns setof uuid language sql as $$
    with touched as (
        select e.id, e.id as by from currant.executions e where e.id = any (p_ids)
        union all
        select e.id, e.parent_id from currant.executions e where e.parent_id = any (p_ending) and e.finished_at is null
    ), free as (
        select e.id from currant.executions e where e.id in (select t.id from touched t) for update skip locked
    )
    select distinct t.by from touched t where not exists (select 1 from free f where f.id = t.id)
$$;

-- Whether a child whose function has this definition does not start at once where its parent runs: it may have to wait for a place, or
-- is to run otherwise than its call says.
create function currant.holds_back(d currant.rule, p_queue text, p_priority smallint, p_timeout double precision, p_given integer)
returns boolean language sql immutable as $$
    select ((d).gated or (p_given & 1 = 0 and (d).queue <> p_queue) or (p_given & 2 = 0 and (d).priority <> p_priority)
        or (p_given & 4 = 0 and (d).timeout is not null and (d).timeout is distinct from p_timeout)
        or (p_given & 8 = 0 and num_nonnulls((d).max_attempts, (d).retry_initial, (d).retry_multiplier, (d).retry_max_delay,
            (d).retry_jitter, (d).non_retryable) > 0)
        or (p_given & 16 = 0 and (d).max_worker_losses is not null)) is true
$$;

-- One worker's writes, all or nothing but for what its leases no longer cover. Idempotent: after a lost reply the same call
-- may be made again. Rows of the answer: tag 'refused' (id), 'worker' and 'queue' (whom to wake after the commit), 'since' (`lease`:
-- this transaction, whose wakes they are), 'claimed', 'slow' (`lease`: microseconds that it took to find what is claimed, if that was long),
-- 'postponed' (id: a child that was to be eager is pending, since its definition has it wait, or run otherwise than its call says).
--
-- f_: the executions written for, with their leases; f_parents the runs that wait for them (locked, perhaps woken)
-- c_: children and detached executions to insert; what many have in common comes once in k_, c_calls is the place there
-- s_: steps to insert; the payload of a verb and of a detached start is its request
-- d_: outcomes of steps                                  v_: outcomes of children, recorded before, now delivered
-- o_: outcomes of executions of this worker: complete fail cancel retry handback suspend hold. o_tasks: of a task whose parent, if it
--     has one, is in f_parents; where that is not known, it is looked up. A suspended run is pending at
--     once if it was woken more often than `o_wakes` (rule c); if that is null, if there is anything it was not told
-- x_: steps no longer waited for                         p_: runs that made progress
create function currant.commit_batch(
    p_worker uuid,
    f_ids uuid[], f_leases bigint[], f_parents uuid[],
    c_runs uuid[], c_ids uuid[], c_roots uuid[], c_parents uuid[], c_epochs integer[], c_keys text[], c_after bigint[],
    c_args bytea[], c_run_ats bigint[], c_eager boolean[], c_calls integer[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_max_attempts integer[],
    k_initials double precision[], k_multipliers double precision[], k_max_delays double precision[], k_jitters double precision[],
    k_non_retryables text[], k_max_worker_losses integer[], k_timeouts double precision[], k_given integer[],
    s_runs uuid[], s_epochs integer[], s_keys text[], s_kinds text[], s_names text[], s_dues bigint[], s_after bigint[],
    s_statuses text[], s_payloads bytea[], s_seqs bigint[], s_clocks bigint[],
    d_runs uuid[], d_epochs integer[], d_keys text[], d_statuses text[], d_payloads bytea[], d_seqs bigint[],
    d_clocks bigint[], d_ordinals bigint[],
    v_runs uuid[], v_ids uuid[], v_seqs bigint[], v_clocks bigint[],
    o_ids uuid[], o_actions text[], o_payloads bytea[], o_dues bigint[], o_wakes bigint[], o_runs uuid[], o_seqs bigint[],
    o_clocks bigint[], o_tasks boolean[],
    x_runs uuid[], x_epochs integer[], x_keys text[], x_seqs bigint[], x_abandon boolean[],
    p_ids uuid[],
    q_queues text[], q_limit integer, q_isolated boolean
) returns table (
    tag text, queue_name text, worker_id uuid, ref uuid,
    -- as currant.claimed
    id uuid, lease bigint, kind text, function text, queue text, priority smallint, attempt integer, worker_losses integer,
    args bytea, timeout double precision, deadline bigint, max_attempts integer, retry_initial double precision,
    retry_multiplier double precision, retry_max_delay double precision, retry_jitter double precision,
    non_retryable text[], max_worker_losses integer, parent_id uuid, step_key text, root_id uuid, epoch integer, wakes bigint,
    started bigint, fresh boolean, isolated boolean, ready_xid bigint
) language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_build text := (select coalesce(w.build, '') from currant.workers w where w.id = p_worker);
    refused uuid[];
    done uuid[];
    places boolean;         -- whether one of the executions written for has a place of its function
    more uuid[];
    ended uuid[] := array(select u.id from unnest(o_ids, o_actions) u(id, action) where u.action in ('complete', 'fail', 'cancel'));
    over uuid[] := '{}';    -- the workflows among them: only these have children
    parents uuid[] := '{}'; -- who waits for them
    cancelled uuid[] := '{}';
    dropped uuid[] := '{}';
    news uuid[] := '{}';    -- what their parents are to be told of
    again uuid[] := '{}';   -- workflows that start anew: a fresh history, nothing of the failed one goes on
    v_rules currant.rule[];
    v_queues text[] := k_queues;
    v_now timestamptz := clock_timestamp();
    v_xid bigint;
    v_held_back boolean[];  -- calls whose children do not start at once
begin
    if cardinality(f_ids) > 0 then
        if not true = all (o_tasks) then
            -- Neither changes under our lease; under another's everything here is refused.
            select coalesce(array_agg(e.id) filter (where e.kind = 'workflow' and o.action in ('complete', 'fail', 'cancel')), '{}'),
                coalesce(array_agg(e.id) filter (where e.kind = 'workflow' and o.action = 'retry'), '{}'),
                coalesce(array_agg(e.parent_id) filter (where e.parent_id is not null and o.action in ('complete', 'fail', 'cancel')), '{}')
            into over, again, parents from unnest(o_ids, o_actions, o_tasks) o(id, action, of_task)
                join currant.executions e on e.id = o.id
            where not o.of_task;
        end if;
        if cardinality(x_runs) > 0 or cardinality(over || again) > 0 then
            cancelled := array(  -- lateral: never a join that reads all children there are
            select step.id from unnest(x_runs, x_epochs, x_keys) x(run, epoch, key) cross join lateral (
                select e.id from currant.executions e
                where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key offset 0) step
            union
            select left_behind.id from unnest(over || again) run(id) cross join lateral (
                select e.id from currant.executions e
                where e.parent_id = run.id and e.state in ('pending', 'running', 'suspended') offset 0) left_behind);
        end if;
        if cardinality(cancelled) > 0 then
            parents := parents || array(
                select p.parent_id from currant.executions p where p.id = any (cancelled) and p.parent_id is not null);
        end if;
        -- Everything that may be written, in id order: with the parents of what ends, which may have to be woken. A full join reads,
        -- and so locks, all of it.
        select coalesce(array_agg(f.id) filter (where f.id is not null and (
                    e.id is null or e.lease <> f.lease or e.worker_id is distinct from p_worker
                    or (e.state <> 'running' and e.finished_at is null))), '{}'),
               coalesce(array_agg(f.id) filter (where e.lease = f.lease and e.worker_id = p_worker and e.finished_at is not null), '{}'),
               coalesce(bool_or(e.slot) filter (where f.id is not null), false)
        into refused, done, places
        from unnest(f_ids, f_leases) f(id, lease) full join (
            select e.id, e.lease, e.worker_id, e.state, e.finished_at, e.slot from currant.executions e
            where e.id = any (f_ids || f_parents || v_ids || cancelled || parents)
            order by e.id for update) e on e.id = f.id;
        if cardinality(v_ids) > 0 or cardinality(array_remove(o_runs, null)) > 0 then
            loop  -- a run that went on from an outcome which is refused, now or before, is refused as well
                more := array(
                    select u.run from unnest(o_ids, o_runs) u(id, run)
                    where u.run is not null and u.id = any (refused) and not u.run = any (refused)
                    union
                    select v.run from unnest(v_runs, v_ids) v(run, id) join currant.executions e on e.id = v.id
                    where not v.run = any (refused)
                        and (v.id = any (refused) or (e.finished_at is null and not v.id = any (ended))));
                exit when cardinality(more) = 0;
                refused := refused || more;
            end loop;
        end if;
        tag := 'refused';
        foreach ref in array refused loop return next; end loop;
        refused := refused || done;
        again := array(select u.id from unnest(again) u(id) where not u.id = any (refused));

        if cardinality(c_ids) > 0 then
            v_xid := currant.xid();
            v_rules := currant.rules(k_functions);
            if cardinality(v_rules) > 0 then
                select array_agg(u.queue order by u.place), array_agg(u.held_back order by u.place) into v_queues, v_held_back from (
                    select k.place, coalesce(case when k.given & 1 = 0 then d.queue end, k.queue) as queue,
                        currant.holds_back(d, k.queue, k.priority, k.timeout, k.given) as held_back
                    from unnest(k_functions, k_queues, k_priorities, k_timeouts, k_given)
                        with ordinality k(function, queue, priority, timeout, given, place)
                    left join unnest(v_rules) d on d.function = k.function) u;
            end if;
            insert into currant.executions (
                id, root_id, parent_id, parent_epoch, step_key, after_seq, kind, function, queue, priority, args, max_attempts,
                retry_initial, retry_multiplier, retry_max_delay, retry_jitter, non_retryable, max_worker_losses, timeout, run_at,
                state, worker_id,
                lease, attempt, started_at, attempt_at, build, deadline, defined, slot, parked, ready_xid, created_at, ready_at)
            select c.id, c.root, c.parent, case when c.parent is not null then c.epoch end,
                case when c.parent is not null then c.key end, case when c.parent is not null then c.after end,
                k.kind, k.function, k.queue, coalesce(case when k.given & 2 = 0 then d.priority end, k.priority), c.args,
                coalesce(case when k.given & 8 = 0 then d.max_attempts end, k.max_attempts),
                coalesce(case when k.given & 8 = 0 then d.retry_initial end, k.initial),
                coalesce(case when k.given & 8 = 0 then d.retry_multiplier end, k.multiplier),
                coalesce(case when k.given & 8 = 0 then d.retry_max_delay end, k.max_delay),
                coalesce(case when k.given & 8 = 0 then d.retry_jitter end, k.jitter),
                coalesce(case when k.given & 8 = 0 then d.non_retryable end, k.names),
                coalesce(case when k.given & 16 = 0 then d.max_worker_losses end, k.max_worker_losses),
                coalesce(case when k.given & 4 = 0 then d.timeout end, k.timeout),
                currant.from_micros(c.run_at), case when go.eager then 'running' else 'pending' end,
                case when go.eager then p_worker end, go.eager::integer, go.eager::integer,
                case when go.eager then v_now end, case when go.eager then v_now end, case when go.eager then v_build end,
                case when go.eager and k.kind = 'workflow' then v_now + k.timeout * interval '1 second' end,
                d.function is not null, d.function is not null and go.eager, coalesce(d.gated, false) and c.run_at is null,
                v_xid, v_now, v_now
            from unnest(c_runs, c_ids, c_roots, c_parents, c_epochs, c_keys, c_after, c_args, c_run_ats, c_eager, c_calls)
                c(run, id, root, parent, epoch, key, after, args, run_at, eager, call)
            join (
                select x.*, case when x.non_retryable = '[]' then '{}' else currant.names(x.non_retryable) end as names
                from unnest(k_kinds, k_functions, v_queues, k_priorities, k_max_attempts, k_initials, k_multipliers, k_max_delays,
                    k_jitters, k_non_retryables, k_max_worker_losses, k_timeouts, k_given, v_held_back) with ordinality
                    x(kind, function, queue, priority, max_attempts, initial, multiplier, max_delay, jitter, non_retryable,
                      max_worker_losses, timeout, given, held_back, place)
                offset 0) k on k.place = c.call
            left join unnest(v_rules) d on d.function = k.function
            cross join lateral (select c.eager and k.held_back is not true as eager) go
            -- Only whoever has the lock on the run's row writes its children: what is not there now does not come meanwhile. `on
            -- conflict` would probe each index first, and write each row twice into the log.
            where not c.run = any (refused) and not exists (select 1 from currant.executions e where e.id = c.id offset 0);
            if cardinality(v_rules) > 0 then  -- told from what is there: this batch may have been written before
                return query select 'postponed', null::text, null::uuid, e.id, (null::currant.claimed).*
                    from unnest(c_runs, c_ids, c_eager) c(run, id, eager) join currant.executions e on e.id = c.id
                    where c.eager and not c.run = any (refused) and (e.lease = 0 or e.worker_id is distinct from p_worker);
            end if;
        end if;

        if cardinality(s_runs) > 0 then
            insert into currant.steps (execution_id, epoch, key, kind, name, due_at, after_seq, status, payload, request, seq, clock,
                finished_at)
            select s.run, s.epoch, s.key, s.kind, s.name, currant.from_micros(s.due), s.after, s.status,
                case when s.kind not in ('verb', 'detach') then s.payload end,
                case when s.kind in ('verb', 'detach') then s.payload end, s.seq, s.clock,
                case when s.status is not null then clock_timestamp() end
            from unnest(s_runs, s_epochs, s_keys, s_kinds, s_names, s_dues, s_after, s_statuses, s_payloads, s_seqs, s_clocks)
                s(run, epoch, key, kind, name, due, after, status, payload, seq, clock)
            where not s.run = any (refused)
            on conflict do nothing;
        end if;

        if cardinality(d_runs) > 0 then
            update currant.steps s set status = d.status, payload = d.payload, seq = d.seq, clock = d.clock, finished_at = clock_timestamp()
            from unnest(d_runs, d_epochs, d_keys, d_statuses, d_payloads, d_seqs, d_clocks) d(run, epoch, key, status, payload, seq, clock)
            where s.execution_id = d.run and s.epoch = d.epoch and s.key = d.key and not d.run = any (refused);

            update currant.signals g set consumed_by = d.key, consumed_epoch = d.epoch
            from unnest(d_runs, d_epochs, d_keys, d_ordinals) d(run, epoch, key, ordinal)
            where g.execution_id = d.run and g.ordinal = d.ordinal and not d.run = any (refused);
        end if;

        if cardinality(p_ids) > 0 then
            update currant.executions e set
                progress_lease = e.lease, suspect_losses = 0, suspected = false, isolated = false
            where e.id = any (p_ids) and not e.id = any (refused)
                and (e.progress_lease is distinct from e.lease or e.suspected);  -- once a lease
        end if;

        if cardinality(o_ids) > 0 then
            update currant.executions e set
                state = case o.action when 'complete' then 'completed' when 'fail' then 'failed' when 'cancel' then 'cancelled'
                    when 'suspend' then case when coalesce(e.wakes <> o.wakes, currant.has_news(e.id)) then 'pending' else 'suspended' end
                    when 'hold' then 'suspended' else 'pending' end,
                finished_at = case when o.action in ('complete', 'fail', 'cancel') then clock_timestamp() end,
                -- A finished row keeps its lease: "already done under my lease" is success (rule f).
                lease = e.lease + (case when o.action in ('complete', 'fail', 'cancel') then 0 else 1 end),
                attempt = e.attempt - (case when o.action in ('handback', 'suspend', 'hold') then 1 else 0 end),
                -- An attempt that ended by itself killed nobody.
                suspect_losses = case when o.action in ('handback', 'hold') then e.suspect_losses else 0 end,
                suspected = o.action in ('handback', 'hold') and e.suspected,
                isolated = o.action in ('handback', 'hold') and e.isolated,
                ready_at = case when o.action in ('complete', 'fail', 'cancel') then e.ready_at else clock_timestamp() end,
                ready_xid = case when o.action in ('complete', 'fail', 'cancel') then e.ready_xid else currant.xid() end,
                result = case when o.action = 'complete' then o.payload end,
                error = case when o.action in ('fail', 'retry', 'hold', 'handback') then coalesce(o.payload, e.error) else e.error end,
                run_at = case when o.action in ('retry', 'handback') then currant.from_micros(o.due)
                    when o.action = 'suspend' and not coalesce(e.wakes <> o.wakes, currant.has_news(e.id)) then currant.from_micros(o.due) end,
                held = o.action = 'hold',
                -- A workflow starts anew, time-out and clock included; signals are its input, they come again.
                epoch = e.epoch + (e.id = any (again))::integer,
                started_at = case when not e.id = any (again) then e.started_at end,
                deadline = case when not e.id = any (again) then e.deadline end,
                refused_builds = case when o.action = 'hold' then array_append(array_remove(e.refused_builds, v_build), v_build)
                    else e.refused_builds end,
                seq = case when o.run is null or o.run = any (refused) then e.seq else o.seq end,
                clock = case when o.run is null or o.run = any (refused) then e.clock else o.clock end
            from unnest(o_ids, o_actions, o_payloads, o_dues, o_wakes, o_runs, o_seqs, o_clocks)
                o(id, action, payload, due, wakes, run, seq, clock)
            where e.id = o.id and not o.id = any (refused);
        end if;
        -- After the outcomes: a child may have ended in this very batch.
        if cardinality(v_ids) > 0 then
            update currant.executions e set seq = v.seq, clock = v.clock
            from unnest(v_runs, v_ids, v_seqs, v_clocks) v(run, id, seq, clock)
            where e.id = v.id and e.finished_at is not null and not v.run = any (refused);
        end if;
        if cardinality(again) > 0 then
            update currant.signals g set consumed_by = null, consumed_epoch = null where g.execution_id = any (again);
        end if;

        -- Steps given up, and whatever an ended run leaves behind, top-down.
        if cardinality(x_runs) > 0 then
            update currant.steps s set abandoned = x.seq from unnest(x_runs, x_epochs, x_keys, x_seqs, x_abandon) x(run, epoch, key, seq, abandon)
            where s.execution_id = x.run and s.epoch = x.epoch and s.key = x.key and s.seq is null and x.abandon and not x.run = any (refused);
            update currant.executions e set abandoned = x.seq from unnest(x_runs, x_epochs, x_keys, x_seqs, x_abandon) x(run, epoch, key, seq, abandon)
            where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key and e.seq is null and x.abandon
                and not x.run = any (refused);
        end if;
        if cardinality(x_runs) > 0 or cardinality(over || again) > 0 then
            dropped := array(
                select step.id from unnest(x_runs, x_epochs, x_keys) x(run, epoch, key) cross join lateral (
                    select e.id, e.cancel_requested, e.finished_at from currant.executions e
                    where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key offset 0) step
                where not x.run = any (refused) and not step.cancel_requested and step.finished_at is null
                union
                select left_behind.id from unnest(over || again) run(id) cross join lateral (
                    select e.id from currant.executions e where e.parent_id = run.id
                        and e.state in ('pending', 'running', 'suspended') and not e.cancel_requested offset 0) left_behind
                where not run.id = any (refused));
        end if;
        if cardinality(dropped) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.cancel_rows(dropped) w;
        end if;
        -- Who waits for what ended here and was not handed over, or for a step that the cancel ended at once.
        if cardinality(f_parents || parents || dropped) > 0 then
            news := dropped || array(
                select u.id from unnest(o_ids, o_actions, o_runs) u(id, action, run)
                where u.action in ('complete', 'fail', 'cancel') and not u.id = any (refused)
                    and (u.run is null or u.run = any (refused)));
        end if;
        if cardinality(news) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.wake_parents(news) w;
        end if;
        if (places and cardinality(ended) > 0) or cardinality(dropped) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.wake_waiting(ended || dropped) w;
        end if;
        -- What is ready now or due some day: `wake` tells whether anybody sleeps past it.
        if o_actions && array['retry', 'handback', 'suspend', 'hold'] then
            return query select distinct 'queue', e.queue, null::uuid, null::uuid, (null::currant.claimed).* from currant.executions e
                where e.id = any (o_ids) and (e.state = 'pending' or (e.state = 'suspended' and e.run_at is not null));
        end if;
        if cardinality(c_ids) > 0 then
            return query select distinct 'queue', k.queue, null::uuid, null::uuid, (null::currant.claimed).*
                from unnest(c_eager, c_calls) c(eager, call) join unnest(v_queues, v_held_back) with ordinality k(queue, held_back, place)
                    on k.place = c.call
                where not c.eager or k.held_back;
        end if;
        if cardinality(c_ids || f_parents || parents || dropped) > 0 or o_actions && array['retry', 'handback', 'suspend', 'hold'] then
            tag := 'since'; ref := null; lease := currant.xid();
            return next;
        end if;
    end if;
    if q_limit > 0 then
        return query select case when r.id is null then 'slow' else 'claimed' end, null::text, null::uuid, r.id, r.*
            from currant.claim_ready(p_worker, q_queues, q_limit, q_isolated) r;
    end if;
end $$;

-- One run goes one step further: a task that ended here is handed to it, and the next one starts here. What commit_batch does for
-- one outcome and one child, at a fifth of what its arrays cost. Gives false, and has written nothing, wherever that is not all
-- there is to it (a lease is lost, it was written before, the next step has to wait, or somebody waits for the place of the one that
-- ended): then it is for commit_batch.
create function currant.commit_step(
    p_worker uuid, p_run uuid, p_lease bigint, p_seq bigint, p_clock bigint,
    d_id uuid, d_lease bigint, d_completed boolean, d_payload bytea,
    c_id uuid, c_root uuid, c_epoch integer, c_key text, c_args bytea, c_function text, c_queue text, c_priority smallint,
    c_max_attempts integer, c_initial double precision, c_multiplier double precision, c_max_delay double precision,
    c_jitter double precision, c_non_retryable text, c_max_worker_losses integer, c_timeout double precision, c_given integer
) returns boolean language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ours integer;
    v_place text;  -- of which function the one that ended has a place
    v_rules currant.rule[] := currant.rules(array[c_function]);
    v_defined boolean := cardinality(v_rules) > 0;
begin
    if v_defined and currant.holds_back(v_rules[1], c_queue, c_priority, c_timeout, c_given) then return false; end if;
    select count(*), max(ours.function) filter (where ours.slot) into v_ours, v_place from (
        select e.function, e.slot from currant.executions e
        where e.id = any (array[p_run, d_id]) and e.worker_id = p_worker and e.state = 'running'
            and (e.id = p_run and e.lease = p_lease or e.id = d_id and e.lease = d_lease and e.kind = 'task')
        order by e.id for update) ours;
    if v_ours < 2 then return false; end if;
    if v_place is not null and exists (select 1 from currant.parked_queues(v_place)) then return false; end if;
    insert into currant.executions (
        id, root_id, parent_id, parent_epoch, step_key, after_seq, kind, function, queue, priority, args, max_attempts,
        retry_initial, retry_multiplier, retry_max_delay, retry_jitter, non_retryable, max_worker_losses, timeout, state, worker_id,
        lease, attempt, started_at, attempt_at, build, defined, slot, created_at, ready_at)
    values (
        c_id, c_root, p_run, c_epoch, c_key, p_seq, 'task', c_function, c_queue, c_priority, c_args, c_max_attempts,
        c_initial, c_multiplier, c_max_delay, c_jitter, case when c_non_retryable = '[]' then '{}' else currant.names(c_non_retryable) end,
        c_max_worker_losses, c_timeout, 'running', p_worker, 1, 1, v_now, v_now,
        (select coalesce(w.build, '') from currant.workers w where w.id = p_worker), v_defined, v_defined, v_now, v_now);
    update currant.executions e set
        state = case when d_completed then 'completed' else 'failed' end, finished_at = clock_timestamp(),
        suspect_losses = 0, suspected = false, isolated = false,
        result = case when d_completed then d_payload end, error = case when d_completed then e.error else d_payload end,
        seq = p_seq, clock = p_clock
    where e.id = d_id;
    return true;
end $$;

-- One statement for a beating heart: says so, releases held runs this build may fit, peeks for ready work and the next due
-- times of work and of schedules, and gives what the database believes to be running here, and whether whoever sizes the pool wants it
-- to drain. Known = false: this worker was declared dead.
-- p_ids: which of these are running here, instead of all; and it does not peek for what is simply ready. For a worker that claims by
-- marks (currant.claim): the entries that it spares its claims are not walked here either.
create function currant.heartbeat(p_worker uuid, p_sleep_until bigint, p_draining boolean, p_ids uuid[] default null)
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
            select 1 from currant.executions e where e.queue = lane.queue and e.run_at <= now() and not e.held limit 1) due;
        if found then perform currant.promote(me.queues); end if;
        with free as (
            select e.id from currant.executions e
            where e.held and e.queue = any (me.queues) and not me.build = any (e.refused_builds) and e.function = any (me.workflows)
            order by e.id limit 1000 for update skip locked
        )
        update currant.executions e set state = 'pending', held = false, run_at = null, ready_at = clock_timestamp(),
            ready_xid = currant.xid()
        from free where e.id = free.id;
    end if;
    ready := exists (
        select 1 from unnest(me.queues) lane(queue) cross join lateral (
            (select 1 from currant.executions e where p_ids is null and e.queue = lane.queue and e.state = 'pending' and e.run_at is null
                and not e.isolated and not e.parked and (e.refused_builds is null or not me.build = any (e.refused_builds)) limit 1)
            union all
            (select 1 from (select 1 from currant.executions e where e.parked and e.queue = lane.queue limit 1) any_parked
                where exists (select 1 from currant.gates(array[lane.queue], 1) g where g.room > 0))
            union all
            (select 1 from currant.executions e where e.queue = lane.queue and e.state = 'pending' and e.run_at is null
                and e.isolated and (e.refused_builds is null or not me.build = any (e.refused_builds)) limit 1)) something);
    select currant.micros(min(first.run_at)) into next_due from unnest(me.queues) lane(queue) cross join lateral (
        select e.run_at from currant.executions e where e.queue = lane.queue and e.run_at is not null and not e.held
        order by e.run_at limit 1) first;
    -- Schedules belong to no queue: whoever is there first fires them.
    sweep_due := known and not p_draining
        and (exists (select 1 from currant.definitions d where d.retention is not null) or exists (select 1 from currant.queue_retentions))
        and exists (select 1 from currant.upkeep u where u.swept_at < clock_timestamp() - interval '1 minute');
    select currant.micros(s.due_at) into next_schedule from currant.schedules s
    where s.due_at is not null and not s.suspended and not s.definition_suspended order by s.due_at limit 1;
    dead := array(select w.id from currant.workers w where w.stopped_at is null and w.id <> p_worker
        and w.last_heartbeat < clock_timestamp() - w.timeout * interval '1 second');
    select coalesce(array_agg(e.id), '{}'), coalesce(array_agg(e.lease), '{}'), coalesce(array_agg(e.wakes), '{}')
    into ids, leases, wakes from currant.executions e where p_ids is null and e.worker_id = p_worker and e.state = 'running';
    if p_ids is not null then
        select coalesce(array_agg(e.id), '{}'), coalesce(array_agg(e.lease), '{}'), coalesce(array_agg(e.wakes), '{}')
        into ids, leases, wakes from currant.executions e where e.id = any (p_ids) and e.worker_id = p_worker and e.state = 'running';
    end if;
    return next;
end $$;

-- What a worker ran ends with it and is ready again, at no cost. Suspended runs hold no lease and are not touched. The caller has locked the
-- worker's row.
-- p_suspects: what it ran may have killed it. Suspects are the attempts that were executing: tasks, and workflows without progress under
-- this lease. One that was alone, or ran isolated, is the culprit: that is one of the losses that max_worker_losses limits, and the one
-- after so many ends it as WorkerLost. Of several each is only suspected, and runs isolated from the second time on (from the first one if it
-- may have but one such loss), until one is caught or all are cleared.
-- With max_worker_losses = 0 any loss ends it, whatever caused the loss: it may have begun, and must not begin twice.
create function currant.lose_worker(p_worker uuid, p_suspects boolean)
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    suspects uuid[] := '{}';
    culprit uuid;
    lost uuid[];
    orphans uuid[];
begin
    perform 1 from currant.executions e where e.id in (
        select r.id from currant.executions r where r.worker_id = p_worker and r.state = 'running'
        union all
        select r.parent_id from currant.executions r where r.worker_id = p_worker and r.state = 'running' and r.parent_id is not null)
        order by e.id for update;
    if p_suspects then
        suspects := array(select e.id from currant.executions e where e.worker_id = p_worker and e.state = 'running'
            and (e.kind = 'task' or e.progress_lease is distinct from e.lease));
    end if;
    if cardinality(suspects) = 1 then
        culprit := suspects[1];
    else
        select (array_agg(e.id))[1] into culprit from currant.executions e where e.id = any (suspects) and e.isolated having count(*) = 1;
    end if;
    lost := array(select e.id from currant.executions e where e.worker_id = p_worker and e.state = 'running'
        and (e.max_worker_losses = 0 or (e.id = culprit and e.suspect_losses >= e.max_worker_losses)));
    return query
    with taken as (
        update currant.executions e set
            lease = e.lease + 1,
            worker_losses = e.worker_losses + 1,
            suspect_losses = e.suspect_losses + (e.id is not distinct from culprit)::integer,
            suspected = e.suspected or ran.suspect,
            isolated = e.isolated or (ran.suspect and (e.suspected or e.max_worker_losses = 1)),
            state = case when e.id = any (lost) then 'failed' else 'pending' end,
            ready_at = clock_timestamp(), ready_xid = currant.xid(),
            finished_at = case when e.id = any (lost) then clock_timestamp() end,
            error = case when e.id = any (lost) then currant.worker_lost(e.id, e.suspect_losses + 1, e.max_worker_losses) else e.error end,
            run_at = null
        from (select s.id, s.id = any (suspects) and (culprit is null or s.id = culprit) as suspect
              from currant.executions s where s.worker_id = p_worker and s.state = 'running') ran
        where e.id = ran.id
        returning e.id, e.queue
    )
    select distinct 'queue', taken.queue, null::uuid, null::uuid from taken;
    if cardinality(lost) > 0 then
        return query select * from currant.wake_parents(lost);
        return query select * from currant.wake_waiting(lost);
        orphans := array(select e.id from currant.executions e where e.parent_id = any (lost) and e.finished_at is null
            order by e.id for update);
        return query select * from currant.cancel_rows(orphans);
        return query select * from currant.wake_waiting(orphans);
    end if;
    update currant.workers w set stopped_at = clock_timestamp() where w.id = p_worker;
end $$;

-- The error of an execution that is not started again after its worker was lost: so many were lost that only it can have killed.
create function currant.worker_lost(p_id uuid, p_losses integer, p_most integer) returns bytea language sql stable as $$
    select convert_to(json_build_object('type', 'WorkerLost', 'message', case p_most
        when 0 then 'its worker was lost, and max_worker_losses=0: it is not started again'
        else format('%s workers were lost while it ran on them: more than max_worker_losses=%s', p_losses, p_most) end,
        'traceback', '', 'id', p_id)::text, 'UTF8')
$$;

-- Takes over what a dead worker was running.
create function currant.take_over(p_dead uuid) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set jit = off as $$
begin
    perform 1 from currant.workers w where w.id = p_dead and w.stopped_at is null
        and w.last_heartbeat < clock_timestamp() - w.timeout * interval '1 second' for update skip locked;
    if not found then return; end if;
    return query select * from currant.lose_worker(p_dead, true);
    delete from currant.workers w where w.stopped_at < clock_timestamp() - interval '1 day';
end $$;

create function currant.sleep_worker(p_worker uuid, p_until bigint) returns void language sql as $$
    update currant.workers w set sleep_until = coalesce(currant.from_micros(p_until), '-infinity') where w.id = p_worker;
$$;

-- The worker's good-bye. Whatever is still leased to it goes back at no cost, since nobody would look for it any more; but for tasks
-- that must not begin twice: they may have begun.
create function currant.stop_worker(p_worker uuid) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    lost uuid[];
begin
    perform 1 from currant.workers w where w.id = p_worker for update;
    perform 1 from currant.executions e where e.id in (
        select r.id from currant.executions r where r.worker_id = p_worker and r.state = 'running'
        union all
        select r.parent_id from currant.executions r where r.worker_id = p_worker and r.state = 'running' and r.parent_id is not null)
        order by e.id for update;
    lost := array(select e.id from currant.executions e where e.worker_id = p_worker and e.state = 'running'
        and e.kind = 'task' and e.max_worker_losses = 0);
    if cardinality(lost) > 0 then
        update currant.executions e set state = 'failed', finished_at = clock_timestamp(), lease = e.lease + 1,
            worker_losses = e.worker_losses + 1, error = currant.worker_lost(e.id, 0, 0)
        where e.id = any (lost);
        return query select * from currant.wake_parents(lost);
        return query select * from currant.wake_waiting(lost);
    end if;
    return query
    with back as (
        update currant.executions e set state = 'pending', lease = e.lease + 1, attempt = e.attempt - 1, run_at = null,
            ready_at = clock_timestamp(), ready_xid = currant.xid()
        where e.worker_id = p_worker and e.state = 'running' returning e.queue
    )
    select distinct 'queue', back.queue, null::uuid, null::uuid from back;
    update currant.workers w set stopped_at = clock_timestamp(), draining = true, sleep_until = '-infinity' where w.id = p_worker;
end $$;
