-- The texts of a JSON array.
create or replace function currant.names(p_json text) returns text[] language sql immutable parallel safe as
$$ select array(select json_array_elements_text(p_json::json)) $$;
