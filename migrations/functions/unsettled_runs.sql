-- Executions from before their definition, or before it had a gate, that are to be marked by settle_runs: not those that have ended.
create or replace function currant.unsettled_runs() returns setof uuid language sql stable
set enable_seqscan = off set jit = off as $$
    with unsettled as materialized (select d.function, d.gate is not null as gated from currant.definitions d where not d.settled),
    there as (
        select e.id, e.function, e.defined, e.parked from currant.executions e
        where e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'pending' and e.run_at is null and e.isolated
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.run_at is not null
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'running'
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.state = 'suspended' and e.run_at is null
    )
    select there.id from there join unsettled u on u.function = there.function where not there.defined or (u.gated and not there.parked)
$$;
