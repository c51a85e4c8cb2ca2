-- Selects and locks up to p_limit ready executions for a claim, by priority, then age. The settings are those of the function that calls it.
--
-- Queues take turns: in a first pass at most its share is taken from each, in a second the rest from those that have more, in the order of p_queues
-- (callers rotate it). There is one index scan for each queue, because `queue = any (...) order by priority` sorts the backlog (rule d).
--
-- Ranges (rule d): index entries of what was claimed stay until a vacuum, and as long as an old snapshot sees them. A worker that knows from where on
-- something can be ready in a queue (its claim floors) reads only there: the ranges of priorities and of transactions in r_, in the order in which they
-- are to be read. Those of the first queue come first; l_ends has the place in r_ of the last range of each queue.
--
-- Limits: of a function whose definition has a concurrency limit, as many executions start as there are free permits. The others await a permit, apart
-- from what is ready. The definitions are locked in the order of their names before anything is
-- claimed, and permits are counted after that; no lock is waited for later. An execution that is ready and should await a permit, because its
-- definition is younger, is moved there now.
--
-- A worker that was declared dead claims nothing: the lock on its row keeps take_over out until this commits.
create or replace function currant.select_claimable(
    p_worker uuid, p_queues text[], p_limit integer, p_poison_suspect boolean,
    l_ends integer[], r_tops smallint[], r_bottoms smallint[], r_from bigint[], r_to bigint[],
    out ids uuid[], out xids bigint[], out my_build text, out my_tasks text[], out my_workflows text[]
) language plpgsql as $$
declare
    lane text;
    v_ids uuid[] := '{}';
    v_xids bigint[] := '{}';           -- what made them ready: claiming forgets it
    v_more uuid[];
    v_more_xids bigint[];
    v_lanes integer := cardinality(p_queues);
    v_share integer;
    v_want integer;
    v_limited text[];
    v_awaiting boolean;
    v_poison_suspect boolean;          -- whether a poison suspect is wanted, and there is one
    v_locked text[] := '{}';
    v_functions text[] := '{}';       -- functions with free permits for which executions wait, and how many
    v_free bigint[] := '{}';
    v_started text[] := '{}';    -- the functions of those selected from there
    v_more_started text[];
    v_more_permitless uuid[];
    v_permitless uuid[] := '{}';
begin
    select w.build, w.tasks, w.workflows, exists (select 1 from currant.executions e where e.awaiting_permit and e.queue = any (p_queues)),
        p_poison_suspect and exists (select 1 from currant.ready_poison_suspects e
            where e.queue = any (p_queues)),
        array(select d.function from currant.definitions d where d.permits is not null)
    into my_build, my_tasks, my_workflows, v_awaiting, v_poison_suspect, v_limited
    from currant.workers w where w.id = p_worker and w.stopped_at is null and not w.pod_gone for key share skip locked;
    if not found then return; end if;
    for round in 1..10 loop
        -- 1. Lock the definitions with a limit whose executions wait, then count their free permits.
        if v_awaiting then
            select coalesce(array_agg(g.function), '{}') into v_functions from currant.awaiting_functions(p_queues, p_limit) g where g.free > 0;
            if round = 1 then
                v_locked := array(select d.function from currant.definitions d
                    where d.function = any (v_functions) and d.permits is not null order by d.function for update);
            else  -- in any order: the holder of a lock wakes others when it is done
                v_locked := array(select d.function from currant.definitions d
                    where d.function = any (v_functions) and d.permits is not null order by d.function for update skip locked);
            end if;
            select coalesce(array_agg(g.function), '{}'), coalesce(array_agg(g.free), '{}') into v_functions, v_free
            from currant.awaiting_functions(p_queues, p_limit) g
            where g.free > 0 and g.function = any (v_functions) and (not g.limited or g.function = any (v_locked));
        end if;
        v_ids := '{}'; v_xids := '{}'; v_started := '{}'; v_permitless := '{}';
        -- 2. Select, queue by queue.
        v_share := (p_limit + v_lanes - 1) / greatest(v_lanes, 1);
        for pass in 1..2 loop
            if cardinality(v_limited) = 0 and cardinality(v_functions) = 0 then
                select v_ids || coalesce(array_agg(q.id), '{}'), v_xids || coalesce(array_agg(q.ready_xid), '{}') into v_ids, v_xids from (
                    select found.id, found.ready_xid from unnest(p_queues) with ordinality l(queue, place) cross join lateral (
                        select there.id, there.ready_xid
                        from generate_series(coalesce(l_ends[l.place::integer - 1], 0) + 1, l_ends[l.place::integer]) i cross join lateral (
                            select e.id, e.ready_xid from currant.ready_executions e
                            where e.queue = l.queue and e.priority between r_bottoms[i] and r_tops[i] and e.ready_xid between r_from[i] and r_to[i]
                                and (e.refused_builds is null or not my_build = any (e.refused_builds)) and not e.id = any (v_ids)
                            order by e.priority desc, e.ready_xid, e.id limit v_share for update skip locked) there
                        limit v_share) found
                    limit p_limit - cardinality(v_ids)) q;
            else  -- with limits: what is ready, and what has a free permit, in one order
                for place in 1..v_lanes loop
                    lane := p_queues[place];
                    v_want := least(v_share, p_limit - cardinality(v_ids));
                    exit when v_want <= 0;
                    select coalesce(array_agg(q.id) filter (where not q.needs_permit), '{}'), coalesce(array_agg(q.ready_xid) filter (where not q.needs_permit), '{}'),
                        coalesce(array_agg(q.id) filter (where q.needs_permit), '{}'),
                        coalesce(array_agg(q.function) filter (where q.awaiting_permit), '{}')
                    into v_more, v_more_xids, v_more_permitless, v_more_started from (
                        select c.id, c.ready_xid, c.function, c.awaiting_permit,
                            -- An execution that started before its definition was there is marked in a moment (mark_runs).
                            not c.awaiting_permit and not c.has_permit and (c.defined or c.started_at is null) and c.function = any (v_limited) as needs_permit
                        from (
                            select r.* from (
                                select there.* from generate_series(coalesce(l_ends[place - 1], 0) + 1, l_ends[place]) i cross join lateral (
                                    select e.id, e.function, e.priority, e.ready_xid, e.awaiting_permit, e.defined, e.has_permit, e.started_at
                                    from currant.ready_executions e
                                    where e.queue = lane and e.priority between r_bottoms[i] and r_tops[i] and e.ready_xid between r_from[i] and r_to[i]
                                        and (e.refused_builds is null or not my_build = any (e.refused_builds))
                                        and not e.id = any (v_ids || v_permitless)
                                    order by e.priority desc, e.ready_xid, e.id limit v_want for update skip locked) there
                                limit v_want
                            ) r
                            union all
                            select p.* from unnest(v_functions, v_free) o(function, free) cross join lateral (
                                select e.id, e.function, e.priority, e.ready_xid, e.awaiting_permit, e.defined, e.has_permit, e.started_at
                                from currant.executions e
                                where e.awaiting_permit and e.queue = lane and e.function = o.function and not e.id = any (v_ids)
                                order by e.priority desc, e.id
                                limit greatest(0, least(v_want, o.free - (select count(*) from unnest(v_started) s(function) where s.function = o.function)))
                                for update skip locked
                            ) p
                        ) c
                        order by c.priority desc, c.ready_xid, c.id limit v_want
                    ) q;
                    v_started := v_started || v_more_started;
                    v_permitless := v_permitless || v_more_permitless;
                    v_ids := v_ids || v_more;
                    v_xids := v_xids || v_more_xids;
                end loop;
            end if;
            -- If no queue has given its whole share there is nothing more.
            exit when v_lanes = 1 or cardinality(v_ids) >= p_limit or cardinality(v_ids || v_permitless) < v_share;
            v_share := p_limit;
        end loop;
        -- 3. Make what should await a permit do so, and select again.
        exit when cardinality(v_permitless) = 0;
        perform currant.await_permits(v_permitless, p_queues);
        v_awaiting := true;
    end loop;
    -- 4. One poison suspect.
    if v_poison_suspect and cardinality(v_ids) < p_limit then
        select coalesce(array_agg(e.id), '{}'), coalesce(array_agg(e.ready_xid), '{}') into v_more, v_more_xids from (
            select x.id, x.ready_xid from unnest(p_queues) with ordinality t(queue, place) cross join lateral (
                select s.id, s.ready_xid from currant.ready_poison_suspects s
                where s.queue = t.queue and (s.refused_builds is null or not my_build = any (s.refused_builds))
                order by s.priority desc, s.id limit 1
            ) x order by t.place limit 1) e;
        v_ids := v_ids || v_more;
        v_xids := v_xids || v_more_xids;
        -- Locked in a second step: each queue has one candidate, and only the first of these is wanted.
        select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.xid), '{}') into v_ids, v_xids from (
            select u.id, u.xid from unnest(v_ids, v_xids) u(id, xid) join currant.executions e on e.id = u.id
            where e.ready_xid is not null for update of e skip locked) l;
    end if;
    ids := v_ids;
    xids := v_xids;
end $$;
