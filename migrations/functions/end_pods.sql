-- Ends the workers of pods that are gone, for the operator, which watches the pods: what they ran is taken over at once instead of after the
-- heartbeat time-out. Returns whom to wake. A worker's process may live on, for the seconds that it outlives its pod's object or cut off somewhere.
-- It finds its leases taken (rule b), and gets nothing more: what it claimed would be lost with it a second time.
-- What each worker ran gets the reason as its error (take_over_pod). Only if its own work may have ended the pod (OOMKilled, Error), that work becomes
-- a suspect; not if the pod was deleted, evicted, preempted or lost with its node.
create or replace function currant.end_pods(p_pod_uids text[], p_reasons text[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    gone record;
begin
    perform 1 from currant.workers w where w.pod_uid = any (p_pod_uids) and w.stopped_at is null order by w.id for update;
    for gone in
        update currant.workers w set last_heartbeat = '-infinity', pod_gone = true, end_reason = p.reason
        from unnest(p_pod_uids, p_reasons) p(uid, reason)
        where w.pod_uid = p.uid and w.stopped_at is null returning w.id, w.end_reason
    loop
        return query select t.tag, t.queue, t.worker_id, t.id from currant.take_over_pod(gone.id, gone.end_reason) t;
    end loop;
end $$;
