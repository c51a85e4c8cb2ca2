-- Enqueues items. Clients make the ids, so the same call may be made again when its reply was lost. What many items have in common comes once, in
-- the k_ arrays: for each item p_calls has the index there, from 1 on. p_keys is empty where no item has an idempotency key; keys are taken in order,
-- so that two callers with the same keys do not deadlock.
-- k_options: as in currant.executions. k_given: the names of the options that the caller itself chose, with commas between them (queue, priority, and
-- the keys of k_options). In the others the definition outranks the call.
-- k_checked: the hash of the input schema that the arguments were checked against, '' if there was no schema, null if no check is wanted. An item
-- whose definition has another schema is not stored, and that schema is returned instead of an id.
--
-- An execution that exists already is left out by `not exists` (offset 0: the planner must not make it a join that reads the whole table), and not by
-- `on conflict`, which writes a second WAL record to confirm each row. A caller that makes the same call while the first is under way gets a unique
-- violation, and makes the call again.
--
-- Returns for each item its id (where another execution has the key: the id of that execution) and its queue; or, when all were stored
-- as they were asked for, one row without an ordinal. `notified` (only with p_notify): workers that sleep were notified by this very
-- transaction, the fast way to wake one. It does not replace the check after the commit (currant.wake), which finds workers that fell asleep
-- meanwhile; `since` is for that.
create or replace function currant.create_executions(
    p_ids uuid[], p_args bytea[], p_calls integer[], p_keys text[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_options text[],
    k_delays double precision[], k_run_ats bigint[], k_given text[], k_checked text[], p_notify boolean
) returns table (
    ordinal bigint, effective_id uuid, queue text, input_hash text, input_schema text, notified boolean, since bigint
) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_rules currant.rule[] := currant.rules(k_functions);
    v_now timestamptz := clock_timestamp();
begin
    notified := false;
    since := currant.xid();
    if cardinality(v_rules) > 0 or cardinality(p_keys) > 0 then
        return query select r.*, since from currant.create_by_rules(v_rules, p_ids, p_args, p_calls, p_keys, k_kinds, k_functions, k_queues,
            k_priorities, k_options, k_delays, k_run_ats, k_given, k_checked) r;
        return;
    end if;
    insert into currant.executions (
        id, root_id, kind, function, queue, priority, args, options, run_at, ready_xid, created_at, ready_at)
    select u.id, u.id, k.kind, k.function, k.queue, k.priority, u.args, k.options,
        case when k.due > v_now then k.due end, case when k.due <= v_now or k.due is null then since end, v_now, v_now
    from unnest(p_ids, p_args, p_calls) u(id, args, call) join (
        select c.place, c.kind, c.function, c.queue, c.priority, c.options::jsonb as options,
            coalesce(currant.from_micros(c.run_at), v_now + c.delay * interval '1 second') as due
        from unnest(k_kinds, k_functions, k_queues, k_priorities, k_options, k_delays, k_run_ats) with ordinality
            c(kind, function, queue, priority, options, delay, run_at, place)
        offset 0) k on k.place = u.call
    where not exists (select 1 from currant.executions e where e.id = u.id offset 0);
    if p_notify and cardinality(k_queues) = 1 and k_delays[1] is null and k_run_ats[1] is null then
        perform currant.notify_sleepers(k_queues[1], cardinality(p_ids));
        notified := true;
    end if;
    return next;
end $$;
