-- Notifies, in a second statement after a commit (rule e): of the workers that sleep on these queues past something that is there by now, as many as
-- there is work for (notify_sleepers) check again, and p_workers check the executions p_ids. It decides in a snapshot taken after that commit, so
-- it always sees a worker that committed `sleep_until` (heartbeat) before it checked; a worker that is awake costs no notification.
-- p_since: the first of the transactions that this is about (currant.xid). What earlier ones made ready is not read, so that it does not walk over
-- index entries of what was claimed long ago, which cannot be removed while an old snapshot sees them.
create or replace function currant.wake(p_queues text[], p_workers uuid[], p_ids uuid[] default '{}', p_since bigint default null)
returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_most bigint := 0;      -- how many workers sleep, so how much work it is enough to count
    v_until timestamptz;     -- until when they do
    v_queue text;
    v_number bigint;
begin
    -- Each query is a statement of its own, so that those that are not needed cost nothing. The query for sleeping workers comes first: a worker that
    -- falls asleep after it also checks after it.
    if cardinality(p_queues) > 0 then
        select count(*), max(w.sleep_until) into v_most, v_until from currant.workers w
        where w.queues && p_queues and w.sleep_until > now() and w.stopped_at is null;
    end if;
    if v_most > 0 then
        foreach v_queue in array p_queues loop
            -- The limits keep the planner from reading all that is ready.
            if p_since is null then
                v_number := (select count(*) from (
                    select 1 from currant.ready_executions e where e.queue = v_queue limit v_most) ready);
            else
                v_number := (select count(*) from (
                    select 1 from generate_series(0, 10) level(priority) cross join lateral (
                        select 1 from currant.ready_executions e where e.queue = v_queue and e.priority = level.priority and e.ready_xid >= p_since
                        limit v_most) of_priority
                    limit v_most) ready);
            end if;
            v_number := v_number + (exists (select 1 from currant.ready_poison_suspects e where e.queue = v_queue))::integer;
            if exists (select 1 from currant.executions e where e.awaiting_permit and e.queue = v_queue) then
                v_number := v_number + (select coalesce(sum(g.free), 0) from currant.awaiting_functions(array[v_queue], v_most::integer) g);
            end if;
            -- A worker that is notified looks for what becomes due, too.
            if v_number = 0 then
                v_number := (exists (select 1 from currant.executions e where e.queue = v_queue and e.run_at < v_until and not e.incompatible))::integer;
            end if;
            if v_number > 0 then perform currant.notify_sleepers(v_queue, v_number); end if;
        end loop;
    end if;
    if cardinality(p_workers) > 0 then
        perform pg_notify('currant_w_' || u.worker_id, u.id::text) from unnest(p_workers, p_ids) u(worker_id, id)
        where u.worker_id is not null;
    end if;
end $$;
