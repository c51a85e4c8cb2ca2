-- The executions that this worker runs or holds in memory, as the database knows it.
create or replace function currant.running(p_worker uuid) returns uuid[] language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
    select array(
        select e.id from (
            select distinct named.id from currant.claims c cross join lateral unnest(c.executions) named(id) where c.worker_id = p_worker) claimed
        cross join lateral (
            select x.id from currant.executions x
            where x.id = claimed.id and x.state = 'running' and x.worker_id = p_worker offset 0) e)
$$;
