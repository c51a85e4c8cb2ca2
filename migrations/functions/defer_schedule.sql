-- Notes why a schedule that a worker cannot read does not fire. Workers try it again in a minute. The worker has the lock on the schedule's row.
create or replace function currant.defer_schedule(p_id uuid, p_problem text) returns void language sql as $$
    update currant.schedules s set due_at = clock_timestamp() + interval '1 minute', last_outcome = 'failed: ' || p_problem where s.id = p_id
$$;
