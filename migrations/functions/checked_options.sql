-- The options that a caller in SQL gives, checked and in the form in which they are stored (known_options): without null where that is no value, and
-- with `retry` for its short form `retries`. p_own: the names of options that the caller of this function has checked or will check. p_what: their
-- name in messages.
create or replace function currant.checked_options(p_options jsonb, p_own text[], p_what text) returns jsonb language plpgsql immutable as $$
declare
    v_options jsonb := p_options;
    v_number numeric;
    known record;
begin
    perform currant.check_options(v_options, p_own || array['retries']
        || array(select k.path[1] from currant.known_options() k group by 1 order by min(cardinality(k.path)), 1), p_what);
    v_options := v_options - array(select o.key from jsonb_each(v_options) o where o.value = 'null'
        and not exists (select 1 from currant.known_options() k where k.path = array[o.key] and k.nullable));
    if v_options ? 'retry' then
        perform currant.check_options(v_options -> 'retry', array(select k.path[2] from currant.known_options() k where k.path[1] = 'retry'),
            'option retry');
        v_options := jsonb_set(v_options, '{retry}', jsonb_strip_nulls(v_options -> 'retry'));
    end if;
    if v_options ? 'retries' then
        if v_options -> 'retry' <> '{}' then
            raise exception 'give retries or retry, not both' using errcode = 'invalid_parameter_value';
        end if;
        v_options := v_options - 'retries' || jsonb_build_object('retry',
            jsonb_build_object('max_attempts', currant.number_option(v_options, 'retries', 0, 1000000) + 1));
    end if;
    for known in select k.*, v_options #> k.path as given, k.path[cardinality(k.path)] as name from currant.known_options() k loop
        continue when known.given is null or known.given = 'null';
        if known.type = 'names' then
            if jsonb_typeof(known.given) <> 'array' or jsonb_path_exists(known.given, 'strict $[*] ? (@.type() != "string")') then
                raise exception 'option % must be an array of names', known.name using errcode = 'invalid_parameter_value';
            end if;
            continue;
        end if;
        v_number := currant.number_option(jsonb_build_object(known.name, known.given), known.name, known.minimum, known.maximum);
        if known.above and v_number = known.minimum then
            raise exception 'option % must be more than % seconds', known.name, known.minimum using errcode = 'invalid_parameter_value';
        end if;
        if known.whole and v_number <> trunc(v_number) then
            raise exception 'option % must be a whole number', known.name using errcode = 'invalid_parameter_value';
        end if;
        if known.whole is not null then v_options := jsonb_set(v_options, known.path, to_jsonb(trunc(v_number))); end if;
    end loop;
    return v_options;
end $$;
