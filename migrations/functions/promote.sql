-- Makes due executions of these queues ready, in the order in which they became due, at most a thousand of each queue at a time.
create or replace function currant.promote(p_queues text[]) returns void language sql
set enable_seqscan = off set jit = off as $$
    with due as (
        select d.id from unnest(p_queues) lane(queue) cross join lateral (
            select e.id from currant.executions e
            where e.queue = lane.queue and e.run_at <= now() and not e.incompatible
            order by e.run_at limit 1000 for update skip locked
        ) d
    )
    update currant.executions e set state = 'pending', defined_state = case when e.defined then 'pending' end, suspended_at = null, run_at = null, ready_at = clock_timestamp(), ready_xid = currant.xid(),
        awaiting_permit = e.defined and not e.has_permit and not e.poison_suspect
            and exists (select 1 from currant.definitions d where d.function = e.function and d.permits is not null)
    from due where e.id = due.id;
$$;
