-- Takes over what a dead worker was running.
create or replace function currant.take_over(p_dead uuid) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set jit = off as $$
begin
    perform 1 from currant.workers w where w.id = p_dead and w.stopped_at is null
        and not currant.is_alive(w.stopped_at, w.last_heartbeat, w.timeout) for update skip locked;
    if not found then return; end if;
    return query select * from currant.lose_worker(p_dead, true);
    delete from currant.workers w where w.stopped_at < clock_timestamp() - interval '1 day';
end $$;
