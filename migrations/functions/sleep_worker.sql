-- Says until when a worker sleeps (microseconds since 1970; null: it is awake), so that enqueues notify it (rule e).
create or replace function currant.sleep_worker(p_worker uuid, p_until bigint) returns void language sql as $$
    update currant.workers w set sleep_until = coalesce(currant.from_micros(p_until), '-infinity') where w.id = p_worker;
$$;
