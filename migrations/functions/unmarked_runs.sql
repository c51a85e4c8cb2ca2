-- Executions from before their definition, or from before it had a limit, that mark_runs is to mark: those that have not ended.
create or replace function currant.unmarked_runs() returns setof uuid language sql stable
set enable_seqscan = off set jit = off as $$
    with unsettled as materialized (select d.function, d.permits is not null as limited from currant.definitions d where not d.runs_marked),
    there as (
        select e.id, e.function, e.defined, e.awaiting_permit from currant.ready_executions e
        union all
        select e.id, e.function, e.defined, true from currant.ready_poison_suspects e
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.run_at is not null
        union all
        select e.id, e.function, e.defined, true from currant.running_executions e
        union all
        select e.id, e.function, e.defined, true from currant.executions e where e.suspended_at is not null and e.run_at is null
    )
    select there.id from there join unsettled u on u.function = there.function where not there.defined or (u.limited and not there.awaiting_permit)
$$;
