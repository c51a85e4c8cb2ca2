-- Wakes runs by hand: a suspended one becomes ready, one in a worker's memory looks again.
create or replace function currant.resume(p_ids uuid[]) returns table (id uuid, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
begin
    perform 1 from currant.executions e where e.id = any (p_ids) order by e.id for update;
    return query update currant.executions e set
        wakes = e.wakes + 1,
        run_at = case when e.state = 'suspended' and not e.held then null else e.run_at end,
        ready_at = case when e.state = 'suspended' and not e.held then clock_timestamp() else e.ready_at end,
        ready_xid = case when e.state = 'suspended' and not e.held then currant.xid() else e.ready_xid end,
        state = case when e.state = 'suspended' and not e.held then 'pending' else e.state end
    where e.id = any (p_ids) and e.kind = 'workflow' and e.finished_at is null
    returning e.id, e.queue, case when e.state = 'running' then e.worker_id end;
end $$;
