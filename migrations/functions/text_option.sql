-- The text of an option, or null if it is not given. Raises for a value that is no text.
create or replace function currant.text_option(p_options jsonb, p_name text) returns text language plpgsql immutable as $$
declare
    v_given jsonb := p_options -> p_name;
begin
    if v_given is null or v_given = 'null' then return null; end if;
    if jsonb_typeof(v_given) <> 'string' or v_given = '""' then
        raise exception 'option % must be a text that is not empty, not %', p_name, v_given using errcode = 'invalid_parameter_value';
    end if;
    return v_given #>> '{}';
end $$;
