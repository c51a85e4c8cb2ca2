-- Locks what this worker runs, and the parents of that, which may have to be woken.
create or replace function currant.lock_running(p_worker uuid) returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_ran uuid[] := currant.running(p_worker);
begin
    perform 1 from currant.executions e
    where e.id = any (v_ran || array(select r.parent_id from currant.executions r where r.id = any (v_ran) and r.parent_id is not null))
    order by e.id for update;
end $$;
