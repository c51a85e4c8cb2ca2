-- Notifies, in a second statement after a commit (rule e): workers that sleep on these queues past something that is there by now check again, and
-- p_workers check the executions p_ids. It decides in a snapshot taken after that commit, so it always sees a worker that committed `sleep_until`
-- (heartbeat) before it checked; a worker that is awake costs no notification.
-- p_since: the first of the transactions that this is about (currant.xid). What earlier ones made ready is not read, so that it does not walk over
-- index entries of what was claimed long ago, which cannot be removed while an old snapshot sees them.
create or replace function currant.wake(p_queues text[], p_workers uuid[], p_ids uuid[] default '{}', p_since bigint default null)
returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_asleep uuid[] := '{}';
    v_ready text[];  -- the queues where something is to be had now
begin
    -- Each query is a statement of its own, so that those that are not needed cost nothing. The query for sleeping workers comes first: a worker that
    -- falls asleep after it also checks after it.
    if cardinality(p_queues) > 0 then
        v_asleep := array(select w.id from currant.workers w
            where w.queues && p_queues and w.sleep_until > now() and w.stopped_at is null);
    end if;
    if cardinality(v_asleep) > 0 then
        -- The limits keep the planner from reading all that is ready, only to find out whether anything is.
        if p_since is null then
            v_ready := array(select lane.queue from unnest(p_queues) lane(queue) cross join lateral (
                select 1 from currant.ready_executions e where e.queue = lane.queue limit 1) any_ready);
        else
            v_ready := array(select lane.queue from unnest(p_queues) lane(queue) cross join generate_series(0, 10) level(priority)
                cross join lateral (
                    select 1 from currant.ready_executions e where e.queue = lane.queue and e.priority = level.priority
                        and e.ready_xid >= p_since
                    limit 1) any_ready);
        end if;
        v_ready := v_ready || array(select lane.queue from unnest(p_queues) lane(queue) cross join lateral (
            select 1 from currant.ready_poison_suspects e where e.queue = lane.queue limit 1) any_suspect);
        if exists (select 1 from currant.executions e where e.awaiting_permit and e.queue = any (p_queues)) then
            v_ready := v_ready || array(select lane.queue from unnest(p_queues) lane(queue)
                where exists (select 1 from currant.awaiting_functions(array[lane.queue], 1) g where g.free > 0));
        end if;
        perform pg_notify('currant_w_' || w.id, '') from currant.workers w
        where w.id = any (v_asleep) and (w.queues && v_ready or exists (
            select 1 from unnest(p_queues) lane(queue) cross join lateral (
                select 1 from currant.executions e where e.queue = lane.queue and e.run_at < w.sleep_until and not e.incompatible limit 1) due
            where lane.queue = any (w.queues)));
    end if;
    if cardinality(p_workers) > 0 then
        perform pg_notify('currant_w_' || u.worker_id, u.id::text) from unnest(p_workers, p_ids) u(worker_id, id)
        where u.worker_id is not null;
    end if;
end $$;
