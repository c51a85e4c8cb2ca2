-- Deletes the schedules of these owners. Runs that they started are not touched.
create or replace function currant.delete_schedules(p_owners text[]) returns bigint language sql as $$
    with gone as (delete from currant.schedules s where s.owner = any (p_owners) returning 1) select count(*) from gone
$$;
