-- Opens a new epoch of a failed or cancelled run: its history up to the step that failed is kept, and that step runs again.
create or replace function currant.reopen(p_id uuid) returns void language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
    boundary bigint;
    child uuid;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    if run.kind = 'workflow' then
        select least(
            (select max(e.seq) from currant.executions e where e.parent_id = p_id and e.parent_epoch = run.epoch and e.state = 'failed'),
            (select min(s.seq) from currant.steps s where s.execution_id = p_id and s.epoch = run.epoch and s.kind in ('cancel', 'timeout')))
        into boundary;
        boundary := coalesce(boundary, 9223372036854775807);
        update currant.signals g set consumed_by = null, consumed_epoch = null
        from currant.steps s where g.execution_id = p_id and s.execution_id = p_id and s.epoch = run.epoch
            and g.consumed_epoch = run.epoch and s.key = g.consumed_by and s.after_seq >= boundary;
        update currant.signals g set consumed_epoch = run.epoch + 1 where g.execution_id = p_id and g.consumed_epoch = run.epoch;
        update currant.steps s set epoch = run.epoch + 1,
            seq = case when s.seq < boundary then s.seq end, clock = case when s.seq < boundary then s.clock end,
            abandoned = case when s.abandoned < boundary then s.abandoned end
        where s.execution_id = p_id and s.epoch = run.epoch and s.after_seq < boundary and s.kind not in ('cancel', 'timeout');
        update currant.executions e set parent_epoch = run.epoch + 1,
            seq = case when e.seq < boundary then e.seq end, clock = case when e.seq < boundary then e.clock end,
            abandoned = case when e.abandoned < boundary then e.abandoned end
        where e.parent_id = p_id and e.parent_epoch = run.epoch and e.after_seq < boundary;
        for child in select e.id from currant.executions e where e.parent_id = p_id and e.parent_epoch = run.epoch + 1
            and e.seq is null and e.abandoned is null and e.state in ('failed', 'cancelled') order by e.id
        loop
            perform currant.reopen(child);
        end loop;
    end if;
    update currant.executions e set
        epoch = e.epoch + (case when e.kind = 'workflow' then 1 else 0 end), state = 'pending',
        defined_state = case when e.defined then 'pending' end, defined_end = null, open_schedule = e.schedule_id, lease = e.lease + 1, attempt = 0, worker_losses = 0, suspect_losses = 0, loss_suspected = false,
        poison_suspect = false, has_permit = false, result = null, error = null, finished_at = null, run_at = null, deadline = null,
        ready_at = clock_timestamp(), ready_xid = currant.xid(),
        cancel_requested = false, wakes = e.wakes + 1, refused_builds = null, progress_lease = null
    where e.id = p_id;
end $$;
