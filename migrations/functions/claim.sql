-- Claims without claim cursors, from the first of what is ready. If it took long to find the rows, the last row of the answer has no id, and its `lease` is
-- the number of microseconds that it took.
create or replace function currant.claim(p_worker uuid, p_queues text[], p_limit integer, p_poison_suspect boolean)
returns setof currant.claimed language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_began timestamptz := clock_timestamp();
    v_looked interval;
    picked record;
    late currant.claimed;
begin
    select * into picked from currant.select_claimable(p_worker, p_queues, p_limit, p_poison_suspect);
    v_looked := clock_timestamp() - v_began;
    if cardinality(picked.ids) > 0 then
        return query select t.* from
            currant.mark_claimed(p_worker, p_queues, picked.ids, picked.xids, picked.my_build, picked.my_tasks, picked.my_workflows) t;
    end if;
    -- On any machine rows are found in a fraction of the time that it takes to write them.
    if v_looked > greatest(interval '2 ms', clock_timestamp() - v_began - v_looked) then
        late.lease := extract(epoch from v_looked) * 1000000;
        return next late;
    end if;
end $$;
