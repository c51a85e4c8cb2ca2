-- Cancels an execution and, by way of its workflows, everything below it; p_force ends the whole tree without asking.
create or replace function currant.cancel_tree(p_id uuid, p_force boolean)
returns table (status text, queues text[], workers uuid[], ids uuid[]) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    target currant.executions;
    tree uuid[] := array[p_id];
    grown uuid[];
begin
    queues := '{}'; workers := '{}'; ids := '{}';
    loop
        if p_force then
            grown := p_id || array(select b.id from currant.below(array[p_id]) b);
            exit when grown <@ tree and target.id is not null;
            tree := grown;
        end if;
        perform 1 from currant.executions e where e.id = any (tree || (select t.parent_id from currant.executions t where t.id = p_id))
            order by e.id for update;
        select * into target from currant.executions e where e.id = p_id;
        exit when not p_force or target.id is null;
    end loop;
    status := case when target.id is null then 'unknown' when target.finished_at is not null then 'finished' else 'ok' end;
    if status <> 'ok' then
        return next; return;
    end if;
    if p_force then
        -- Found by id: a plan that was made while few executions ran would read all running ones by their index.
        select coalesce(array_agg(e.worker_id), '{}'), coalesce(array_agg(e.id), '{}') into workers, ids
        from (select e.worker_id, e.id, e.state from currant.executions e where e.id = any (tree) offset 0) e where e.state = 'running';
        update currant.executions e set state = 'cancelled', finished_at = clock_timestamp(), lease = e.lease + 1, run_at = null,
            defined_state = case when e.defined then 'cancelled' end, defined_end = case when e.defined then clock_timestamp() end,
            suspended_at = null, open_schedule = null, ready_xid = null, incompatible = false, awaiting_permit = false, cancel_requested = true
        where e.id = any (tree) and e.finished_at is null;
    else
        select coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
            coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
        into queues, workers, ids from currant.cancel_rows(tree) w;
    end if;
    select queues || coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), workers || coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
        ids || coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
    into queues, workers, ids from (
        select * from currant.wake_parents(array[p_id]) union all select * from currant.wake_waiting(tree)) w;
    return next;
end $$;
