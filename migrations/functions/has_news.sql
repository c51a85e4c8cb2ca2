-- Whether anything waits for the run that was not delivered to it yet: a signal, or a child that has ended. Only for a caller that has the lock on
-- the run's row, in a statement after the one that took the lock.
create or replace function currant.has_news(p_id uuid) returns boolean language sql stable as $$
    select exists (select 1 from currant.signals g where g.execution_id = p_id and g.consumed_by is null)
        or exists (
            select 1 from currant.executions r join currant.executions e on e.parent_id = r.id and e.parent_epoch = r.epoch
            where r.id = p_id and e.seq is null and e.abandoned is null and e.state in ('completed', 'failed', 'cancelled'))
$$;
