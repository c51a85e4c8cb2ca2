-- Ends a worker: what it ran is ready again, at no cost. Suspended runs hold no lease and are not touched. The caller has locked the worker's row.
-- p_suspects: what it ran may have killed it. The suspects are the attempts that were executing: tasks, and workflows without progress under this
-- lease. A suspect that ran alone, or as the only poison suspect, is the culprit: its loss counts against max_worker_losses, and the loss after that
-- number ends it as WorkerLost. If there are several suspects and no culprit, each becomes a poison suspect at its second such loss (at the first if
-- its max_worker_losses is 1), and so runs apart from its like until one is caught or all are cleared.
-- With max_worker_losses = 0 any loss ends it, whatever caused the loss: it may have begun, and must not begin twice.
create or replace function currant.lose_worker(p_worker uuid, p_suspects boolean)
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    suspects uuid[] := '{}';
    culprit uuid;
    lost uuid[];
    orphans uuid[];
    v_ran uuid[];  -- what it ran: read after the locks, with what a commit that held one of them has started
begin
    perform currant.lock_running(p_worker);
    v_ran := currant.running(p_worker);
    if p_suspects then
        suspects := array(select e.id from currant.executions e where e.id = any (v_ran)
            and (e.kind = 'task' or e.progress_lease is distinct from e.lease));
    end if;
    if cardinality(suspects) = 1 then
        culprit := suspects[1];
    else
        select (array_agg(e.id))[1] into culprit from currant.executions e where e.id = any (suspects) and e.poison_suspect having count(*) = 1;
    end if;
    lost := array(select e.id from currant.executions e
        cross join lateral (select currant.option(e.kind, e.options, '{max_worker_losses}')::integer as losses) most
        where e.id = any (v_ran)
            and (most.losses = 0 or (e.id = culprit and e.suspect_losses >= most.losses)));
    return query
    with taken as (
        update currant.executions e set
            lease = e.lease + 1,
            worker_losses = e.worker_losses + 1,
            suspect_losses = e.suspect_losses + (e.id is not distinct from culprit)::integer,
            loss_suspected = e.loss_suspected or ran.suspect,
            poison_suspect = e.poison_suspect or (ran.suspect and (e.loss_suspected or ran.max_losses = 1)),
            state = case when e.id = any (lost) then 'failed' else 'pending' end,
            defined_state = case when e.defined then case when e.id = any (lost) then 'failed' else 'pending' end end,
            defined_end = case when e.defined and e.id = any (lost) then clock_timestamp() end,
            open_schedule = case when not e.id = any (lost) then e.open_schedule end,
            ready_at = clock_timestamp(), ready_xid = case when not e.id = any (lost) then currant.xid() end,
            finished_at = case when e.id = any (lost) then clock_timestamp() end,
            error = case when e.id = any (lost) then currant.worker_lost(e.id, e.suspect_losses + 1, ran.max_losses) else e.error end,
            run_at = null
        from (select s.id, s.id = any (suspects) and (culprit is null or s.id = culprit) as suspect,
                  currant.option(s.kind, s.options, '{max_worker_losses}')::integer as max_losses
              from currant.executions s where s.id = any (v_ran)) ran
        where e.id = ran.id and e.worker_id = p_worker and e.state = 'running'
        returning e.id, e.queue
    )
    select distinct 'queue', taken.queue, null::uuid, null::uuid from taken;
    if cardinality(lost) > 0 then
        return query select * from currant.wake_parents(lost);
        return query select * from currant.wake_waiting(lost);
        orphans := array(select e.id from currant.executions e where e.parent_id = any (lost) and e.finished_at is null
            order by e.id for update);
        return query select * from currant.cancel_rows(orphans);
        return query select * from currant.wake_waiting(orphans);
    end if;
    delete from currant.claims c where c.worker_id = p_worker;
    update currant.workers w set stopped_at = clock_timestamp() where w.id = p_worker;
end $$;
