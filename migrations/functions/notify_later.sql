-- In somebody's own transaction a notification goes out with its commit (rule e). `set currant.notify = off` turns it off: NOTIFY
-- takes a database-wide lock at commit and fails under PREPARE TRANSACTION; workers then find the work at their next poll.
create or replace function currant.notify_later(p_queue text, p_worker uuid, p_id uuid) returns void language plpgsql as $$
begin
    if coalesce(current_setting('currant.notify', true), 'on') not in ('off', 'false', 'no', '0') then
        if p_worker is not null then
            perform pg_notify('currant_w_' || p_worker, p_id::text);
        elsif p_queue is not null then
            perform pg_notify('currant_q_' || md5(p_queue), '');
        end if;
    end if;
end $$;
