-- Marks executions of defined functions: those that have started have a place, those that are ready wait for one if there is a gate.
-- Gives those that somebody else has locked.
create or replace function currant.settle_runs(p_ids uuid[]) returns setof uuid language sql
set enable_seqscan = off set jit = off as $$
    with free as (
        select e.id from currant.executions e where e.id = any (p_ids) for update skip locked
    ),
    marked as (
        update currant.executions e set
            defined = true,
            slot = e.slot or (not e.defined and (e.started_at is not null or e.state in ('running', 'suspended'))),
            parked = e.parked or (d.gate is not null and e.state = 'pending' and e.run_at is null and not e.isolated and not e.slot
                and (e.defined or e.started_at is null))
        from free, currant.definitions d
        where e.id = free.id and e.finished_at is null and d.function = e.function
    )
    select u.id from unnest(p_ids) u(id) where not exists (select 1 from free where free.id = u.id)
        and exists (select 1 from currant.executions e where e.id = u.id)
$$;
