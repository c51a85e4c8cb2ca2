-- Enqueues one execution in the caller's transaction; returns its id, or that of the execution that has its idempotency key. `p_args` is the JSON
-- {"args": [...], "kwargs": {...}} in UTF-8, kept byte for byte. An option that is not given comes from the function's definition, else
-- from `defaults`, else from the decorator as workers have registered it, else it is the default below. Options, all optional:
--   id: uuid, made by the caller. The same call may then be made again; of two at the same time one gets a unique violation.
--   queue: text, at most 200 characters. Default: 'default'.
--   kind: 'task' or 'workflow'. Default: what workers have registered, else 'task'.
--   priority: a whole number from 0 to 10; a higher one starts first. Default: 5.
--   timeout: seconds above 0, or null for none. Default: 300 for a task, none for a workflow.
--   delay: seconds until it becomes ready; not together with run_at.
--   run_at: when it becomes ready: text (ISO 8601, with its zone), or microseconds since 1970.
--   idempotency_key: text, unique per function while an execution with it exists that is not failed or cancelled. A second enqueue returns its id.
--   retries: how often it is tried again after its first attempt; not together with retry.
--   retry: an object {max_attempts, initial, multiplier, max_delay, jitter, non_retryable}, delays in seconds.
--   max_worker_losses: how many workers may be lost of which only this execution can be the cause. Default: 3. With 0 it is never started again after a loss.
--   defaults: an object {queue, priority, timeout, retries, retry, max_worker_losses}: the decorator's values, if the caller knows them.
--
-- p_checked: from callers that check the arguments, the hash of the input schema that they used, '' if the function has none. If the definition has
-- another schema, nothing is stored, and that schema is returned instead of an id.
create or replace function currant.enqueue_checked(p_function text, p_args bytea, p_options jsonb, p_checked text)
returns table (id uuid, input_hash text, input_schema text) language plpgsql as $$
declare
    c_own constant text[] := array['id', 'queue', 'kind', 'priority', 'delay', 'run_at', 'idempotency_key', 'defaults'];
    v_given jsonb := currant.checked_options(coalesce(p_options, '{}'), c_own, 'the options');
    v_options jsonb := currant.checked_options(coalesce(v_given -> 'defaults', '{}'), array['queue', 'priority'], 'option defaults');
    v_id uuid;
    v_kind text;
    v_queue text;
    v_priority numeric;
    v_run_at bigint;
    v_key text;
    v_code currant.functions;
    v_created record;
begin
    v_options := v_options || v_given;
    if coalesce(p_function, '') = '' then
        raise exception 'a function name must be given' using errcode = 'invalid_parameter_value';
    end if;
    v_id := coalesce(currant.text_option(v_options, 'id')::uuid, currant.new_id());
    if not v_options ?& (array['kind', 'queue', 'priority'] || array(select k.path[1] from currant.known_options() k)) then
        v_code := currant.declared(p_function);
        if v_code.kind <> v_options ->> 'kind' then v_code := null; end if;
    end if;
    v_queue := coalesce(currant.text_option(v_options, 'queue'), v_code.queue, 'default');
    if length(v_queue) > 200 then
        raise exception 'option queue must have at most 200 characters' using errcode = 'invalid_parameter_value';
    end if;
    v_kind := coalesce(currant.text_option(v_options, 'kind'), v_code.kind, 'task');
    if v_kind not in ('task', 'workflow') then
        raise exception 'option kind must be task or workflow, not %', v_kind using errcode = 'invalid_parameter_value';
    end if;
    v_priority := coalesce(currant.number_option(v_options, 'priority', 0, 10), v_code.priority, 5);
    if v_priority <> trunc(v_priority) then
        raise exception 'option priority must be a whole number' using errcode = 'invalid_parameter_value';
    end if;
    if v_options ?& array['delay', 'run_at'] then
        raise exception 'give delay or run_at, not both' using errcode = 'invalid_parameter_value';
    end if;
    if jsonb_typeof(v_options -> 'run_at') = 'string' then
        v_run_at := currant.micros((v_options ->> 'run_at')::timestamptz);
    else
        v_run_at := currant.number_option(v_options, 'run_at', 0);
    end if;
    v_key := currant.text_option(v_options, 'idempotency_key');
    select * into v_created from currant.create_execution(
        v_id, p_args, v_key, v_kind, p_function, v_queue, v_priority::smallint,
        currant.unlike_defaults(v_kind, coalesce(v_code.options, '{}') || (v_options - c_own))::text,
        currant.number_option(v_options, 'delay', 0)::double precision, v_run_at,
        array_to_string(array(select jsonb_object_keys(v_given)), ','), p_checked, false);
    perform currant.notify_later(v_created.queue, null, null);
    id := v_created.effective_id;
    input_hash := v_created.input_hash;
    input_schema := v_created.input_schema;
    return next;
end $$;
