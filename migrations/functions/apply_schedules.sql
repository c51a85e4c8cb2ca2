-- Makes these the schedules of a function, in the caller's transaction: schedules that are no longer named are deleted, the others keep their
-- id and their last outcome. p_schedules: [{"name", "cron", "time_zone", "args" (JSON as text), "overlap", "catch_up", "starting_deadline",
-- "jitter", "suspended", "next_fire_at" (microseconds, or null)}]. Returns whether that changed anything. Then some workers are notified, because
-- the fire times that they know of may be later.
create or replace function currant.apply_schedules(p_function text, p_owner text, p_definition_suspended boolean, p_schedules jsonb)
returns boolean language plpgsql as $$
declare
    v_gone bigint;
    v_changed bigint;
begin
    delete from currant.schedules s where s.function = p_function
        and not exists (select 1 from jsonb_array_elements(p_schedules) n where n.value ->> 'name' = s.name);
    get diagnostics v_gone = row_count;
    insert into currant.schedules as s (id, function, name, owner, cron, time_zone, args, overlap, catch_up, starting_deadline, jitter,
        suspended, definition_suspended, next_fire_at, due_at)
    select currant.new_id(), p_function, n.name, p_owner, n.cron, n.time_zone, convert_to(n.args, 'UTF8'), n.overlap, n.catch_up,
        n.starting_deadline, n.jitter, n.suspended, p_definition_suspended, currant.from_micros(n.next_fire_at), currant.from_micros(n.next_fire_at)
    from jsonb_to_recordset(p_schedules) n(name text, cron text, time_zone text, args text, overlap text, catch_up text,
        starting_deadline double precision, jitter double precision, suspended boolean, next_fire_at bigint)
    on conflict (function, name) do update set
        owner = excluded.owner, cron = excluded.cron, time_zone = excluded.time_zone, args = excluded.args, overlap = excluded.overlap,
        catch_up = excluded.catch_up, starting_deadline = excluded.starting_deadline, jitter = excluded.jitter,
        suspended = excluded.suspended, definition_suspended = excluded.definition_suspended,
        next_fire_at = excluded.next_fire_at, due_at = excluded.due_at
    where (s.owner, s.cron, s.time_zone, s.args, s.overlap, s.catch_up, s.starting_deadline, s.jitter, s.suspended,
            s.definition_suspended, s.next_fire_at)
        is distinct from (excluded.owner, excluded.cron, excluded.time_zone, excluded.args, excluded.overlap, excluded.catch_up,
            excluded.starting_deadline, excluded.jitter, excluded.suspended, excluded.definition_suspended, excluded.next_fire_at);
    get diagnostics v_changed = row_count;
    -- One worker that listens is enough, so not all workers of a large fleet are notified. Workers that cannot be notified see the change at their next
    -- heartbeat.
    if v_changed > 0 and coalesce(current_setting('currant.notify', true), 'on') not in ('off', 'false', 'no', '0') then
        perform pg_notify('currant_w_' || w.id, 'control') from (
            select o.id from currant.workers o where o.stopped_at is null and not o.draining order by o.last_heartbeat desc limit 20) w;
    end if;
    return v_gone + v_changed > 0;
end $$;
