-- The functions of which executions wait for a place in these queues, and how many may start now, at most p_most; `gated`: their
-- definition says how many. A place is had from the start of an execution to its end, suspended or between two attempts too.
create or replace function currant.gates(p_queues text[], p_most integer) returns table (function text, gated boolean, room bigint) language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    with recursive waiting as (  -- one probe of the index for each queue and function
        select lane.queue, first.function from unnest(p_queues) lane(queue) cross join lateral (
            select e.function from currant.executions e where e.parked and e.queue = lane.queue order by e.function limit 1) first
        union all
        select w.queue, next.function from waiting w cross join lateral (
            select e.function from currant.executions e where e.parked and e.queue = w.queue and e.function > w.function
            order by e.function limit 1) next
    )
    select w.function, d.gate is not null, currant.room(w.function, p_most)
    from (select distinct waiting.function from waiting) w left join currant.definitions d on d.function = w.function
$$;
