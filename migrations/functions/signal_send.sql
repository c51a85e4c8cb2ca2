-- Signals. `status`: ok, unknown, finished. Ordered by a counter that is taken under the run's row lock (rule m).
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
        update currant.executions e set
            signal_seq = e.signal_seq + 1, wakes = e.wakes + 1,
            run_at = case when e.state = 'suspended' and not e.held then null else e.run_at end,
            ready_at = case when e.state = 'suspended' and not e.held then clock_timestamp() else e.ready_at end,
            ready_xid = case when e.state = 'suspended' and not e.held then currant.xid() else e.ready_xid end,
            state = case when e.state = 'suspended' and not e.held then 'pending' else e.state end
        where e.id = p_id;
        status := 'ok';
        queue := case when run.state = 'running' then null else run.queue end;
        worker_id := case when run.state = 'running' then run.worker_id end;
    end if;
    return next;
end $$;
