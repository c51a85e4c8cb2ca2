-- Sends a signal, numbered by a counter that grows under the lock on the run's row (rule m). `status`: ok, unknown, finished.
create or replace function currant.signal_send(p_id uuid, p_name text, p_payload bytea, p_dedup_key text)
returns table (status text, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    if not found then
        status := 'unknown';
    elsif p_dedup_key is not null and exists (select 1 from currant.signals g where g.execution_id = p_id and g.dedup_key = p_dedup_key) then
        status := 'ok';
    elsif run.finished_at is not null or run.kind <> 'workflow' then
        status := 'finished';
    else
        insert into currant.signals (execution_id, ordinal, name, payload, dedup_key)
        values (p_id, run.signal_seq + 1, p_name, p_payload, p_dedup_key);
        select case when w.worker_id is null then w.queue end, w.worker_id into queue, worker_id from currant.wake_runs(array[p_id], 1) w;
        status := 'ok';
    end if;
    return next;
end $$;
