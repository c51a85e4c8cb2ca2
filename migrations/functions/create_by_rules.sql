-- Enqueues where there are definitions or idempotency keys: what create_execution and create_executions leave to it, with their arguments.
create or replace function currant.create_by_rules(
    p_rules currant.rule[], p_ids uuid[], p_args bytea[], p_calls integer[], p_keys text[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_options text[],
    k_delays double precision[], k_run_ats bigint[], k_given text[], k_checked text[]
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
        id, root_id, kind, function, queue, priority, args, options, run_at, ready_xid, defined, defined_state, awaiting_permit)
    select c.id, c.id, c.kind, c.function,
        currant.ruled(c.given, 'queue', d.queue, c.queue), currant.ruled(c.given, 'priority', d.priority, c.priority),
        c.args, currant.ruled_options(c.given, d.options, c.options::jsonb),
        case when c.due > v_now then c.due end, case when c.due <= v_now or c.due is null then currant.xid() end,
        d.function is not null, case when d.function is not null then 'pending' end,
        coalesce(d.limited, false) and coalesce(c.due <= v_now, true)
    from (
        select u.id, u.args, k.*, coalesce(currant.from_micros(k.run_at), v_now + k.delay * interval '1 second') as due
        from unnest(p_ids, v_ids, p_args, p_calls) u(id, winner, args, call)
        join unnest(k_kinds, k_functions, k_queues, k_priorities, k_options, k_delays, k_run_ats, k_given) with ordinality
            k(kind, function, queue, priority, options, delay, run_at, given, place) on k.place = u.call
        where u.id = u.winner and not exists (select 1 from currant.executions e where e.id = u.id offset 0)
    ) c
    left join unnest(p_rules) d on d.function = c.function;

    return query
    select u.place, u.winner, case when u.winner = u.id then currant.ruled(k.given, 'queue', d.queue, k.queue) end,
        x.input_hash, x.input_schema::text, false
    from unnest(p_ids, v_ids, p_calls) with ordinality u(id, winner, call, place)
    join unnest(k_functions, k_queues, k_given) with ordinality k(function, queue, given, place) on k.place = u.call
    left join unnest(p_rules) d on d.function = k.function
    left join currant.definitions x on u.winner is null and x.function = k.function;
end $$;
