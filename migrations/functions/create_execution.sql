-- Enqueues one execution, as most enqueues do. It does what create_executions does for many, with a third of the plan's nodes and without arrays.
create or replace function currant.create_execution(
    p_id uuid, p_args bytea, p_key text, p_kind text, p_function text, p_queue text, p_priority smallint, p_options text,
    p_delay double precision, p_run_at bigint, p_given text, p_checked text, p_notify boolean,
    out effective_id uuid, out queue text, out input_hash text, out input_schema text, out notified boolean, out since bigint
) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_due timestamptz := coalesce(currant.from_micros(p_run_at), v_now + p_delay * interval '1 second');
begin
    notified := false;
    since := currant.xid();
    if p_key is null then
        insert into currant.executions (
            id, root_id, kind, function, queue, priority, args, options, run_at, ready_xid, created_at, ready_at)
        select p_id, p_id, p_kind, p_function, p_queue, p_priority, p_args, p_options::jsonb,
            case when v_due > v_now then v_due end, case when v_due <= v_now or v_due is null then since end, v_now, v_now
        where not exists (select 1 from currant.definitions d where d.function = p_function offset 0)
            and not exists (select 1 from currant.executions e where e.id = p_id offset 0);
        if found then
            effective_id := p_id;
            queue := p_queue;
            if p_notify and v_due is null then
                perform currant.notify_sleepers(p_queue, 1);
                notified := true;
            end if;
            return;
        end if;
    end if;
    -- The execution has a key, or its function has a definition, or it exists already. One snapshot decides which, so that nothing is lost between two.
    select r.effective_id, r.queue, r.input_hash, r.input_schema into effective_id, queue, input_hash, input_schema
    from currant.create_by_rules(currant.rules(array[p_function]), array[p_id], array[p_args], array[1], array[p_key], array[p_kind],
        array[p_function], array[p_queue], array[p_priority], array[p_options], array[p_delay], array[p_run_at],
        array[p_given], array[p_checked]) r;
end $$;
