-- For each of these functions the last fire time that started a run, and the next one that will start one.
create or replace function currant.schedule_times(p_functions text[]) returns table (function text, last_schedule bigint, next_schedule bigint)
language sql stable as $$
    select s.function, currant.micros(max(s.last_fire_at)),
        currant.micros(min(s.next_fire_at) filter (where not s.suspended and not s.definition_suspended))
    from currant.schedules s where s.function = any (p_functions) group by s.function
$$;
