-- Registers a worker. If it is new and its pod had another worker before, that one is ended, and its executions are taken over. Then the rows say, as
-- those of take_over do, which queues have ready executions and which workers have runs to look at, so that the caller notifies them.
create or replace function currant.register_worker(
    p_id uuid, p_name text, p_host text, p_pid integer, p_build text, p_queues text[], p_tasks text[], p_workflows text[],
    p_concurrency integer, p_timeout double precision, p_pool text default null, p_pod_name text default null,
    p_pod_uid text default null, p_code text default ''
) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    v_new boolean := not exists (select 1 from currant.workers w where w.id = p_id);
    v_before uuid[] := '{}';
begin
    insert into currant.workers as w
        (id, name, host, pid, build, code, queues, tasks, workflows, concurrency, timeout, pool, pod_name, pod_uid)
    values (p_id, p_name, p_host, p_pid, p_build, p_code, p_queues, p_tasks, p_workflows, p_concurrency, p_timeout, p_pool, p_pod_name, p_pod_uid)
    on conflict on constraint workers_pkey do update set
        name = excluded.name, host = excluded.host, pid = excluded.pid, build = excluded.build, code = excluded.code, queues = excluded.queues,
        tasks = excluded.tasks, workflows = excluded.workflows, concurrency = excluded.concurrency,
        timeout = excluded.timeout, last_heartbeat = clock_timestamp(), stopped_at = null,
        pool = excluded.pool, pod_name = excluded.pod_name, pod_uid = excluded.pod_uid
        where not w.pod_gone;
    -- A pod has one worker: the earlier one has died, however recent its last heartbeat is. Only a new worker declares it dead: a worker that
    -- registers again may itself have been declared dead by mistake, and two would declare each other dead for ever.
    if v_new and p_pod_uid is not null then
        v_before := array(
            select w.id from currant.workers w where w.pod_uid = p_pod_uid and w.id <> p_id and w.stopped_at is null
            order by w.id for update);
        update currant.workers w set last_heartbeat = '-infinity' where w.id = any (v_before);
        return query select t.tag, t.queue, t.worker_id, t.id from unnest(v_before) dead(id) cross join lateral currant.take_over(dead.id) t;
    end if;
end $$;
