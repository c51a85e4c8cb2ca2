-- Notes for a schedule that a worker holds and cannot read why it does not fire; it is looked at again in a minute.
create or replace function currant.defer_schedule(p_id uuid, p_problem text) returns void language sql as $$
    update currant.schedules s set due_at = clock_timestamp() + interval '1 minute', last_outcome = 'failed: ' || p_problem where s.id = p_id
$$;
