-- A point in time as microseconds since 1970. It is declared stable, as extract() of a timestamptz is: the planner inlines a function only if it
-- is not declared less volatile than what its body calls.
create or replace function currant.micros(at timestamptz) returns bigint language sql stable parallel safe as
$$ select (extract(epoch from at) * 1000000)::bigint $$;
