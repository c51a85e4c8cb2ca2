-- Takes over what the worker of a pod that has ended was running. What it ran gets the end of the pod as its error, until it has another outcome.
create or replace function currant.take_over_pod(p_dead uuid, p_reason text)
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_ran uuid[] := currant.running(p_dead);
begin
    perform 1 from currant.workers w where w.id = p_dead for update;
    return query select * from currant.lose_worker(p_dead, p_reason in ('OOMKilled', 'Error'));
    update currant.executions e set error = convert_to(json_build_object('type', 'WorkerLost', 'message',
        case when e.state = 'failed' then convert_from(e.error, 'UTF8')::json ->> 'message' || '; the last: ' else '' end
            || 'worker pod ' || p_reason || coalesce((select ': ' || w.pod_name from currant.workers w where w.id = p_dead), ''),
        'traceback', '', 'id', e.id)::text, 'UTF8')
    where e.id = any (v_ran) and e.state in ('pending', 'failed') and e.worker_id = p_dead;
end $$;
