-- Writes into executions of functions that have got a definition whether they have a permit (those that have started), or await one (those that are
-- ready, if there is a limit). Returns the executions that somebody else has locked.
create or replace function currant.mark_runs(p_ids uuid[]) returns setof uuid language sql
set enable_seqscan = off set jit = off as $$
    with free as (
        select e.id from currant.executions e where e.id = any (p_ids) for update skip locked
    ),
    marked as (
        update currant.executions e set
            defined = true,
            defined_state = e.state,
            has_permit = e.has_permit or (not e.defined and (e.started_at is not null or e.state in ('running', 'suspended'))),
            awaiting_permit = e.awaiting_permit or (d.permits is not null and e.state = 'pending' and e.run_at is null and not e.poison_suspect and not e.has_permit
                and (e.defined or e.started_at is null))
        from free, currant.definitions d
        where e.id = free.id and e.finished_at is null and d.function = e.function
    )
    select u.id from unnest(p_ids) u(id) where not exists (select 1 from free where free.id = u.id)
        and exists (select 1 from currant.executions e where e.id = u.id)
$$;
