-- Ready executions become those of a worker, under leases of their own.
create or replace function currant.claim(
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
