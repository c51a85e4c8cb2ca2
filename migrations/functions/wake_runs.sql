-- Wakes these runs, if they have not finished: their wakes grow (rule c), and a suspended one becomes ready, unless it is incompatible. This is the one
-- place where a waiting run becomes pending because something has come for it. p_signals: how many signals were sent to each. The caller has locked
-- the rows.
create or replace function currant.wake_runs(p_ids uuid[], p_signals integer default 0) returns table (id uuid, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
begin
    return query
    update currant.executions e set
        wakes = e.wakes + 1,
        signal_seq = e.signal_seq + p_signals,
        state = case when w.waits then 'pending' else e.state end,
        defined_state = case when not e.defined then null when w.waits then 'pending' else e.state end,
        suspended_at = case when not w.waits then e.suspended_at end,
        run_at = case when not w.waits then e.run_at end,
        ready_at = case when w.waits then clock_timestamp() else e.ready_at end,
        ready_xid = case when w.waits then currant.xid() else e.ready_xid end
    from (
        select u.id, r.state = 'suspended' and not r.incompatible as waits
        from unnest(p_ids) u(id) cross join lateral (
            select x.state, x.incompatible from currant.executions x where x.id = u.id and x.finished_at is null offset 0) r) w
    where e.id = w.id
    returning e.id, e.queue, case when e.state = 'running' then e.worker_id end;
end $$;
