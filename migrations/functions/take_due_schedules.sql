-- Locks the schedules that are due, oldest first, until the caller's transaction ends; it skips those that another worker has locked.
create or replace function currant.take_due_schedules(p_limit integer) returns table (id uuid) language sql as $$
    select s.id from currant.schedules s
    where s.due_at <= now() and not s.suspended and not s.definition_suspended
    order by s.due_at limit p_limit for update skip locked
$$;
