-- The queues in which executions of this function await a permit.
create or replace function currant.awaiting_queues(p_function text) returns setof text language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with recursive lane as (
        (select e.queue from currant.executions e where e.awaiting_permit order by e.queue limit 1)
        union all
        select next.queue from lane cross join lateral (
            select e.queue from currant.executions e where e.awaiting_permit and e.queue > lane.queue order by e.queue limit 1) next
    )
    -- The limit makes the planner look rows up instead of reading all executions that await a permit.
    select lane.queue from lane cross join lateral (
        select 1 from currant.executions e where e.awaiting_permit and e.queue = lane.queue and e.function = p_function limit 1) there
$$;
