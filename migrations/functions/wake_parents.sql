-- Parents of these finished executions that still wait for them, in the same epoch: their wakes grow, a suspended one becomes ready.
create or replace function currant.wake_parents(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
begin
    return query
    with news as (
        select distinct e.parent_id, e.parent_epoch from currant.executions e
        where e.id = any (p_ids) and e.parent_id is not null and e.abandoned is null and e.seq is null
            and e.state in ('completed', 'failed', 'cancelled')
    )
    update currant.executions p set
        wakes = p.wakes + 1,
        run_at = case when p.state = 'suspended' and not p.held then null else p.run_at end,
        ready_at = case when p.state = 'suspended' and not p.held then clock_timestamp() else p.ready_at end,
        ready_xid = case when p.state = 'suspended' and not p.held then currant.xid() else p.ready_xid end,
        state = case when p.state = 'suspended' and not p.held then 'pending' else p.state end
    from news where p.id = news.parent_id and p.epoch = news.parent_epoch and p.state in ('pending', 'running', 'suspended')
    returning case when p.state = 'running' then 'worker' else 'queue' end, p.queue,
        case when p.state = 'running' then p.worker_id end, p.id;
end $$;
