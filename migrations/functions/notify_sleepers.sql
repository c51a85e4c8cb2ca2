-- Notifies as many of the workers that sleep on this queue as there is work for, p_most, and no more: of a fleet that is idle one enqueue wakes one. A worker
-- that is notified as one of several sleeps no longer for the database (the payload `told` says so), so that the next enqueue wakes another one. If it
-- dies before it claims, the others find the work when they poll; if it has no room, or fills its room, it has others notified (State::told).
-- A session that only watches (sleep_for) is always notified.
-- Rows of workers that somebody has locked are skipped: those are about to sleep, and look once more then, or are notified by somebody else.
create or replace function currant.notify_sleepers(p_queue text, p_most bigint) returns void language plpgsql as $$
declare
    v_asleep uuid[];
    v_watchers uuid[];
begin
    select array_agg(w.id) filter (where w.claims), array_agg(w.id) filter (where not w.claims) into v_asleep, v_watchers
    from currant.workers w where p_queue = any (w.queues) and w.sleep_until > clock_timestamp() and w.stopped_at is null;
    if cardinality(v_asleep) = 1 then
        v_watchers := v_watchers || v_asleep;
    elsif cardinality(v_asleep) > 1 then
        v_asleep := array(
            select w.id from currant.workers w where w.id = any (v_asleep) and w.sleep_until > clock_timestamp() and w.stopped_at is null
            order by random() limit p_most for no key update skip locked);
        update currant.workers w set sleep_until = '-infinity' where w.id = any (v_asleep);
        perform pg_notify('currant_w_' || u.id, 'told') from unnest(v_asleep) u(id);
    end if;
    perform pg_notify('currant_w_' || u.id, '') from unnest(v_watchers) u(id);
end $$;
