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
create or replace function currant.pick(
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
