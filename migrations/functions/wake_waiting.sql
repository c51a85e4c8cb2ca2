-- The queues where other executions await the permits that these finished executions had.
create or replace function currant.wake_waiting(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_functions text[] := array(
        select distinct e.function from currant.executions e where e.id = any (p_ids) and e.has_permit and e.finished_at is not null);
begin
    if cardinality(v_functions) > 0 then
        return query select distinct 'queue', lane.queue, null::uuid, null::uuid
            from unnest(v_functions) f(function) cross join lateral currant.awaiting_queues(f.function) lane(queue);
    end if;
end $$;
