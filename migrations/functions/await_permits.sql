-- Makes executions of limited functions that have not started await a permit, so that they are no longer ready: those in p_ids, and those among the
-- first thousand of each queue.
create or replace function currant.await_permits(p_ids uuid[], p_queues text[]) returns void language sql
set enable_seqscan = off set jit = off as $$
    with needs_permit as (
        select e.id from currant.ready_executions e
        where e.id = any (p_ids || array(
                select f.id from unnest(p_queues) lane(queue) cross join lateral (
                    select x.id, x.function, x.defined, x.has_permit, x.started_at from currant.ready_executions x
                    where x.queue = lane.queue
                    order by x.priority desc, x.ready_xid, x.id limit 1000) f
                where not f.has_permit and (f.defined or f.started_at is null)
                    and exists (select 1 from currant.definitions d where d.function = f.function and d.permits is not null)))
            and not e.has_permit
            and (e.defined or e.started_at is null)
        for update skip locked
    )
    update currant.executions e set awaiting_permit = true, defined = true, defined_state = e.state from needs_permit where e.id = needs_permit.id;
$$;
