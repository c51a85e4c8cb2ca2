-- Wakes workflows by hand: a suspended one becomes ready, one in a worker's memory is checked again.
create or replace function currant.resume(p_ids uuid[]) returns table (id uuid, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
begin
    perform 1 from currant.executions e where e.id = any (p_ids) order by e.id for update;
    return query select w.id, w.queue, w.worker_id from currant.wake_runs(array(
        select e.id from currant.executions e where e.id = any (p_ids) and e.kind = 'workflow')) w;
end $$;
