-- Runs a failed or cancelled root run again, in a new epoch, from its last good history.
create or replace function currant.retry_run(p_id uuid) returns table (status text, queues text[]) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    status := case when run.id is null then 'unknown' when run.parent_id is not null then 'not_root'
        when run.state not in ('failed', 'cancelled') then 'not_failed' else 'ok' end;
    if status = 'ok' then
        perform currant.reopen(p_id);
        queues := array(
            select run.queue union
            select e.queue from currant.executions e
            where e.id = any (array(select b.id from currant.below(array[p_id]) b where not b.finished)) and e.state = 'pending');
    end if;
    return next;
end $$;
