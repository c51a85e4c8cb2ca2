-- Three roles with no more rights than what they are for. `currant roles` prints this file; run it in Currant's database as the owner of
-- its schema (who ran `currant migrate`), again at any time. Creating roles needs CREATEROLE; where a database administrator has
-- made them, it is not needed. From then on `currant migrate` keeps the rights up to date.
--
--   currant_reader   sees everything, payloads included, and writes nothing: dashboards, `currant list`, `show`, `queues`, `doctor`
--   currant_client   also enqueues, signals, cancels, retries: web applications, and the commands that do so
--   currant_worker   also claims and records outcomes, fires schedules, deletes runs past their retention: `currant worker`
--
-- Everything else stays with the owner: `currant migrate`, definitions, `currant bench`, and so what the Kubernetes operator does. No role but the
-- owner writes to a table (except trace contexts, and a worker's entry in the list of workers); they call functions that do, with the
-- owner's rights.
--
-- None of them can log in. Your own roles can, and are members:
--   create role shop_web login in role currant_client;      -- then \password shop_web, so that it is in no log
--   create role shop_worker login in role currant_worker;
do $$
declare
    v_name text;
begin
    foreach v_name in array array['currant_reader', 'currant_client', 'currant_worker'] loop
        if not exists (select 1 from pg_catalog.pg_roles r where r.rolname = v_name) then
            execute format('create role %I nologin', v_name);
        end if;
    end loop;
end $$;

do $$
declare
    c_reads constant text[] := array['micros', 'from_micros', 'iso', 'payload_text', 'option', 'merge_options', 'default_options', 'new_id', 'below', 'free_permits', 'awaiting_functions', 'fleet', 'definition_stats',
        'schedule_times', 'scaling', 'any_ready', 'statuses', 'declared', 'is_live', 'is_alive'];
    c_client constant text[] := array['create_executions', 'create_execution', 'enqueue', 'enqueue_bytes', 'enqueue_checked', 'signal',
        'signal_send', 'cancel', 'cancel_tree', 'retry_run', 'resume', 'wake'];
    c_worker constant text[] := array['declare_functions', 'register_worker', 'commit_batch', 'commit_step', 'claim', 'load_runs', 'heartbeat', 'take_over',
        'stop_worker', 'sweep', 'locked_rows', 'take_due_schedules', 'fire_schedules', 'defer_schedule'];
    v_function record;
begin
    grant usage on schema currant to currant_reader, currant_client, currant_worker;
    grant select on all tables in schema currant to currant_reader, currant_client, currant_worker;
    grant insert, update on currant.workers to currant_worker;
    grant update (headers) on currant.executions to currant_client, currant_worker;  -- trace contexts
    revoke execute on all functions in schema currant from public;
    for v_function in select p.oid::regprocedure as signature, p.proname::text as name
        from pg_catalog.pg_proc p where p.pronamespace = 'currant'::regnamespace and p.prokind = 'f'
    loop
        if v_function.name = any (c_reads) then
            execute format('grant execute on function %s to currant_reader, currant_client, currant_worker', v_function.signature);
        elsif v_function.name = any (c_client || c_worker) then
            -- With the owner's rights, and so with names that nobody else can put another meaning to.
            execute format('alter function %s security definer set search_path = pg_catalog, pg_temp', v_function.signature);
            execute format('grant execute on function %s to currant_worker', v_function.signature);
            if v_function.name = any (c_client) then
                execute format('grant execute on function %s to currant_client', v_function.signature);
            end if;
        end if;
    end loop;
end $$;
