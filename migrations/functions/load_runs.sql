-- The recorded history of runs, or (p_news) only what is not delivered yet. One snapshot: the row of the run itself
-- (source 'run') says how many wakes these rows answer. The rows come in the order of the parts of this query, so no part may run in parallel.
create or replace function currant.load_runs(p_ids uuid[], p_news boolean) returns table (
    run_id uuid, source text, key text, kind text, name text, id uuid, status text, payload bytea, seq bigint, clock bigint,
    due bigint, ordinal bigint, abandoned boolean, lease bigint, asked bytea
) language sql stable
set enable_seqscan = off set max_parallel_workers_per_gather = 0 set jit = off as $$
    select r.id, 'run', '', r.kind, r.function, r.id, case when r.cancel_requested then 'cancel' end, null::bytea, null::bigint,
        null::bigint, currant.micros(r.deadline), r.wakes, false, r.lease, null::bytea
    from currant.executions r where r.id = any (p_ids)
    union all
    select r.id, 'child', e.step_key, e.kind, e.function, e.id,
        case when e.state in ('completed', 'failed', 'cancelled') then e.state end,
        case when e.state = 'completed' then e.result when e.state = 'failed' then e.error end, e.seq, e.clock,
        null, null, e.abandoned is not null, e.lease, case when not p_news then e.args end
    from currant.executions r join currant.executions e on e.parent_id = r.id and e.parent_epoch = r.epoch
    where r.id = any (p_ids)
        and (not p_news or (e.seq is null and e.abandoned is null and e.state in ('completed', 'failed', 'cancelled')))
    union all
    select r.id, 'step', s.key, s.kind, s.name, null, s.status, s.payload, s.seq, s.clock, currant.micros(s.due_at), null,
        s.abandoned is not null, null, s.request
    from currant.executions r join currant.steps s on s.execution_id = r.id and s.epoch = r.epoch
    where r.id = any (p_ids) and not p_news
    union all
    (select r.id, 'signal', '', 'signal', g.name, null, null, g.payload, null, null, null, g.ordinal, false, null, null
    from currant.executions r join currant.signals g on g.execution_id = r.id and g.consumed_by is null
    where r.id = any (p_ids) order by g.execution_id, g.ordinal)
$$;
