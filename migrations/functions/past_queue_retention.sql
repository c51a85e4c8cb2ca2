-- Runs that are past the retention of their queue, at most p_limit, oldest first. It reads the primary key, a piece at a time: an index on the
-- time of the end would cost something at each outcome, and this walk costs only databases that use it. The walk begins anew when a twentieth of the
-- shortest retention has passed. `more`: it has not reached the end yet.
create or replace function currant.past_queue_retention(p_limit integer, out ids uuid[], out more boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_shortest interval;
    v_upkeep currant.upkeep;
    v_last uuid;
begin
    ids := '{}';
    more := false;
    select min(r.retention) * interval '1 second' into v_shortest from currant.queue_retentions r;
    if v_shortest is null then return; end if;
    select * into v_upkeep from currant.upkeep u for update skip locked;
    if not found then return; end if;
    if v_upkeep.walked_to is null then
        if v_upkeep.walk_began_at > clock_timestamp() - greatest(v_shortest / 20, interval '1 minute') then return; end if;
        v_upkeep.walk_began_at := clock_timestamp();
        v_upkeep.walked_to := '00000000-0000-0000-0000-000000000000';
    end if;
    -- The piece is read only until p_limit runs are found. If most of it is past its retention, that is soon.
    ids := array(
        select p.id from (
            select e.id, e.queue, e.function, e.parent_id, e.finished_at from currant.executions e
            where e.id > v_upkeep.walked_to order by e.id limit 20 * p_limit) p
        where p.parent_id is null
            and exists (
                select 1 from currant.queue_retentions r
                where r.queue = p.queue and p.finished_at < now() - r.retention * interval '1 second' offset 0)
            and not exists (
                select 1 from currant.definitions d where d.function = p.function and d.retention is not null offset 0)
        order by p.id limit p_limit);
    if cardinality(ids) = p_limit then
        more := true;
        v_last := ids[p_limit];
    else
        select e.id into v_last from currant.executions e where e.id > v_upkeep.walked_to order by e.id offset 20 * p_limit - 1 limit 1;
        more := found;
    end if;
    update currant.upkeep set walk_began_at = v_upkeep.walk_began_at, walked_to = case when more then v_last end;
end $$;
