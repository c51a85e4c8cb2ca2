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
    v_given jsonb := coalesce(p_options, '{}');
    v_options jsonb;
    v_places integer := 0;
    v_id uuid;
    v_kind text;
    v_queue text;
    v_retry jsonb;
    v_priority numeric;
    v_losses numeric;
    v_timeout double precision;
    v_run_at bigint;
    v_key text;
    v_code currant.functions;
    v_created record;
begin
    perform currant.check_options(v_given, array['id', 'queue', 'kind', 'priority', 'timeout', 'delay', 'run_at', 'idempotency_key',
        'retries', 'retry', 'max_worker_losses', 'defaults'], 'the options');
    v_options := coalesce(nullif(v_given -> 'defaults', 'null'), '{}');
    perform currant.check_options(v_options, array['queue', 'priority', 'timeout', 'retries', 'retry', 'max_worker_losses'], 'option defaults');
    -- An option that is null counts as not given, except the time-out, for which null is a value (none).
    v_given := v_given - 'defaults' - array(
        select o.key from jsonb_each(v_given) o where o.value = 'null'
            and o.key in ('queue', 'priority', 'retries', 'retry', 'max_worker_losses'));
    v_options := v_options - array(select o.key from jsonb_each(v_options) o where o.value = 'null' and o.key <> 'timeout');
    if v_given ?| array['retries', 'retry'] then v_options := v_options - array['retries', 'retry']; end if;
    v_options := v_options || v_given;
    v_places := (v_given ? 'queue')::integer + 2 * (v_given ? 'priority')::integer + 4 * (v_given ? 'timeout')::integer
        + 8 * (v_given ?| array['retries', 'retry'])::integer + 16 * (v_given ? 'max_worker_losses')::integer;
    if coalesce(p_function, '') = '' then
        raise exception 'a function name must be given' using errcode = 'invalid_parameter_value';
    end if;
    v_id := coalesce(currant.text_option(v_options, 'id')::uuid, currant.new_id());
    if not (v_options ?& array['kind', 'queue', 'priority', 'timeout', 'max_worker_losses'] and v_options ?| array['retries', 'retry']) then
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
    v_losses := coalesce(currant.number_option(v_options, 'max_worker_losses', 0, 1000000), v_code.max_worker_losses, 3);
    if v_losses <> trunc(v_losses) then
        raise exception 'option max_worker_losses must be a whole number' using errcode = 'invalid_parameter_value';
    end if;
    v_timeout := currant.number_option(v_options, 'timeout', 0);
    if v_timeout = 0 then
        raise exception 'option timeout must be more than 0 seconds' using errcode = 'invalid_parameter_value';
    end if;
    if not v_options ? 'timeout' then
        v_timeout := case when v_code.function is not null then v_code.timeout when v_kind = 'task' then 300 end;
    end if;
    if v_options ? 'delay' and v_options ? 'run_at' and v_options -> 'delay' <> 'null' and v_options -> 'run_at' <> 'null' then
        raise exception 'give delay or run_at, not both' using errcode = 'invalid_parameter_value';
    end if;
    if jsonb_typeof(v_options -> 'run_at') = 'string' then
        v_run_at := currant.micros((v_options ->> 'run_at')::timestamptz);
    else
        v_run_at := currant.number_option(v_options, 'run_at', 0);
    end if;
    v_retry := case when v_code.function is null or v_options ?| array['retries', 'retry'] then currant.retry_option(v_options, v_kind)
        else jsonb_build_object('max_attempts', v_code.max_attempts, 'initial', v_code.retry_initial, 'multiplier', v_code.retry_multiplier,
            'max_delay', v_code.retry_max_delay, 'jitter', v_code.retry_jitter, 'non_retryable', v_code.non_retryable) end;
    v_key := currant.text_option(v_options, 'idempotency_key');
    select * into v_created from currant.create_execution(
        v_id, p_args, v_key, v_kind, p_function, v_queue, v_priority::smallint, (v_retry ->> 'max_attempts')::integer,
        (v_retry ->> 'initial')::double precision, (v_retry ->> 'multiplier')::double precision,
        (v_retry ->> 'max_delay')::double precision, (v_retry ->> 'jitter')::double precision, (v_retry -> 'non_retryable')::text,
        v_losses::integer, v_timeout, currant.number_option(v_options, 'delay', 0)::double precision, v_run_at, v_places, p_checked, false);
    perform currant.notify_later(v_created.queue, null, null);
    id := v_created.effective_id;
    input_hash := v_created.input_hash;
    input_schema := v_created.input_schema;
    return next;
end $$;
