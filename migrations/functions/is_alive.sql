-- Whether a worker is alive: it has not stopped, and its last heartbeat is younger than its time-out (seconds). The planner inlines it, because all
-- that it calls is stable.
create or replace function currant.is_alive(p_stopped_at timestamptz, p_last_heartbeat timestamptz, p_timeout double precision)
returns boolean language sql stable parallel safe as
$$ select p_stopped_at is null and p_last_heartbeat >= statement_timestamp() - p_timeout * interval '1 second' $$;
