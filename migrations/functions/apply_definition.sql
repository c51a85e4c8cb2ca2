-- Makes this the definition of its function, unless another owner has it; returns who has it then. p_item has the columns of the table.
-- A new definition, and one with a new limit, waits until its executions are marked (mark_runs).
create or replace function currant.apply_definition(p_item jsonb) returns text language plpgsql as $$
declare
    v_owner text;
begin
    insert into currant.definitions as d (function, owner, version, queue, priority, options, concurrency_limit, suspended, retention,
        input_schema, input_hash, item)
    select n.function, n.owner, n.version, n.queue, n.priority, n.options, n.concurrency_limit, n.suspended, n.retention,
        n.input_schema, n.input_hash, n.item
    from jsonb_populate_record(null::currant.definitions, p_item) n
    on conflict (function) do update set
        version = excluded.version, queue = excluded.queue, priority = excluded.priority, options = excluded.options,
        runs_marked = d.runs_marked and (d.permits is not null or (excluded.concurrency_limit is null and not excluded.suspended)),
        concurrency_limit = excluded.concurrency_limit, suspended = excluded.suspended, retention = excluded.retention,
        input_schema = excluded.input_schema, input_hash = excluded.input_hash, item = excluded.item, updated_at = clock_timestamp()
    where d.owner = excluded.owner
    returning d.owner into v_owner;
    if v_owner is null then
        select d.owner into v_owner from currant.definitions d where d.function = p_item ->> 'function';
    end if;
    return v_owner;
end $$;
