-- Ends workers as end_pods does, where a container ended and its pod goes on with another container: what ran before `p_ended` (microseconds) in these pods is
-- gone. Workers that began later are left alone. If a successor registered first (register_worker), its predecessor was taken over already,
-- without a reason.
create or replace function currant.end_containers(p_pod_uids text[], p_reasons text[], p_ended bigint[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    gone record;
begin
    perform 1 from currant.workers w where w.pod_uid = any (p_pod_uids) and w.stopped_at is null order by w.id for update;
    for gone in
        update currant.workers w set last_heartbeat = '-infinity', end_reason = p.reason
        from unnest(p_pod_uids, p_reasons, p_ended) p(uid, reason, ended)
        where w.pod_uid = p.uid and w.stopped_at is null and w.started_at < currant.from_micros(p.ended) returning w.id, w.end_reason
    loop
        return query select t.tag, t.queue, t.worker_id, t.id from currant.take_over_pod(gone.id, gone.end_reason) t;
    end loop;
end $$;
