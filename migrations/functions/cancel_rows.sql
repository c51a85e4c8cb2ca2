-- Cancels executions that are not finished. A task, or a workflow that never started, ends at once: the lease grows, so its worker's write is refused.
-- A workflow that has started is asked. The caller has locked the rows.
create or replace function currant.cancel_rows(p_ids uuid[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
begin
    return query
    with was as (
        select e.id, e.state, e.kind = 'task' or e.started_at is null as ends,
            case when e.kind = 'task' or e.started_at is null then 'cancelled' when e.state = 'suspended' and not e.incompatible then 'pending'
                else e.state end as next
        from currant.executions e where e.id = any (p_ids) and e.finished_at is null
    )
    update currant.executions e set
        state = was.next,
        defined_state = case when e.defined then was.next end,
        suspended_at = case when was.next = 'suspended' then e.suspended_at end,
        finished_at = case when was.ends then clock_timestamp() end,
        defined_end = case when was.ends and e.defined then clock_timestamp() end,
        open_schedule = case when not was.ends then e.open_schedule end,
        run_at = null,
        awaiting_permit = false,
        ready_at = clock_timestamp(), ready_xid = case when was.next = 'pending' then currant.xid() end,
        lease = e.lease + was.ends::integer,
        cancel_requested = true,
        wakes = e.wakes + 1
    from was where e.id = was.id
    returning case when was.state = 'running' then 'worker' else 'queue' end, e.queue,
        case when was.state = 'running' then e.worker_id end, e.id;
end $$;
