-- Deletes the definitions of these owners, with their schedules. Runs are not touched, and those that awaited a permit may start.
-- Returns their functions.
create or replace function currant.delete_definitions(p_owners text[]) returns setof text language plpgsql as $$
begin
    perform currant.delete_schedules(p_owners);
    return query delete from currant.definitions d where d.owner = any (p_owners) returning d.function;
end $$;
