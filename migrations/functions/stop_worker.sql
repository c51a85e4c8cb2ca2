-- Records that a worker has stopped. What is still leased to it goes back at no cost, because no other worker would find it. Tasks
-- that must not begin twice end instead: they may have begun.
create or replace function currant.stop_worker(p_worker uuid) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    lost uuid[];
    v_ran uuid[];
begin
    perform 1 from currant.workers w where w.id = p_worker for update;
    perform currant.lock_running(p_worker);
    v_ran := currant.running(p_worker);
    lost := array(select e.id from currant.executions e where e.id = any (v_ran)
        and e.kind = 'task' and currant.option('task', e.options, '{max_worker_losses}') = '0');
    if cardinality(lost) > 0 then
        update currant.executions e set state = 'failed', finished_at = clock_timestamp(),
            defined_state = case when e.defined then 'failed' end, defined_end = case when e.defined then clock_timestamp() end,
            open_schedule = null, lease = e.lease + 1,
            worker_losses = e.worker_losses + 1, error = currant.worker_lost(e.id, 0, 0)
        where e.id = any (lost);
        return query select * from currant.wake_parents(lost);
        return query select * from currant.wake_waiting(lost);
    end if;
    return query
    with back as (
        update currant.executions e set state = 'pending', defined_state = case when e.defined then 'pending' end,
            lease = e.lease + 1, attempt = e.attempt - 1, run_at = null,
            ready_at = clock_timestamp(), ready_xid = currant.xid()
        where e.id = any (v_ran) and e.worker_id = p_worker and e.state = 'running' returning e.queue
    )
    select distinct 'queue', back.queue, null::uuid, null::uuid from back;
    delete from currant.claims c where c.worker_id = p_worker;
    update currant.workers w set stopped_at = clock_timestamp(), draining = true, sleep_until = '-infinity' where w.id = p_worker;
end $$;
