-- Notes that this transaction (p_xid) has claimed these executions for the worker, or started them as eager steps; it may do both. The
-- settings are those of the calling function.
create or replace function currant.add_claim(p_worker uuid, p_xid bigint, p_ids uuid[]) returns void language plpgsql as $$
begin
    insert into currant.claims as c (worker_id, xid, executions, unended) values (p_worker, p_xid, p_ids, cardinality(p_ids))
    on conflict (worker_id, xid) do update set executions = c.executions || excluded.executions, unended = c.unended + excluded.unended;
end $$;
