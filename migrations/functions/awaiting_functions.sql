-- The functions of which executions await a permit in these queues, and how many of each may start now (`free`), at most p_most. `limited`: the
-- function's definition says how many. An execution has its permit from its start to its end, while it is suspended and between two attempts too.
create or replace function currant.awaiting_functions(p_queues text[], p_most integer) returns table (function text, limited boolean, free bigint) language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with recursive waiting as (  -- one probe of the index for each queue and function
        select lane.queue, first.function from unnest(p_queues) lane(queue) cross join lateral (
            select e.function from currant.executions e where e.awaiting_permit and e.queue = lane.queue order by e.function limit 1) first
        union all
        select w.queue, next.function from waiting w cross join lateral (
            select e.function from currant.executions e where e.awaiting_permit and e.queue = w.queue and e.function > w.function
            order by e.function limit 1) next
    )
    select w.function, d.permits is not null, currant.free_permits(w.function, p_most)
    from (select distinct waiting.function from waiting) w left join currant.definitions d on d.function = w.function
$$;
