-- Claims up to p_limit ready executions of these queues. The arguments from l_ends on are as in select_claimable; without them all that is ready is
-- read. Rows of the answer without an id:
--   with a queue     (p_look) what is ready in a range of one priority: `lease` is the first transaction of the range, `ready_xid` the one that made
--                    the first ready execution in it ready, or null if there is none; `options` is the snapshot by which this is so
--   without a queue  it took long to find the rows: `lease` is the number of microseconds
create or replace function currant.claim(
    p_worker uuid, p_queues text[], p_limit integer, p_poison_suspect boolean,
    l_ends integer[] default '{}', r_tops smallint[] default '{}', r_bottoms smallint[] default '{}',
    r_from bigint[] default '{}', r_to bigint[] default '{}', p_look boolean default false)
returns setof currant.claimed language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_began timestamptz := clock_timestamp();
    v_looked interval;
    picked record;
    late currant.claimed;
begin
    if cardinality(l_ends) = 0 then
        select * into l_ends, r_tops, r_bottoms, r_from, r_to from currant.whole_queues(p_queues);
    end if;
    select * into picked from currant.select_claimable(p_worker, p_queues, p_limit, p_poison_suspect, l_ends, r_tops, r_bottoms, r_from, r_to);
    v_looked := clock_timestamp() - v_began;
    if cardinality(picked.ids) > 0 then
        return query select t.* from
            currant.mark_claimed(p_worker, p_queues, picked.ids, picked.xids, picked.my_build, picked.my_tasks, picked.my_workflows) t;
    end if;
    if p_look then
        return query select s.* from currant.look_at_ranges(p_queues, l_ends, r_tops, r_bottoms, r_from, r_to) s;
    end if;
    -- On any machine rows are found in a fraction of the time that it takes to write them.
    if v_looked > greatest(interval '2 ms', clock_timestamp() - v_began - v_looked) then
        late.lease := extract(epoch from v_looked) * 1000000;
        return next late;
    end if;
end $$;
