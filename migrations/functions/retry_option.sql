-- The retry object of the options, with defaults; `retries` is the short form.
create or replace function currant.retry_option(p_options jsonb, p_kind text) returns jsonb language plpgsql immutable as $$
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
