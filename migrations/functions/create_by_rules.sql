-- Enqueues where there are definitions or idempotency keys: what create_execution and create_executions leave to it, with their arguments.
create or replace function currant.create_by_rules(
    p_rules currant.rule[], p_ids uuid[], p_args bytea[], p_calls integer[], p_keys text[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_max_attempts integer[],
    k_initials double precision[], k_multipliers double precision[], k_max_delays double precision[], k_jitters double precision[],
    k_non_retryables text[], k_max_worker_losses integer[], k_timeouts double precision[], k_delays double precision[], k_run_ats bigint[], k_given integer[],
    k_checked text[]
) returns table (ordinal bigint, effective_id uuid, queue text, input_hash text, input_schema text, notified boolean) language plpgsql as $$
declare
    v_ids uuid[] := p_ids;
    v_now timestamptz := clock_timestamp();
    item record;
begin
    for item in
        select u.place from unnest(p_calls) with ordinality u(call, place)
        join unnest(k_functions, k_checked) with ordinality k(function, checked, place) on k.place = u.call
        join unnest(p_rules) d on d.function = k.function where d.input_hash <> k.checked
    loop
        v_ids[item.place] := null;
    end loop;
    for item in
        select u.place, k.function, u.key, u.id from unnest(p_calls, p_keys, v_ids) with ordinality u(call, key, id, place)
        join unnest(k_functions) with ordinality k(function, place) on k.place = u.call
        where u.key is not null and u.id is not null order by k.function collate "C", u.key collate "C", u.place
    loop
        v_ids[item.place] := currant.take_key(item.function, item.key, item.id);
    end loop;

    insert into currant.executions (
        id, root_id, kind, function, queue, priority, args, max_attempts, retry_initial, retry_multiplier, retry_max_delay,
        retry_jitter, non_retryable, max_worker_losses, timeout, run_at, defined, awaiting_permit)
    select c.id, c.id, c.kind, c.function,
        currant.ruled(c.given, 1, d.queue, c.queue), currant.ruled(c.given, 2, d.priority, c.priority),
        c.args,
        currant.ruled(c.given, 8, d.max_attempts, c.max_attempts),
        currant.ruled(c.given, 8, d.retry_initial, c.initial),
        currant.ruled(c.given, 8, d.retry_multiplier, c.multiplier),
        currant.ruled(c.given, 8, d.retry_max_delay, c.max_delay),
        currant.ruled(c.given, 8, d.retry_jitter, c.jitter),
        currant.ruled(c.given, 8, d.non_retryable, currant.names(c.non_retryable)),
        currant.ruled(c.given, 16, d.max_worker_losses, c.max_worker_losses),
        currant.ruled(c.given, 4, d.timeout, c.timeout),
        case when c.due > v_now then c.due end, d.function is not null,
        coalesce(d.limited, false) and coalesce(c.due <= v_now, true)
    from (
        select u.id, u.args, k.*, coalesce(currant.from_micros(k.run_at), v_now + k.delay * interval '1 second') as due
        from unnest(p_ids, v_ids, p_args, p_calls) u(id, winner, args, call)
        join unnest(k_kinds, k_functions, k_queues, k_priorities, k_max_attempts, k_initials, k_multipliers, k_max_delays, k_jitters,
            k_non_retryables, k_max_worker_losses, k_timeouts, k_delays, k_run_ats, k_given) with ordinality
            k(kind, function, queue, priority, max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses,
              timeout, delay, run_at, given, place) on k.place = u.call
        where u.id = u.winner and not exists (select 1 from currant.executions e where e.id = u.id offset 0)
    ) c
    left join unnest(p_rules) d on d.function = c.function;

    return query
    select u.place, u.winner, case when u.winner = u.id then currant.ruled(k.given, 1, d.queue, k.queue) end,
        x.input_hash, x.input_schema::text, false
    from unnest(p_ids, v_ids, p_calls) with ordinality u(id, winner, call, place)
    join unnest(k_functions, k_queues, k_given) with ordinality k(function, queue, given, place) on k.place = u.call
    left join unnest(p_rules) d on d.function = k.function
    left join currant.definitions x on u.winner is null and x.function = k.function;
end $$;
