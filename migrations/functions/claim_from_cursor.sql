-- Claims what is ready beyond the worker's claim cursors (select_claimable has the arguments), and what transactions made ready that were open when the cursors passed.
create or replace function currant.claim_from_cursor(
    p_worker uuid, p_queues text[], p_limit integer, p_poison_suspect boolean,
    m_xids bigint[] default '{}', m_ids uuid[] default '{}', o_places integer[] default '{}', o_xids bigint[] default '{}')
returns setof currant.claimed language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    picked record;
begin
    select * into picked from currant.select_claimable(p_worker, p_queues, p_limit, p_poison_suspect, m_xids, m_ids, o_places, o_xids);
    if cardinality(picked.ids) > 0 then
        return query select t.* from
            currant.mark_claimed(p_worker, p_queues, picked.ids, picked.xids, picked.my_build, picked.my_tasks, picked.my_workflows) t;
    end if;
end $$;
