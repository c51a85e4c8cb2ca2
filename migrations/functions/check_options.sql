-- Raises unless options are a JSON object with known names only.
create or replace function currant.check_options(p_options jsonb, p_known text[], p_what text) returns void language plpgsql immutable as $$
declare
    v_unknown text;
begin
    if jsonb_typeof(p_options) is distinct from 'object' then
        raise exception '% must be a JSON object, not %', p_what, coalesce(p_options::text, 'null') using errcode = 'invalid_parameter_value';
    end if;
    select min(k) into v_unknown from jsonb_object_keys(p_options) k where not k = any (p_known);
    if v_unknown is not null then
        raise exception 'unknown key % in %: known are %', to_json(v_unknown), p_what, array_to_string(p_known, ', ')
            using errcode = 'invalid_parameter_value';
    end if;
end $$;
