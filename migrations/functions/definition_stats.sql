-- Counts the executions of these functions by state, those that were there or came since they were defined; with the times of their
-- schedules. It reads by index alone.
create or replace function currant.definition_stats(p_functions text[]) returns jsonb language plpgsql stable
set enable_seqscan = off set jit = off as $$
begin
    return (select coalesce(jsonb_object_agg(asked.function, jsonb_build_object(
        'pending', coalesce(counted.pending, 0), 'running', coalesce(counted.running, 0), 'suspended', coalesce(counted.suspended, 0),
        'completed', coalesce(counted.completed, 0), 'failed', coalesce(counted.failed, 0), 'cancelled', coalesce(counted.cancelled, 0),
        'last_schedule', times.last_schedule, 'next_schedule', times.next_schedule)), '{}')
    from (select distinct u.function from unnest(p_functions) u(function)) asked
    left join lateral (
        select sum(s.number) filter (where s.state = 'pending') as pending, sum(s.number) filter (where s.state = 'running') as running,
            sum(s.number) filter (where s.state = 'suspended') as suspended, sum(s.number) filter (where s.state = 'completed') as completed,
            sum(s.number) filter (where s.state = 'failed') as failed, sum(s.number) filter (where s.state = 'cancelled') as cancelled
        from (select e.defined_state as state, count(*) as number from currant.executions e where e.defined and e.function = asked.function
            group by e.defined_state) s
    ) counted on true
    left join currant.schedule_times(p_functions) times on times.function = asked.function);
end $$;
