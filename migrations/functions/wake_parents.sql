-- Wakes the parents of these finished executions that still wait for them, in the same epoch.
create or replace function currant.wake_parents(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_parents uuid[] := array(
        select distinct p.id from currant.executions e cross join lateral (
            select x.id from currant.executions x where x.id = e.parent_id and x.epoch = e.parent_epoch offset 0) p
        where e.id = any (p_ids) and e.parent_id is not null and e.abandoned is null and e.seq is null
            and e.state in ('completed', 'failed', 'cancelled'));
begin
    if cardinality(v_parents) > 0 then
        return query select case when w.worker_id is null then 'queue' else 'worker' end, w.queue, w.worker_id, w.id
            from currant.wake_runs(v_parents) w;
    end if;
end $$;
