-- Has a caller that is no worker notified, like workers that sleep, when something becomes ready in these queues: for p_seconds, or no longer if that
-- is 0.
-- After the commit the caller asks currant.any_ready: what became ready before that notified nobody (rule e).
create or replace function currant.sleep_for(p_id uuid, p_name text, p_queues text[], p_seconds double precision) returns void language sql as $$
    insert into currant.workers as w (id, name, queues, timeout, sleep_until, claims)
    values (p_id, p_name, p_queues, p_seconds + 30,
        case when p_seconds > 0 then clock_timestamp() + p_seconds * interval '1 second' else '-infinity' end, false)
    on conflict (id) do update set queues = excluded.queues, timeout = excluded.timeout, sleep_until = excluded.sleep_until,
        last_heartbeat = clock_timestamp(), stopped_at = null
$$;
