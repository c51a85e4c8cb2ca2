-- Payloads as text for people; or null if the encoding is not JSON.
create or replace function currant.payload_text(payload bytea, encoding text) returns text language sql immutable parallel safe as
$$ select case when encoding = 'json' then convert_from(payload, 'UTF8') end $$;
