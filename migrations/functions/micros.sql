-- A point in time as microseconds since 1970. It is stable, as what it calls is: the planner puts a function in line only if it promises no more
-- than its body keeps.
create or replace function currant.micros(at timestamptz) returns bigint language sql stable parallel safe as
$$ select (extract(epoch from at) * 1000000)::bigint $$;
