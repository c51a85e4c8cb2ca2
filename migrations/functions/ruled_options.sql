-- As `ruled`, for the options that are stored together: null if all have the defaults.
create or replace function currant.ruled_options(p_given text, p_definition jsonb, p_call jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when p_definition is null then p_call
        else nullif(currant.merge_options(p_call, p_definition - string_to_array(p_given, ',')), '{}') end
$$;
