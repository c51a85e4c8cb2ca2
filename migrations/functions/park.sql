-- Out of the way of what is ready: these of a function with a gate which have not started, and such among the first thousand of the queues.
create or replace function currant.park(p_ids uuid[], p_queues text[]) returns void language sql
set enable_seqscan = off set jit = off as $$
    with stray as (
        select e.id from currant.executions e
        where e.id = any (p_ids || array(
                select f.id from unnest(p_queues) lane(queue) cross join lateral (
                    select x.id, x.function, x.defined, x.slot, x.started_at from currant.executions x
                    where x.queue = lane.queue and x.state = 'pending' and x.run_at is null and not x.isolated and not x.parked
                    order by x.priority desc, x.ready_xid, x.id limit 1000) f
                where not f.slot and (f.defined or f.started_at is null)
                    and exists (select 1 from currant.definitions d where d.function = f.function and d.gate is not null)))
            and e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked and not e.slot
            and (e.defined or e.started_at is null)
        for update skip locked
    )
    update currant.executions e set parked = true, defined = true from stray where e.id = stray.id;
$$;
