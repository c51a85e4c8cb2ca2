-- Enqueues an execution of a task or workflow in the caller's transaction; returns its id. `args` is `{"args": [...], "kwargs": {...}}`, each of which
-- may be left out. jsonb rewrites numbers and the order of keys, and cannot hold NUL: where that matters, enqueue_bytes takes the text.
create or replace function currant.enqueue(function text, args jsonb default '{}', options jsonb default '{}') returns uuid language plpgsql as $$
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
