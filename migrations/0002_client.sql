-- What clients call: enqueue, alone or in a transaction of their own, and the views for people and dashboards.
--
-- Settings of a function are in its header, here and in all later migrations: `create or replace` drops those that `alter function` gave.
-- `enable_seqscan = off` and its like: a session keeps the plans that it made when the tables were small, until the tables are analyzed;
-- they must do for large tables too, so they always go by an index. `jit = off`: a plan that needs what is turned off looks so expensive
-- that the server would compile it, for seconds. `lock_timeout`: an open transaction of somebody else may hold a row for hours.
-- core/tests/function_settings.txt lists the settings of every function that has some.

-- Stable, as what they call is: the planner puts a function in line only if it promises no more than its body keeps.
create function currant.micros(at timestamptz) returns bigint language sql stable parallel safe as
$$ select (extract(epoch from at) * 1000000)::bigint $$;

create function currant.from_micros(micros bigint) returns timestamptz language sql stable parallel safe as
$$ select timestamptz 'epoch' + micros * interval '1 microsecond' $$;

-- ISO 8601 in UTC, whatever the session's time zone and style of dates.
create function currant.iso(at timestamptz) returns text language sql stable parallel safe as
$$ select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- A UUID version 7: ids made in order of time sort in that order.
create function currant.new_id() returns uuid language sql volatile parallel safe as $$
    select encode(set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid()) placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

-- In somebody's own transaction a notification goes out with its commit (rule e). `set currant.notify = off` turns it off: NOTIFY
-- takes a database-wide lock at commit and fails under PREPARE TRANSACTION; workers then find the work at their next poll.
create function currant.notify_later(p_queue text, p_worker uuid, p_id uuid) returns void language plpgsql as $$
begin
    if coalesce(current_setting('currant.notify', true), 'on') not in ('off', 'false', 'no', '0') then
        if p_worker is not null then
            perform pg_notify('currant_w_' || p_worker, p_id::text);
        elsif p_queue is not null then
            perform pg_notify('currant_q_' || md5(p_queue), '');
        end if;
    end if;
end $$;

-- Takes the key for this execution, unless an execution that is neither failed nor cancelled has it; gives the winner.
-- The winner is looked up in a second statement: ON CONFLICT and SELECT in one see different snapshots and can find no row (rule l).
create function currant.take_key(p_function text, p_key text, p_id uuid) returns uuid language plpgsql as $$
declare
    held currant.idempotency_keys;
begin
    loop
        insert into currant.idempotency_keys (function, key, execution_id) values (p_function, p_key, p_id)
        on conflict (function, key) do nothing;
        if found then return p_id; end if;
        select * into held from currant.idempotency_keys k where k.function = p_function and k.key = p_key for update;
        if found then
            if held.execution_id = p_id or (held.expires_at > clock_timestamp() and exists (
                select 1 from currant.executions e where e.id = held.execution_id and e.state not in ('failed', 'cancelled')))
            then
                return held.execution_id;
            end if;
            update currant.idempotency_keys k set execution_id = p_id, expires_at = clock_timestamp() + interval '30 days'
            where k.function = p_function and k.key = p_key;
            return p_id;
        end if;
    end loop;
end $$;


-- What the definitions say of these functions, in one snapshot; without definitions it costs one look.
create function currant.rules(p_functions text[]) returns currant.rule[] language plpgsql stable as $$
begin
    if not exists (select 1 from currant.definitions) then return '{}'; end if;
    return array(
        select row(d.function, d.queue, d.priority, d.timeout, d.max_attempts, d.retry_initial, d.retry_multiplier, d.retry_max_delay,
            d.retry_jitter, d.non_retryable, d.max_worker_losses, d.gate is not null, d.input_hash)::currant.rule
        from (select distinct u.function from unnest(p_functions) u(function)) asked join currant.definitions d on d.function = asked.function);
end $$;

create function currant.names(p_json text) returns text[] language sql immutable parallel safe as
$$ select array(select json_array_elements_text(p_json::json)) $$;

-- Enqueues. Clients make the ids, so the same call may be made again when its reply was lost. What many have in common comes once:
-- p_calls is the place in the k_ arrays of what each calls. p_keys is empty where nobody has a key; keys are taken in order, so that
-- two callers with the same keys do not deadlock.
-- k_given says what a call was given itself: 1 queue, 2 priority, 4 timeout, 8 retry, 16 max_worker_losses. The rest is overruled by its definition.
-- k_checked: the hash of the input schema that the arguments were checked against, '' for none, null: no check wanted. Where the
-- definition has another one nothing is stored and that schema is given instead of an id.
--
-- What is there is passed over by a question (offset 0: never a join that reads all there is), and not by `on conflict`, which would write each row twice into the log (once more to
-- confirm it). Whoever makes the same call while the first is under way gets a unique violation, and makes it again.
--
-- Gives the effective id of each item (the winner's where a key was taken), and the queue that it went to; or, when all were stored
-- as they were asked for, one row without an ordinal. `told` (only with p_tell): workers that sleep were notified by this very transaction, the
-- fast way to wake one. It does not replace the look after the commit (currant.wake), which finds who fell asleep meanwhile;
-- `since` is for that.
create function currant.create_executions(
    p_ids uuid[], p_args bytea[], p_calls integer[], p_keys text[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_max_attempts integer[],
    k_initials double precision[], k_multipliers double precision[], k_max_delays double precision[], k_jitters double precision[],
    k_non_retryables text[], k_max_worker_losses integer[], k_timeouts double precision[], k_delays double precision[], k_run_ats bigint[], k_given integer[],
    k_checked text[], p_tell boolean
) returns table (
    ordinal bigint, effective_id uuid, queue text, input_hash text, input_schema text, told boolean, since bigint
) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_rules currant.rule[] := currant.rules(k_functions);
    v_now timestamptz := clock_timestamp();
begin
    told := false;
    since := currant.xid();
    if cardinality(v_rules) > 0 or cardinality(p_keys) > 0 then
        return query select r.*, since from currant.create_by_rules(v_rules, p_ids, p_args, p_calls, p_keys, k_kinds, k_functions, k_queues,
            k_priorities, k_max_attempts, k_initials, k_multipliers, k_max_delays, k_jitters, k_non_retryables, k_max_worker_losses, k_timeouts,
            k_delays, k_run_ats, k_given, k_checked) r;
        return;
    end if;
    insert into currant.executions (
        id, root_id, kind, function, queue, priority, args, max_attempts, retry_initial, retry_multiplier, retry_max_delay,
        retry_jitter, non_retryable, max_worker_losses, timeout, run_at, ready_xid, created_at, ready_at)
    select u.id, u.id, k.kind, k.function, k.queue, k.priority, u.args, k.max_attempts, k.initial, k.multiplier, k.max_delay,
        k.jitter, k.names, k.max_worker_losses, k.timeout, case when k.due > v_now then k.due end, since, v_now, v_now
    from unnest(p_ids, p_args, p_calls) u(id, args, call) join (
        select c.*, case when c.non_retryable = '[]' then '{}' else currant.names(c.non_retryable) end as names,
            coalesce(currant.from_micros(c.run_at), v_now + c.delay * interval '1 second') as due
        from unnest(k_kinds, k_functions, k_queues, k_priorities, k_max_attempts, k_initials, k_multipliers, k_max_delays, k_jitters,
            k_non_retryables, k_max_worker_losses, k_timeouts, k_delays, k_run_ats) with ordinality
            c(kind, function, queue, priority, max_attempts, initial, multiplier, max_delay, jitter, non_retryable, max_worker_losses,
              timeout, delay, run_at, place)
        offset 0) k on k.place = u.call
    where not exists (select 1 from currant.executions e where e.id = u.id offset 0);
    if p_tell and cardinality(k_queues) = 1 and k_delays[1] is null and k_run_ats[1] is null then
        perform pg_notify('currant_w_' || w.id, '') from currant.workers w
        where w.sleep_until > v_now and w.stopped_at is null and w.queues && k_queues;
        told := true;
    end if;
    return next;
end $$;

-- Enqueues one execution, as most enqueues do: what create_executions does for many, where its plan has a third of the nodes and nothing
-- goes through arrays.
create function currant.create_execution(
    p_id uuid, p_args bytea, p_key text, p_kind text, p_function text, p_queue text, p_priority smallint, p_max_attempts integer,
    p_initial double precision, p_multiplier double precision, p_max_delay double precision, p_jitter double precision,
    p_non_retryable text, p_max_worker_losses integer, p_timeout double precision, p_delay double precision, p_run_at bigint, p_given integer, p_checked text,
    p_tell boolean,
    out effective_id uuid, out queue text, out input_hash text, out input_schema text, out told boolean, out since bigint
) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_due timestamptz := coalesce(currant.from_micros(p_run_at), v_now + p_delay * interval '1 second');
begin
    told := false;
    since := currant.xid();
    if p_key is null then
        insert into currant.executions (
            id, root_id, kind, function, queue, priority, args, max_attempts, retry_initial, retry_multiplier, retry_max_delay,
            retry_jitter, non_retryable, max_worker_losses, timeout, run_at, ready_xid, created_at, ready_at)
        select p_id, p_id, p_kind, p_function, p_queue, p_priority, p_args, p_max_attempts, p_initial, p_multiplier, p_max_delay,
            p_jitter, case when p_non_retryable = '[]' then '{}' else currant.names(p_non_retryable) end, p_max_worker_losses, p_timeout,
            case when v_due > v_now then v_due end, since, v_now, v_now
        where not exists (select 1 from currant.definitions d where d.function = p_function offset 0)
            and not exists (select 1 from currant.executions e where e.id = p_id offset 0);
        if found then
            effective_id := p_id;
            queue := p_queue;
            if p_tell and v_due is null then
                perform pg_notify('currant_w_' || w.id, '') from currant.workers w
                where w.sleep_until > v_now and w.stopped_at is null and p_queue = any (w.queues);
                told := true;
            end if;
            return;
        end if;
    end if;
    -- With a key, or there was a definition, or it is there already. Whichever: one look decides, and nothing is lost between two.
    select r.effective_id, r.queue, r.input_hash, r.input_schema into effective_id, queue, input_hash, input_schema
    from currant.create_by_rules(currant.rules(array[p_function]), array[p_id], array[p_args], array[1], array[p_key], array[p_kind],
        array[p_function], array[p_queue], array[p_priority], array[p_max_attempts], array[p_initial], array[p_multiplier],
        array[p_max_delay], array[p_jitter], array[p_non_retryable], array[p_max_worker_losses], array[p_timeout], array[p_delay], array[p_run_at],
        array[p_given], array[p_checked]) r;
end $$;


-- The rest of both: where there are definitions, or keys.
create function currant.create_by_rules(
    p_rules currant.rule[], p_ids uuid[], p_args bytea[], p_calls integer[], p_keys text[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_max_attempts integer[],
    k_initials double precision[], k_multipliers double precision[], k_max_delays double precision[], k_jitters double precision[],
    k_non_retryables text[], k_max_worker_losses integer[], k_timeouts double precision[], k_delays double precision[], k_run_ats bigint[], k_given integer[],
    k_checked text[]
) returns table (ordinal bigint, effective_id uuid, queue text, input_hash text, input_schema text, told boolean) language plpgsql as $$
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
        retry_jitter, non_retryable, max_worker_losses, timeout, run_at, defined, parked)
    select c.id, c.id, c.kind, c.function,
        coalesce(case when c.given & 1 = 0 then d.queue end, c.queue), coalesce(case when c.given & 2 = 0 then d.priority end, c.priority),
        c.args,
        coalesce(case when c.given & 8 = 0 then d.max_attempts end, c.max_attempts),
        coalesce(case when c.given & 8 = 0 then d.retry_initial end, c.initial),
        coalesce(case when c.given & 8 = 0 then d.retry_multiplier end, c.multiplier),
        coalesce(case when c.given & 8 = 0 then d.retry_max_delay end, c.max_delay),
        coalesce(case when c.given & 8 = 0 then d.retry_jitter end, c.jitter),
        coalesce(case when c.given & 8 = 0 then d.non_retryable end, currant.names(c.non_retryable)),
        coalesce(case when c.given & 16 = 0 then d.max_worker_losses end, c.max_worker_losses),
        coalesce(case when c.given & 4 = 0 then d.timeout end, c.timeout),
        case when c.due > v_now then c.due end, d.function is not null,
        coalesce(d.gated, false) and coalesce(c.due <= v_now, true)
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
    select u.place, u.winner, case when u.winner = u.id then coalesce(case when k.given & 1 = 0 then d.queue end, k.queue) end,
        x.input_hash, x.input_schema::text, false
    from unnest(p_ids, v_ids, p_calls) with ordinality u(id, winner, call, place)
    join unnest(k_functions, k_queues, k_given) with ordinality k(function, queue, given, place) on k.place = u.call
    left join unnest(p_rules) d on d.function = k.function
    left join currant.definitions x on u.winner is null and x.function = k.function;
end $$;

-- One option as a number; null when it is not given. Refuses anything that is not a number in the range.
create function currant.number_option(p_options jsonb, p_name text, p_least numeric, p_most numeric default null)
returns numeric language plpgsql immutable as $$
declare
    v_given jsonb := p_options -> p_name;
    v_number numeric;
begin
    if v_given is null or v_given = 'null' then return null; end if;
    if jsonb_typeof(v_given) = 'number' then v_number := (v_given #>> '{}')::numeric; end if;
    if v_number is null or v_number < p_least or v_number > p_most then
        raise exception 'option % must be a number %, not %', p_name,
            case when p_most is null then format('of at least %s', p_least) else format('from %s to %s', p_least, p_most) end, v_given
            using errcode = 'invalid_parameter_value';
    end if;
    return v_number;
end $$;

create function currant.text_option(p_options jsonb, p_name text) returns text language plpgsql immutable as $$
declare
    v_given jsonb := p_options -> p_name;
begin
    if v_given is null or v_given = 'null' then return null; end if;
    if jsonb_typeof(v_given) <> 'string' or v_given = '""' then
        raise exception 'option % must be a text that is not empty, not %', p_name, v_given using errcode = 'invalid_parameter_value';
    end if;
    return v_given #>> '{}';
end $$;

create function currant.check_options(p_options jsonb, p_known text[], p_what text) returns void language plpgsql immutable as $$
declare
    v_unknown text;
begin
    if jsonb_typeof(p_options) is distinct from 'object' then
        raise exception '% must be a JSON object, not %', p_what, coalesce(p_options::text, 'null') using errcode = 'invalid_parameter_value';
    end if;
    select min(k) into v_unknown from jsonb_object_keys(p_options) k where not k = any (p_known);
    if v_unknown is not null then
        raise exception 'unknown key "%" in %: known are %', v_unknown, p_what, array_to_string(p_known, ', ')
            using errcode = 'invalid_parameter_value';
    end if;
end $$;

-- The retry object of the options, with defaults; `retries` is the short form.
create function currant.retry_option(p_options jsonb, p_kind text) returns jsonb language plpgsql immutable as $$
declare
    v_retry jsonb := coalesce(nullif(p_options -> 'retry', 'null'), '{}');
    v_retries numeric := currant.number_option(p_options, 'retries', 0, 1000000);
    v_attempts numeric;
begin
    perform currant.check_options(v_retry, array['max_attempts', 'initial', 'multiplier', 'max_delay', 'jitter', 'non_retryable'], 'option retry');
    if v_retries is not null and v_retry <> '{}' then
        raise exception 'give retries or retry, not both' using errcode = 'invalid_parameter_value';
    end if;
    if jsonb_typeof(coalesce(v_retry -> 'non_retryable', '[]')) <> 'array' then
        raise exception 'option non_retryable must be an array of names' using errcode = 'invalid_parameter_value';
    end if;
    v_attempts := coalesce(v_retries + 1, currant.number_option(v_retry, 'max_attempts', 1, 1000000), case p_kind when 'workflow' then 1 else 4 end);
    return jsonb_build_object(
        'max_attempts', trunc(v_attempts),
        'initial', coalesce(currant.number_option(v_retry, 'initial', 0), 1),
        'multiplier', coalesce(currant.number_option(v_retry, 'multiplier', 1), 2),
        'max_delay', coalesce(currant.number_option(v_retry, 'max_delay', 0), 300),
        'jitter', coalesce(currant.number_option(v_retry, 'jitter', 0, 1), 0.1),
        'non_retryable', coalesce(v_retry -> 'non_retryable', '[]'));
end $$;

-- Whether workers live that have this code, apart from one.
create function currant.is_live(p_code text, p_but uuid default null) returns boolean language sql stable as $$
    select exists (select 1 from currant.workers w where w.code = p_code and w.stopped_at is null and w.id is distinct from p_but
        and w.last_heartbeat > clock_timestamp() - w.timeout * interval '1 second')
$$;

-- What the code says of a function. While several versions of it live, as in a roll-out, the one counts whose workers came last: the new one
-- from its first worker on, and the old one again after a roll-back, since its workers come anew or are the only ones. A worker that restarts while
-- others of its code live changes nothing, so two versions do not take turns. With none alive it is the one that came last. Null: nobody has ever registered the function.
create function currant.declared(p_function text) returns currant.functions language sql stable
set enable_seqscan = off set jit = off as $$
    select f from currant.functions f where f.function = p_function
    order by case when (select count(*) from currant.functions o where o.function = p_function) > 1 then currant.is_live(f.code) end desc nulls last,
        f.registered_at desc, f.code
    limit 1
$$;

-- Enqueues one execution in the caller's transaction; gives its id, or the winner's of its idempotency key. `p_args` is the JSON
-- {"args": [...], "kwargs": {...}} in UTF-8, kept byte for byte. What is not given comes from the function's definition, else from
-- `defaults`, else from the decorator as workers have registered it, else is what stands here. Options, all optional:
--   id                 uuid, made by the caller; the same call may then be made again (of two at the same time one gets a unique violation)
--   queue              text, default 'default'          kind     'task' or 'workflow'; by default what workers registered, else task
--   priority           0..10, default 5                  timeout  seconds; by default 300 for a task, none for a workflow
--   delay or run_at    seconds, or a time as text (ISO 8601, with its zone) or as microseconds since 1970
--   idempotency_key    text, unique per function while an execution with it exists that is not failed or cancelled
--   retries            a number, or
--   retry              {max_attempts, initial, multiplier, max_delay, jitter, non_retryable}
--   max_worker_losses  so many workers may be lost of which only it can be the cause, default 3; 0: never started again after a loss
--   defaults           {queue, priority, timeout, retries, retry, max_worker_losses}: what the caller's code says of the function
--
-- Callers that check the arguments give p_checked, the hash of the input schema that they did it with, '' for none. Where the
-- definition has another one nothing is stored, and that schema is given instead of an id.
create function currant.enqueue_checked(p_function text, p_args bytea, p_options jsonb, p_checked text)
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
    -- Null takes a word back; as a time-out it is a value.
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

create function currant.enqueue_bytes(p_function text, p_args bytea, p_options jsonb default '{}') returns uuid language sql as
$$ select c.id from currant.enqueue_checked(p_function, p_args, p_options, null) c $$;

-- The same for callers with JSON at hand. jsonb rewrites numbers and the order of keys, and cannot hold NUL.
create function currant.enqueue(function text, args jsonb default '{}', options jsonb default '{}') returns uuid language plpgsql as $$
declare
    v_args jsonb := coalesce(args, '{}');
begin
    perform currant.check_options(v_args, array['args', 'kwargs'], 'args');
    if jsonb_typeof(coalesce(v_args -> 'args', '[]')) <> 'array' or jsonb_typeof(coalesce(v_args -> 'kwargs', '{}')) <> 'object' then
        raise exception 'args must be {"args": [...], "kwargs": {...}}, not %', v_args using errcode = 'invalid_parameter_value';
    end if;
    return currant.enqueue_bytes(function, convert_to(jsonb_build_object(
        'args', coalesce(v_args -> 'args', '[]'), 'kwargs', coalesce(v_args -> 'kwargs', '{}'))::text, 'UTF8'), options);
end $$;

-- How many more executions of a function may start now, at most p_most: its gate less those that have started and not ended.
create function currant.room(p_function text, p_most bigint) returns bigint language sql stable as $$
    select coalesce((
        select least(p_most, greatest(0, d.gate - (select count(*) from (
            select 1 from currant.executions e
            where e.defined and e.function = p_function and e.state in ('pending', 'running', 'suspended') and e.slot limit d.gate) held)))
        from currant.definitions d where d.function = p_function and d.gate is not null), p_most)
$$;

-- Payloads as text for people; null when the encoding is not JSON.
create function currant.payload_text(payload bytea, encoding text) returns text language sql immutable parallel safe as
$$ select case when encoding = 'json' then convert_from(payload, 'UTF8') end $$;

create view currant.runs as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.attempt, e.max_attempts, e.held, e.cancel_requested,
    currant.payload_text(e.args, e.encoding) as args,
    currant.payload_text(e.result, e.encoding) as result,
    case when e.state <> 'completed' then currant.payload_text(e.error, e.encoding) end as error,
    e.created_at, e.run_at, e.started_at, e.finished_at, e.worker_id, e.build, e.epoch, e.worker_losses, e.max_worker_losses
from currant.executions e where e.parent_id is null;

-- Of p_ids those that have ended, of p_unseen all that there are: what whoever waits for results asks, all in one statement.
create function currant.standings(p_ids uuid[], p_unseen uuid[]) returns table (id uuid, state text, finished boolean, payload bytea)
language plpgsql stable
set enable_seqscan = off set jit = off as $$
begin
    return query
    select e.id, e.state, true, case e.state when 'completed' then e.result when 'failed' then e.error end
    from currant.executions e where e.id = any (p_ids) and e.finished_at is not null
    union all
    select e.id, e.state, e.finished_at is not null, case e.state when 'completed' then e.result when 'failed' then e.error end
    from currant.executions e where e.id = any (p_unseen);
end $$;

-- Counts by index: history does not slow it. `ready` is claimable now, `delayed` later (its time has not come, or a retry waits),
-- `blocked` waits for a place that the definition of its function does not give yet (concurrency limit, suspended).
create view currant.queue_stats as
with waiting as (
    select e.queue, count(*) as number, currant.room(e.function, count(*)) as open, min(e.ready_at) as oldest
    from currant.executions e where e.parked group by e.queue, e.function
),
counted as (
    select e.queue, count(*) as ready, 0::bigint as delayed, 0::bigint as running, 0::bigint as suspended, 0::bigint as held,
        0::bigint as blocked, min(e.ready_at) as oldest
    from currant.executions e where e.state = 'pending' and e.run_at is null and not e.isolated and not e.parked group by e.queue
    union all
    select e.queue, count(*), 0, 0, 0, 0, 0, min(e.ready_at)
    from currant.executions e where e.state = 'pending' and e.run_at is null and e.isolated group by e.queue
    union all
    select w.queue, w.open, 0, 0, 0, 0, w.number - w.open, case when w.open > 0 then w.oldest end from waiting w
    union all
    select e.queue, 0, count(*), 0, 0, 0, 0, null from currant.executions e where e.run_at is not null and e.state = 'pending' group by e.queue
    union all
    select e.queue, 0, 0, count(*), 0, 0, 0, null from currant.executions e where e.state = 'running' group by e.queue
    union all
    select e.queue, 0, 0, 0, count(*) filter (where not e.held), count(*) filter (where e.held), 0, null
    from currant.executions e where e.state = 'suspended' group by e.queue
    union all
    select lane.queue, 0, 0, 0, 0, 0, 0, null from currant.workers w cross join unnest(w.queues) lane(queue)
    where w.stopped_at is null and w.claims
)
select c.queue, sum(c.ready)::bigint as ready, sum(c.delayed)::bigint as delayed, sum(c.running)::bigint as running,
    sum(c.suspended)::bigint as suspended, sum(c.held)::bigint as held,
    coalesce(greatest(0, extract(epoch from clock_timestamp() - min(c.oldest))), 0)::double precision as oldest_ready_seconds,
    (select count(*) from currant.workers w where c.queue = any (w.queues) and w.stopped_at is null and w.claims
        and w.last_heartbeat > clock_timestamp() - w.timeout * interval '1 second') as workers,
    sum(c.blocked)::bigint as blocked
from counted c group by c.queue;

-- One execution as `show` and `list` give it. For Currant itself: columns come and go with releases.
create view currant.execution_details as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.attempt, e.max_attempts, e.worker_losses, e.max_worker_losses,
    currant.iso(e.created_at) as created_at, currant.iso(e.run_at) as run_at, currant.iso(e.started_at) as started_at,
    currant.iso(e.finished_at) as finished_at, e.parent_id, e.root_id, e.epoch, e.parent_epoch, e.step_key, e.seq,
    case when e.state = 'running' or e.finished_at is not null then e.worker_id end as worker_id,
    case when e.state = 'running' or e.finished_at is not null then (select w.name from currant.workers w where w.id = e.worker_id) end as worker,
    e.build, e.timeout, e.cancel_requested, e.held, case when e.state <> 'completed' then e.error end as error, e.args, e.result
from currant.executions e;
