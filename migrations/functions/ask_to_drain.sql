-- Asks the workers of these pods to claim nothing more, or to go on. They are notified at once, and see it at their next heartbeat at the latest. A
-- worker that drains records that (`draining`). It claims on the same connection, so after that heartbeat it claims nothing.
create or replace function currant.ask_to_drain(p_pod_uids text[], p_drain boolean) returns void language plpgsql as $$
declare
    v_asked uuid[];
begin
    with asked as (
        update currant.workers w set drain_asked_at = case when p_drain then clock_timestamp() end
        where w.pod_uid = any (p_pod_uids) and w.stopped_at is null and (w.drain_asked_at is not null) <> p_drain returning w.id
    )
    select coalesce(array_agg(asked.id), '{}') into v_asked from asked;
    if coalesce(current_setting('currant.notify', true), 'on') not in ('off', 'false', 'no', '0') then
        perform pg_notify('currant_w_' || u.id, 'control') from unnest(v_asked) u(id);
    end if;
end $$;
