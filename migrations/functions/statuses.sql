-- The status of executions, for callers that wait for results: of those in p_ids that have ended, and of those in p_unseen that exist. It is one statement.
create or replace function currant.statuses(p_ids uuid[], p_unseen uuid[]) returns table (id uuid, state text, finished boolean, payload bytea)
language plpgsql stable
set enable_seqscan = off set jit = off as $$
begin
    return query
    select e.id, e.state, true, case e.state when 'completed' then e.result when 'failed' then e.error end
    from currant.executions e where e.id = any (p_ids) and e.finished_at is not null
    union all
    select e.id, e.state, e.finished_at is not null, case e.state when 'completed' then e.result when 'failed' then e.error end
    from currant.executions e where e.id = any (p_unseen);
end $$;
