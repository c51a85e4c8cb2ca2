-- Microseconds since 1970 as a point in time.
create or replace function currant.from_micros(micros bigint) returns timestamptz language sql stable parallel safe as
$$ select timestamptz 'epoch' + micros * interval '1 microsecond' $$;
