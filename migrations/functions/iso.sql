-- A point in time in ISO 8601 and UTC, whatever the session's time zone and style of dates.
create or replace function currant.iso(at timestamptz) returns text language sql stable parallel safe as
$$ select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
