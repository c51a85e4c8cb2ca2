-- Whether workers with this code are alive, apart from the worker p_but.
create or replace function currant.is_live(p_code text, p_but uuid default null) returns boolean language sql stable as $$
    select exists (select 1 from currant.workers w where w.code = p_code and w.id is distinct from p_but
        and currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout))
$$;
