-- One option as a number; or null if it is not given. Refuses anything that is not a number in the range.
create or replace function currant.number_option(p_options jsonb, p_name text, p_least numeric, p_most numeric default null)
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
