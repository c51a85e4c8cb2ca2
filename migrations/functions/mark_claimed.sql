-- Gives this worker the lease of what select_claimable found (p_xids: the transactions that had made it ready), in the order in which it is to
-- start. The settings are those of the calling function.
create or replace function currant.mark_claimed(
    p_worker uuid, p_queues text[], p_ids uuid[], p_xids bigint[], p_build text, p_tasks text[], p_workflows text[]
) returns setof currant.claimed language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_xid bigint := currant.xid();
begin
    perform currant.add_claim(p_worker, v_xid, p_ids);
    return query
    with taken as (
        update currant.executions e set
            state = 'running', defined_state = case when e.defined then 'running' end, ready_xid = null, claim_xid = v_xid,
            worker_id = p_worker, lease = e.lease + 1, attempt = e.attempt + 1, build = p_build,
            attempt_at = v_now, started_at = coalesce(e.started_at, v_now),
            has_permit = e.has_permit or e.defined, awaiting_permit = false,
            -- The worker's registry decides the kind. A task of a SQL client, which cannot know, that turns out to be a workflow is not retried, and
            -- loses the default time-out of tasks.
            kind = case when e.function = any (p_workflows) then 'workflow' when e.function = any (p_tasks) then 'task' else e.kind end,
            -- Options mean the same after the change of kind.
            options = case when e.kind = 'task' and e.function = any (p_workflows) then e.options #- '{retry,max_attempts}'
                when e.kind = 'workflow' and e.function = any (p_tasks) then currant.merge_options(currant.default_options('workflow'), e.options)
                else e.options end,
            deadline = case
                when e.function = any (p_workflows) or (e.kind = 'workflow' and not e.function = any (p_tasks)) then coalesce(e.deadline,
                    v_now + currant.option('workflow', e.options, '{timeout}')::double precision * interval '1 second') end
        from unnest(p_ids, p_xids) u(id, xid)
        where e.id = u.id
        -- Only the columns that are needed: whole rows would be copied, and taken apart again.
        returning e.id, e.lease, e.kind, e.function, e.queue, e.priority, e.attempt, e.worker_losses, e.args,
            e.options::text, currant.micros(e.deadline), e.parent_id, e.step_key, e.root_id, e.epoch, e.wakes,
            currant.micros(e.started_at), e.lease = 1 and e.wakes = 0, e.poison_suspect, u.xid
    )
    select * from taken t
    order by array_position(p_queues, t.queue), t.priority desc, t.xid, t.id;
end $$;
